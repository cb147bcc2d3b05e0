"""An earlier run as the start of another, in numbers: which rows go where, whatever the classes."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saccade.errors import UsageError
from saccade.training import earlier
from saccade.training.earlier import Earlier
from saccade.training.recipe import Recipe
from saccade.types import Array, Labels

NAMES = st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=6, unique=True)


def network(classes: int, fill: float) -> dict[str, Array]:
    """A body, an answer of a row a class, one with a place for padding behind, and one of class against class."""
    return {
        "mean": np.full((1, 3, 1, 1), 9.0 if fill == 0 else 8.0, np.float32),
        "body": np.full((4, 3), fill, np.float32),
        "answer": np.full((classes, 4), fill, np.float32),
        "padded": np.full((2, classes + 1), fill, np.float32),
        "pairs": np.full((classes, classes), fill, np.float32),
    }


def marked(names: list[str]) -> dict[str, Array]:
    """Values that tell their class."""
    made = network(len(names), 7.0)
    codes = np.array([ord(n) for n in names], np.float32)
    made["answer"][:] = codes[:, None]
    made["padded"][:] = [*codes, 1.0]
    made["pairs"][:] = codes[:, None] * 1000 + codes
    return made


def start(names: list[str], weights: dict[str, Array]) -> Earlier:
    return Earlier(Path("first"), Recipe(), Labels(tuple(names)), weights)


@given(NAMES, NAMES)
def test_every_class_brings_its_own_rows(old: list[str], new: list[str]) -> None:
    made, said = earlier.begin(
        start(old, marked(old)),
        network(len(new), 0.0),
        Labels(tuple(new)),
        lambda labels: {k: v.shape for k, v in network(len(labels), 0.0).items()},
    )
    assert "4 of 4 tensors from first" in said
    assert (made["mean"] == 9).all(), "what no network learns is not taken"
    assert (made["body"] == 7).all()
    assert (made["padded"][:, -1] == 1).all()
    for place, name in enumerate(new):
        code = ord(name) if name in old else 0
        assert (made["answer"][place] == code).all()
        assert (made["padded"][:, place] == code).all()
        for other, second in enumerate(new):
            known = name in old and second in old
            assert made["pairs"][place, other] == (ord(name) * 1000 + ord(second) if known else 0)
    assert ("new classes" in said) == bool(set(new) - set(old))
    assert ("left behind" in said) == bool(set(old) - set(new))


def test_what_does_not_fit_stays_as_it_is() -> None:
    found = marked(["a", "b"]) | {"body": np.ones((5, 3), np.float32), "gone": np.ones(2, np.float32)}
    made, said = earlier.begin(start(["a", "b"], found), network(2, 0.0), Labels(("a", "b")), lambda _: {})
    assert "3 of 4 tensors" in said
    assert (made["body"] == 0).all()
    few = {"mean": found["mean"], "answer": marked(["a"])["answer"], "gone": np.ones(2)}
    with pytest.raises(UsageError, match=r"1 of 4 tensors of this network are in first.*--network"):
        earlier.begin(start(["a"], few), network(1, 0.0), Labels(("a",)), lambda _: {})


def test_folders_that_are_no_start_are_refused(tmp_path: Path) -> None:
    for weights in ("auto", "none", str(tmp_path / "w.safetensors")):
        assert earlier.read(Recipe().replace_from({"weights": weights})) is None
    plan = Recipe().replace_from({"weights": str(tmp_path)})
    with pytest.raises(UsageError, match="holds no run"):
        earlier.read(plan)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(UsageError, match="a sealed package, whose graph learns no more"):
        earlier.read(plan)


def test_what_the_user_names_goes_before_what_the_run_had(tmp_path: Path) -> None:
    settled = {
        "network": "cnn-small",
        "width": 64,
        "height": 48,
        "finest": 4,
        "filters": (8, 16),
        "resize": "letterbox",
    }
    (tmp_path / "recipe.toml").write_text(Recipe().replace_from({**settled, "task": "this"}).to_toml())
    plan = Recipe().replace_from({"weights": str(tmp_path)})

    def told(**changes: object) -> dict[str, object]:
        return {k: v for k, (v, _) in earlier.settled(plan.replace_from(changes), "this").items()}

    assert told() == settled
    assert told(network="residual-224") == {}
    assert set(told(size=32)) == {"network", "finest", "filters", "resize"}
    assert told(kernel=5, filters=(4, 4))["resize"] == "letterbox"
    assert "filters" not in told(filters=(4, 4))
    with pytest.raises(UsageError, match="learned this, and this is other"):
        earlier.settled(plan, "other")
