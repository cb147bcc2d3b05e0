"""What the processors of this machine took, in joules, where the kernel lets one read it (powercap, RAPL)."""

from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
ZONES = "intel-rapl:[0-9]*"
"""Of AMD's processors too. Those called package-N count; what lies inside one, or around all
(psys), would count twice."""


def counters(root: Path = POWERCAP) -> dict[Path, int]:
    """Microjoules by zone, counted from no particular moment; empty where they are not there or only for root."""
    found = {}
    for zone in sorted(root.glob(ZONES)):
        try:
            if (zone / "name").read_text("ascii").startswith("package"):
                found[zone] = int((zone / "energy_uj").read_text("ascii"))
        except (OSError, ValueError):
            continue
    return found


def spent_j(before: dict[Path, int], after: dict[Path, int]) -> float | None:
    """Joules between two readings; counters run over. None where there is nothing to read."""
    total, seen = 0, False
    for zone in before.keys() & after.keys():
        try:
            whole = int((zone / "max_energy_range_uj").read_text("ascii")) + 1
        except (OSError, ValueError):
            continue
        total, seen = total + (after[zone] - before[zone]) % whole, True
    return total / 1e6 if seen else None
