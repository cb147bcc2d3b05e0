"""The Open Inference Protocol v2 over gRPC: convert, ask the engine, convert back."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from typing import Any

from saccade.errors import InferenceError, SaccadeError, ServerError
from saccade.inference.engine import Engine
from saccade.protocols import views
from saccade.protocols.method import Invocation, Method, Once, Stream, apart, aside
from saccade.protocols.offer import offer
from saccade.protocols.open_inference import messages, protobuf, state
from saccade.protocols.protocol import Control, marks, said, version_number
from saccade.wire import schema

SERVICE = "inference.GRPCInferenceService"
NEEDS = {
    "ServerLive": "open",
    "ServerReady": "open",
    "RepositoryModelLoad": "control",
    "RepositoryModelUnload": "control",
}
AHEAD = 32
"""Requests of one stream that are at work at once; answers keep their order."""


def offered(engine: Engine, control: Control) -> list[Method]:
    api = _Api(engine, control)
    handlers: dict[str, Once | Stream] = {
        "ServerLive": api.live,
        "ServerReady": api.ready,
        "ServerMetadata": api.server,
        "ModelReady": api.model_ready,
        "ModelMetadata": api.metadata,
        "ModelConfig": api.config,
        "ModelStatistics": api.statistics,
        "ModelInfer": api.infer,
        "ModelStreamInfer": api.stream,
        "RepositoryIndex": api.index,
        "RepositoryModelLoad": api.load,
        "RepositoryModelUnload": api.unload,
    }
    return offer(SERVICE, handlers, _refuse, NEEDS, ("ModelInfer", "ModelStreamInfer"))


async def _refuse(call: Invocation, request: Any) -> Any:
    raise ServerError(
        "shared memory, tracing and logging are not implemented", hint="send the tensor itself", code="not_implemented"
    )


def _reply(name: str, **fields: Any) -> Any:
    return schema.message(f"inference.{name}Response")(**fields)


def _told(name: str, record: dict[str, Any]) -> Any:
    return schema.fill(schema.message(f"inference.{name}Response"), record)


class _Api:
    def __init__(self, engine: Engine, control: Control) -> None:
        self._engine = engine
        self._control = control

    async def live(self, call: Invocation, request: Any) -> Any:
        return _reply("ServerLive", live=True)

    async def ready(self, call: Invocation, request: Any) -> Any:
        try:
            self._control.ready()
        except SaccadeError:
            return _reply("ServerReady", ready=False)
        return _reply("ServerReady", ready=True)

    async def server(self, call: Invocation, request: Any) -> Any:
        return _told("ServerMetadata", state.server())

    async def model_ready(self, call: Invocation, request: Any) -> Any:
        try:
            self._engine.find(request.name, version_number(request.version))
        except InferenceError:
            return _reply("ModelReady", ready=False)
        return _reply("ModelReady", ready=True)

    async def metadata(self, call: Invocation, request: Any) -> Any:
        entry = self._engine.find(request.name, version_number(request.version))
        return _told("ModelMetadata", state.metadata(self._engine, entry))

    async def config(self, call: Invocation, request: Any) -> Any:
        entry = self._engine.find(request.name, version_number(request.version))
        return _told("ModelConfig", {"config": state.config(entry, self._engine.max_images)})

    async def statistics(self, call: Invocation, request: Any) -> Any:
        entries = state.counted(self._engine, request.name or None, version_number(request.version))
        return _told("ModelStatistics", state.statistics(entries))

    async def index(self, call: Invocation, request: Any) -> Any:
        state.one_repository(request.repository_name)
        names = await asyncio.to_thread(self._control.names)
        return _told("RepositoryIndex", {"models": state.index(self._engine, names, request.ready)})

    async def load(self, call: Invocation, request: Any) -> Any:
        state.one_repository(request.repository_name)
        state.as_sealed(request.parameters)
        await apart(lambda: self._control.load(request.model_name))
        return _reply("RepositoryModelLoad")

    async def unload(self, call: Invocation, request: Any) -> Any:
        state.one_repository(request.repository_name)
        await apart(lambda: self._control.unload(request.model_name))
        return _reply("RepositoryModelUnload")

    async def infer(self, call: Invocation, request: Any) -> Any:
        name, version = request.model_name, version_number(request.model_version)
        self._engine.find(name, version)
        asked = await aside(protobuf.heavy(request), lambda: protobuf.infer(request))
        deadline_s = min(call.left_s(), asked.timeout_s or call.deadline_s)
        given = messages.asked(asked.inputs, asked.outputs)
        urgent = call.urgent if asked.urgent is None else asked.urgent
        answer, outputs = await views.ask(
            self._engine,
            name,
            version,
            given,
            deadline_s,
            request_id=call.request_id,
            caller=call.caller,
            urgent=urgent,
        )
        call.told += marks(answer)
        wanted = asked.outputs or [messages.Wanted(output.name) for output in outputs]

        def written() -> Any:
            found = messages.results(outputs, wanted, answer.labels)
            return protobuf.response(answer.model, answer.version, request.id, found, asked.binary)

        return await aside(messages.heavy(outputs, wanted), written)

    async def stream(self, call: Invocation, requests: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
        """Answers in the order of the requests, of which several are at work; a refusal is an answer too."""
        waiting: asyncio.Queue[asyncio.Future[Any] | None] = asyncio.Queue(AHEAD)
        at_work: set[asyncio.Future[Any]] = set()

        async def listen() -> None:
            try:
                async for request in requests:
                    task = asyncio.ensure_future(self._streamed(call, request))
                    at_work.add(task)
                    task.add_done_callback(at_work.discard)
                    await waiting.put(task)
            except Exception as error:  # noqa: BLE001 - raised below, behind the answers that are due
                broken: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
                broken.set_exception(error)
                await waiting.put(broken)
            await waiting.put(None)

        listening = asyncio.ensure_future(listen())
        try:
            while (answer := await waiting.get()) is not None:
                yield await answer
        finally:
            listening.cancel()
            for left in list(at_work):
                left.cancel()

    async def _streamed(self, call: Invocation, request: Any) -> Any:
        try:
            # What is told of each answer would grow with the stream, beyond what metadata may hold.
            call.admit()
            own = replace(call, told=[])
            with call.hold(request.ByteSize()):
                return _reply("ModelStreamInfer", infer_response=await self.infer(own, request))
        except SaccadeError as error:
            return _reply("ModelStreamInfer", error_message=said(error))
