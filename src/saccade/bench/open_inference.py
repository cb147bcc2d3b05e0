"""A request of the Open Inference Protocol that a server's own description of a model asks for: its picture as
bytes, or as a tensor of the shape and type it wants. Loads tell how fast a server answers, so what values mean
to the graph is not asked.
"""

import json
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

import cv2
import numpy as np

from saccade.bench.load import Target
from saccade.errors import ServerError, UsageError
from saccade.images.decode import decode
from saccade.types import Array
from saccade.wire.names import OPEN_INFERENCE

NUMBERS = {name: dtype for name, dtype in OPEN_INFERENCE.items() if name != "BOOL"}
WAIT_S = 10.0
MOST = 1024 * 1024


def target(url: str, model: str, picture: bytes, key: str | None = None) -> Target:
    """url: http://HOST:PORT of the server. Raises UsageError for a model that does not take one picture, ImageError for
    no picture, ServerError where the server does not describe the model."""
    told = _ask(f"{url}/v2/models/{quote(model)}", key)
    extensions = _ask(f"{url}/v2", key).get("extensions", [])
    inputs = told.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        count = len(inputs) if isinstance(inputs, list) else "no"
        raise _unfit(model, f"takes {count} inputs, expected one picture")
    name, kind, shape = (inputs[0].get(k) for k in ("name", "datatype", "shape"))
    if not isinstance(shape, list) or not all(isinstance(s, int) for s in shape):
        raise ServerError(f"{url} describes {model} without a shape", code="unexpected_answer")
    if shape and shape[0] > 1 and len(shape) != 3:
        raise _unfit(model, f"takes batches of {shape[0]}, expected one or as many as come")
    binary = isinstance(extensions, list) and "binary_tensor_data" in extensions
    entry: dict[str, Any] = {"name": name, "datatype": kind}
    if kind == "BYTES":
        if not binary:
            raise _unfit(model, "takes bytes, and its server no binary tensors: JSON has no form for a picture")
        entry["shape"], data = [1] * max(1, len(shape)), len(picture).to_bytes(4, "little") + picture
    else:
        pixels = _pixels(picture, shape, str(kind), model)
        entry["shape"], data = list(pixels.shape), pixels.tobytes()
        if not binary:
            entry["data"] = pixels.ravel().tolist()
    headers = {}
    if binary:
        entry["parameters"] = {"binary_data_size": len(data)}
    record = {"inputs": [entry], **({"parameters": {"binary_data_output": True}} if binary else {})}
    head = json.dumps(record, separators=(",", ":")).encode()
    if binary:
        headers["Inference-Header-Content-Length"] = str(len(head))
    form = "application/octet-stream" if binary else "application/json"
    return Target.at(f"{url}/v2/models/{quote(model)}/infer", head + data if binary else head, form, key, headers)


def _unfit(model: str, why: str) -> UsageError:
    return UsageError(
        f"{model} {why}", hint="choose another --model, or give the address that takes a picture as its body"
    )


def _pixels(picture: bytes, shape: list[int], kind: str, model: str) -> Array:
    """The picture in the shape and type that were described; sides left open are its own."""
    if kind not in NUMBERS:
        raise _unfit(model, f"takes {kind}, and a picture is sent as one of BYTES, {', '.join(NUMBERS)}")
    sides = shape[1:] if len(shape) == 4 else shape
    if len(sides) != 3 or 3 not in (sides[0], sides[2]):
        raise _unfit(model, f"takes {shape}, expected [N, H, W, 3] or [N, 3, H, W]")
    last = sides[2] == 3
    pixels = decode(picture)
    wanted = sides[:2] if last else sides[1:]
    height, width = (own if asked < 1 else asked for asked, own in zip(wanted, pixels.shape[:2], strict=True))
    if (height, width) != pixels.shape[:2]:
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    pixels = pixels if last else pixels.transpose(2, 0, 1)
    values = pixels / 255 if kind.startswith("FP") else pixels
    return np.ascontiguousarray(values[None] if len(shape) == 4 else values, NUMBERS[kind])


def _ask(url: str, key: str | None) -> dict[str, Any]:
    request = Request(url, headers={"Authorization": f"Bearer {key}"} if key else {})  # noqa: S310 - http, as Target asks
    try:
        with urlopen(request, timeout=WAIT_S) as answer:  # noqa: S310
            record = json.loads(answer.read(MOST))
    except HTTPError as error:
        cure = "give a --key that it knows" if error.code in (401, 403) else "check --model and the address"
        raise ServerError(f"{url} answers {error.code}", hint=cure, code="unexpected_answer") from error
    except (URLError, OSError, HTTPException) as error:
        why = getattr(error, "reason", error)
        said = why.strerror if isinstance(why, OSError) and why.strerror else str(why)
        raise ServerError(
            f"nothing answers at {url}: {said.lower()}", hint="is it running?", code="unreachable"
        ) from error
    except ValueError as error:
        raise ServerError(
            f"{url} gives no description: {error}",
            hint="is that a server of the Open Inference Protocol?",
            code="unexpected_answer",
        ) from error
    if not isinstance(record, dict):
        raise ServerError(f"{url} gives no description, but {type(record).__name__}", code="unexpected_answer")
    return record
