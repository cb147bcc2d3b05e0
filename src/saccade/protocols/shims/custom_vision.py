"""Azure Custom Vision's prediction API, v3.1: classify and detect an image, with or without
keeping it (nothing is kept)."""

import uuid
from datetime import UTC, datetime
from typing import Any

from saccade.errors import SaccadeError, ServerError
from saccade.inference.engine import Engine
from saccade.inference.request import Answer, Request
from saccade.protocols.native import messages
from saccade.protocols.native.http import MAX_BODY
from saccade.protocols.protocol import Call, Protocol, Reply, Route, asked, marks, said, single, status

JSON = ("content-type", "application/json")
BASE = "/customvision/v3.1/prediction/{project}"
MAX_URL = 64 * 1024
ALL = [("top_k", "1000"), ("threshold", "0.0001")]
"""Custom Vision answers every tag and lets its clients choose; what has no score at all is left out."""
STATUSES = {413: 400, 415: 400, 422: 400}
CODES = {413: "BadRequestImageSizeBytes", 415: "BadRequestImageFormat", 422: "BadRequestImageStream", 401: "Forbidden"}
CODES |= {403: "Forbidden", 404: "NotFoundIteration", 500: "ErrorPrediction"}
CODES |= dict.fromkeys((429, 503, 504, 507), "ErrorPredictionServiceUnavailable")
"""As its clients know them; every other status is BadRequest."""


class CustomVision(Protocol):
    """max_bytes: of an inference body. A published name is a model's, name or name@alias; any project will do."""

    name = "custom_vision"
    prefixes = ("/customvision",)

    def __init__(self, max_bytes: int = MAX_BODY) -> None:
        self.max_bytes = max_bytes

    def routes(self, engine: Engine) -> list[Route]:
        def asking(places: bool) -> Any:
            async def predict(call: Call) -> Reply:
                single(call.query, ("application",))
                engine.admit(
                    call.parameters["name"], deadline_s=call.deadline_s, caller=call.caller, urgent=call.urgent
                )
                pictures = (_picture(call, await call.read()),)
                request = Request(call.parameters["name"], pictures, None, call.deadline_s, call.caller, call.urgent)
                answer = await asked(engine, request, call.left, call.alone)
                return Reply(200, messages.dumps(_answer(answer, places, call)), [JSON, *marks(answer)])

            return predict

        async def url(call: Call) -> Reply:
            raise ServerError("images by URL are not fetched", hint="send the image", code="url_fetch_disabled")

        found: list[Route] = []
        for verb, handler in (("classify", asking(False)), ("detect", asking(True))):
            for end in ("", "/nostore"):
                path = f"{BASE}/{verb}/iterations/{{name}}"
                found.append(Route("POST", f"{path}/image{end}", handler, self.max_bytes, key="prediction-key"))
                found.append(Route("POST", f"{path}/url{end}", url, MAX_URL, key="prediction-key"))
        return found

    def refuse(self, error: SaccadeError, request_id: str) -> Reply:
        code = status(error.code)
        told = {"code": CODES.get(code, "BadRequest"), "message": said(error)}
        return Reply(STATUSES.get(code, code), messages.dumps(told), [JSON])


def _picture(call: Call, data: bytes) -> bytes:
    kind, given = messages.media_type(call.headers.get("content-type", ""))
    pictures = [data]
    if kind == "multipart/form-data":
        pictures = messages.multipart(data, given.get("boundary", ""), "imageData")
    if len(pictures) > 1:
        raise ServerError("a form holds one picture here", hint="ask for each", code="batch_too_large")
    return pictures[0]


def _answer(answer: Answer, places: bool, call: Call) -> dict[str, Any]:
    found = {} if messages.masked(answer) else messages.answer(answer, messages.Wish(ALL), False, call.request_id)
    rows = found.get("predictions")
    if rows is None or (getattr(answer.results[0], "boxes", None) is not None) != places:
        other = "classify" if places else "detect"
        raise ServerError(
            "this model gives another kind of answer",
            hint=f"ask it to {other}, or by the native API" if rows is not None else "ask it by the native API",
            code="invalid_value",
        )
    return {
        "id": str(uuid.uuid4()),
        "project": call.parameters.get("project", ""),
        "iteration": str(uuid.uuid5(uuid.NAMESPACE_OID, answer.digest)),
        "created": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "predictions": [_row(row, found["image"]) for row in rows],
    }


def _row(row: dict[str, Any], image: dict[str, int]) -> dict[str, Any]:
    tag = str(uuid.uuid5(uuid.NAMESPACE_OID, row["label"]))
    told = {"probability": row["score"], "tagId": tag, "tagName": row["label"], "tagType": "Regular"}
    if "box" in row:
        left, top, right, bottom = row["box"].values()
        wide, high = image["width"], image["height"]
        shares = (left / wide, top / high, (right - left) / wide, (bottom - top) / high)
        told["boundingBox"] = dict(zip(("left", "top", "width", "height"), shares, strict=True))
    return told
