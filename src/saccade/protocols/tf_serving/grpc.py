"""TensorFlow Serving's PredictionService and ModelService: convert, ask the engine, convert back."""

from typing import Any

from saccade.errors import ServerError
from saccade.inference.engine import Engine
from saccade.inference.model import Model
from saccade.inference.request import Answer
from saccade.inference.shelves import Entry
from saccade.protocols import views
from saccade.protocols.method import HEAVY, Invocation, Method, Once, aside
from saccade.protocols.offer import offer
from saccade.protocols.protocol import marks
from saccade.protocols.tensors import Tensor, elements
from saccade.protocols.tf_serving import messages, models, protobuf
from saccade.wire import schema

PREDICTION, MODEL = "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"
NEEDS = {"HandleReloadConfigRequest": "control"}


def offered(engine: Engine) -> list[Method]:
    api = _Api(engine)
    handlers: dict[str, Once] = {
        "Predict": api.predict,
        "Classify": api.classify,
        "Regress": api.regress,
        "GetModelMetadata": api.metadata,
        "GetModelStatus": api.status,
    }
    pictures = ("Predict", "Classify", "Regress")
    return [m for service in (PREDICTION, MODEL) for m in offer(service, handlers, _refuse, NEEDS, pictures)]


async def _refuse(call: Invocation, request: Any) -> Any:
    raise ServerError(
        "several tasks in one request, and another configuration, are not implemented",
        hint="ask for each; models are loaded and unloaded over the Open Inference Protocol",
        code="not_implemented",
    )


def _reply(name: str, **fields: Any) -> Any:
    return schema.message(f"tensorflow.serving.{name}")(**fields)


class _Api:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def _find(self, spec: Any) -> Entry:
        models.signature(spec.signature_name)
        return models.find(self._engine, *_meant(spec))

    async def _ask(self, call: Invocation, spec: Any, given: views.Given) -> tuple[Answer, list[Tensor]]:
        name, version, label = _meant(spec)
        answer, outputs = await views.ask(
            self._engine,
            models.full(name, label),
            version,
            given,
            call.left_s(),
            request_id=call.request_id,
            caller=call.caller,
            urgent=call.urgent,
        )
        call.told += marks(answer)
        return answer, outputs

    async def predict(self, call: Invocation, request: Any) -> Any:
        entry = self._find(request.model_spec)
        names = list(request.output_filter) or [spec.name for spec in views.model_of(entry).output_specs]
        inputs = await aside(protobuf.heavy(request), lambda: protobuf.inputs(request.inputs))
        answer, outputs = await self._ask(call, request.model_spec, views.Given(inputs, names))

        def written() -> Any:
            reply = _reply("PredictResponse", model_spec=_spec(answer))
            for output in outputs:
                reply.outputs[output.name].CopyFrom(protobuf.tensor(output))
            return reply

        return await aside(elements(outputs) > HEAVY, written)

    async def classify(self, call: Invocation, request: Any) -> Any:
        entry = self._find(request.model_spec)
        inputs = await _examples(request.input, views.model_of(entry))
        answer, _ = await self._ask(call, request.model_spec, views.Given(inputs, []))

        def written() -> Any:
            reply = _reply("ClassificationResponse", model_spec=_spec(answer))
            for row in models.classes(answer):
                named = reply.result.classifications.add()
                for label, score in row:
                    named.classes.add(label=label, score=score)
            return reply

        return await aside(models.heavy(answer), written)

    async def regress(self, call: Invocation, request: Any) -> Any:
        entry = self._find(request.model_spec)
        model = views.model_of(entry)
        name = models.number(model.output_specs)
        inputs = await _examples(request.input, model)
        answer, outputs = await self._ask(call, request.model_spec, views.Given(inputs, [name]))
        reply = _reply("RegressionResponse", model_spec=_spec(answer))
        for value in models.numbers(outputs[0]):
            reply.result.regressions.add(value=value)
        return reply

    async def metadata(self, call: Invocation, request: Any) -> Any:
        if list(request.metadata_field) != ["signature_def"]:
            raise messages.wrong("the only metadata field here is signature_def", hint="ask for it")
        entry = self._find(request.model_spec)
        model = views.model_of(entry)
        told = messages.metadata(entry.name, entry.version, model.input_specs, model.output_specs)["metadata"]
        reply = _reply("GetModelMetadataResponse", model_spec=_named(entry.name, entry.version))
        signatures = schema.message("tensorflow.serving.SignatureDefMap")
        reply.metadata["signature_def"].Pack(schema.fill(signatures, told["signature_def"]))
        return reply

    async def status(self, call: Invocation, request: Any) -> Any:
        reply = _reply("GetModelStatusResponse")
        for entry in models.held(self._engine, *_meant(request.model_spec)):
            told = reply.model_version_status.add(version=entry.version, state=models.STATES[entry.state])
            told.status.error_code = "UNKNOWN" if entry.error else "OK"
            told.status.error_message = entry.error.code if entry.error else ""
        return reply


async def _examples(given: Any, model: Model) -> list[Tensor]:
    return await aside(given.ByteSize() > HEAVY, lambda: protobuf.examples(given, model.input_specs))


def _meant(spec: Any) -> tuple[str, int | None, str | None]:
    """Name, version and label of a ModelSpec. Raises ServerError(invalid_value) without a name."""
    if not spec.name:
        raise messages.wrong("Missing ModelSpec", hint="name a model")
    return spec.name, spec.version.value if spec.HasField("version") else None, spec.version_label or None


def _named(name: str, version: int) -> Any:
    spec = schema.message("tensorflow.serving.ModelSpec")(name=name, signature_name="serving_default")
    spec.version.value = version
    return spec


def _spec(answer: Answer) -> Any:
    return _named(answer.model, answer.version)
