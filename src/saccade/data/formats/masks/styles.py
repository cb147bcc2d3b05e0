"""The ways masks are written: what a folder, a pixel and a class file look like. All of them are read as `masks`.

index     images/, masks/ of grey index PNGs, _classes.csv
palette   the same values under the colours of Pascal VOC, for the eye
voc       JPEGImages/, SegmentationClass/ with the palette, ImageSets/Segmentation/
camvid    train/ beside trainannot/, the first free value is void, lists of both
colour    images/, masks/ of colours, class_dict.csv
binary    images/, masks/ of 0 and 255, for two classes
"""

import csv
import re
from pathlib import Path

import numpy as np

from saccade.data import folder
from saccade.data.dataset import Dataset
from saccade.data.formats.masks.layout import LISTS
from saccade.data.masks import MOST_CLASSES
from saccade.data.numbers import numbers
from saccade.errors import DataError
from saccade.images import encode
from saccade.images.masks import VOID
from saccade.types import Array, Labels

STYLES = ("index", "palette", "voc", "camvid", "colour", "binary")
COLOURED = ("colour",)
NUMBERED = ("index", "palette", "voc", "camvid")
"""Styles in which classes keep the values they had."""


def colours() -> Array:
    """uint8 [256, 3]: the colour map of Pascal VOC, in which the bits of an id are spread over red, green and blue."""
    ids = np.arange(256)
    found = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            found[:, channel] |= (((ids >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return found


def write(dataset: Dataset, root: Path, style: str) -> None:
    """Into the new folder `root`. Raises DataError for classes or ignored pixels that the style cannot hold, and
    StorageError when the folder is there."""
    labels = dataset.labels
    if len(labels) > MOST_CLASSES:
        raise DataError(f"{len(labels)} classes do not fit one byte a pixel, limit {MOST_CLASSES}")
    if style == "binary":
        _two_values(dataset)
    values = _values(labels, style)
    folder.new(root)
    _class_file(root, labels, values, style)
    stems: set[str] = set()
    for split, samples in dataset.splits.items():
        stems = stems if style == "voc" else set()  # VOC has one folder for all splits
        lines = []
        for sample in samples:
            pictures, masks = _folders(root, split, style)
            name = folder.tail(sample.key)
            name = "_".join(name.split()) if style in ("voc", "camvid") else name  # lists are of words
            target = folder.put(sample, pictures, folder.free(name, stems))
            file = masks / f"{target.stem}.png"
            if file.exists():
                raise DataError(f"{sample.key} and another picture would share {file.name}", hint="rename one of them")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(_png(values[sample.annotation["mask"]], style))
            places = [p.relative_to(root).as_posix() for p in (target, file)]
            lines.append(target.stem if style == "voc" else " ".join(places))
        if split != "all" and style in ("voc", "camvid"):
            place = root / LISTS if style == "voc" else root
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{split}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _two_values(dataset: Dataset) -> None:
    """Raises DataError when 0 and 255 do not say it all, before anything is written."""
    hint = "choose --style index or colour"
    if len(dataset.labels) != 2:
        raise DataError(f"a binary mask holds 2 classes, and the data has {len(dataset.labels)}", hint=hint)
    for sample in dataset:
        if (sample.annotation["mask"] == VOID).any():
            raise DataError(f"{sample.key} has ignored pixels, which a binary mask cannot hold", hint=hint)


def _values(labels: Labels, style: str) -> Array:
    """What stands for every id and for what is ignored: uint8 [256], or colours [256, 3]."""
    count = len(labels)
    if style in COLOURED:
        table = colours()
        own = [_colour(o) for o in labels.originals]
        if None not in own and len(set(own)) == count:
            table[:count] = own
            free = next(c for c in colours()[::-1].tolist() if tuple(c) not in own)
            table[VOID] = free
        return table
    table = np.arange(256, dtype=np.uint8)
    if style == "binary":
        # What other tools take for the object is 255.
        table[:2] = (255, 0) if labels.names[1].lower() == "background" else (0, 255)
        return table
    stored = numbers(labels, 0, VOID - 1) or list(range(count))
    table[:count] = stored
    if style == "camvid":
        table[VOID] = next(v for v in (*range(count, VOID), *range(count), VOID) if v not in stored)
    return table


def _colour(original: str | int) -> tuple[int, ...] | None:
    """Red, green and blue of an original like #804000; None for any other."""
    text = str(original)
    return tuple(bytes.fromhex(text[1:])) if re.fullmatch(r"#[0-9a-fA-F]{6}", text) else None


def _class_file(root: Path, labels: Labels, values: Array, style: str) -> None:
    coloured = style in COLOURED
    head = ("name", "r", "g", "b") if coloured else ("Pixel Value", "Class")
    told = [*labels.names, *(["void"] if coloured or (style == "camvid" and values[VOID] != VOID) else [])]
    shown = [*values[: len(labels)].tolist(), values[VOID].tolist()]
    rows = [(n, *v) if coloured else (v, n) for n, v in zip(told, shown, strict=False)]
    with (root / ("class_dict.csv" if coloured else "_classes.csv")).open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([head, *rows])


def _folders(root: Path, split: str, style: str) -> tuple[Path, Path]:
    """Of pictures and of masks."""
    if style == "voc":
        return root / "JPEGImages", root / "SegmentationClass"
    if style == "camvid":
        return root / split, root / f"{split}annot"
    below = "" if split == "all" else split
    return root / "images" / below, root / "masks" / below


def _png(values: Array, style: str) -> bytes:
    return encode.to_palette_png(values, colours()) if style in ("palette", "voc") else encode.to_png(values)
