"""The data doctor: what is wrong with this dataset, in sentences. Never changes a file.

The cheap layer reads headers and hashes; the full layer decodes everything and looks for near duplicates and labels
that disagree with their neighbours.
"""

import difflib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from saccade.data.dataset import Dataset
from saccade.data.fingerprint import content_hashes, near_pairs, perceptual_hashes
from saccade.data.formats import keepers
from saccade.errors import DataError, ImageError
from saccade.images.decode import Header, decode, inspect
from saccade.images.preprocess import PreprocessSpec, load
from saccade.types import Sample, names_text

SUFFIX_FORMATS = {
    ".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".webp": "webp", ".bmp": "bmp", ".gif": "gif", ".tif": "tiff",
    ".tiff": "tiff",
}  # fmt: skip
FEW, SMALL_VAL, IMBALANCE = 10, 50, 20.0


@dataclass(frozen=True)
class Finding:
    """id: stable name, listed in docs/02-data.md. severity: ERROR, WARN or INFO. files: up to five examples."""

    id: str
    severity: str
    count: int
    sentence: str
    files: tuple[str, ...] = ()
    fix: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Seen:
    """A sample with what its header said: a Header, or the error it gave."""

    split: str
    sample: Sample
    header: Header | ImageError


def check(dataset: Dataset, full: bool = False) -> list[Finding]:
    """All findings, worst first."""
    pairs = [(split, sample) for split, samples in dataset.splits.items() for sample in samples]
    with ThreadPoolExecutor(8) as pool:
        headers = list(pool.map(lambda p: _look(p[1], full), pairs))
    seen = [Seen(split, sample, header) for (split, sample), header in zip(pairs, headers, strict=True)]
    found = [*_files(seen), *_labels(dataset), *_splits(dataset, seen)]
    found += _duplicates(seen, content_hashes([s.sample for s in seen]))
    if full:
        found += _near(seen, perceptual_hashes([s.sample for s in seen]))
        found += _suspects(seen, len(dataset.labels)) if dataset.labels.exclusive else []
    rank = {"ERROR": 0, "WARN": 1, "INFO": 2}
    return sorted(found, key=lambda f: rank[f.severity])


def fix(dataset: Dataset, findings: Sequence[Finding], out: Path) -> None:
    """Writes a copy without what cannot be read and without exact duplicates, wrong extensions corrected.

    Raises StorageError when `out` exists.
    """
    seen_hashes: set[str] = set()
    splits: dict[str, tuple[Sample, ...]] = {}
    # Test and val keep their copy of a duplicate: what was measured on stays measured on.
    for split in sorted(dataset.splits, key=lambda s: ("test", "val", "train", "all").index(s)):
        kept = []
        samples = dataset.splits[split]
        for sample, digest in zip(samples, content_hashes(samples), strict=True):
            if digest not in seen_hashes and not isinstance(_look(sample, True), ImageError):
                seen_hashes.add(digest)
                kept.append(sample)
        splits[split] = tuple(kept)
    keepers()[dataset.format].write(replace(dataset, splits={s: splits[s] for s in dataset.splits}), out)
    for file in out.rglob("*"):
        if file.suffix.lower() in SUFFIX_FORMATS:
            real = inspect(file).format
            if SUFFIX_FORMATS[file.suffix.lower()] != real and dataset.format == "image_folder":
                file.rename(file.with_suffix(".jpg" if real == "jpeg" else f".{real}"))


def _look(sample: Sample, full: bool) -> Header | ImageError:
    try:
        if isinstance(sample.image, np.ndarray):
            return Header("array", sample.image.shape[1], sample.image.shape[0])
        header = inspect(sample.image)
        if full:
            decode(sample.image)
        return header
    except ImageError as error:
        return error


def _finding(id: str, severity: str, sentence: str, keys: Iterable[str], fix: str = "") -> list[Finding]:
    """One finding with its count put in place of {n}; nothing when there are no keys."""
    every = list(keys)
    return [Finding(id, severity, len(every), sentence.format(n=len(every)), tuple(every[:5]), fix)] if every else []


def _files(seen: Sequence[Seen]) -> list[Finding]:
    bad = [(s, s.header) for s in seen if isinstance(s.header, ImageError)]
    good = [(s.sample, s.header) for s in seen if isinstance(s.header, Header)]
    copy = "saccade check DATA --fix --out NEW_FOLDER"
    empty = {s.sample.key for s, _ in bad if isinstance(s.sample.image, Path) and s.sample.image.stat().st_size == 0}
    huge = {s.sample.key for s, e in bad if e.code == "image_too_many_pixels"}
    found = _finding("empty_file", "ERROR", "{n} file(s) hold no byte", sorted(empty), copy)
    found += _finding("huge_image", "ERROR", "{n} image(s) have more pixels than the limit", sorted(huge), copy)
    rest = [f"{s.sample.key}: {e.message}" for s, e in bad if s.sample.key not in empty | huge]
    found += _finding("unreadable", "ERROR", "{n} image(s) cannot be read or are truncated", rest, copy)
    named = [(s, h) for s, h in good if isinstance(s.image, Path)]
    wrong = [
        f"{s.key} is {h.format}" for s, h in named
        if SUFFIX_FORMATS.get(Path(s.key).suffix.lower(), h.format) != h.format
    ]  # fmt: skip
    found += _finding("wrong_extension", "WARN", "{n} file(s) are not what their extension says", wrong, copy)
    turned = [s.key for s, h in good if h.orientation != 1]
    found += _finding("exif_orientation", "INFO", "{n} image(s) are turned upright by their EXIF orientation", turned)
    modes = Counter(
        "16-bit" if h.bits > 8 else {1: "grey", 2: "alpha", 4: "CMYK or alpha"}.get(h.components, "colour")
        for _, h in good if h.format != "array"
    )  # fmt: skip
    if len(modes) > 1:
        odd = [s.key for s, h in good if h.components != 3 or h.bits > 8]
        text = ", ".join(f"{n} {m}" for m, n in modes.most_common())
        found += _finding("mixed_modes", "INFO", f"the images mix {text}; all become 8-bit RGB", odd)
    moving = [s.key for s, h in good if h.frames > 1]
    found += _finding("animated", "WARN", "{n} image(s) are animated; only the first frame is used", moving)
    folded = defaultdict(list)
    for s in seen:
        folded[s.sample.key.lower()].append(s.sample.key)
    clash = [" and ".join(k) for k in folded.values() if len(set(k)) > 1]
    return found + _finding("case_clash", "WARN", "{n} name(s) differ only in case, which some disks merge", clash)


def _labels(dataset: Dataset) -> list[Finding]:
    names = dataset.labels.names
    found: list[Finding] = []
    if len(names) < 2:
        found += _finding("one_class", "ERROR", "the dataset has one class; at least two are needed", names)
    counts: dict[str, Counter[int]] = {
        split: Counter(int(c) for s in samples for c in s.annotation.get("classes", ()))
        for split, samples in dataset.splits.items()
    }
    total = sum(counts.values(), Counter())
    learn = counts.get("train", total)
    unused = [names[i] for i in range(len(names)) if not total[i]]
    found += _finding("unused_class", "WARN", "{n} class(es) have no image", unused)
    single = [names[i] for i in range(len(names)) if total[i] == 1]
    found += _finding(
        "single_image_class", "ERROR", "{n} class(es) have one image, which cannot be learnt and tested", single
    )
    few = [f"{names[i]} ({learn[i]})" for i in range(len(names)) if total[i] > 1 and learn[i] < FEW]
    found += _finding("few_images", "WARN", f"{{n}} class(es) have fewer than {FEW} images to learn from", few)
    for split in ("train", "val", "test"):
        if split in counts:
            absent = [names[i] for i in range(len(names)) if total[i] > 1 and not counts[split][i]]
            found += _finding(
                f"absent_from_{split}",
                "ERROR" if split == "train" else "WARN",
                f"{{n}} class(es) are absent from {split}",
                absent,
            )
    spaced = [repr(n) for n in names if n != n.strip() or "  " in n]
    found += _finding("spaced_name", "WARN", "{n} class name(s) have stray spaces", spaced)
    near = [
        f"{a} and {b}" for i, a in enumerate(names) for b in names[i + 1 :]
        if a.lower() == b.lower() or (min(len(a), len(b)) > 3 and _one_edit(a.lower(), b.lower()))
    ]  # fmt: skip
    found += _finding("similar_names", "WARN", "{n} pair(s) of class names differ by case or one letter", near)
    used = [n for n in learn.values() if n]
    if used and max(used) / min(used) > IMBALANCE:
        rare = min((i for i in learn if learn[i]), key=lambda i: learn[i])
        sentence = f"the largest class has {max(used) / min(used):.0f} times the images of {names[rare]}"
        found.append(Finding("imbalance", "WARN", 1, sentence, (), "--set class_weights=balanced"))
    return found


def _one_edit(a: str, b: str) -> bool:
    if abs(len(a) - len(b)) > 1 or any(c.isdigit() for c in a + b):
        return False
    changes = [o for o in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes() if o[0] != "equal"]
    return len(changes) == 1 and max(changes[0][2] - changes[0][1], changes[0][4] - changes[0][3]) == 1


def _splits(dataset: Dataset, seen: Sequence[Seen]) -> list[Finding]:
    found: list[Finding] = []
    for split in ("val", "test"):
        n = len(dataset.splits.get(split, ()))
        if 0 < n < SMALL_VAL:
            width = 196 * np.sqrt(0.25 / n)
            found.append(
                Finding(
                    f"small_{split}",
                    "WARN",
                    n,
                    f"{split} has {n} images: scores on it may be off by {width:.0f} points",
                )
            )
    train, val = dataset.splits.get("train", ()), dataset.splits.get("val", ())
    if train and val and dataset.labels.exclusive:
        shift = _psi(_shares(train, len(dataset.labels)), _shares(val, len(dataset.labels)))
        if shift > 0.25:
            found.append(
                Finding(
                    "label_shift",
                    "WARN",
                    1,
                    f"train and val have other shares of classes (PSI {shift:.2f}, above 0.25)",
                )
            )
    sides: dict[str, list[float]] = defaultdict(list)
    for s in seen:
        if isinstance(s.header, Header):
            sides[s.split].append(float(np.sqrt(s.header.width * s.header.height)))
    if sides["train"] and sides["val"]:
        a, b = float(np.median(sides["train"])), float(np.median(sides["val"]))
        if max(a, b) / min(a, b) > 1.5:
            found.append(
                Finding("size_shift", "WARN", 1, f"images of train are about {a:.0f} px, of val about {b:.0f} px")
            )
    return found


def _shares(samples: Sequence[Sample], n: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    counts = np.bincount(
        [int(s.annotation["classes"][0]) for s in samples if len(s.annotation["classes"])], minlength=n
    )
    return np.asarray((counts + 0.5) / (counts.sum() + 0.5 * n))


def _psi(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    """Population stability index; above 0.25 is commonly called a shift."""
    return float(((a - b) * np.log(a / b)).sum())


def _label_text(sample: Sample) -> tuple[int, ...]:
    return tuple(int(c) for c in sample.annotation.get("classes", ()))


def _duplicates(seen: Sequence[Seen], hashes: Sequence[str]) -> list[Finding]:
    same: dict[str, list[Seen]] = defaultdict(list)
    for s, digest in zip(seen, hashes, strict=True):
        same[digest].append(s)
    groups = [g for g in same.values() if len(g) > 1 and not isinstance(g[0].header, ImageError)]
    leaks = [_names(g) for g in groups if len({s.split for s in g}) > 1]
    torn = [_names(g) for g in groups if len({_label_text(s.sample) for s in g}) > 1]
    twice = [_names(g) for g in groups if len({s.split for s in g}) == 1]
    copy = "saccade check DATA --fix --out NEW_FOLDER"
    return [
        *_finding("leak_exact", "WARN", "{n} image(s) lie in more than one split", leaks, copy),
        *_finding("two_labels", "WARN", "{n} image(s) appear with different labels", torn),
        *_finding("duplicate", "INFO", "{n} image(s) appear more than once in a split", twice, copy),
    ]


def _names(group: Sequence[Seen]) -> str:
    return names_text([s.sample.key for s in group], 3)


def _near(seen: Sequence[Seen], hashes: Sequence[int | None]) -> list[Finding]:
    pairs = [(seen[a], seen[b]) for a, b in near_pairs(hashes)]
    across = [_names(p) for p in pairs if p[0].split != p[1].split]
    torn = [_names(p) for p in pairs if _label_text(p[0].sample) != _label_text(p[1].sample)]
    return [
        *_finding("leak_near", "WARN", "{n} pair(s) of near duplicates lie in different splits", across),
        *_finding("near_two_labels", "INFO", "{n} pair(s) of near duplicates have different labels", torn),
    ]


def _suspects(seen: Sequence[Seen], classes: int) -> list[Finding]:
    """Labels that all of an image's ten nearest neighbours (small colour thumbnails, cosine) disagree with, in one voice."""
    spec = PreprocessSpec(16, 16, interpolation="area")
    usable = [s for s in seen if isinstance(s.header, Header) and len(s.sample.annotation.get("classes", ())) == 1]
    if len(usable) < 50:
        return []
    try:
        rows = np.stack([load(s.sample.image, spec)[0].reshape(-1) for s in usable]).astype(np.float32)
    except ImageError as error:
        raise DataError(f"an image changed while it was checked: {error}") from error
    rows -= rows.mean(1, keepdims=True)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True) + 1e-6
    labels = np.array([int(s.sample.annotation["classes"][0]) for s in usable])
    doubtful = []
    for start in range(0, len(rows), 512):
        near = rows[start : start + 512] @ rows.T
        near[np.arange(len(near)), np.arange(start, start + len(near))] = -2
        best = np.argpartition(-near, 10, axis=1)[:, :10]
        for i, neighbours in enumerate(best):
            votes = np.bincount(labels[neighbours], minlength=classes)
            if votes.max() >= 9 and votes[labels[start + i]] == 0:
                doubtful.append(usable[start + i].sample.key)
    return _finding("suspect_label", "WARN", "{n} label(s) disagree with nearly all similar images", doubtful)


__all__ = ["Finding", "check", "fix"]
