"""Virtual environments of the rivals: built once from pinned requirements, kept under the user's cache folder."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "saccade-benchmarks"


def python_of(requirements: Path) -> Path:
    """The interpreter of an environment that holds exactly these requirements. Raises CalledProcessError."""
    folder = folder_of(requirements)
    if not (folder / "complete").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        install(folder, ["-r", str(requirements)])
        (folder / "complete").touch()
    return folder / "bin" / "python"


def folder_of(requirements: Path) -> Path:
    """Where the environment of these requirements lies once it is complete."""
    return CACHE / f"{requirements.stem}-{hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]}"


def beside(requirements: Path) -> Path:
    """A folder of exactly these packages, without what they need, for the path of this interpreter that has it."""
    folder = folder_of(requirements)
    if not (folder / "complete").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-compile", "--no-deps"]
        subprocess.run([*pip, "--target", str(folder), "-r", str(requirements)], check=True, stderr=subprocess.PIPE)
        (folder / "complete").touch()
    return folder


def install(folder: Path, what: list[str]) -> None:
    """A fresh environment without pip of its own, filled by this one's pip; no byte code is written."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--no-compile"]
    subprocess.run([*pip, "-q", "--disable-pip-version-check", *what], check=True, stderr=subprocess.PIPE)
