"""saccade train: from labelled images to a sealed package, with a live bar on a terminal and plain lines elsewhere."""

import argparse
import sys
from pathlib import Path
from typing import Any

from saccade.cli.data import source_options
from saccade.cli.progress import Progress
from saccade.cli.text import number
from saccade.errors import UsageError
from saccade.training.recipe import Recipe
from saccade.verbs import train as verbs


def train_options(parser: argparse.ArgumentParser) -> None:
    source_options(parser)
    parser.add_argument("--task", help="what is asked of an image, when the data allow more than one")
    parser.add_argument("--out", type=Path, help="the run folder (default: runs/NAME-N)")
    parser.add_argument("--model", help="the name in the package (default: the name of DATA)")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--budget", help="train this long: 90s, 10m, 2h; the schedule ends on time")
    parser.add_argument("--size", type=int, help="network input, longer side in px")
    parser.add_argument("--engine", help="the trainer (default: torch)")
    parser.add_argument("--network")
    parser.add_argument("--recipe", type=Path, help="a TOML file")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any knob of the recipe")
    parser.add_argument("--resume", type=Path, metavar="RUN", help="continue a run folder")
    parser.add_argument("--weights", help="auto, none, a safetensors file or the folder of an earlier run")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--device", help="auto, cpu or cuda")
    parser.add_argument(
        "--log", action="append", default=[], metavar="NAME", help="tell tensorboard or mlflow of it; may be repeated"
    )
    parser.add_argument("--smoke", action="store_true", help="walk the whole line in seconds")


def train(options: argparse.Namespace) -> int:
    knobs: dict[str, Any] = {}
    for pair in options.set:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--set expects KEY=VALUE, got {pair!r}")
        knobs[key.strip()] = value.strip()
    for key in ("task", "engine", "epochs", "budget", "size", "network", "weights", "seed", "device"):
        if getattr(options, key) is not None:
            knobs[key] = getattr(options, key)
    if options.smoke:
        knobs["smoke"] = True
    Recipe().replace_from(knobs)  # refused before anything is read; `--set out=x` is no argument of the verb
    progress = Progress(sys.stdout)
    trained = verbs.train(
        options.data,
        out=options.out,
        model=options.model,
        recipe=options.recipe,
        resume=options.resume,
        format=options.format,
        images=options.images,
        log=options.log,
        listen=progress.hear,
        **knobs,
    )
    print()
    print(f"test     {trained.card.headline.name} {number(trained.card.headline)}")
    print(f"package  {trained.package}")
    print(f"report   {trained.report}")
    print(f"next     saccade serve {trained.package}")
    return 0
