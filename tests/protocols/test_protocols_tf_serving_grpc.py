"""TensorFlow Serving's messages without a socket: tensors in every form, examples, one number a row, records of
models."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from saccade.errors import SaccadeError
from saccade.inference.engine import Engine
from saccade.protocols.protocol import grpc_status
from saccade.protocols.tensors import of
from saccade.protocols.tf_serving import protobuf
from saccade.protocols.tf_serving.http import TensorFlowServing
from saccade.testing.graphs import foreign
from saccade.testing.packages import boxes, colors, png
from saccade.testing.protocols import ask as ask_http
from saccade.testing.protocols import asked_once
from saccade.verbs.imports import import_model
from saccade.wire import schema
from saccade.wire.names import TENSORFLOW

ROWS = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), np.uint8)
SCORES = ROWS.mean((1, 2)) / 255
Predict = schema.message("tensorflow.serving.PredictRequest")
Classification = schema.message("tensorflow.serving.ClassificationRequest")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine, folder = Engine(), tmp_path_factory.mktemp("tfs")
    engine.load(colors(folder / "a").path, "colors", 1)
    engine.load(colors(folder / "b", reverse=True).path, "colors", 2)
    engine.set_aliases("colors", {"stable": 1})
    engine.load(boxes(folder / "c").path, "boxes", 1)
    weights = {"w": np.arange(1, 5, dtype=np.float32).reshape(4, 1)}
    file = foreign(folder / "sum.onnx", [("MatMul", ["x", "w"], ["y"], {})], {"x": ["N", 4]}, {"y": ["N", 1]}, weights)
    engine.load(import_model(file, folder / "d").package, "sum", 1)
    yield engine
    engine.close()


def ask(engine: Engine, name: str, request: Any) -> Any:
    method = next(m for m in TensorFlowServing().methods(engine) if m.path.endswith(f"/{name}"))
    return asked_once(method, request)


def refusal(engine: Engine, name: str, request: Any) -> tuple[str, str]:
    with pytest.raises(SaccadeError) as caught:
        ask(engine, name, request)
    return grpc_status(caught.value.code), str(caught.value)


def predict(value: Any = ROWS, model: str = "colors", **spec: Any) -> Any:
    request = Predict()
    request.model_spec.name = model
    for name, given in spec.items():
        if name == "version":
            request.model_spec.version.value = given
        else:
            setattr(request.model_spec, name, given)
    request.inputs["image"].CopyFrom(protobuf.tensor(of("image", value)))
    return request


def scores(reply: Any) -> Any:
    return np.reshape(reply.outputs["scores"].float_val, [dim.size for dim in reply.outputs["scores"].tensor_shape.dim])


def test_tensors_as_values_and_as_bytes(engine: Engine) -> None:
    typed = predict()
    content = predict()
    del content.inputs["image"].int_val[:]
    content.inputs["image"].tensor_content = ROWS.tobytes()
    for request in (typed, content):
        reply = ask(engine, "Predict", request)
        np.testing.assert_allclose(scores(reply), SCORES, atol=1e-6)
        assert (reply.model_spec.name, reply.model_spec.version.value) == ("colors", 2)


def test_values_left_out_repeat_the_last(engine: Engine) -> None:
    request = predict(ROWS[:1])
    del request.inputs["image"].int_val[5:]
    whole = np.pad(ROWS[:1].ravel()[:5], (0, 3067), "edge").reshape(1, 32, 32, 3)
    np.testing.assert_allclose(scores(ask(engine, "Predict", request)), scores(ask(engine, "Predict", predict(whole))))


@pytest.mark.parametrize("dtype", list(TENSORFLOW))
def test_every_type_comes_back(dtype: str) -> None:
    array = np.array([[0, 1], [1, 0]]).astype(dtype)
    if array.dtype.kind == "f":
        array[0, 0] = np.nan
    proto = protobuf.tensor(of("x", array))
    found, shape = protobuf.value(proto)
    assert (found.dtype, shape) == (array.dtype, (2, 2))
    np.testing.assert_array_equal(found, array)


def test_versions_labels_and_signatures(engine: Engine) -> None:
    assert ask(engine, "Predict", predict(version=1)).model_spec.version.value == 1
    assert ask(engine, "Predict", predict(version_label="stable")).model_spec.version.value == 1
    assert refusal(engine, "Predict", predict(version=9)) == (
        "NOT_FOUND",
        "Servable not found for request: Specific(colors, 9)",
    )
    assert refusal(engine, "Predict", predict(model="nobody"))[1] == "Servable not found for request: Latest(nobody)"
    assert refusal(engine, "Predict", predict(version_label="nothing"))[0] == "NOT_FOUND"
    assert refusal(engine, "Predict", predict(signature_name="other"))[0] == "NOT_FOUND"
    assert refusal(engine, "Predict", predict(model=""))[1].startswith("Missing ModelSpec")


def examples(model: str, *features: dict[str, Any], context: dict[str, Any] | None = None) -> Any:
    request = Classification()
    request.model_spec.name = model
    kind = "example_list" if context is None else "example_list_with_context"
    target = getattr(request.input, kind)
    for given in features:
        filled(target.examples.add(), given)
    if context:
        filled(target.context, context)
    return request


def filled(example: Any, given: dict[str, Any]) -> None:
    for name, value in given.items():
        feature = example.features.feature[name]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        elif value and isinstance(value[0], float):
            feature.float_list.value.extend(value)
        else:
            feature.int64_list.value.extend(value)


def test_examples_of_pictures_and_of_numbers(engine: Engine) -> None:
    red = {"image": png(255, 0, 51)}
    found = ask(engine, "Classify", examples("colors", red, red)).result.classifications
    assert [(one.classes[0].label, round(one.classes[0].score, 6)) for one in found] == [("blue", 1.0)] * 2
    row = {"image": ROWS[0].ravel().tolist()}
    top = ask(engine, "Classify", examples("colors", row)).result.classifications[0].classes[0].score
    assert top == pytest.approx(SCORES[0].max(), abs=1e-6)
    same = ask(engine, "Classify", examples("colors", {}, context=red)).result.classifications
    assert same[0].classes[0].label == "blue"


def test_what_no_example_may_be(engine: Engine) -> None:
    red, row = {"image": png(255, 0, 51)}, {"image": ROWS[0].ravel().tolist()}
    assert "Input is empty" in refusal(engine, "Classify", examples("colors"))[1]
    assert "same kind" in refusal(engine, "Classify", examples("colors", red, row))[1]
    assert "same features" in refusal(engine, "Classify", examples("colors", red, {}))[1]
    assert "unknown to this model" in refusal(engine, "Classify", examples("colors", {"other": b"x"}))[1]
    assert "does not fit" in refusal(engine, "Classify", examples("colors", {"image": [256] * 3072}))[1]
    assert "expected uint8" in refusal(engine, "Classify", examples("colors", {"image": [1.0] * 3072}))[1]
    assert refusal(engine, "Classify", examples("boxes", red))[0] == "UNIMPLEMENTED"


def test_one_number_a_row_over_both_mouths(engine: Engine) -> None:
    given = examples("sum", {"x": [1.0, 1.0, 1.0, 1.0]}, {"x": [0.0, 0.0, 0.0, 2.0]})
    request = schema.message("tensorflow.serving.RegressionRequest").FromString(given.SerializeToString())
    assert [one.value for one in ask(engine, "Regress", request).result.regressions] == [10.0, 8.0]
    route = next(r for r in TensorFlowServing().routes(engine) if r.pattern == "/v1/models/{name}:regress")
    body = b'{"examples":[{"x":[1,1,1,1]},{"x":[0,0,0,2]}]}'
    assert ask_http(route, body, name="sum").body == b'{"results":[10.0,8.0]}'
    request.model_spec.name = "colors"
    assert refusal(engine, "Regress", request)[0] == "UNIMPLEMENTED"


def test_what_is_told_of_models(engine: Engine) -> None:
    asked = schema.message("tensorflow.serving.GetModelMetadataRequest")(metadata_field=["signature_def"])
    asked.model_spec.name = "colors"
    found = schema.message("tensorflow.serving.SignatureDefMap")()
    assert ask(engine, "GetModelMetadata", asked).metadata["signature_def"].Unpack(found)
    signature = found.signature_def["serving_default"]
    assert [dim.size for dim in signature.inputs["image"].tensor_shape.dim] == [-1, 32, 32, 3]
    assert signature.method_name == "tensorflow/serving/predict"
    del asked.metadata_field[:]
    assert refusal(engine, "GetModelMetadata", asked)[0] == "INVALID_ARGUMENT"
    status = schema.message("tensorflow.serving.GetModelStatusRequest")()
    status.model_spec.name = "colors"
    found = ask(engine, "GetModelStatus", status).model_version_status
    assert [(one.version, one.state) for one in found] == [(2, 30), (1, 30)]
    status.model_spec.version_label = "stable"
    assert [one.version for one in ask(engine, "GetModelStatus", status).model_version_status] == [1]


def test_what_is_refused_in_words(engine: Engine) -> None:
    for name, kind in (
        ("MultiInference", "MultiInferenceRequest"),
        ("HandleReloadConfigRequest", "ReloadConfigRequest"),
    ):
        assert refusal(engine, name, schema.message(f"tensorflow.serving.{kind}")())[0] == "UNIMPLEMENTED"
