"""One piece of work with TensorFlow or Keras in a process of its own, answered as JSON."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from saccade.errors import PackageError, UsageError
from saccade.inference.runtimes.tensorflow.process import environment

LIMIT_S = 900.0


def aside(module: str, arguments: list[str]) -> dict[str, Any]:
    """Runs `python -m MODULE RESULT ARGUMENTS...`, which calls `tell`. Raises PackageError when it refuses or ends."""
    with tempfile.TemporaryDirectory(prefix="saccade-aside-") as space:
        result = Path(space) / "result.json"
        command = [sys.executable, "-P", "-m", module, str(result), *arguments]
        try:
            done = subprocess.run(command, env=environment("cpu"), capture_output=True, timeout=LIMIT_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise PackageError(f"the model was not read in {LIMIT_S:g} s", code="onnx_invalid") from error
        except OSError as error:
            raise PackageError(
                f"the library could not be started: {error.strerror or error}",
                hint="see whether this machine has memory and processes to spare",
                code="onnx_invalid",
            ) from error
        try:
            record: dict[str, Any] = json.loads(result.read_bytes())
        except (OSError, ValueError) as error:
            words = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise PackageError(
                f"the library ended while it read the model: {' '.join(words)[:300]}", code="onnx_invalid"
            ) from error
    if "refused" in record:
        kind = UsageError if record["code"] == "usage" else PackageError
        raise kind(str(record["refused"]), hint=str(record.get("hint", "")), code=str(record["code"]))
    return record


def tell(result: Path, work: Callable[[], dict[str, Any]]) -> None:
    """In the process: what the work gives, or its refusal (`Refused`, or an error of ours)."""
    try:
        record = work()
    except Exception as error:
        code = getattr(error, "code", None)
        if not isinstance(code, str):
            raise
        record = {"refused": getattr(error, "message", str(error)), "hint": getattr(error, "hint", ""), "code": code}
    result.write_text(json.dumps(record), "utf-8")
