"""TensorFlow Serving's REST API: convert, ask the engine, convert back."""

import json
from typing import Any

from saccade.errors import SaccadeError, ServerError
from saccade.inference.engine import Engine
from saccade.inference.model import Model
from saccade.inference.request import Answer
from saccade.inference.shelves import Entry
from saccade.protocols import views
from saccade.protocols.method import HEAVY, Method, aside
from saccade.protocols.native.http import MAX_BODY
from saccade.protocols.protocol import Call, Protocol, Reply, Route, marks, said, status, version_number
from saccade.protocols.tensors import Tensor, elements
from saccade.protocols.tf_serving import messages, models

JSON = ("content-type", "application/json")
BASES = ("/v1/models/{name}", "/v1/models/{name}/versions/{version}", "/v1/models/{name}/labels/{label}")
KEPT = (401, 403, 404, 405, 408, 413, 414, 415, 429, 431, 500, 501, 503, 504, 507)
"""Statuses that this dialect shares; of every other mistake it says 400."""


class TensorFlowServing(Protocol):
    """max_bytes: of an inference body. Aliases are served as labels."""

    name = "tf_serving"
    prefixes = ("/v1/models",)

    def __init__(self, max_bytes: int = MAX_BODY) -> None:
        self.max_bytes = max_bytes

    def routes(self, engine: Engine) -> list[Route]:
        api = _Api(engine)
        found = []
        for base in BASES:
            found += [
                Route("POST", f"{base}:predict", api.predict, self.max_bytes, any_case=True),
                Route("POST", f"{base}:classify", api.classify, self.max_bytes, any_case=True),
                Route("POST", f"{base}:regress", api.regress, self.max_bytes, any_case=True),
            ]
        for base in BASES:
            found += [
                Route("GET", f"{base}/metadata", api.metadata, any_case=True),
                Route("GET", base, api.status, any_case=True),
                Route("POST", base, api.malformed, self.max_bytes, any_case=True),
            ]
        for method in ("GET", "POST"):
            found.append(Route(method, "/v1/models/{rest:path}", api.malformed, self.max_bytes, any_case=True))
        return found

    def methods(self, engine: Engine) -> list[Method]:
        from saccade.protocols.tf_serving import grpc  # protobuf comes with an extra

        return grpc.offered(engine)

    def refuse(self, error: SaccadeError, request_id: str) -> Reply:
        number = status(error.code)
        return Reply(number if number in KEPT else 400, _dumps({"error": said(error)}), [JSON])


class _Api:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def _find(self, call: Call) -> Entry:
        return models.find(self._engine, *_meant(call))

    def _admit(self, call: Call) -> Entry:
        """What can be refused before the body is read; how many rows it holds is not known yet."""
        entry = self._find(call)
        return self._engine.admit(
            entry.name, entry.version, call.deadline_s, several=True, caller=call.caller, urgent=call.urgent
        )

    async def _ask(self, call: Call, given: views.Given) -> tuple[Answer, list[Tensor]]:
        name, version, label = _meant(call)
        return await views.ask(
            self._engine,
            models.full(name, label),
            version,
            given,
            call.deadline_s,
            call.left,
            call.request_id,
            caller=call.caller,
            urgent=call.urgent,
            alone=call.alone,
        )

    async def predict(self, call: Call) -> Reply:
        entry = self._admit(call)
        model = views.model_of(entry)
        data = await call.read()
        inputs, rows = await aside(len(data) > HEAVY, lambda: messages.predict(data, model.input_specs))
        given = views.Given(inputs, [spec.name for spec in model.output_specs])
        answer, outputs = await self._ask(call, given)
        body = await aside(elements(outputs) > HEAVY, lambda: _dumps(messages.answer(outputs, rows)))
        return Reply(200, body, [JSON, *marks(answer)])

    async def classify(self, call: Call) -> Reply:
        entry = self._admit(call)
        inputs = await _examples(call, views.model_of(entry))
        answer, _ = await self._ask(call, views.Given(inputs, []))
        body = await aside(models.heavy(answer), lambda: _dumps({"results": models.classes(answer)}))
        return Reply(200, body, [JSON, *marks(answer)])

    async def regress(self, call: Call) -> Reply:
        entry = self._admit(call)
        model = views.model_of(entry)
        name = models.number(model.output_specs)
        inputs = await _examples(call, model)
        answer, outputs = await self._ask(call, views.Given(inputs, [name]))
        return Reply(200, _dumps({"results": models.numbers(outputs[0])}), [JSON, *marks(answer)])

    async def metadata(self, call: Call) -> Reply:
        entry = self._find(call)
        model = views.model_of(entry)
        told = messages.metadata(entry.name, entry.version, model.input_specs, model.output_specs)
        return Reply(200, _dumps(told), [JSON])

    async def status(self, call: Call) -> Reply:
        entries = models.held(self._engine, *_meant(call))
        return Reply(200, _dumps({"model_version_status": [_status(entry) for entry in entries]}), [JSON])

    async def malformed(self, call: Call) -> Reply:
        raise ServerError(f"Malformed request: {call.method} {call.path}", code="malformed_http")


async def _examples(call: Call, model: Model) -> list[Tensor]:
    data = await call.read()
    return await aside(len(data) > HEAVY, lambda: messages.examples(data, model.input_specs))


def _meant(call: Call) -> tuple[str, int | None, str | None]:
    """Name, version and label of an address."""
    return str(call.parameters["name"]), version_number(call.parameters.get("version")), call.parameters.get("label")


def _status(entry: Entry) -> dict[str, Any]:
    error = {"error_code": "UNKNOWN", "error_message": entry.error.code} if entry.error else {}
    return {
        "version": str(entry.version),
        "state": models.STATES[entry.state],
        "status": error or {"error_code": "OK", "error_message": ""},
    }


def _dumps(record: Any) -> bytes:
    """JSON in which this dialect writes NaN and Infinity bare."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()
