"""How large pictures are, and which way up they were stored: what coordinates are compared with."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image as pillow

from saccade.images.header import PILLOW_FAULTS
from saccade.types import Array

_ORIENTATION = 0x0112
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


@dataclass(frozen=True)
class Frame:
    """width, height: upright, in px. orientation: EXIF 1..8; from 5 on the stored rows are the upright columns."""

    width: int
    height: int
    orientation: int = 1

    @property
    def stored(self) -> tuple[int, int]:
        """Width and height as the file holds them."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def frame(image: Path | bytes | Array) -> Frame | None:
    """None for a picture whose header cannot be read; the doctor says why."""
    if isinstance(image, Path):
        try:
            state = image.stat()
        except OSError:
            return None
        return _of_file(image, state.st_size, state.st_mtime_ns)
    if isinstance(image, bytes):
        return None
    return Frame(image.shape[1], image.shape[0])


def frames(images: Sequence[Path]) -> list[Frame | None]:
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(frame, images))


# Only the first bytes are read; a file is asked again when its size or time changed.
@lru_cache(maxsize=1 << 17)
def _of_file(file: Path, size: int, changed_ns: int) -> Frame | None:
    try:
        with pillow.open(file, formats=_FORMATS) as picture:
            orientation = int(picture.getexif().get(_ORIENTATION, 1))
            width, height = picture.size
    except PILLOW_FAULTS:
        return None
    orientation = orientation if 1 <= orientation <= 8 else 1
    return Frame(height, width, orientation) if orientation >= 5 else Frame(width, height, orientation)
