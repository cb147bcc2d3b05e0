"""saccade import: a graph from elsewhere becomes a sealed package."""

import argparse
from pathlib import Path

from saccade.types import names_text
from saccade.verbs.imports import import_model


def import_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="ONNX, SavedModel folder, Keras, .pt2, TorchScript, Triton folder, or triton:// or tfs://HOST:PORT/MODEL",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="PACKAGE", help="the new package folder")
    parser.add_argument("--task", help="what is asked of a picture; without it the package answers tensors only")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="names of the classes, one a line or a JSON list")
    parser.add_argument("--preprocess", metavar="HOW", help="imagenet, unit, symmetric, or a TOML or JSON file")
    parser.add_argument("--tail", choices=("softmax", "sigmoid", "none"), help="what makes scores of its numbers")
    parser.add_argument("--images", type=Path, metavar="DIR", help="pictures that become golden samples")
    parser.add_argument("--signature", help="which of a SavedModel's several answers")
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME:TYPE:SHAPE",
        help="of a file that does not say it: TorchScript",
    )
    parser.add_argument("--name", help="default: the file's name")
    parser.add_argument("--like", type=Path, metavar="PACKAGE", help="of a model server: it answers as this package")


def import_(options: argparse.Namespace) -> int:
    made = import_model(
        options.model,
        options.out,
        task=options.task,
        labels=options.labels,
        preprocess=options.preprocess,
        tail=options.tail,
        images=options.images,
        name=options.name,
        like=options.like,
        signature=options.signature,
        inputs=options.input,
    )
    for note in made.notes:
        print(f"note     {note}")
    print(f"task     {made.task}")
    if len(made.labels):
        print(f"classes  {len(made.labels)}: {names_text(made.labels.names)}")
    print(f"golden   {made.golden} sample(s), answered here and checked again by whoever opens the package")
    print(f"sealed   {made.package}  {made.digest}")
    return 0
