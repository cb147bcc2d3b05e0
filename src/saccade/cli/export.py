"""saccade export: a package in the form that another server loads without edits."""

import argparse
from pathlib import Path

from saccade.errors import UsageError
from saccade.verbs import export as verbs


def export_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", metavar="KIND", help="which server it is for")
    parser.add_argument("package", metavar="PACKAGE", help="a folder, or name[@alias] in the home")
    parser.add_argument("out", metavar="DIR", type=Path, help="a new folder")
    parser.add_argument("--name", help="default: the package's")
    parser.add_argument("--version", type=int, default=1, help="the model's number there")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of KIND")
    parser.add_argument("--home", type=Path)


def export(options: argparse.Namespace) -> int:
    settings = dict(_pair(text) for text in options.set)
    made = verbs.export(
        options.kind,
        options.package,
        options.out,
        name=options.name,
        version=options.version,
        settings=settings,
        home=options.home,
    )
    for note in made.written.notes:
        print(f"note     {note}")
    for file in made.files:
        print(f"file     {file}")
    if made.written.difference is not None:
        allowed = f", allowed {made.written.allowed:g}" if made.written.allowed is not None else ""
        print(f"equal    to the package within {made.written.difference:.1e}{allowed}")
    print(f"written  {made.folder}, from {made.digest}")
    return 0


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise UsageError(f"--set is KEY=VALUE, got {text!r}")
    return key, value
