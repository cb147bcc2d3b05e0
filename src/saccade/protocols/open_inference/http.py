"""The Open Inference Protocol v2 over HTTP: convert, ask the engine, convert back."""

import asyncio
from typing import Any

from saccade.errors import SaccadeError, ServerError
from saccade.inference.engine import Engine
from saccade.inference.shelves import Entry
from saccade.limits import BODY_LIMITS
from saccade.protocols import views
from saccade.protocols.method import HEAVY, Method, apart, aside
from saccade.protocols.native.http import MAX_BODY
from saccade.protocols.native.messages import dumps, strict_json
from saccade.protocols.open_inference import messages, state
from saccade.protocols.protocol import Call, Control, Protocol, Reply, Route, marks, said, status, version_number

JSON = ("content-type", "application/json")
KEPT = (401, 403, 404, 405, 408, 413, 414, 415, 429, 431, 500, 501, 503, 504, 507)
"""Statuses that this dialect shares; of every other mistake it says 400."""
MAX_CONTROL = BODY_LIMITS.max_control_bytes


class OpenInference(Protocol):
    """max_bytes: of an inference body. style: "kserve", or "triton" for its empty health bodies and its 400."""

    name = "open_inference"
    prefixes = ("/v2",)

    def __init__(self, max_bytes: int = MAX_BODY, control: Control | None = None, style: str = "kserve") -> None:
        self.max_bytes = max_bytes
        self.control = control or Control()
        self.triton = style == "triton"

    def routes(self, engine: Engine) -> list[Route]:
        api = _Api(engine, self.control, self.triton)
        found = [
            Route("GET", "/v2", api.server),
            Route("GET", "/v2/health/live", api.live, open=True),
            Route("GET", "/v2/health/ready", api.ready, open=True),
            Route("GET", "/v2/models", api.models),
            Route("GET", "/v2/models/stats", api.stats),
            Route("POST", "/v2/repository/index", api.index, MAX_CONTROL),
            Route("POST", "/v2/repository/models/{name}/load", api.load, MAX_CONTROL, scope="control"),
            Route("POST", "/v2/repository/models/{name}/unload", api.unload, MAX_CONTROL, scope="control"),
        ]
        for base in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
            found += [
                Route("GET", base, api.metadata),
                Route("GET", f"{base}/ready", api.model_ready),
                Route("GET", f"{base}/config", api.config),
                Route("GET", f"{base}/stats", api.stats),
                Route("POST", f"{base}/infer", api.infer, self.max_bytes),
            ]
        for kind in ("system", "cuda"):
            found.append(Route("GET", f"/v2/{kind}sharedmemory/status", api.no_memory))
            found.append(Route("GET", f"/v2/{kind}sharedmemory/region/{{region}}/status", api.no_memory))
            for verb in ("register", "unregister"):
                found.append(
                    Route("POST", f"/v2/{kind}sharedmemory/region/{{region}}/{verb}", api.no_memory, MAX_CONTROL)
                )
            found.append(Route("POST", f"/v2/{kind}sharedmemory/unregister", api.no_memory, MAX_CONTROL))
        return found

    def methods(self, engine: Engine) -> list[Method]:
        from saccade.protocols.open_inference import grpc  # protobuf comes with an extra

        return grpc.offered(engine, self.control)

    def refuse(self, error: SaccadeError, request_id: str) -> Reply:
        number = status(error.code)
        if number not in KEPT or (self.triton and error.code == "not_ready"):
            number = 400
        return Reply(number, dumps({"error": said(error)}), [JSON])


class _Api:
    def __init__(self, engine: Engine, control: Control, triton: bool) -> None:
        self._engine = engine
        self._control = control
        self._triton = triton

    def _admit(self, call: Call) -> Entry:
        """A refusal that needs no body comes before the body; how many rows there are is not known yet."""
        version = version_number(call.parameters.get("version"))
        return self._engine.admit(
            call.parameters["name"], version, call.deadline_s, several=True, caller=call.caller, urgent=call.urgent
        )

    def _find(self, call: Call) -> Entry:
        return self._engine.find(call.parameters["name"], version_number(call.parameters.get("version")))

    def _well(self, record: dict[str, Any]) -> Reply:
        return Reply(200) if self._triton else Reply(200, dumps(record), [JSON])

    async def server(self, call: Call) -> Reply:
        return Reply(200, dumps(state.server()), [JSON])

    async def live(self, call: Call) -> Reply:
        return self._well({"live": True})

    async def ready(self, call: Call) -> Reply:
        try:
            self._control.ready()
        except SaccadeError:
            if self._triton:
                return Reply(400)
            raise
        return self._well({"ready": True})

    async def models(self, call: Call) -> Reply:
        return Reply(200, dumps({"models": self._engine.names()}), [JSON])

    async def metadata(self, call: Call) -> Reply:
        return Reply(200, dumps(state.metadata(self._engine, self._find(call))), [JSON])

    async def model_ready(self, call: Call) -> Reply:
        return self._well({"name": self._find(call).name, "ready": True})

    async def config(self, call: Call) -> Reply:
        return Reply(200, dumps(state.config(self._find(call), self._engine.max_images)), [JSON])

    async def stats(self, call: Call) -> Reply:
        name, version = call.parameters.get("name"), version_number(call.parameters.get("version"))
        return Reply(200, dumps(state.statistics(state.counted(self._engine, name, version))), [JSON])

    async def index(self, call: Call) -> Reply:
        record = await _object(call)
        only = record.get("ready", False)
        if not isinstance(only, bool):
            raise messages.wrong("ready is true or false")
        return Reply(200, dumps(state.index(self._engine, await asyncio.to_thread(self._control.names), only)), [JSON])

    async def load(self, call: Call) -> Reply:
        record = await _object(call)
        state.as_sealed(record.get("parameters"))
        await apart(lambda: self._control.load(call.parameters["name"]))
        return Reply(200)

    async def unload(self, call: Call) -> Reply:
        await _object(call)
        await apart(lambda: self._control.unload(call.parameters["name"]))
        return Reply(200)

    async def no_memory(self, call: Call) -> Reply:
        raise ServerError("shared memory is not implemented", hint="send the tensor itself", code="not_implemented")

    async def infer(self, call: Call) -> Reply:
        self._admit(call)
        data = await call.read()
        length = messages.header_length(call.headers.get(messages.LENGTH), len(data))
        model = views.model_of(self._find(call))
        if length == 0:
            if len(model.input_specs) != 1:
                raise messages.wrong("a raw request needs a model with one input", hint="send JSON")
            asked = messages.raw_request(data, model.input_specs[0], views.pixels(model) is not None)
        else:
            asked = await aside(len(data) > HEAVY, lambda: messages.infer(data, length))
        deadline_s = min(call.deadline_s, asked.timeout_s or call.deadline_s)
        given = messages.asked(asked.inputs, asked.outputs)
        urgent = call.urgent if asked.urgent is None else asked.urgent
        answer, outputs = await views.ask(
            self._engine,
            call.parameters["name"],
            version_number(call.parameters.get("version")),
            given,
            deadline_s,
            call.left,
            call.request_id,
            caller=call.caller,
            urgent=urgent,
            alone=call.alone,
        )
        wanted = asked.outputs or [messages.Wanted(output.name, asked.binary) for output in outputs]
        head: dict[str, Any] = {"model_name": answer.model, "model_version": str(answer.version)}
        if asked.id is not None:
            head["id"] = asked.id
        body, json_length = await aside(
            messages.heavy(outputs, wanted),
            lambda: messages.response(head, messages.results(outputs, wanted, answer.labels)),
        )
        if json_length is None:
            return Reply(200, body, [JSON, *marks(answer)])
        kind = ("content-type", "application/octet-stream")
        return Reply(200, body, [kind, (messages.LENGTH, str(json_length)), *marks(answer)])


async def _object(call: Call) -> dict[str, Any]:
    """An optional JSON object as the body."""
    data = await call.read()
    record = await aside(len(data) > HEAVY, lambda: strict_json(data)) if data else {}
    if not isinstance(record, dict):
        raise messages.wrong("the body is no object", code="malformed_json")
    return record
