"""Masks as files: read when they are asked for, pixel values or colours turned into ledger ids,
255 for what is ignored."""

import hashlib
import io
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as pillow

from saccade.data.frames import frame
from saccade.errors import DataError, ImageError
from saccade.images import decode, png
from saccade.images.header import PILLOW_FAULTS
from saccade.images.masks import VOID
from saccade.types import Array, names_text

MOST_CLASSES = 255
"""A mask is one byte a pixel, and 255 means ignored."""
MOST_COLOURS = 4096


@dataclass(frozen=True)
class Table:
    """What stored values mean: value, or colour as 0xRRGGBB, to ledger id or VOID. coloured: values are colours."""

    ids: Mapping[int, int]
    coloured: bool = False
    digest: str = field(init=False, default="")

    def __post_init__(self) -> None:
        text = repr((sorted(self.ids.items()), self.coloured))
        object.__setattr__(self, "digest", hashlib.sha256(text.encode()).hexdigest())

    def apply(self, stored_HW: Array) -> tuple[Array, list[int]]:
        """uint8 ids [H, W], and the stored values that mean nothing."""
        if not self.coloured:
            lut = np.full(256, -1, np.int16)
            for value, id in self.ids.items():
                lut[value] = id
            if lut[VOID] < 0:
                lut[VOID] = VOID
            ids_HW = lut[stored_HW]
            return ids_HW.astype(np.uint8), sorted({int(v) for v in stored_HW[ids_HW < 0]})
        known = np.array(sorted(self.ids), np.uint32)
        ids = np.array([self.ids[int(v)] for v in known], np.uint8)
        place = np.minimum(np.searchsorted(known, stored_HW), len(known) - 1)
        wrong = known[place] != stored_HW
        return ids[place], sorted({int(v) for v in stored_HW[wrong]})


class LazyMask(ABC, Mapping[str, Array]):
    """The annotation {"mask": uint8 [H, W]} of a picture, made anew whenever the field is asked for.

    Asking raises DataError where there is no mask for this picture. counts: pixels of each id, int64 [256], kept once
    they were counted.
    """

    _counts: Array | None = None

    @abstractmethod
    def make(self) -> Array:
        """uint8 [H, W] ledger ids, 255 ignored."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """SHA-256 (hex) of what the mask is made from."""

    def __getitem__(self, key: str) -> Array:
        if key != "mask":
            raise KeyError(key)
        mask_HW = self.make()
        if self._counts is None:
            self._counts = np.bincount(mask_HW.ravel(), minlength=256)
        return mask_HW

    def __iter__(self) -> Iterator[str]:
        return iter(("mask",))

    def __len__(self) -> int:
        return 1

    def __contains__(self, key: object) -> bool:
        # Mapping's own would make the mask to see.
        return key == "mask"

    @property
    def counts(self) -> Array:
        return np.bincount(self["mask"].ravel(), minlength=256) if self._counts is None else self._counts


class MaskFile(LazyMask):
    """A mask in a file. name: the file as errors call it."""

    def __init__(self, file: Path, name: str, image: Path, table: Table) -> None:
        self.file = file
        self.name = name
        self.image = image
        self.table = table

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.file.read_bytes() + self.table.digest.encode()).hexdigest()

    def make(self) -> Array:
        ids_HW, strange = self.table.apply(stored(self.file, self.name, self.table.coloured))
        if strange:
            kind = "colours" if self.table.coloured else "values"
            shown = [f"#{v:06x}" if self.table.coloured else str(v) for v in strange]
            raise DataError(
                f"{self.name} holds {len(strange)} {kind} that are no class: {names_text(shown)}",
                hint="list them in the class file, paint them 255 to have them ignored, or save without anti-aliasing",
                details={"values": strange[:100]},
            )
        return fitted(ids_HW, self.name, self.image)


def fitted(ids_HW: Array, name: str, image: Path) -> Array:
    """A mask in the frame of its upright picture. Raises DataError when it is of another size."""
    size = frame(image)
    if size is None:
        return ids_HW
    height, width = ids_HW.shape
    if (width, height) == (size.width, size.height):
        return ids_HW
    if (width, height) == size.stored:
        return decode.turn(ids_HW, size.orientation)
    raise DataError(
        f"{name} has {width} x {height} px, its picture {size.width} x {size.height}",
        hint="export both at the same size, or resize the mask with nearest neighbour",
    )


def stored(file: Path, name: str, coloured: bool) -> Array:
    """The values of a mask as the file holds them: uint8 [H, W], or colours as uint32 [H, W].

    coloured: what is wanted of a palette PNG, which holds both. Raises DataError naming the file.
    """
    try:
        data = decode.read(file)
        header = decode.inspect(data)
    except ImageError as error:
        raise DataError(f"{name} cannot be read: {error.message}") from error
    if header.format != "png":
        why = ": its compression mixes values at every border" if header.format == "jpeg" else ""
        raise DataError(f"{name} is {header.format.upper()}{why}", hint="save masks as PNG")
    try:
        with pillow.open(io.BytesIO(data), formats=["PNG"]) as picture:
            picture.load()
            painted: pillow.Image = picture
            if picture.mode == "P" and coloured:
                painted = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
            values, mode = np.asarray(painted), painted.mode
        # Rows that never came are zero, which is a class.
        whole = bool(values[-1].any() and not data[28]) or png.complete(data)
    except PILLOW_FAULTS as error:
        raise DataError(f"{name} is damaged: {error}") from error
    if not whole:
        raise DataError(f"{name} ends before its last row", hint="copy it again")
    values = _opaque(values, mode, name)
    if values.ndim == 3:
        return _packed(values, name, coloured)
    if mode.startswith("I"):
        if int(values.max(initial=0)) > 255:
            raise DataError(
                f"{name} is a 16-bit PNG with values up to {int(values.max())}, expected up to 255",
                hint="save class ids in 8 bits",
            )
        values = values.astype(np.uint8)
    # Pillow stretches grey of 2 and 4 bits to 0..255.
    if mode == "L" and header.bits in (2, 4):
        values = values // (255 // ((1 << header.bits) - 1))
    values = values.astype(np.uint8)
    if coloured:
        wide = values.astype(np.uint32)
        return wide << 16 | wide << 8 | wide
    return values


def _opaque(values: Array, mode: str, name: str) -> Array:
    """Without an alpha channel that says nothing. Raises DataError for one that does."""
    if mode not in ("LA", "RGBA", "PA"):
        return values
    if not (values[:, :, -1] == 255).all():
        raise DataError(f"{name} has transparent pixels, which are no class", hint="flatten it to palette or grey")
    return values[:, :, 0] if mode != "RGBA" else values[:, :, :3]


def _packed(values_HW3: Array, name: str, coloured: bool) -> Array:
    if coloured:
        wide = values_HW3.astype(np.uint32)
        return wide[:, :, 0] << 16 | wide[:, :, 1] << 8 | wide[:, :, 2]
    red = values_HW3[:, :, 0]
    if (values_HW3 == red[:, :, None]).all():
        return red
    raise DataError(
        f"{name} is painted in colours, and nothing says which class a colour is",
        hint="put a class_dict.csv (name,r,g,b) beside the masks",
    )


def is_coloured(file: Path, name: str) -> bool:
    """True for a mask of three channels that differ. Raises DataError when it cannot be read."""
    try:
        with pillow.open(file, formats=["PNG"]) as picture:
            if picture.mode not in ("RGB", "RGBA"):  # by the header: of the most masks not a pixel is decoded
                return False
    except PILLOW_FAULTS:
        return False
    colours = stored(file, name, coloured=True)
    return bool(((colours >> 16) != (colours & 255)).any() or ((colours >> 8 & 255) != (colours & 255)).any())


def values(files: Sequence[tuple[Path, str]], coloured: bool) -> tuple[list[int], list[DataError]]:
    """Every value that occurs, in order, and what was wrong with files that could not be read."""

    def look(pair: tuple[Path, str]) -> Any:
        try:
            found = stored(*pair, coloured)
        except DataError as error:
            return error
        return np.unique(found) if coloured else np.flatnonzero(np.bincount(found.ravel(), minlength=256))

    every: set[int] = set()
    errors: list[DataError] = []
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(look, files):
            if isinstance(found, DataError):
                errors.append(found)
            elif len(every) <= MOST_COLOURS:
                every.update(int(v) for v in found)
    return sorted(every), errors


def fill(points_N2: Array, width: int, height: int) -> Array:
    """bool [H, W]: the pixels whose middle lies inside a polygon, by the even-odd rule. points: x, y in px."""
    inside_HW = np.zeros((height, width), np.bool_)
    x0, y0 = points_N2[:, 0].astype(np.float64), points_N2[:, 1].astype(np.float64)
    x1, y1 = np.roll(x0, -1), np.roll(y0, -1)
    first, last = max(0, int(np.floor(y0.min()))), min(height, int(np.ceil(y0.max())) + 1)
    for top in range(first, last, 64):
        rows = np.arange(top, min(top + 64, last))
        middle = rows[:, None] + 0.5
        row, edge = np.nonzero((y0[None] <= middle) != (y1[None] <= middle))
        at = x0[edge] + (middle[row, 0] - y0[edge]) * (x1[edge] - x0[edge]) / (y1[edge] - y0[edge])
        turns = np.zeros((len(rows), width + 1), np.int64)
        np.add.at(turns, (row, np.clip(np.ceil(at - 0.5), 0, width).astype(int)), 1)
        inside_HW[rows] = np.cumsum(turns, 1)[:, :-1] % 2 == 1
    return inside_HW
