"""What every format must keep: what it writes it recognises, alone, and reads back as it was.

`datasets` draws little datasets for hypothesis; `check` walks one through a keeper, `check_pair` through two.
"""

import io
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from saccade.data.boxes import flags
from saccade.data.dataset import Dataset
from saccade.data.format import Format
from saccade.data.formats import recognise
from saccade.errors import StorageError
from saccade.types import Annotation, Array, Labels, Sample

EXACT = 1e-3
"""Px; formats write places as decimal text, some as shares of the picture."""
NAMES = ("wood", "glass", "Größe", "two words", "a,b", "<&>", "0", "007", "null", "#1", "yes", "[x]")
KEYS = ("a.png", "train/b b.png", "images/c.png", "d/ü.png", "x/e.png", "y/e.png", "val/f.1.png")
GROUPS = (None, "g", "patient 7", "a,b", "Ü")
EXTRAS = ("box_crowd", "box_difficult", "box_area")
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
def _originals(draw: st.DrawFn, names: tuple[str, ...]) -> tuple[str | int, ...]:
    """What classes were called before: numbers in any order, with holes, or names, or some of both."""
    count = len(names)
    numbers = draw(st.lists(st.integers(0, 254), min_size=count, max_size=count, unique=True))
    named = draw(
        st.one_of(
            st.just([True] * count), st.just([False] * count), st.lists(st.booleans(), min_size=count, max_size=count)
        )
    )
    return tuple(name if kept else number for name, number, kept in zip(names, numbers, named, strict=True))


@st.composite
def _boxes(draw: st.DrawFn, classes: int, least: int, extras: Collection[str]) -> dict[str, Array]:
    """Boxes within the picture; `least` of them of the first classes, so that every class is seen."""
    count = draw(st.integers(least, least + 3))
    sides = [(draw(_corners(0, WIDTH)), draw(_corners(0, HEIGHT))) for _ in range(count)]
    ids = [*range(least), *(draw(st.integers(0, classes - 1)) for _ in range(count - least))]
    record: dict[str, Array] = {
        "boxes": np.array([(x[0], y[0], x[1], y[1]) for x, y in sides], np.float32).reshape(-1, 4),
        "box_classes": np.array(ids, np.int64),
    }
    for name in sorted(extras):
        if name == "box_area":
            record[name] = np.array([draw(st.integers(1, 4096)) / 8 for _ in ids], np.float32)
        else:
            record[name] = np.array([draw(st.booleans()) for _ in ids], np.bool_)
    return record


@st.composite
def datasets(draw: st.DrawFn, kind: str) -> Dataset:
    """kind: "boxes" or "mask". One to four pictures, one split or several, names that are hard to write; groups, what
    boxes have besides, and numbers of classes, of which a format keeps what it says it does."""
    names = tuple(draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True)))
    keys = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=4, unique=True))
    parts = draw(st.sampled_from([("all",), ("train", "val"), ("train", "val", "test")]))
    extras = draw(st.sets(st.sampled_from(EXTRAS)))
    made: dict[str, list[Sample]] = {}
    for i, key in enumerate(keys):
        record: Annotation
        if kind == "boxes":
            record = draw(_boxes(len(names), len(names) if i == 0 else 0, extras))
        else:
            seed = draw(st.integers(0, 2**16))
            values = np.random.default_rng(seed).integers(0, len(names) + 1, (HEIGHT, WIDTH)).astype(np.uint8)
            values[values == len(names)] = 255
            record = {"mask": values}
        made.setdefault(parts[i % len(parts)], []).append(
            Sample(key, picture(i), record, draw(st.sampled_from(GROUPS)))
        )
    labels = Labels(names, draw(_originals(names)), exclusive=False)
    return Dataset("drawn", Path(), labels, {k: tuple(v) for k, v in made.items()})


def check(keeper: Format, dataset: Dataset, root: Path) -> Dataset:
    """Writes into the new folder `root` and reads again. Raises AssertionError where the format breaks its word."""
    keeper.write(dataset, root)
    before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}
    seen = [e.format for e in recognise(root)]
    assert seen == [keeper.name], f"what {keeper.name} writes is recognised as {seen}"
    again = keeper.read(root)
    assert not again.faults, f"{keeper.name} finds fault with what it wrote: {again.faults[:3]}"
    same(dataset, again, keeper.name, keeper.holds, keeper.keeps)
    assert {p: p.read_bytes() for p in root.rglob("*") if p.is_file()} == before, "reading changes nothing"
    with pytest.raises(StorageError, match="already there"):
        keeper.write(dataset, root)
    return again


def check_pair(first: Format, second: Format, dataset: Dataset, root: Path) -> None:
    """A dataset written as the one, read, written as the other and read says the same of what both hold."""
    first.write(dataset, root / "first")
    between = first.read(root / "first")
    second.write(between, root / "second")
    holds = set(first.holds) & set(second.holds)
    same(dataset, second.read(root / "second"), f"{first.name} to {second.name}", holds, first.keeps & second.keeps)


def same(dataset: Dataset, again: Dataset, told: str, holds: Collection[str], keeps: Collection[str]) -> None:
    """Equal pictures, splits, and annotations by class names, whatever the names of files became.

    told: whose word it is. holds: fields that are compared where the dataset has them. keeps: of "groups" and
    "originals", what must have stayed.
    """
    assert set(again.splits) == set(dataset.splits), (told, set(again.splits), set(dataset.splits))
    if "originals" in keeps:
        now = dict(zip(again.labels.names, again.labels.originals, strict=True))
        for name, original in zip(dataset.labels.names, dataset.labels.originals, strict=True):
            if isinstance(original, int):
                assert now.get(name) == original, f"{told}: {name} was {original} and is {now.get(name)}"
    for split, samples in dataset.splits.items():
        ours = {_bytes(s): s for s in samples}
        theirs = {_bytes(s): s for s in again.splits[split]}
        assert ours.keys() == theirs.keys(), f"{told}: the pictures of {split} are others"
        for data, sample in ours.items():
            if "groups" in keeps:
                assert theirs[data].group == sample.group, f"{told}: group {sample.group} became {theirs[data].group}"
            fields = [f for f in holds if f in sample.annotation]
            _same(sample.annotation, dataset.labels, theirs[data].annotation, again.labels, told, fields)


def _same(a: Annotation, names: Labels, b: Annotation, others: Labels, told: str, fields: Collection[str]) -> None:
    if "mask" in a:
        back = np.full(256, 255, np.uint8)
        for i, name in enumerate(others.names):
            if name in names.names:
                back[i] = names.id(name)
        assert np.array_equal(a["mask"], back[b["mask"]]), f"{told}: a mask is another"
        return
    ours, theirs = _listed(a, names, fields), _listed(b, others, fields)
    assert [o[0] for o in ours] == [t[0] for t in theirs], f"{told}: {ours} became {theirs}"
    for (_, x), (_, y) in zip(ours, theirs, strict=True):
        assert np.abs(np.subtract(x, y)).max() < EXACT, f"{told}: {x} became {y}"


def _listed(
    record: Mapping[str, Array], labels: Labels, fields: Collection[str]
) -> list[tuple[list[str], list[float]]]:
    """Boxes as words (class, flags) and numbers (corners, area), in an order that rounding does not change.

    fields: which of the extras count. A flag that a dataset does not know is False.
    """
    marks = [flags(record, f) for f in ("box_crowd", "box_difficult") if f in fields]
    areas = record["box_area"].tolist() if "box_area" in fields else [0.0] * len(record["boxes"])
    found = []
    for i, (k, corners) in enumerate(zip(record["box_classes"].tolist(), record["boxes"].tolist(), strict=True)):
        found.append(([labels.names[k], *(str(m[i]) for m in marks)], [*corners, areas[i]]))
    # Drawn corners are multiples of 1/64, areas of 1/8.
    return sorted(found, key=lambda b: (b[0][0], [round(64 * v) for v in b[1][:4]], b[0], round(8 * b[1][4])))


def _bytes(sample: Sample) -> bytes:
    assert not isinstance(sample.image, np.ndarray)
    return sample.image.read_bytes() if isinstance(sample.image, Path) else sample.image
