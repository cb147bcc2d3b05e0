"""The Open Inference Protocol's messages without a socket: tensors in every form, refusals, what is told of models."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from saccade.errors import SaccadeError
from saccade.inference.engine import Engine
from saccade.protocols.open_inference import protobuf
from saccade.protocols.open_inference.http import OpenInference
from saccade.protocols.open_inference.messages import Result
from saccade.protocols.protocol import grpc_status
from saccade.protocols.tensors import of
from saccade.testing.packages import colors
from saccade.testing.protocols import asked_once
from saccade.wire import schema

Infer = schema.message("inference.ModelInferRequest")
ROWS = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), np.uint8)
SCORES = ROWS.mean((1, 2)) / 255


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine, folder = Engine(), tmp_path_factory.mktemp("oip")
    engine.load(colors(folder / "a").path, "colors", 1)
    engine.load(colors(folder / "b", reverse=True).path, "colors", 2)
    engine.set_aliases("colors", {"old": 1})
    yield engine
    engine.close()


def ask(engine: Engine, method_name: str, request: Any = None, **fields: Any) -> Any:
    method = next(m for m in OpenInference().methods(engine) if m.path.endswith(f"/{method_name}"))
    return asked_once(method, method.request(**fields) if request is None else request)


def refusal(engine: Engine, name: str, request: Any = None, **fields: Any) -> tuple[str, str]:
    with pytest.raises(SaccadeError) as caught:
        ask(engine, name, request, **fields)
    return grpc_status(caught.value.code), str(caught.value)


def rows(raw: bool = True, datatype: str = "UINT8", model: str = "colors", **fields: Any) -> Any:
    request = Infer(model_name=model, **fields)
    tensor = request.inputs.add(name="image", datatype=datatype, shape=ROWS.shape)
    if raw:
        request.raw_input_contents.append(ROWS.tobytes())
    else:
        tensor.contents.uint_contents.extend(ROWS.ravel().tolist())
    return request


def test_an_answer_comes_as_it_was_asked(engine: Engine) -> None:
    raw, typed = ask(engine, "ModelInfer", rows(id="mine")), ask(engine, "ModelInfer", rows(raw=False))
    assert (raw.model_name, raw.model_version, raw.id, typed.id) == ("colors", "2", "mine", "")
    np.testing.assert_allclose(np.frombuffer(raw.raw_output_contents[0], "<f4").reshape(2, 3), SCORES, atol=1e-6)
    assert not raw.outputs[0].HasField("contents")
    np.testing.assert_allclose(np.reshape(typed.outputs[0].contents.fp32_contents, (2, 3)), SCORES, atol=1e-6)
    assert list(typed.raw_output_contents) == []
    assert list(typed.outputs[0].shape) == [2, 3]


def test_versions_and_aliases(engine: Engine) -> None:
    assert ask(engine, "ModelInfer", rows(model_version="1")).model_version == "1"
    assert ask(engine, "ModelInfer", rows(model="colors@old")).model_version == "1"
    for version in ("3", "x", "-1", "9" * 30):
        assert refusal(engine, "ModelInfer", rows(model_version=version))[0] == "NOT_FOUND"


def test_classes_by_name_and_the_time_that_is_left(engine: Engine) -> None:
    request = rows()
    request.outputs.add(name="scores").parameters["classification"].int64_param = 2
    found = ask(engine, "ModelInfer", request)
    assert (found.outputs[0].datatype, list(found.outputs[0].shape)) == ("BYTES", [2, 2])
    request.parameters["timeout"].uint64_param = 1
    assert refusal(engine, "ModelInfer", request)[0] == "DEADLINE_EXCEEDED"
    request.parameters["timeout"].string_param = "soon"
    assert refusal(engine, "ModelInfer", request)[0] == "INVALID_ARGUMENT"


def test_half_floats_are_raw_and_so_is_all_beside_them() -> None:
    halves, floats = Result(of("h", np.ones(2, np.float16)), "FP16"), Result(of("f", np.ones(1, np.float32)), "FP32")
    reply = protobuf.response("m", 1, "", [halves, floats], raw=False)
    assert [len(part) for part in reply.raw_output_contents] == [4, 4]
    assert not any(output.HasField("contents") for output in reply.outputs)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r.raw_input_contents.append(b""), "2 raw inputs came for 1"),
        (lambda r: r.inputs[0].contents.uint_contents.append(1), "contents though"),
        (lambda r: r.raw_input_contents.pop(), "0 values, expected 6144"),
        (lambda r: r.raw_input_contents.__setitem__(0, b"x"), "1 bytes, expected 6144"),
        (lambda r: r.inputs[0].shape.append(-1), "no list of at most"),
        (lambda r: r.inputs[0].__setattr__("datatype", "UINT9"), "unknown datatype"),
        (lambda r: r.inputs.pop(), "raw inputs came|inputs are 1"),
        (lambda r: r.inputs[0].parameters["shared_memory_region"].__setattr__("string_param", "a"), "shared memory"),
        (lambda r: r.outputs.add(name="nothing"), "output is unknown"),
        (lambda r: [r.outputs.add(name="scores"), r.outputs.add(name="scores")], "asked for twice"),
    ],
)
def test_mistakes_are_told(engine: Engine, change: Any, words: str) -> None:
    request = rows()
    change(request)
    status, said = refusal(engine, "ModelInfer", request)
    assert status == ("UNIMPLEMENTED" if words == "shared memory" else "INVALID_ARGUMENT")
    assert re.search(words, said), said


def test_typed_values_have_to_fit(engine: Engine) -> None:
    request = rows(raw=False)
    request.inputs[0].contents.uint_contents[0] = 256
    assert "does not fit uint8" in refusal(engine, "ModelInfer", request)[1]
    request.inputs[0].contents.fp32_contents.append(1)
    assert "came with" in refusal(engine, "ModelInfer", request)[1]
    half = rows(raw=False, datatype="FP16")
    assert "no typed contents" in refusal(engine, "ModelInfer", half)[1]


def test_what_is_told_of_models(engine: Engine) -> None:
    assert ask(engine, "ServerLive").live
    assert ask(engine, "ServerReady").ready
    assert "statistics" in ask(engine, "ServerMetadata").extensions
    for name, version, ready in (("colors", "1", True), ("colors", "3", False), ("nobody", "", False)):
        assert ask(engine, "ModelReady", name=name, version=version).ready is ready
    told = ask(engine, "ModelMetadata", name="colors")
    assert (list(told.versions), list(told.inputs[0].shape), told.inputs[0].datatype) == (
        ["1", "2"],
        [-1, 32, 32, 3],
        "UINT8",
    )
    config = ask(engine, "ModelConfig", name="colors").config
    assert (list(config.input[0].dims), config.input[0].data_type, config.max_batch_size) == ([32, 32, 3], 2, 64)
    assert config.WhichOneof("scheduling_choice") == "dynamic_batching"
    ask(engine, "ModelInfer", rows())
    stats = ask(engine, "ModelStatistics", name="colors", version="2").model_stats
    assert len(stats) == 1
    assert stats[0].inference_count >= 2
    assert len(ask(engine, "ModelStatistics").model_stats) == 2
    index = ask(engine, "RepositoryIndex", ready=True).models
    assert {(m.name, m.version, m.state) for m in index} == {("colors", "1", "READY"), ("colors", "2", "READY")}


def test_what_is_refused_in_words(engine: Engine) -> None:
    for name in ("CudaSharedMemoryRegister", "TraceSetting", "LogSettings"):
        assert refusal(engine, name)[0] == "UNIMPLEMENTED"
    assert refusal(engine, "RepositoryIndex", repository_name="other")[0] == "UNIMPLEMENTED"
    load = schema.message("inference.RepositoryModelLoadRequest")(model_name="colors")
    load.parameters["config"].string_param = "{}"
    assert "as it was sealed" in refusal(engine, "RepositoryModelLoad", load)[1]
