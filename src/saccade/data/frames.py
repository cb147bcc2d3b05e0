"""How large pictures are, and which way up they were stored: what coordinates are compared with."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from mmap import ACCESS_READ, mmap
from pathlib import Path

from PIL import Image as pillow

from saccade.errors import ImageError
from saccade.images import header
from saccade.images.header import PILLOW_FAULTS
from saccade.limits import ImageLimits
from saccade.types import Array

_ORIENTATION = 0x0112
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

_ANY = ImageLimits(max_pixels=1 << 40, max_side=1 << 30, max_metadata_bytes=1 << 40, max_frames=1 << 30)


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

    def fits_both(self, stated: tuple[float, float] = (0, 0)) -> bool:
        """True when EXIF turns the picture and nothing says which way up it was annotated: its sides tell nothing, or
        no size is stated."""
        same = self.orientation < 5 or self.width == self.height
        return self.orientation != 1 and (same or min(stated) <= 0)


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
            width, height = picture.size
            orientation = _orientation(file, picture)
            # Pillow turns a TIFF by its tag, and says the size that it will then have.
            upright = picture.format == "TIFF" and _ORIENTATION in getattr(picture, "tag_v2", {})
    except PILLOW_FAULTS:
        return None
    turned = orientation >= 5 and not upright
    return Frame(height, width, orientation) if turned else Frame(width, height, orientation)


def _orientation(file: Path, picture: pillow.Image) -> int:
    """As decoding will turn it, which asks EXIF alone: Pillow's own answer would heed XMP too."""
    if picture.format == "JPEG":
        return header.orientation_of(picture.info.get("exif", b"").removeprefix(b"Exif\x00\x00"))
    if picture.format in ("PNG", "WEBP"):
        try:
            with file.open("rb") as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as data:
                return header.parse(data, _ANY).orientation  # type: ignore[arg-type]
        except ImageError:
            return 1
    found = int(picture.getexif().get(_ORIENTATION, 1))
    return found if 1 <= found <= 8 else 1
