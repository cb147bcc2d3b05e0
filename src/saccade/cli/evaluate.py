"""saccade evaluate and compare: sealed packages on a dataset, the very things that will be served."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from saccade.cli.text import number, table
from saccade.evaluation.compare import ClassDifference
from saccade.types import Number
from saccade.verbs import judge


def evaluate_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("package", metavar="PACKAGE", help="a folder, or name[@alias] in the home")
    parser.add_argument("data", metavar="DATA", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--report", type=Path, help="write one self-contained HTML page")
    parser.add_argument("--format")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--json", action="store_true")


def evaluate(options: argparse.Namespace) -> int:
    result = judge.evaluation(
        options.package,
        options.data,
        split=options.split,
        report=options.report,
        format=options.format,
        images=options.images,
        home=options.home,
    )
    if options.json:
        print(json.dumps(result.to_json(), indent=2, ensure_ascii=False))
        return 0
    print(f"{options.package} on {options.split} of {options.data}: {result.card.n} images\n")
    print(table(("number", "value (95 % interval)"), [(n.name, number(n)) for n in result.card.numbers]))
    for weak in (s for s in result.slices if s.worse):
        print(
            f"\nwarning  weaker on {weak.trait} {weak.range}: {weak.metric} {weak.value:.4f} on {weak.n} images, "
            f"p = {weak.p:.2g}"
        )
    _tell(result.notes)
    if options.report:
        print(f"\nreport  {options.report}")
    return 0


def compare_options(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Exit code 1 when the second package is significantly worse than the first, so scripts can stop."
    parser.add_argument("first", metavar="A", help="a package or run folder, or name[@alias] in the home")
    parser.add_argument("second", metavar="B", help="the one that would replace A")
    parser.add_argument("data", metavar="DATA", type=Path, nargs="?", help="not needed for two runs on the same data")
    parser.add_argument("--split", default="test")
    parser.add_argument("--format")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--json", action="store_true")


def compare(options: argparse.Namespace) -> int:
    found = judge.compare(
        options.first,
        options.second,
        options.data,
        split=options.split,
        format=options.format,
        images=options.images,
        home=options.home,
    )
    worse = found.differences[0].second_is_worse
    if options.json:
        print(json.dumps({**asdict(found), "second_is_worse": worse}, indent=2, ensure_ascii=False))
        return int(worse)
    print(f"{found.sentence}\n")
    one, other = found.sides
    theirs = {n.name: n for n in other.card.numbers}
    rows = [(n.name, _spread(n), _spread(theirs[n.name])) for n in one.card.numbers if n.name in theirs]
    rows.append(("latency", f"{one.latency_ms:.1f} ms", f"{other.latency_ms:.1f} ms"))
    rows.append(("graph", f"{one.graph_bytes / 1e6:.2f} MB", f"{other.graph_bytes / 1e6:.2f} MB"))
    if one.parameters is not None and other.parameters is not None:
        rows.append(("parameters", f"{one.parameters:,}", f"{other.parameters:,}"))
    print(table(("", f"A  {one.name}", f"B  {other.name}"), rows))
    if found.classes:
        metric = found.classes[0].difference.metric
        print(
            "\n" + table(("class", "images", f"{metric} A", "B", "A - B", "p"), [_class_row(c) for c in found.classes])
        )
    _tell(found.notes)
    return int(worse)


def _tell(notes: Sequence[str]) -> None:
    if notes:
        print("\n" + "\n".join(f"note  {note}" for note in notes))


def _spread(value: Number) -> str:
    if value.low is None or value.high is None:
        return f"{value.value:.4f}"
    return f"{value.value:.4f}  ({value.low:.4f} to {value.high:.4f})"


def _class_row(found: ClassDifference) -> tuple[str, ...]:
    d = found.difference
    p = "" if d.p is None else f"{d.p:.2g}"
    return found.label, str(found.n), f"{d.first:.4f}", f"{d.second:.4f}", f"{d.value:+.4f}", p
