"""dataset.lock.json: content hashes, class ledger and split of every sample, so that a run can be continued honestly.

{"lock_version": 1, "format": "image_folder", "origin": folder, "seed": 0, "digest": hex, "labels": the ledger,
 "splits": {"train": {"glass/a.jpg": {"sha256": hex, "classes": [0]}, ...}, ...}}

With boxes or masks an entry also holds "annotation", the digest of what is drawn.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from saccade.data.annotation import digest, present
from saccade.data.dataset import Dataset
from saccade.data.fingerprint import content_hashes
from saccade.errors import DataError
from saccade.storage.files import Files
from saccade.types import Labels, Sample, names_text

VERSION = 1


def record(dataset: Dataset) -> dict[str, Any]:
    """The lock as JSON. `digest` covers ledger, splits, labels and contents. Raises DataError when a file is gone."""
    try:
        splits = {name: _entries(samples, len(dataset.labels)) for name, samples in dataset.splits.items()}
    except OSError as error:
        raise DataError(f"a picture cannot be read: {error}", hint="restore it, or read the data again") from error
    body = {"labels": dataset.labels.to_json(), "splits": splits}
    whole = hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    facts = {"format": dataset.format, "origin": str(dataset.origin.resolve()), "seed": dataset.seed}
    return {"lock_version": VERSION, **facts, "digest": whole, **body}


def write(dataset: Dataset, file: Path) -> None:
    Files().replace(file, json.dumps(record(dataset), indent=1, ensure_ascii=False).encode())


def read(file: Path) -> dict[str, Any]:
    """Raises DataError when the file is no lock of this version."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{file.name} cannot be read: {error}") from error
    if not isinstance(found, dict) or found.get("lock_version") != VERSION:
        raise DataError(f"{file.name} is no dataset lock of version {VERSION}", hint="start a new run")
    if not all(isinstance(found.get(k), dict) for k in ("labels", "splits")) or not isinstance(
        found.get("digest"), str
    ):
        raise DataError(f"{file.name} lacks labels, splits or digest", hint="start a new run")
    return found


def sides(file: Path) -> dict[str, str]:
    """Content hash to split of every picture of a lock. Raises like read."""
    found = read(file)
    return {entry["sha256"]: name for name, part in found["splits"].items() for entry in part.values()}


def verify(dataset: Dataset, file: Path) -> None:
    """Raises DataError when classes, splits, labels or contents differ from the lock, saying which."""
    locked, now = read(file), record(dataset)
    before = {k: (split, e) for split, entries in locked["splits"].items() for k, e in entries.items()}
    after = {k: (split, e) for split, entries in now["splits"].items() for k, e in entries.items()}
    ledger = Labels.from_json(locked["labels"])
    renamed = _renamed(before, after, ledger, dataset.labels)
    verify_labels(dataset.labels, ledger, renamed)
    both = sorted(set(before) & set(after))
    checks = (
        ("lost", sorted(set(before) - set(after))),
        ("gained", sorted(set(after) - set(before))),
        ("changed", [k for k in both if before[k][1]["sha256"] != after[k][1]["sha256"]]),
        (
            "relabelled",
            [k for k in both if any(before[k][1].get(f) != after[k][1].get(f) for f in ("classes", "annotation"))],
        ),
        ("moved to another split", [k for k in both if before[k][0] != after[k][0]]),
    )
    told = [f"{word} {len(keys)} image(s) ({names_text(keys, 3)})" for word, keys in checks if keys]
    if told:
        raise DataError(
            f"since the run began the data {', '.join(told)}",
            hint="restore the data to continue this run, or start a new one on the data as it is",
        )


def verify_labels(found: Labels, ledger: Labels, renamed: dict[str, str] | None = None) -> None:
    """Raises DataError when a dataset's classes are not those of a given ledger, in name and order.

    renamed: classes of the ledger whose pictures now stand under another name.
    """
    if found.names == ledger.names and found.exclusive == ledger.exclusive:
        return
    pairs = {old: new for old, new in (renamed or {}).items() if old not in found.names and new not in ledger.names}
    new = [n for n in found.names if n not in ledger.names and n not in pairs.values()]
    gone = [n for n in ledger.names if n not in found.names and n not in pairs]
    told = [f"renamed {old} to {now}" for old, now in pairs.items()]
    cures = [f"rename {now} back to {old}" for old, now in pairs.items()]
    if new:
        told.append(f"added {names_text(new)}")
        cures.append("move added classes out of the data, or train a new model that knows them")
    merged = {n: into for n in gone if (into := (renamed or {}).get(n)) in ledger.names}
    told += [f"merged {old} into {into}" for old, into in merged.items()]
    gone = [n for n in gone if n not in merged]
    if merged:
        cures.append("train a new model: a sealed ledger cannot lose a class")
    if gone:
        told.append(f"lost {names_text(gone)}")
        cures.append("bring lost classes back, or train a new model without them")
    if found.exclusive != ledger.exclusive:
        several = "several classes an image" if not found.exclusive else "one class an image"
        told.append(f"now has {several}")
        cures.append("train a new model")
    if not told:
        told.append(f"put in another order: {names_text(found.names)} instead of {names_text(ledger.names)}")
        cures.append("class_names or columns must stand in the order of the ledger")
    raise DataError(
        f"the classes differ from the ledger: {', '.join(told)}",
        hint="; ".join(cures),
        details={"renamed": pairs, "added": new, "lost": gone},
    )


def _entries(samples: tuple[Sample, ...], classes: int) -> dict[str, dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = {}
    for sample, content in zip(samples, content_hashes(samples), strict=True):
        entries[sample.key] = {"sha256": content, "classes": list(present(sample.annotation, classes))}
        if "classes" not in sample.annotation:
            entries[sample.key]["annotation"] = digest(sample.annotation)
    return entries


def _renamed(
    before: dict[str, tuple[str, Any]], after: dict[str, tuple[str, Any]], ledger: Labels, found: Labels
) -> dict[str, str]:
    """Old name to new name, where every picture of a class that is still there has exactly one other class now."""
    now = {e["sha256"]: e["classes"] for _, e in after.values()}
    moved: dict[str, set[str]] = {}
    for _, entry in before.values():
        classes = now.get(entry["sha256"])
        if classes is not None and len(classes) == 1 and len(entry["classes"]) == 1:
            moved.setdefault(ledger.names[entry["classes"][0]], set()).add(found.names[classes[0]])
    return {old: next(iter(new)) for old, new in moved.items() if len(new) == 1 and new != {old}}
