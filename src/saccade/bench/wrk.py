"""A closed loop by wrk, a load generator in C that costs a tenth of ours: for who wants another's clock, or has a server so
fast that a client in Python would be what is measured. It knows no open loop (decision 25)."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from saccade.bench.load import Load, Target
from saccade.errors import ServerError, UsageError

PATIENCE_S = 60
_SCRIPT = """
local file = io.open(os.getenv("SACCADE_REQUEST"), "rb")
local raw = file:read("*a")
file:close()
request = function() return raw end
done = function(summary, latency, requests)
  local e = summary.errors
  print(string.format("saccade %d %d %d", summary.duration, e.status, e.connect + e.read + e.write + e.timeout))
  for i = 1, #latency do
    local microseconds, times = latency(i)
    print(string.format("saccade %d %d", microseconds, times))
  end
end
"""


def program() -> str:
    """Where wrk is. Raises UsageError."""
    found = shutil.which("wrk")
    if found is None:
        raise UsageError("there is no wrk on this machine", hint="install it (apt install wrk), or leave --client away")
    return found


def closed(target: Target, connections: int, seconds: float) -> Load:
    """As `load.closed`, by wrk: times in whole seconds. Raises UsageError where there is no wrk, and where an answer was
    no success, whose time it does not tell from the others'; ServerError(unreachable)."""
    wrk = program()
    with tempfile.TemporaryDirectory() as folder:
        script, request = Path(folder) / "load.lua", Path(folder) / "request"
        script.write_text(_SCRIPT)
        request.write_bytes(target.request)
        lasting = max(1, round(seconds))
        command = [wrk, "-t1", f"-c{connections}", f"-d{lasting}s", f"--timeout={PATIENCE_S}s", "-s", str(script)]
        done = subprocess.run(
            [*command, f"http://{target.host}:{target.port}/"],
            env={**os.environ, "SACCADE_REQUEST": str(request)},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=lasting + 2 * PATIENCE_S,
            check=False,
        )
    told = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("saccade ")]
    if done.returncode or not told:
        raise ServerError(f"nothing answers at {target.host}:{target.port}", hint="is it running?", code="unreachable")
    (took, refused, lost), *times = [[int(word) for word in words] for words in told]
    if refused:
        raise UsageError(
            f"{refused} answers were no success, and wrk does not tell their times from the others'",
            hint="leave --client away",
        )
    load = Load(f"closed, {connections} at once, by wrk", took / 1e6, lost=lost)
    for microseconds, count in times:
        load.latencies_s += [microseconds / 1e6] * count
    load.statuses[200] = len(load.latencies_s)
    return load
