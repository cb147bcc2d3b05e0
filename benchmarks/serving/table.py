"""Records to a table: medians of the rounds with their spread, beside the loop and the best peer."""

import statistics
from collections.abc import Iterable, Mapping, Sequence

from benchmarks.serving.entrants import Figures
from benchmarks.serving.peers import Peer

NAMES = {
    "fastapi": "fastapi", "flask": "flask", "litserve": "litserve", "bentoml": "bentoml", "ray": "ray",
    "mlserver": "mlserver", "triton": "nvidia-pytriton",
}  # fmt: skip
BESIDE = ("onnxruntime", "numpy", "opencv-python-headless", "uvicorn", "gunicorn")


def versions(peers: Iterable[Peer]) -> str:
    """What each peer's environment holds, one line."""
    told = []
    for peer in peers:
        pins = dict(line.lower().split("==") for line in peer.requirements.read_text().split() if "==" in line)
        own = f"{NAMES[peer.name]} {pins.get(NAMES[peer.name], '?')}"
        told.append(f"{own} ({', '.join(f'{n} {pins[n]}' for n in BESIDE if n in pins)})")
    return "peers    " + "; ".join(told)


def middle(records: Sequence[Figures], key: str) -> float:
    return statistics.median(float(r[key]) for r in records)


FORGIVEN = 1e-3
"""A peer with so small a share of errors is still one to be measured by."""


def sound(records: Iterable[Figures]) -> bool:
    """Whether these answers may stand as somebody's: shown they are in any case."""
    every = list(records)
    answered, errors = (sum(r[key] for r in every) for key in ("answered", "errors"))
    return bool(errors <= FORGIVEN * answered)


def ours(entrant: str) -> bool:
    return entrant.startswith(("saccade", "bare loop"))


def grouped(found: Iterable[Figures], row: str) -> dict[str, dict[str, list[Figures]]]:
    """Records of a row that have figures, by load and entrant, in the order they first came."""
    out: dict[str, dict[str, list[Figures]]] = {}
    for record in found:
        if record["row"] == row and "failed" not in record:
            out.setdefault(record["load"], {}).setdefault(record["entrant"], []).append(record)
    return out


def text(
    found: Sequence[Figures], titles: Mapping[str, str], absent: Mapping[str, str], curves: Sequence[str] = ()
) -> str:
    """Markdown. One table a row and load, one for each of the rows named `curves`; then who is missing, and why."""
    parts = []
    for row, title in titles.items():
        if row in curves:
            parts.append(_curve(f"{row}: {title}", grouped(found, row)))
            continue
        for load, by_entrant in grouped(found, row).items():
            parts.append(_table(f"{row}: {title}; {load}", by_entrant))
    failed = {(r["row"], r["entrant"], r["failed"]) for r in found if "failed" in r}
    gone = [f"* {entrant} in row {row}: {why}" for row, entrant, why in sorted(failed)]
    gone += [f"* {name}: {why}" for name, why in sorted(absent.items())]
    return "\n\n".join(parts + (["Not measured:\n\n" + "\n".join(gone)] if gone else []))


def _table(title: str, by_entrant: Mapping[str, list[Figures]]) -> str:
    rates = {name: middle(records, "per_s") for name, records in by_entrant.items()}
    loop = rates.get("bare loop")
    best = max((rate for name, rate in rates.items() if not ours(name) and sound(by_entrant[name])), default=None)
    lines = [
        f"### {title}",
        "",
        "| | images/s | lowest to highest | of the loop | of the best peer | p50 ms | p99 ms | CPU ms an image | cores of the client | MB | how |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for name, records in by_entrant.items():
        per_s = [r["per_s"] for r in records]
        errors = sum(r["errors"] for r in records)
        memory = f"{middle(records, 'memory_mb'):.0f}" if "memory_mb" in records[0] else ""
        share = f"{rates[name] / loop:.2f}" if loop else ""
        beside = f"{rates[name] / best:.2f}" if best else ""
        note = records[0]["how"] + (f"; {errors} ERRORS" if errors else "")
        times = f"{middle(records, 'p50_ms'):.2f} | {middle(records, 'p99_ms'):.2f} | {middle(records, 'cpu_ms'):.2f}"
        client = f"{middle(records, 'client_cores'):.2f}" if "client_cores" in records[0] else ""
        lines.append(
            f"| {name} | {rates[name]:.1f} | {min(per_s):.1f} to {max(per_s):.1f} | {share} | {beside} | {times} | {client} | {memory} | {note} |"
        )
    return "\n".join(lines)


def _curve(title: str, by_load: Mapping[str, Mapping[str, list[Figures]]]) -> str:
    """Images a second, then p99 and memory, of each entrant at each point."""
    names = list(dict.fromkeys(name for by_entrant in by_load.values() for name in by_entrant))
    lines = [f"### {title}", "", f"| | {' | '.join(by_load)} |", f"|---|{'--:|' * len(by_load)}"]
    for key, words, form in (("per_s", "images/s", ".1f"), ("p99_ms", "p99 ms", ".1f"), ("memory_mb", "MB", ".0f")):
        for name in names:
            cells = [_cell(by_entrant.get(name), key, form) for by_entrant in by_load.values()]
            lines.append(f"| {name}, {words} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(records: Sequence[Figures] | None, key: str, form: str) -> str:
    if not records or key not in records[0]:
        return ""
    errors = sum(r["errors"] for r in records)
    return f"{middle(records, key):{form}}" + (f" ({errors} errors)" if errors and key == "per_s" else "")
