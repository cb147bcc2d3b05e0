"""TorchServe's inference API: POST /predictions/{model}, GET /ping."""

from typing import Any

from saccade.errors import SaccadeError, ServerError
from saccade.inference.engine import Engine
from saccade.inference.request import Request
from saccade.protocols.method import aside
from saccade.protocols.native import messages
from saccade.protocols.native.http import MAX_BODY
from saccade.protocols.protocol import Call, Control, Protocol, Reply, Route, asked, marks, said, status, version_number

JSON = ("content-type", "application/json")


class TorchServe(Protocol):
    """max_bytes: of an inference body. A body is the picture, or a form with the one field `data`."""

    name = "torchserve"
    prefixes = ("/predictions", "/ping")

    def __init__(self, max_bytes: int = MAX_BODY, control: Control | None = None) -> None:
        self.max_bytes = max_bytes
        self.control = control or Control()

    def routes(self, engine: Engine) -> list[Route]:
        async def predict(call: Call) -> Reply:
            name, version = call.parameters["name"], version_number(call.parameters.get("version"))
            engine.admit(name, version, call.deadline_s, caller=call.caller, urgent=call.urgent)
            kind, given = messages.media_type(call.headers.get("content-type", ""))
            data = await call.read()
            form = kind == "multipart/form-data"
            pictures = messages.multipart(data, given.get("boundary", ""), "data") if form else [data]
            if len(pictures) > 1:
                raise ServerError("a form holds one picture here", hint="ask for each", code="batch_too_large")
            request = Request(name, tuple(pictures), version, call.deadline_s, call.caller, call.urgent)
            answer = await asked(engine, request, call.left, call.alone)
            boxes = getattr(answer.results[0], "boxes", None) is not None

            wish = messages.Wish([])

            def written() -> bytes:
                found = messages.answer(answer, wish, False, call.request_id)
                return messages.dumps(_answer(found, boxes))

            body = await aside(messages.heavy(answer, wish), written)
            return Reply(200, body, [JSON, *marks(answer)])

        async def ping(call: Call) -> Reply:
            self.control.ready()
            return Reply(200, messages.dumps({"status": "Healthy"}), [JSON])

        return [
            Route("POST", "/predictions/{name}", predict, self.max_bytes),
            Route("POST", "/predictions/{name}/{version}", predict, self.max_bytes),
            Route("GET", "/ping", ping, open=True),
        ]

    def refuse(self, error: SaccadeError, request_id: str) -> Reply:
        code = status(error.code)
        return Reply(code, messages.dumps({"code": code, "type": error.code, "message": said(error)}), [JSON])


def _answer(found: dict[str, Any], boxes: bool) -> Any:
    """Scores by label, or a list of boxes, as TorchServe's own handlers write them; a mask as the native API does."""
    if "predictions" not in found:
        return found
    rows = found["predictions"]
    if boxes:
        return [{row["label"]: list(row["box"].values()), "score": row["score"]} for row in rows]
    return {row["label"]: row["score"] for row in rows}
