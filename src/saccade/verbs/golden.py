"""Pictures and names that go into a package."""

from pathlib import Path

import numpy as np

from saccade.errors import UsageError
from saccade.images import decode, encode
from saccade.package.manifest import NAME, NAME_WORDS
from saccade.types import Sample

GOLDENS = 8
GOLDEN_BYTES = 512 * 1024


def golden_image(sample: Sample) -> bytes:
    """The file's own bytes when they are few, else its pixels as PNG."""
    if isinstance(sample.image, np.ndarray):
        return encode.to_png(decode.decode(sample.image))
    data = decode.read(sample.image)
    if len(data) <= GOLDEN_BYTES:
        return data
    pixels = decode.decode(data)
    step = int(np.ceil(max(pixels.shape[:2]) / 512))
    return encode.to_png(np.ascontiguousarray(pixels[::step, ::step]))


def name_of(data: Path | str) -> str:
    """A model name from the data's name."""
    text = "".join(c if c.isalnum() or c in "._-" else "-" for c in Path(data).resolve().stem).strip("._-")
    return text if NAME.fullmatch(text) else "model"


def check_name(wish: str | None) -> None:
    """Raises UsageError for a wish that is no name of a model; before hours of work, which end in sealing it."""
    if wish is not None and not NAME.fullmatch(wish):
        raise UsageError(f"a model name is {NAME_WORDS}, got {wish!r}", hint=f"{name_of(wish)!r} would do")
