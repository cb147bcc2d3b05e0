"""Dataset layouts, one file or folder each; autodetection prints its evidence and never guesses between two."""

from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from saccade.data.dataset import Dataset
from saccade.data.format import Evidence, Format
from saccade.data.formats.image_folder import foreign
from saccade.errors import DataError, UsageError


@cache
def keepers() -> dict[str, Format]:
    """Every format beside this file, by name, in the order of names."""
    found = [import_module(f"{__name__}.{m.name}").FORMAT for m in iter_modules(__path__)]
    return {f.name: f for f in found}


def recognise(path: Path) -> list[Evidence]:
    """What every keeper sees in a folder or file. Raises DataError when there is nothing."""
    if not path.exists():
        raise DataError(f"{path} does not exist", hint="check the path")
    if path.is_dir() and not any(path.iterdir()):
        raise DataError(f"{path} is empty", hint="put images into one folder per class")
    found = [e for keeper in keepers().values() if (e := keeper.recognises(path)) is not None]
    return [e for e in found if e.rank == min(f.rank for f in found)]


def read(path: Path, format: str | None = None, images: Path | None = None) -> tuple[Dataset, Evidence]:
    """Reads a dataset in the format named, or in the only one that fits.

    images: where the pictures of a CSV are. Raises DataError when no format fits, UsageError when several do or the
    name is unknown.
    """
    if format is not None and format not in keepers():
        raise UsageError(f"no format {format!r}", hint=f"formats are {', '.join(keepers())}")
    if images is not None and not images.is_dir():
        raise UsageError(f"--images {images} is no folder", hint="name the folder of the pictures")
    found = recognise(path)
    if format is not None:
        evidence = next((e for e in found if e.format == format), Evidence(format, ("named by --format",)))
        return keepers()[format].read(path, images), evidence
    if not found:
        seen = foreign(path) if path.is_dir() else None
        raise DataError(
            f"no known layout in {path}: expected one folder of images per class, a CSV with image and label columns, "
            f"arrays (.npz, IDX), Pascal VOC, COCO, YOLO, or masks beside pictures{f'; this looks like {seen}' if seen else ''}",
            hint="see docs/02-data.md",
        )
    if len(found) > 1:
        seen = "; ".join(f"{e.format}: {', '.join(e.facts)}" for e in found)
        raise UsageError(f"{path} can be read in {len(found)} ways: {seen}", hint="choose one with --format")
    return keepers()[found[0].format].read(path, images), found[0]
