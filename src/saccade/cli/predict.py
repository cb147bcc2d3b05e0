"""saccade predict: ask a package on disk, or a server, about images."""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from saccade.cli import text
from saccade.client.answer import Answer, score_text
from saccade.client.client import Client
from saccade.client.messages import MaskForm
from saccade.errors import SaccadeError, UsageError
from saccade.images import fonts
from saccade.verbs import ask

FORMS = ("png", "rle", "polygons", "none")
BOX = ("x_min", "y_min", "x_max", "y_max")


def predict_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("inputs", nargs="+", metavar="PACKAGE IMAGES", help="with --server only images")
    parser.add_argument("--server", metavar="URL", help="ask this server")
    parser.add_argument("--model", help="which model of the server: name[@alias]")
    parser.add_argument("--key", default=os.environ.get("SACCADE_KEY"), help="API key (default: $SACCADE_KEY)")
    parser.add_argument("--top-k", type=int, default=5)
    parser.add_argument("--threshold", type=float, help="for every class, instead of the package's own")
    parser.add_argument("--mask", choices=FORMS, default="png", help="form of a mask in --json (default: png)")
    parser.add_argument("--confidence", action="store_true", help="in --json: how sure each pixel of a mask is")
    parser.add_argument("--tile", action="store_true", help="ask pictures larger than the network tile by tile")
    parser.add_argument(
        "--tile-times",
        type=float,
        metavar="N",
        help="the same, in tiles N times as large, shrunk to the network's size",
    )
    parser.add_argument("--draw", type=Path, metavar="DIR", help="write the pictures with their answers")
    parser.add_argument("--home", type=Path)
    parser.add_argument("--json", action="store_true")


def predict(options: argparse.Namespace) -> int:
    if options.server:
        if not options.model:
            raise UsageError(
                "--server needs --model NAME", hint=f"saccade predict --server {options.server} --model NAME IMAGE"
            )
        images = [Path(p) for p in options.inputs]
        coming = _ask_server(options, images)
    else:
        package, *rest = options.inputs
        images = [Path(p) for p in rest]
        if not images:
            raise UsageError(
                "predict expects a package and at least one image", hint="saccade predict PACKAGE photo.jpg"
            )
        coming = ask.answers(
            package,
            images,
            top_k=options.top_k,
            threshold=options.threshold,
            mask=options.mask if options.json else "none",
            confidence=options.confidence and options.json,
            tile=options.tile_times or options.tile,
            draw=options.draw,
            home=options.home,
        )
    answers: list[dict[str, Any]] = []
    for path, answer in zip(images, coming, strict=True):
        answers.append(answer)
        if not options.json:
            print("\n".join(lines(path, answer)))
    if options.json:
        print(json.dumps(answers if len(answers) > 1 else answers[0], indent=2, ensure_ascii=False))
    elif options.draw and (words := _undrawn(answers)):
        print(f"note     {words}", file=sys.stderr)
    return 1 if any("error" in a for a in answers) else 0


def _undrawn(answers: list[dict[str, Any]]) -> str:
    """A word on answered classes whose names no font here can draw."""
    rows = [row for a in answers for row in (*a.get("predictions", ()), *a.get("classes", ()))]
    named = {int(row["class_id"]): str(row["label"]) for row in rows}
    return fonts.note([named.get(i, "") for i in range(max(named, default=-1) + 1)])


def _ask_server(options: argparse.Namespace, images: list[Path]) -> Iterator[dict[str, Any]]:
    form: MaskForm = "png" if options.draw else options.mask if options.json else "none"
    if options.draw and options.json and options.mask != "png":
        raise UsageError("--draw needs the mask as png", hint="leave out --mask, or --draw")
    with Client(options.server, key=options.key) as client:
        for image in images:
            try:
                answer = client.predict(
                    options.model,
                    image,
                    top_k=options.top_k,
                    threshold=options.threshold,
                    mask=form,
                    confidence=options.confidence and options.json,
                    tile=options.tile_times or options.tile,
                )
                if options.draw:
                    ask.write_picture(answer.draw(), image, options.draw)
            except SaccadeError as error:
                answer = Answer({"error": {"code": error.code, "detail": str(error)}})
            yield answer


def lines(path: Path, answer: dict[str, Any]) -> list[str]:
    """What a terminal shows of an answer: what was found, best or largest first; of things with a place a line each."""
    said = Answer(answer)
    rows = [
        (f"  {f['label']}", score_text(f["score"]), *(("?" if v is None else f"{v:.1f}") for v in f["box"].values()))
        for f in said.predictions
        if "box" in f
    ]
    places = text.table(("  ", "score", *BOX), rows).splitlines() if rows else []
    return [f"{path}: {said.summary()}", *places]
