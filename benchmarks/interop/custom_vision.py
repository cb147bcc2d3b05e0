"""Every call of Azure's Custom Vision prediction client against a running server.

Runs in an environment of its own (custom_vision.txt). Prints a JSON line for each call: protocol, call, ok, said.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
from azure.cognitiveservices.vision.customvision.prediction import CustomVisionPredictionClient
from azure.cognitiveservices.vision.customvision.prediction.models import CustomVisionErrorException
from msrest.authentication import ApiKeyCredentials


def refused(call: Callable[[], Any]) -> str:
    """Status and code of the refusal that must come."""
    try:
        call()
    except CustomVisionErrorException as error:
        return f"{error.response.status_code} {error.error.code}"
    return "nothing was refused"


def checks(client: CustomVisionPredictionClient, model: str, case: Any) -> Iterator[tuple[str, str]]:
    """Each call by name, and what is wrong with what it gave; nothing when all is right."""
    picture, places = case["picture"].tobytes(), "picture_boxes" in case
    verb, other = ("detect", "classify") if places else ("classify", "detect")
    for keep in ("", "_with_no_store"):
        own, foreign = getattr(client, f"{verb}_image{keep}"), getattr(client, f"{other}_image{keep}")
        url = getattr(client, f"{verb}_image_url{keep}")
        yield f"{verb}_image{keep}", wrong(own("any", model, picture), case, places)
        yield f"{verb}_image{keep}, application", wrong(own("any", model, picture, application="a"), case, places)
        for name, call, expected in (
            ("no picture", lambda own=own: own("any", model, b"no picture"), "400 BadRequestImageFormat"),
            ("no such model", lambda own=own: own("any", "none", picture), "404 NotFoundIteration"),
            ("the other verb", lambda foreign=foreign: foreign("any", model, picture), "400 BadRequest"),
            ("url", lambda url=url: url("any", model, "http://127.0.0.1:9/a.jpg"), "403 Forbidden"),
        ):
            came = refused(call)
            yield f"{verb}_image{keep}, {name}", "" if came == expected else came


def wrong(found: Any, case: Any, places: bool) -> str:
    scores = np.sort(case["picture_scores"].ravel())[::-1]
    scores = scores[scores >= 1e-4]
    came = [p.probability for p in found.predictions]
    if len(came) != len(scores) or not np.allclose(came, scores, atol=1e-6):
        return f"{came} instead of {scores.tolist()}"
    UUID(found.id), UUID(found.iteration)
    tags = {p.tag_name: UUID(p.tag_id) for p in found.predictions}
    if found.project != "any" or not isinstance(found.created, datetime) or len(set(tags.values())) != len(tags):
        return str(found)
    for row in found.predictions:
        box = row.bounding_box
        if (box is not None) != places or row.tag_type != "Regular":
            return str(row)
        if box is not None and not (
            0 <= box.left <= box.left + box.width <= 1 + 1e-6 and 0 <= box.top + box.height <= 1 + 1e-6
        ):
            return str(box)
    return ""


def main() -> None:
    parser = argparse.ArgumentParser()
    for option in ("--http", "--grpc", "--model", "--case"):
        parser.add_argument(option, required=option != "--grpc")
    options = parser.parse_args()
    key = ApiKeyCredentials(in_headers={"Prediction-key": "none is asked for on loopback"})
    client = CustomVisionPredictionClient(f"http://{options.http}", key)
    case = np.load(options.case)
    for call, said in checks(client, options.model, case):
        print(json.dumps({"protocol": "custom vision", "call": call, "ok": not said, "said": said}), flush=True)


if __name__ == "__main__":
    main()
