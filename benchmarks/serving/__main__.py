"""Images a second and latencies: a bare loop, our server, and every peer, interleaved on the same cores.

    python -m benchmarks.serving [ROW ...] [--rounds 3] [--seconds 5] [--peers fastapi,flask] [--ways]
    python -m benchmarks.serving --short
    python -m benchmarks.serving --prepare

Rows: mobilenet resnet50 boxes masks empty, and curves of growing work: sizes connections several models. Every peer
lives in an environment of its own, made once from pinned requirements; --prepare makes these and the packages, and
measures nothing. One that cannot be installed or started is named with the reason. In each round every entrant is
started, asked for its answer (which must be the loop's), warmed, measured, and stopped; the next round begins with
another one. --ways tries every configuration of each peer first and takes the fastest, and does for ours what
`saccade bench --tune` does; otherwise the first one listed stands for a peer, and for ours what was tuned last, if anything was.
Writes a table (serving.md), a plot (serving.svg) and everything raw (serving.json); rows that are not measured keep the
figures they had here, with the commit that gave them. The short form writes serving-short.md and so on.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import commit, describe, results, save
from benchmarks.serving import models, packages, rows, table
from benchmarks.serving.bars import bars
from benchmarks.serving.entrants import Figures, Loop, Ours, Theirs
from benchmarks.serving.peers import Peer, Way
from benchmarks.serving.picture import draw
from benchmarks.serving.rows import GROWTH, ROWS, Load, Row

Answer = list[tuple[int, float]] | None
SHORT_ROWS = ("mobilenet", "resnet50", "boxes", "masks", "empty")
TOLERANCE = 1e-3


def say(text: str) -> None:
    print(text, flush=True)


class Choice:
    """Which way stands for a peer: the first, or the fastest of all when `tried` is wanted."""

    def __init__(self, every: bool) -> None:
        self._every = every
        self.seconds = 2.0
        self._made: dict[tuple[str, str], Way] = {}
        self.tried: list[Figures] = []

    def __call__(self, peer: Peer, graph: Path, data: bytes) -> Way:
        key = (peer.name, str(graph))
        if key not in self._made:
            self._made[key] = self._fastest(peer, graph, data) if self._every and len(peer.ways) > 1 else peer.ways[0]
        return self._made[key]

    def _fastest(self, peer: Peer, graph: Path, data: bytes) -> Way:
        rates: dict[str, float] = {}
        for way in peer.ways:
            record: Figures = {"peer": peer.name, "way": way.name, "graph": graph.parent.parent.name}
            try:
                with Theirs(peer, way, graph).ready() as asked:
                    record |= asked.load(Load("16 callers", data, 16), self.seconds)
                rates[way.name] = record["per_s"] if table.sound([record]) else 0.0
            except (RuntimeError, OSError) as error:
                record["failed"] = str(error)
            self.tried.append(record)
            told = record.get("failed") or f"{record['per_s']:7.1f}/s, {record['errors']} errors"
            say(f"tried    {peer.name:9} {way.name:45} {told}")
        return max(peer.ways, key=lambda way: rates.get(way.name, -1.0))


def measure(row: Row, rounds: int, seconds: float) -> list[Figures]:
    """A record for each entrant, load and round; an entrant that failed has one with the reason, and is tried again."""
    found: list[Figures] = []
    wanted: dict[Path | None, Answer] = {}
    """By package, for another decode is another answer; None is that of the first entrant, which all peers have."""
    say(f"\n{row.name}: {row.title}")
    for i in range(rounds):
        # The first of each round is another one, so that a drift of the machine meets all alike.
        shift = i % len(row.entrants)
        for entrant in (*row.entrants[shift:], *row.entrants[:shift]):
            about: Figures = {"row": row.name, "round": i, "entrant": entrant.name, "how": entrant.how}
            try:
                with entrant.ready() as asked:
                    picture = row.loads[0].picture
                    answer = asked.answer(picture)
                    if None not in wanted:
                        wanted[None] = answer
                    own = entrant.packages[0] if isinstance(entrant, Ours) and entrant.packages else None
                    if own is not None and own not in wanted:
                        with Loop(own).ready() as loop:
                            wanted[own] = loop.answer(picture)
                    about["answer"] = verdict(wanted[own], answer)
                    for load in row.loads:
                        record = {**about, "load": load.name, **asked.load(load, seconds)}
                        found.append(record)
                        say(line(record))
            except (RuntimeError, OSError) as error:
                found.append({**about, "failed": str(error)})
                say(f"{entrant.name:20} FAILED: {error}")
    return found


def verdict(wanted: Answer, answer: Answer) -> str:
    """Whether two lists of best classes say the same; other variants may round differently, which is said."""
    if wanted is None or answer is None:
        return "not compared"
    same = [a[0] for a in wanted] == [b[0] for b in answer]
    close = all(abs(a[1] - b[1]) <= TOLERANCE for a, b in zip(wanted, answer, strict=True))
    return "the loop's" if same and close else "the loop's best class" if wanted[0][0] == answer[0][0] else "another"


def line(record: Figures) -> str:
    errors = f"  {record['errors']} ERRORS" if record["errors"] else ""
    memory = f"  {record['memory_mb']:.0f} MB" if "memory_mb" in record else ""
    return (
        f"{record['entrant']:20} {record['load']:16} {record['per_s']:8.1f}/s  p50 {record['p50_ms']:7.2f} ms  "
        f"p99 {record['p99_ms']:7.2f} ms  CPU {record['cpu_ms']:6.2f} ms{memory}{errors}  answer: {record['answer']}"
    )


def prepare(peers: Sequence[Peer]) -> list[Peer]:
    """Makes what is missing; the peers that can be had. Why one cannot is printed."""
    able = []
    for peer in peers:
        try:
            peer.python()
            able.append(peer)
        except RuntimeError as error:
            say(f"{peer.name:9} NOT MEASURED: {error}")
    return able


def _kept(name: str) -> dict[str, Any]:
    """Rows of earlier runs on this machine and these versions: each stays until it is measured again."""
    file = results() / f"{name}.json"
    record = json.loads(file.read_text()) if file.is_file() else {}
    return dict(record.get("rows", {})) if record.get("machine") == describe().splitlines() else {}


def _keep(results_name: str, every: Mapping[str, Any]) -> str:
    """Writes what was measured so far, so that nothing of it is lost with a later row; the table in words."""
    ordered = {name: every[name] for name in (*ROWS, *GROWTH, "models") if name in every}
    save(results_name, {"rows": ordered})
    found = [figures for row in ordered.values() for figures in row["figures"]]
    titles = {
        name: f"{row['title']} ({row['rounds']} rounds of {row['seconds']:g} s, medians, at {row['commit']})"
        for name, row in ordered.items()
    }
    absent = {name: why for row in ordered.values() for name, why in row["absent"].items()}
    curves = [name for name in ordered if name in GROWTH or name == "models"]
    verdicts, text = "\n".join(map(str, bars(found))), table.text(found, titles, absent, curves)
    head = "\n".join([*describe().splitlines(), *dict.fromkeys(row["versions"] for row in ordered.values())])
    (results() / f"{results_name}.md").write_text(f"```text\n{head}\n```\n\n{text}\n\n```text\n{verdicts}\n```\n")
    (results() / f"{results_name}.svg").write_text(draw(found, titles, curves))
    return f"{text}\n\n{verdicts}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = (*ROWS, *GROWTH, "models")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(known)}; none takes all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load; at least 8 for resnet50")
    parser.add_argument("--peers", help="names with commas between, default all")
    parser.add_argument("--ways", action="store_true", help="try every configuration of every peer first, tune ours")
    parser.add_argument("--short", action="store_true", help=f"{', '.join(SHORT_ROWS)}: one round of two seconds")
    parser.add_argument("--prepare", action="store_true", help="only make environments and packages")
    options = parser.parse_args()
    unknown = set(options.rows) - set(known)
    if unknown:
        parser.error(f"no row {sorted(unknown)[0]!r}; there are {', '.join(known)}")
    wished = options.peers.split(",") if options.peers else list(rows.PEERS_BY_NAME)
    if strange := set(wished) - set(rows.PEERS_BY_NAME):
        parser.error(f"no peer {sorted(strange)[0]!r}; there are {', '.join(rows.PEERS_BY_NAME)}")
    peers = prepare([rows.PEERS_BY_NAME[name] for name in wished])
    if options.prepare:
        packages.all_made()
        return 0
    names = options.rows or (list(SHORT_ROWS) if options.short else list(known))
    rounds, seconds = (1, 2.0) if options.short else (options.rounds, options.seconds)
    began, choice = time.monotonic(), Choice(options.ways)
    say(describe())
    say(table.versions(peers))
    measured: list[Figures] = []
    tuned: set[Path] = set()
    absent = dict.fromkeys(set(wished) - {p.name for p in peers}, "its environment could not be made")
    results_name = "serving-short" if options.short else "serving"
    every = _kept(results_name)
    told = ""
    for name in names:
        window = seconds if options.short else max(seconds, rows.LEAST_S.get(name, 0.0))
        choice.seconds = max(2.0, window / 2)
        tried = len(choice.tried)
        if name == "models":
            title, found = models.TITLE, models.measure(rounds, seconds, say)
        else:
            row = {**ROWS, **GROWTH}[name](tuple(peers), choice)
            if options.ways:
                for package in {e.packages[0]: None for e in row.entrants if isinstance(e, Ours)}:
                    if package not in tuned:
                        packages.tune(package, row.loads[0].picture)
                        tuned.add(package)
            title, found = row.title, measure(row, rounds, window)
        measured += found
        about = {"rounds": rounds, "seconds": window, "versions": table.versions(peers), "commit": commit()}
        every[name] = {"title": title, **about, "absent": absent, "tried": choice.tried[tried:], "figures": found}
        told = _keep(results_name, every)
    say(f"\n{told}")
    say(f"{time.monotonic() - began:.0f} s, {rounds} rounds of {seconds:g} s")
    lost = [r for r in measured if "failed" in r and r["entrant"].startswith(("saccade", "bare"))]
    wrong = [r for r in measured if r.get("answer") == "another"]
    return int(bool(lost or wrong))


if __name__ == "__main__":
    sys.exit(main())
