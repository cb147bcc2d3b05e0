"""This very saccade as a wheel (PEP 427) in a folder, so that a container runs the code that wrote its files."""

import base64
import csv
import hashlib
import io
import re
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import saccade
from saccade.errors import UsageError

NAME = "saccade"
WHEEL = f"Wheel-Version: 1.0\nGenerator: saccade {saccade.__version__}\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
TOLD = ("METADATA", "entry_points.txt", "top_level.txt", "licenses/LICENSE", "licenses/NOTICE")
WHEN = (1980, 1, 1, 0, 0, 0)
"""The date of every entry, so that the same code makes the same bytes."""


def write(folder: Path) -> Path:
    """The wheel, named as pip wants it. Raises UsageError where saccade runs without being installed."""
    try:
        metadata.distribution(NAME)
    except metadata.PackageNotFoundError as error:
        raise UsageError(
            "saccade is not installed here, so it cannot be packed", hint="pip install it first"
        ) from error
    file = folder / f"{NAME}-{saccade.__version__}-py3-none-any.whl"
    about = f"{NAME}-{saccade.__version__}.dist-info"
    record = io.StringIO()
    rows = csv.writer(record, lineterminator="\n")
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (*_code(), *_about(about)):
            archive.writestr(zipfile.ZipInfo(name, WHEN), data, zipfile.ZIP_DEFLATED)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            rows.writerow((name, f"sha256={digest}", len(data)))
        rows.writerow((f"{about}/RECORD", "", ""))
        archive.writestr(zipfile.ZipInfo(f"{about}/RECORD", WHEN), record.getvalue(), zipfile.ZIP_DEFLATED)
    return file


def pinned(extras: set[str]) -> str:
    """A constraints file: the versions that run here of what saccade with these extras asks for."""
    lines = []
    for wish in metadata.requires(NAME) or ():
        name = re.split(r"[ ;<>=!~\[(]", wish, maxsplit=1)[0]
        extra = re.search(r"extra == ['\"]([^'\"]+)", wish)
        if extra is None or extra[1] in extras:
            try:
                lines.append(f"{name}=={metadata.version(name).partition('+')[0]}")
            except metadata.PackageNotFoundError:
                continue
    return "".join(f"{line}\n" for line in sorted(set(lines)))


def _code() -> Iterator[tuple[str, bytes]]:
    root = Path(saccade.__file__).parent
    for file in sorted(p for p in root.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
        yield f"{NAME}/{file.relative_to(root).as_posix()}", file.read_bytes()


def _about(folder: str) -> Iterator[tuple[str, bytes]]:
    found = metadata.distribution(NAME)
    for name in TOLD:
        text = found.read_text(name)
        if text is not None:
            yield f"{folder}/{name}", text.encode()
    yield f"{folder}/WHEEL", WHEEL.encode()
