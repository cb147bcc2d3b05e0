"""saccade check: the data doctor, or the digests and golden outputs of a package."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from saccade.cli.text import table
from saccade.data.check import INPUT_PX, Repair
from saccade.data.check.finding import EXAMPLES
from saccade.errors import UsageError
from saccade.package.reader import is_package
from saccade.verbs import ask
from saccade.verbs import data as verbs

SHOWN = 20
"""Changes of a corrected copy that are printed."""


def source_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA", type=Path, help="a folder, CSV or array file")
    parser.add_argument("--format", help="the layout of DATA, when it should not be recognised")
    parser.add_argument("--images", type=Path, help="where the pictures of a CSV are")


def check_options(parser: argparse.ArgumentParser) -> None:
    source_options(parser)
    parser.add_argument(
        "--full", action="store_true", help="decode every file, look for near duplicates and wrong labels"
    )
    parser.add_argument(
        "--size", type=int, default=INPUT_PX, metavar="PX",
        help=f"boxes: longer side of the network's input, by which they are called tiny (default {INPUT_PX})",
    )  # fmt: skip
    parser.add_argument("--strict", action="store_true", help="warnings fail too")
    parser.add_argument("--all", action="store_true", help=f"every file of a finding, not the first {EXAMPLES}")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="draw nine annotated pictures into this PNG")
    parser.add_argument("--fix", action="store_true", help="write a corrected copy into --out; DATA is never changed")
    parser.add_argument("--out", type=Path, help="a new folder for --fix")
    parser.add_argument("--json", action="store_true", help="for machines")


def check(options: argparse.Namespace) -> int:
    if options.format is None and is_package(options.data):
        return _check_package(options)
    if options.fix:
        verbs.copied_to(options.out, options.data, options.images)  # refused before hours of looking
    health = verbs.check(
        options.data, format=options.format, images=options.images, full=options.full, size=options.size
    )
    repair = health.fix(options.out) if options.fix else None
    if options.sheet is not None:
        health.draw(options.sheet)
    found = [f for f in health.findings if f.severity == "ERROR" or (options.strict and f.severity == "WARN")]
    if options.json:
        told = asdict(repair) if repair is not None else {}
        print(json.dumps({**health.to_json(), **told}, indent=2, ensure_ascii=False))
        return 1 if found else 0
    print(health.summary())
    print()
    if health.findings:
        rows = [(f.severity, f.id, str(f.count), f.sentence) for f in health.findings]
        print(table(("", "finding", "n", "what was seen"), rows))
        for finding in health.findings:
            shown = finding.files if options.all else finding.files[:EXAMPLES]
            if shown:
                print(f"\n  {finding.id}: " + "\n    ".join(["", *shown]).lstrip("\n"))
            if len(shown) < len(finding.files):
                print(f"    and {len(finding.files) - len(shown):,} more, which --all shows")
            if finding.fix:
                print(f"    cure: {finding.fix}")
    else:
        print("nothing to complain about")
    if repair is not None:
        _tell(repair, options.out)
    return 1 if found else 0


def _tell(repair: Repair, out: Path) -> None:
    changes = repair.changes
    print(f"\na corrected copy is in {out}; {len(changes):,} pictures were left out or renamed")
    print("".join(f"  {c.path}: {c.reason}\n" for c in changes[:SHOWN]), end="")
    if len(changes) > SHOWN:
        print(f"  and {len(changes) - SHOWN:,} more, which --json lists")
    print("".join(f"  not kept: {sentence}\n" for sentence in repair.lost), end="")


def _check_package(options: argparse.Namespace) -> int:
    said = {
        "--images": options.images is not None,
        "--full": options.full,
        "--size": options.size != INPUT_PX,
        "--strict": options.strict,
        "--all": options.all,
        "--sheet": options.sheet is not None,
        "--fix": options.fix,
        "--out": options.out is not None,
    }
    if given := [name for name, there in said.items() if there]:
        raise UsageError(
            f"{options.data} is a package, of which digests and golden answers are checked, and nothing is done with "
            f"{', '.join(given)}",
            hint="leave that away, or say with --format how it is read as data",
        )
    summary = ask.verify(options.data)
    print(json.dumps(summary, indent=2) if options.json else "\n".join(f"{k:<10} {v}" for k, v in summary.items()))
    return 0
