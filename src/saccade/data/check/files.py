"""What is wrong with files: damage, lies about their format, mixed kinds, names, links, the disk."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from saccade.data.check.finding import COPY, Finding, finding
from saccade.data.check.scan import Seen, usable
from saccade.data.dataset import Dataset
from saccade.data.folder import LINK_LOOP, NO_LABEL
from saccade.errors import ImageError
from saccade.images.decode import Header
from saccade.limits import IMAGE_LIMITS

FORMATS = {
    ".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".webp": "webp", ".bmp": "bmp", ".gif": "gif", ".tif": "tiff",
    ".tiff": "tiff",
}  # fmt: skip
"""What an extension promises."""

SLOW_S = 0.02
"""Mean time to read one file above which the disk, not the processor, sets the pace."""
BLANK = 1.0
"""Standard deviation of the 32x32 picture, in grey levels, below which it shows nothing."""


def files(dataset: Dataset, seen: Sequence[Seen]) -> list[Finding]:
    return [*_damage(seen), *_kinds(seen), *_names(dataset, seen), *_disk(seen)]


def _damage(seen: Sequence[Seen]) -> list[Finding]:
    sorts: dict[str, list[str]] = defaultdict(list)
    for s in seen:
        if s.error is not None:
            id = _damage_id(s, s.error)
            sorts[id].append(s.key if id in ("empty_file", "truncated") else f"{s.key}: {s.error.message}")
    allowed = ", ".join(IMAGE_LIMITS.formats)
    limit = (
        f"{IMAGE_LIMITS.max_pixels / 1e6:.0f} MP, {IMAGE_LIMITS.max_side} px a side, {IMAGE_LIMITS.max_bytes >> 20} MiB"
    )
    return [
        *finding("empty_file", "{n} {file holds|files hold} no byte", sorts["empty_file"], COPY),
        *finding(
            "truncated", "{n} {image ends before its|images end before their} picture does", sorts["truncated"], COPY
        ),
        *finding("huge_image", f"{{n}} {{image is|images are}} beyond the limits ({limit})", sorts["huge_image"], COPY),
        *finding(
            "animated",
            "{n} {image is an animation|images are animations}, of which no frame is the picture",
            sorts["animated"],
            COPY,
        ),
        *finding(
            "unsupported_format",
            f"{{n}} {{image is|images are}} in formats that are not read ({allowed} are): convert them",
            sorts["unsupported_format"],
            COPY,
        ),
        *finding(
            "unreadable",
            "{n} {file cannot be read as an image|files cannot be read as images}",
            sorts["unreadable"],
            COPY,
        ),
    ]


def _damage_id(s: Seen, error: ImageError) -> str:
    if s.digest and s.size == 0:
        return "empty_file"
    if "max_frames" in error.details:
        return "animated"
    if error.code in ("image_too_many_pixels", "image_too_complex"):
        return "huge_image"
    if error.code == "image_format_unsupported" and "something else" not in error.message:
        return "unsupported_format"
    return "truncated" if s.cut else "unreadable"


def promised(key: str, real: str) -> bool:
    """True when the extension says what the content is, or says nothing."""
    return FORMATS.get(PurePosixPath(key).suffix.lower(), real) == real


def _kinds(seen: Sequence[Seen]) -> list[Finding]:
    good = [(s, s.header) for s in usable(seen) if s.header is not None]
    named = [(s, h) for s, h in good if isinstance(s.sample.image, Path)]
    wrong = [f"{s.key} is {h.format}" for s, h in named if not promised(s.sample.image.name, h.format)]  # type: ignore[union-attr]
    turned = [f"{s.key} (orientation {h.orientation})" for s, h in good if h.orientation != 1]
    sorts = Counter(_mode(h) for _, h in good if h.format != "array")
    mixed: Iterable[str] = ()
    if len(sorts) > 1:
        common = sorts.most_common(1)[0][0]
        mixed = [f"{s.key} ({_mode(h)})" for s, h in good if h.format != "array" and _mode(h) != common]
    told = ", ".join(f"{n:,} {mode}" for mode, n in sorts.most_common())
    blank = [s.key for s, _ in good if s.small is not None and float(np.std(s.small.mean(2))) < BLANK]
    return [
        *finding(
            "wrong_extension",
            "{n} {file is not what its extension says; it is|files are not what their extension says; they are} read by content",
            wrong,
            COPY,
        ),
        *finding(
            "exif_orientation",
            "{n} {image is turned upright by its|images are turned upright by their} EXIF orientation, in training and serving",
            turned,
        ),
        *finding("mixed_modes", f"the images mix {told}; all become 8-bit RGB", mixed),
        *finding(
            "blank_image", "{n} {image is of one colour and shows|images are of one colour and show} nothing", blank
        ),
    ]


def _mode(header: Header) -> str:
    if header.bits > 8:
        return "16-bit"
    return {1: "grey or palette", 2: "grey with alpha", 4: "CMYK or alpha"}.get(header.components, "colour")


def _names(dataset: Dataset, seen: Sequence[Seen]) -> list[Finding]:
    folded: dict[str, set[str]] = defaultdict(set)
    for s in seen:
        path = PurePosixPath(s.key)
        folded[path.with_suffix("").as_posix().casefold() if path.name else s.key].add(s.key)
    clash = [
        " and ".join(sorted(keys))
        for keys in folded.values()
        if len({PurePosixPath(k).with_suffix("").as_posix() for k in keys}) > 1
    ]
    loops = [i.path for i in dataset.ignored if i.reason == LINK_LOOP]
    rest = [f"{i.path}: {i.reason}" for i in dataset.ignored if i.reason not in (LINK_LOOP, NO_LABEL)]
    return [
        *finding(
            "case_clash",
            "{n} {pair of names differs|pairs of names differ} only in case, and {becomes|become} one on some disks",
            clash,
        ),
        *finding(
            "link_loop",
            "{n} {link leads back into its own folder and is|links lead back into their own folder and are} not followed",
            loops,
        ),
        *finding("ignored_file", "{n} {file or folder is|files or folders are} left out", rest),
    ]


def _disk(seen: Sequence[Seen]) -> list[Finding]:
    read = [s for s in seen if s.seconds > 0]
    if not read:
        return []
    mean_s = sum(s.seconds for s in read) / len(read)
    if mean_s < SLOW_S:
        return []
    slowest = sorted(read, key=lambda s: -s.seconds)
    rate = sum(s.size for s in read) / sum(s.seconds for s in read) / 1e6
    return finding(
        "slow_disk",
        f"reading took {mean_s * 1000:.0f} ms a file ({rate:.1f} MB/s a reader); copy the data to a local disk",
        [f"{s.key} ({s.seconds * 1000:.0f} ms)" for s in slowest],
    )
