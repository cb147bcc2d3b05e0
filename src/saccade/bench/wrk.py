"""A closed loop by wrk, a load generator in C that costs a tenth of ours: for who wants another's clock, or has a server so
fast that a client in Python would be what is measured. It knows no open loop (decision 25)."""

import math
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from saccade.bench import load as own
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
  local lost = e.connect + e.read + e.write + e.timeout
  print(string.format("saccade %d %d %d %d", summary.duration, summary.requests, e.status, lost))
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
    """As `load.closed`, by wrk, for whole seconds: a fraction is rounded up.

    One request goes before, by our own client: wrk counts every status below 400 as a success. Raises UsageError where
    there is no wrk, and where an answer was no success, whose time it does not tell from the others';
    ServerError(unreachable).
    """
    wrk, lasting = program(), max(1, math.ceil(seconds))
    if strange := set(own.closed(target, 1, 0.01).statuses) - {200}:
        raise UsageError(
            f"the server answers {min(strange)}, and wrk would count it as a success", hint="mend the request"
        )
    host = f"[{target.host}]" if ":" in target.host else target.host
    with tempfile.TemporaryDirectory() as folder:
        script, request = Path(folder) / "load.lua", Path(folder) / "request"
        script.write_text(_SCRIPT)
        request.write_bytes(target.request)
        command = [wrk, "-t1", f"-c{connections}", f"-d{lasting}s", f"--timeout={PATIENCE_S}s", "-s", str(script)]
        try:
            done = subprocess.run(
                [*command, f"http://{host}:{target.port}/"],
                env={**os.environ, "SACCADE_REQUEST": str(request)},
                capture_output=True,
                text=True,
                errors="replace",
                timeout=lasting + 2 * PATIENCE_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ServerError(
                f"wrk did not end within {lasting + 2 * PATIENCE_S} s", hint="leave --client away", code="unreachable"
            ) from error
    told = [
        [int(word) for word in line.split()[1:]] for line in done.stdout.splitlines() if line.startswith("saccade ")
    ]
    if done.returncode or not told:
        why = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ServerError(f"wrk could not load {host}:{target.port}: {why}", hint="is it running?", code="unreachable")
    took, requests, refused, lost = told[0]
    if refused:
        raise UsageError(
            f"{refused} answers were no success, and wrk does not tell their times from the others'",
            hint="leave --client away",
        )
    times = measured(Counter({one[0]: one[1] for one in told[1:]}), took, requests, connections)
    load = Load(f"closed, {connections} at once, by wrk", took / 1e6, lost=lost)
    for microseconds, count in sorted(times.items()):
        load.latencies_s += [microseconds / 1e6] * count
    load.statuses[200] = requests
    return load


def measured(times: Counter[int], took: int, requests: int, connections: int) -> Counter[int]:
    """The latencies that were measured, of those that wrk reports, each in µs with its number.

    wrk 4 adds to every answer that came later than twice the mean time those that would have been sent meanwhile
    (`stats_correct` of its stats.c), so it reports more answers than there were. took: µs of the whole. Raises UsageError
    where what is left is not as many as were answered.
    """
    found = Counter({time: count for time, count in times.items() if count})
    if found.total() > requests >= connections:
        expected = took // (requests // connections)
        for time in range(max(found), 2 * expected - 1, -1):
            if count := found[time]:
                for added in range(time - expected, expected, -expected):
                    found[added] -= count
    found = +found
    if found.total() != requests:
        raise UsageError("this wrk counts in a way that is not known here", hint="leave --client away")
    return found
