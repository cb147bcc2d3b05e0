"""saccade evaluate: a sealed package on a dataset, the very thing that will be served."""

import argparse
import json
from pathlib import Path

from saccade import verbs
from saccade.cli.text import number, table


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
    result = verbs.evaluation(
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
    if options.report:
        print(f"\nreport  {options.report}")
    return 0
