"""What every format must keep: what it writes it recognises, alone, and reads back as it was.

`datasets` draws little datasets for hypothesis; `check` walks one through a keeper, `check_pair` through two.
"""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from saccade.data.dataset import Dataset
from saccade.data.format import Format
from saccade.data.formats import recognise
from saccade.errors import StorageError
from saccade.types import Annotation, Array, Labels, Sample

EXACT = 1e-3
"""Px; formats write places as decimal text, some as shares of the picture."""
NAMES = ("wood", "glass", "Größe", "two words", "a,b", "<&>", "0", "007", "null", "#1", "yes", "[x]")
KEYS = ("a.png", "train/b b.png", "images/c.png", "d/ü.png", "x/e.png", "y/e.png", "val/f.1.png")
WIDTH, HEIGHT = 24, 16


def picture(seed: int, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """A PNG of noise, the same for the same seed."""
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


def _corners(low: float, high: float) -> st.SearchStrategy[tuple[float, float]]:
    """Two places on a side, at least two pixels apart: VOC cannot hold a single pixel."""
    whole = st.integers(int(low), int(high) - 2).flatmap(
        lambda a: st.tuples(st.just(float(a)), st.integers(a + 2, int(high)).map(float))
    )
    parts = st.integers(0, int(high) * 64 - 128).flatmap(
        lambda a: st.tuples(st.just(a / 64), st.integers(a + 128, int(high) * 64).map(lambda b: b / 64))
    )
    return st.one_of(whole, parts)


@st.composite
def _boxes(draw: st.DrawFn, classes: int, least: int) -> dict[str, Array]:
    """Boxes within the picture; `least` of them of the first classes, so that every class is seen."""
    count = draw(st.integers(least, least + 3))
    sides = [(draw(_corners(0, WIDTH)), draw(_corners(0, HEIGHT))) for _ in range(count)]
    ids = [*range(least), *(draw(st.integers(0, classes - 1)) for _ in range(count - least))]
    return {
        "boxes": np.array([(x[0], y[0], x[1], y[1]) for x, y in sides], np.float32).reshape(-1, 4),
        "box_classes": np.array(ids, np.int64),
    }


@st.composite
def datasets(draw: st.DrawFn, kind: str) -> Dataset:
    """kind: "boxes" or "mask". One to four pictures, one split or several, names that are hard to write."""
    names = tuple(draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True)))
    keys = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=4, unique=True))
    parts = draw(st.sampled_from([("all",), ("train", "val"), ("train", "val", "test")]))
    made: dict[str, list[Sample]] = {}
    for i, key in enumerate(keys):
        record: Annotation
        if kind == "boxes":
            record = draw(_boxes(len(names), len(names) if i == 0 else 0))
        else:
            seed = draw(st.integers(0, 2**16))
            values = np.random.default_rng(seed).integers(0, len(names) + 1, (HEIGHT, WIDTH)).astype(np.uint8)
            values[values == len(names)] = 255
            record = {"mask": values}
        made.setdefault(parts[i % len(parts)], []).append(Sample(key, picture(i), record))
    labels = Labels(names, exclusive=False)
    return Dataset("drawn", Path(), labels, {k: tuple(v) for k, v in made.items()})


def check(keeper: Format, dataset: Dataset, root: Path) -> Dataset:
    """Writes into the new folder `root` and reads again. Raises AssertionError where the format breaks its word."""
    keeper.write(dataset, root)
    before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}
    seen = [e.format for e in recognise(root)]
    assert seen == [keeper.name], f"what {keeper.name} writes is recognised as {seen}"
    again = keeper.read(root)
    assert not again.faults, f"{keeper.name} finds fault with what it wrote: {again.faults[:3]}"
    same(dataset, again, keeper)
    assert {p: p.read_bytes() for p in root.rglob("*") if p.is_file()} == before, "reading changes nothing"
    with pytest.raises(StorageError, match="already there"):
        keeper.write(dataset, root)
    return again


def check_pair(first: Format, second: Format, dataset: Dataset, root: Path) -> None:
    """A dataset written as the one, read, written as the other and read says the same of what both hold."""
    first.write(dataset, root / "first")
    between = first.read(root / "first")
    second.write(between, root / "second")
    same(dataset, second.read(root / "second"), second)


def same(dataset: Dataset, again: Dataset, keeper: Format) -> None:
    """Equal pictures, splits, and annotations by class names, whatever the names of files became."""
    assert set(again.splits) == set(dataset.splits), (keeper.name, set(again.splits), set(dataset.splits))
    for split, samples in dataset.splits.items():
        ours = {_bytes(s): s.annotation for s in samples}
        theirs = {_bytes(s): s.annotation for s in again.splits[split]}
        assert ours.keys() == theirs.keys(), f"{keeper.name}: the pictures of {split} are others"
        for data, record in ours.items():
            _same(record, dataset.labels, theirs[data], again.labels, keeper)


def _same(a: Annotation, names: Labels, b: Annotation, others: Labels, keeper: Format) -> None:
    if "mask" in a:
        back = np.full(256, 255, np.uint8)
        for i, name in enumerate(others.names):
            if name in names.names:
                back[i] = names.id(name)
        assert np.array_equal(a["mask"], back[b["mask"]]), f"{keeper.name}: a mask is another"
        return
    ours, theirs = _listed(a, names), _listed(b, others)
    assert [n for n, _ in ours] == [n for n, _ in theirs], f"{keeper.name}: {ours} became {theirs}"
    for (_, x), (_, y) in zip(ours, theirs, strict=True):
        assert np.abs(np.subtract(x, y)).max() < EXACT, f"{keeper.name}: {x} became {y}"


def _listed(record: Mapping[str, Array], labels: Labels) -> list[tuple[str, list[float]]]:
    """Boxes with the names of their classes, in an order that rounding does not change."""
    found = zip(record["box_classes"].tolist(), record["boxes"].tolist(), strict=True)
    # Drawn corners are multiples of 1/64.
    return sorted(((labels.names[k], c) for k, c in found), key=lambda b: (b[0], [round(64 * v) for v in b[1]]))


def _bytes(sample: Sample) -> bytes:
    assert not isinstance(sample.image, np.ndarray)
    return sample.image.read_bytes() if isinstance(sample.image, Path) else sample.image
