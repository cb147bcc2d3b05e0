"""Verbs that ask a package: load, predict and verify."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from saccade.errors import SaccadeError, UsageError
from saccade.images import decode, encode
from saccade.inference import record
from saccade.inference.model import Model
from saccade.types import Image
from saccade.verbs.home import package_folder

PART = 32
"""Pictures that are asked about together: two batches. A mask is as large as its picture, so not all are held."""


def load(package: Path | str, *, home: Path | None = None) -> Model:
    """Opens a package, or name[@alias] of the home, in this process: digests and golden outputs are checked first.

    The model is a context manager; model.predict takes a path, bytes, or uint8 pixels [H, W, 3], or a list of them.
    """
    return Model.open(package_folder(package, home))


def answers(
    package: Path | str,
    images: Sequence[Path],
    *,
    top_k: int = 5,
    threshold: float | None = None,
    mask: str = "png",
    confidence: bool = False,
    tile: bool | float = False,
    draw: Path | None = None,
    home: Path | None = None,
) -> Iterator[dict[str, Any]]:
    """Asks a package about pictures; one record each, as they come, an unusable picture gets {"error": ...}.

    threshold: instead of the package's own, by class. mask: "png", "rle", "polygons" or "none". confidence: how sure
    each pixel of it is as well. tile: as in `Model.predict`. draw: a folder that receives every picture with its
    answer. Raises UsageError for a top_k below 1 or a threshold beyond 0..1.
    """
    if top_k < 1:
        raise UsageError(f"top_k is at least 1, got {top_k}")
    if threshold is not None and not 0 <= threshold <= 1:
        raise UsageError(f"threshold is 0 to 1, got {threshold:g}")
    with load(package, home=home) as model:
        for start in range(0, len(images), PART):
            part = list(images[start : start + PART])
            for path, found in zip(part, model.results(part, tile=tile), strict=True):
                try:
                    if isinstance(found, SaccadeError):
                        raise found
                    seen = model.shown(found, top_k=top_k, threshold=threshold)
                    told = record.record(seen, model.labels, mask, confidence)
                except SaccadeError as error:
                    answer: dict[str, Any] = {"error": {"code": error.code, "detail": str(error)}}
                else:
                    answer = {"model": model.manifest.name, "task": model.task.name, **told}
                    if draw is not None:
                        write_picture(model.task.draw(decode.decode(path), seen, model.labels), path, draw)
                yield answer


def predict(package: Path | str, images: Sequence[Path], **wishes: Any) -> list[dict[str, Any]]:
    """All of `answers` at once. wishes and errors: as there."""
    return list(answers(package, images, **wishes))


def verify(package: Path | str) -> dict[str, str]:
    """Checks every digest and the golden outputs of a package. Raises PackageError on the first that does not hold."""
    with load(package) as model:
        return {
            "package": str(package),
            "task": model.task.name,
            "classes": str(len(model.labels)),
            "digest": model.digest,
            "files": f"{len(model.manifest.files)} digests hold",
            "golden": f"{len(model.manifest.golden)} outputs hold",
        }


def write_picture(picture: Image, source: Path, folder: Path) -> Path:
    """Writes a drawn picture into a folder, under the name of the file it came from; returns the new file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{source.stem}.png"
    # Pictures of the same name from different folders stand side by side; nothing that was there is overwritten.
    number = 2
    while file.exists():
        file, number = folder / f"{source.stem}-{number}.png", number + 1
    file.write_bytes(encode.to_png(picture))
    return file
