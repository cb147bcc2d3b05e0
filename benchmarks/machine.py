"""What every figure names: the machine and the versions."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from saccade import process

LIBRARIES = (
    "numpy",
    "opencv-python-headless",
    "pillow",
    "onnxruntime",
    "torch",
    "tensorflow-cpu",
    "httptools",
    "uvloop",
    "fastapi",
)


def describe() -> str:
    """One paragraph: processor with what it can compute, cores, system, Python and the versions of the libraries that
    matter."""
    versions = []
    for name in LIBRARIES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{name} absent")
    return (
        f"machine  {process.host()}, {platform.system()} {platform.release()}\n"
        f"versions python {platform.python_version()}, " + ", ".join(versions)
    )


def save(name: str, record: Mapping[str, Any]) -> None:
    """Keeps a figure's raw numbers in benchmarks/results (or $SACCADE_RESULTS), with the machine that gave them."""
    text = json.dumps({"machine": describe().splitlines(), **record}, indent=1)
    (results() / f"{name}.json").write_text(text + "\n")


def results() -> Path:
    """Where figures are kept."""
    folder = Path(os.environ.get("SACCADE_RESULTS") or Path(__file__).parent / "results")
    folder.mkdir(exist_ok=True)
    return folder


def commit() -> str:
    """The commit that is measured, with a plus when the code differs from it; empty outside a checkout."""

    def git(*words: str) -> subprocess.CompletedProcess[str]:
        here = ["git", "-C", str(Path(__file__).parents[1])]
        return subprocess.run([*here, *words], capture_output=True, text=True, check=False)

    changed = git("diff", "--quiet", "HEAD", "--", "src", "benchmarks", ":!benchmarks/results").returncode == 1
    return git("rev-parse", "--short", "HEAD").stdout.strip() + ("+" if changed else "")
