"""What `saccade bench --tune` found for a package on a host: a file in the home, beside no package and in none."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from saccade import process
from saccade.storage.files import Files


@dataclass(frozen=True)
class Tuned:
    """For one graph of one package on one host. tried: images a second by setting, for whoever wants to know."""

    digest: str
    host: str
    variant: str
    runners: int
    threads: int
    max_batch: int
    reason: str = ""
    tried: Mapping[str, float] = field(default_factory=dict)


def place(folder: Path, digest: str, variant: str) -> Path:
    """The file for a package here. Another host that shares the home has another one."""
    host = hashlib.sha256(process.host().encode()).hexdigest()[:8]
    return folder / f"{digest[:16]}-{variant}-{host}.json"


def write(folder: Path, tuned: Tuned) -> Path:
    file = place(folder, tuned.digest, tuned.variant)
    folder.mkdir(parents=True, exist_ok=True)
    Files().replace(file, json.dumps(asdict(tuned), indent=2).encode())
    return file


def read(folder: Path, digest: str, variant: str) -> Tuned | None:
    """None when nothing was measured for this package, graph and host, or the file cannot be understood."""
    try:
        tuned = Tuned(**json.loads(place(folder, digest, variant).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    numbers = (tuned.runners, tuned.threads, tuned.max_batch)
    known = (tuned.digest, tuned.variant, tuned.host) == (digest, variant, process.host())
    return tuned if known and all(type(n) is int and 1 <= n <= 1024 for n in numbers) else None
