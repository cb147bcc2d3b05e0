"""saccade predict: ask a package on disk, or a server, about images."""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from saccade import verbs
from saccade.client.client import Client
from saccade.errors import SaccadeError, UsageError


def predict_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("inputs", nargs="+", metavar="PACKAGE IMAGES", help="with --server only images")
    parser.add_argument("--server", metavar="URL", help="ask this server")
    parser.add_argument("--model", help="which model of the server: name[@alias]")
    parser.add_argument("--key", default=os.environ.get("SACCADE_KEY"), help="API key (default: $SACCADE_KEY)")
    parser.add_argument("--top-k", type=int, default=5)
    parser.add_argument("--threshold", type=float)
    parser.add_argument("--draw", type=Path, metavar="DIR", help="write the pictures with their answers")
    parser.add_argument("--home", type=Path)
    parser.add_argument("--json", action="store_true")


def predict(options: argparse.Namespace) -> int:
    if options.server:
        if not options.model:
            raise UsageError(
                "--server needs --model NAME", hint=f"saccade predict --server {options.server} --model NAME IMAGE"
            )
        if options.draw:
            raise UsageError("--draw works on a package, not on a server", hint="give the package's folder")
        images = [Path(p) for p in options.inputs]
        answers = _ask_server(options, images)
    else:
        package, *rest = options.inputs
        images = [Path(p) for p in rest]
        if not images:
            raise UsageError(
                "predict expects a package and at least one image", hint="saccade predict PACKAGE photo.jpg"
            )
        answers = verbs.predict(
            package, images, top_k=options.top_k, threshold=options.threshold, draw=options.draw, home=options.home
        )
    if options.json:
        print(json.dumps(answers if len(answers) > 1 else answers[0], indent=2, ensure_ascii=False))
    else:
        for path, answer in zip(images, answers, strict=True):
            print(_line(path, answer))
    return 1 if any("error" in a for a in answers) else 0


def _ask_server(options: argparse.Namespace, images: list[Path]) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = []
    with Client(options.server, key=options.key) as client:
        for image in images:
            try:
                answers.append(client.predict(options.model, image, top_k=options.top_k, threshold=options.threshold))
            except SaccadeError as error:
                answers.append({"error": {"code": error.code, "detail": str(error)}})
    return answers


def _line(path: Path, answer: dict[str, Any]) -> str:
    if "error" in answer:
        return f"{path}: {answer['error'].get('detail', answer['error'])}"
    found = [f"{p['label']} {p['score']:.3f}" for p in answer.get("predictions", [])]
    return f"{path}: " + (", ".join(found) or "nothing found")
