"""The shared nouns are checked at birth."""

import pytest

from saccade.errors import DataError
from saccade.types import Labels, TensorSpec, names_text


def test_labels_survive_json() -> None:
    labels = Labels(("cat", "dog"), (17, 90), exclusive=False)
    assert Labels.from_json(labels.to_json()) == labels
    assert labels.id("dog") == 1


def test_labels_refuse_duplicates_and_unknown_names() -> None:
    with pytest.raises(DataError, match="unique"):
        Labels(("cat", "cat"))
    with pytest.raises(DataError, match="not in the ledger"):
        Labels(("cat",)).id("dog")


def test_very_many_names_are_counted_once_each() -> None:
    """Not each among all others, which would take hours."""
    names = tuple(str(i) for i in range(200_000))
    assert len(Labels(names)) == 200_000
    with pytest.raises(DataError, match=r"unique and not empty, got \['7'\]"):
        Labels((*names, "7"))


def test_labels_refuse_ids_with_holes() -> None:
    with pytest.raises(DataError, match=r"0\.\.1"):
        Labels.from_json({"classes": [{"id": 0, "name": "a"}, {"id": 2, "name": "b"}]})


def test_digest_depends_on_order() -> None:
    assert Labels(("a", "b")).digest() != Labels(("b", "a")).digest()


def test_tensor_spec_survives_json() -> None:
    spec = TensorSpec("image", "uint8", (None, 8, 8, 3))
    assert TensorSpec.from_json(spec.to_json()) == spec


def test_names_text_is_short() -> None:
    assert names_text(list("abcdefg"), 3) == "a, b, c and 4 more"
