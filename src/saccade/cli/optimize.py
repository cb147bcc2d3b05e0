"""saccade optimize: faster graphs of a package, measured and certified on this host."""

import argparse
import json
import sys
from pathlib import Path

from saccade.cli.progress import Progress
from saccade.cli.text import table
from saccade.optimization.judge import Drop
from saccade.optimization.search import Tried
from saccade.verbs import optimize as verbs
from saccade.verbs.hear import silent


def optimize_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("package", metavar="PACKAGE", type=Path, help="a package folder; it is sealed again")
    parser.add_argument("--calibrate", metavar="DATA", type=Path, required=True, help="the data it was trained on")
    parser.add_argument("--max-drop", type=float, default=0.5, help="points of the headline metric")
    parser.add_argument("--max-class-drop", type=float, default=2.0, help="points of any class")
    parser.add_argument("--min-gain", type=float, default=1.03, help="how many times as fast a variant must be")
    parser.add_argument("--proven", action="store_true", help="refuse what the pictures are too few to prove")
    parser.add_argument("--only", action="append", default=[], help="an optimizer by name; may be repeated")
    parser.add_argument("--format")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--json", action="store_true")


def optimize(options: argparse.Namespace) -> int:
    done = verbs.optimize(
        options.package,
        options.calibrate,
        max_drop=options.max_drop,
        max_class_drop=options.max_class_drop,
        min_gain=options.min_gain,
        proven=options.proven,
        only=options.only,
        format=options.format,
        images=options.images,
        listen=silent if options.json else Progress(sys.stdout).hear,
    )
    if options.json:
        print(json.dumps(done.to_json(), indent=2, ensure_ascii=False))
        return 0
    kept = next((t for t in done.tried if t.default_ms), None)
    metric = next((t.drop.name for t in done.tried if t.drop), "metric")
    head = ("variant", "batch 1", "batch 8", "speed", f"{metric} drop, points", "worst class", "verdict")
    rows = [("default", *_times(kept.default_ms if kept else None), "1.00", "", "", "")]
    print("\n" + table(head, [*rows, *(_row(t) for t in done.tried)]))
    print(f"\nserves   {done.serves}: {done.reason}")
    print(f"digest   {done.digest}")
    return 0


def _row(tried: Tried) -> tuple[str, ...]:
    worst = max(tried.classes, key=lambda c: c.points, default=None)
    return (
        tried.name,
        *_times(tried.latency_ms),
        f"{tried.gain:.2f}" if tried.gain is not None else "",
        _points(tried.drop) if tried.drop else "",
        f"{worst.name} {worst.points:.2f}" if worst else "",
        tried.verdict,
    )


def _times(latency_ms: dict[str, float] | None) -> tuple[str, str]:
    return (f"{latency_ms['1']:.2f} ms", f"{latency_ms['8']:.2f} ms") if latency_ms else ("", "")


def _points(drop: Drop) -> str:
    if drop.low is None or drop.high is None:
        return f"{drop.points:.2f}"
    return f"{drop.points:.2f} ({drop.low:.2f} to {drop.high:.2f})"
