"""How one model answers while more and more are served beside it, and what each costs in memory."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import sealed
from benchmarks.serving import packages
from benchmarks.serving.entrants import Figures, Load, Ours
from saccade.verbs.home import push

TITLE = "models served, one of them asked by 8 callers, JPEG of 512x384 px"
NUMBERS = (1, 5, 10, 25, 50)


def measure(rounds: int, seconds: float, say: Callable[[str], None]) -> list[Figures]:
    """Our server alone: no peer serves several models without a server, or a program, for each."""
    package, found = packages.as_peers_decode(sealed.NETWORK), list[Figures]()
    say(f"\nmodels: {TITLE}")
    for number in NUMBERS:
        with tempfile.TemporaryDirectory() as space:
            home = Path(space) / "home"
            for i in range(number):
                push(package, name=f"m{i:02}", home=home)
            for i in range(rounds):
                about: Figures = {"row": "models", "round": i, "entrant": "saccade", "how": "saccade serve --home"}
                ours = Ours((), model="m00", environ={"SACCADE_HOME": str(home)})
                try:
                    with ours.ready() as asked:
                        load = Load(str(number), sealed.photo(), 8)
                        record = {**about, "load": load.name, "answer": "not compared", **asked.load(load, seconds)}
                    found.append(record)
                    say(
                        f"{number:3} models {record['per_s']:8.1f}/s  p99 {record['p99_ms']:7.2f} ms  {record['memory_mb']:.0f} MB"
                    )
                except (RuntimeError, OSError) as error:
                    found.append({**about, "failed": f"{number} models: {error}"})
                    say(f"{number:3} models FAILED: {error}")
    return found
