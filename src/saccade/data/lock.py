"""dataset.lock.json: content hashes, class ledger and split of every sample, so that a run can be continued honestly."""

import hashlib
import json
from pathlib import Path
from typing import Any

from saccade.data.dataset import Dataset
from saccade.data.fingerprint import content_hashes
from saccade.errors import DataError
from saccade.storage.files import Files
from saccade.types import Labels, names_text

VERSION = 1


def record(dataset: Dataset) -> dict[str, Any]:
    """The lock as JSON. `digest` covers ledger, splits and contents."""
    splits = {
        name: dict(zip((s.key for s in samples), content_hashes(samples), strict=True))
        for name, samples in dataset.splits.items()
    }
    body = {"labels": dataset.labels.to_json(), "splits": splits}
    digest = hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    return {"lock_version": VERSION, "format": dataset.format, "digest": digest, **body}


def write(dataset: Dataset, file: Path) -> None:
    Files().replace(file, json.dumps(record(dataset), indent=1, ensure_ascii=False).encode())


def read(file: Path) -> dict[str, Any]:
    """Raises DataError when the file is no lock of this version."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{file.name} cannot be read: {error}") from error
    if not isinstance(found, dict) or found.get("lock_version") != VERSION:
        raise DataError(f"{file.name} is no dataset lock of version {VERSION}")
    return found


def verify(dataset: Dataset, file: Path) -> None:
    """Raises DataError when classes, splits or contents differ from the lock, saying which."""
    locked, now = read(file), record(dataset)
    verify_labels(dataset.labels, Labels.from_json(locked["labels"]))
    for name in sorted(set(locked["splits"]) | set(now["splits"])):
        before, after = locked["splits"].get(name, {}), now["splits"].get(name, {})
        gone, new = sorted(set(before) - set(after)), sorted(set(after) - set(before))
        changed = sorted(k for k in set(before) & set(after) if before[k] != after[k])
        for word, keys in (("lost", gone), ("gained", new), ("changed", changed)):
            if keys:
                raise DataError(
                    f"split {name} {word} {len(keys)} image(s) since the run began: {names_text(keys, 3)}",
                    hint="restore the data, or start a new run",
                )


def verify_labels(found: Labels, ledger: Labels) -> None:
    """Raises DataError when a dataset's classes are not those of a given ledger, in name and order."""
    if found.names == ledger.names and found.exclusive == ledger.exclusive:
        return
    new = sorted(set(found.names) - set(ledger.names))
    gone = sorted(set(ledger.names) - set(found.names))
    what = [f"new {new}"] if new else []
    what += [f"missing {gone}"] if gone else []
    raise DataError(
        f"the classes differ from the ledger: {', '.join(what) or 'another order'}",
        hint="rename the classes back, or train a new model on the new ledger",
    )
