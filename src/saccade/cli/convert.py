"""saccade convert: a dataset in another format, in a new folder."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from saccade.cli.data import source_options
from saccade.verbs import data as verbs


def convert_options(parser: argparse.ArgumentParser) -> None:
    source_options(parser)
    parser.add_argument("out", metavar="OUT", type=Path, help="a new folder")
    parser.add_argument("--to", required=True, help="the format to write")
    parser.add_argument(
        "--style", help="one of several ways to write it; masks: index, palette, voc, camvid, colour, binary"
    )
    parser.add_argument("--json", action="store_true", help="for machines")


def convert(options: argparse.Namespace) -> int:
    made = verbs.convert(
        options.data, options.out, to=options.to, style=options.style, format=options.format, images=options.images
    )
    if options.json:
        print(json.dumps({**asdict(made), "out": str(made.out)}, indent=2, ensure_ascii=False))
        return 0
    print(f"{made.images:,} pictures as {made.format} in {made.out}")
    for sentence in made.lost:
        print(f"  not kept: {sentence}")
    return 0
