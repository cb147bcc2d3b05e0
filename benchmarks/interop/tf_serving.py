"""Every call of tensorflow-serving-api's stubs, and the same over REST, against a running server.

Runs with tensorflow beside it (`environment.beside`). Prints a JSON line for each call: protocol, call, ok, said.
"""

import argparse
import base64
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import grpc
import numpy as np
import tensorflow as tf
from described import differences
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

Check = tuple[str, Callable[[], Any], Callable[[Any], bool]]
SERVICES = {
    service.full_name: service
    for file in (prediction_service_pb2, model_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
}
PATIENCE_S = 30


class Case:
    """What is asked and what must come: the harness worked it out in its own process."""

    def __init__(self, file: str, model: str) -> None:
        record = np.load(file)
        self.model = model
        self.picture = record["picture"].tobytes()
        self.rows = record["rows"]
        self.outputs = [n.removeprefix("picture_") for n in record.files if n.startswith("picture_")]
        self.expected = {n: record[n] for n in record.files}

    def right(self, kind: str, found: dict[str, Any]) -> bool:
        """found: arrays by name, all of the model's outputs and nothing more."""
        return set(found) == set(self.outputs) and all(
            np.allclose(value, self.expected[f"{kind}_{name}"], atol=1e-6, rtol=1e-6) for name, value in found.items()
        )


def refused(call: Callable[[], Any]) -> Callable[[], str]:
    """The status and words that a call must end in, as its value."""

    def run() -> str:
        try:
            call()
        except grpc.RpcError as error:
            return f"{error.code().name} {error.details()}"
        except urllib.error.HTTPError as error:
            return f"{error.code} {json.load(error)['error']}"
        return ""

    return run


def over_grpc(case: Case, address: str) -> Iterator[Check]:
    channel = grpc.insecure_channel(address)
    predicting = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    models = model_service_pb2_grpc.ModelServiceStub(channel)

    def named(request: Any, model: str = case.model, **spec: Any) -> Any:
        request.model_spec.name = model
        if "version" in spec:
            request.model_spec.version.value = spec["version"]
        if "label" in spec:
            request.model_spec.version_label = spec["label"]
        request.model_spec.signature_name = spec.get("signature", "")
        return request

    def predict(value: Any, kind: Any, outputs: tuple[str, ...] = (), **spec: Any) -> Any:
        request = named(predict_pb2.PredictRequest(output_filter=outputs), **spec)
        request.inputs["image"].CopyFrom(value if kind is None else tf.make_tensor_proto(value, dtype=kind))
        return predicting.Predict(request, PATIENCE_S)

    def arrays(reply: Any) -> dict[str, Any]:
        return {name: tf.make_ndarray(proto) for name, proto in reply.outputs.items()}

    def examples(request: Any, *features: tf.train.Feature, name: str = "image") -> Any:
        for feature in features:
            example = tf.train.Example(features=tf.train.Features(feature={name: feature}))
            request.input.example_list.examples.append(example)
        return request

    def encoded() -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[case.picture]))

    def numbers(row: Any) -> tf.train.Feature:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=row.ravel().tolist()))

    rows, first = case.rows, case.outputs[0]
    yield "descriptions of messages", lambda: differences("tensorflow", SERVICES), lambda found: found == []
    yield "Predict, tensor", lambda: predict(rows, tf.uint8), lambda r: case.right("rows", arrays(r))
    yield (
        "Predict, typed values",
        lambda: predict(tensor_of_values(rows), None),
        lambda r: case.right("rows", arrays(r)),
    )
    yield (
        "Predict, values left out",
        lambda: predict(tf.make_tensor_proto(7, tf.uint8, [1, *rows.shape[1:]]), None),
        lambda r: arrays(r)[first].shape[0] == 1,
    )
    yield "Predict, pictures", lambda: predict([case.picture], tf.string), lambda r: case.right("picture", arrays(r))
    yield (
        "Predict, version, signature",
        lambda: predict(rows, tf.uint8, version=1, signature="serving_default"),
        lambda r: case.right("rows", arrays(r)) and r.model_spec.version.value == 1,
    )
    yield (
        "Predict, output filter",
        lambda: predict([case.picture], tf.string, (first, "prediction")),
        lambda r: (
            set(r.outputs) == {first, "prediction"}
            and json.loads(r.outputs["prediction"].string_val[0])["model"] == case.model
        ),
    )
    yield (
        "Predict, values by field",
        lambda: predict(rows, tf.uint8),
        lambda r: np.allclose(np.ravel(r.outputs["scores"].float_val), case.expected["rows_scores"].ravel(), atol=1e-6),
    )
    for words, call, expected in (
        (
            "unknown model",
            lambda: predict(rows, tf.uint8, model="nobody"),
            "NOT_FOUND Servable not found for request: Latest(nobody)",
        ),
        (
            "unknown version",
            lambda: predict(rows, tf.uint8, version=9),
            "NOT_FOUND Servable not found for request: Spe",
        ),
        ("unknown label", lambda: predict(rows, tf.uint8, label="nothing"), "NOT_FOUND"),
        ("unknown signature", lambda: predict(rows, tf.uint8, signature="other"), "NOT_FOUND"),
        ("no model", lambda: predict(rows, tf.uint8, model=""), "INVALID_ARGUMENT Missing ModelSpec"),
        ("wrong type", lambda: predict(rows.astype(np.float32), tf.float32), "INVALID_ARGUMENT"),
        ("wrong shape", lambda: predict(rows[:, 1:], tf.uint8), "INVALID_ARGUMENT"),
        ("no picture", lambda: predict([b"GIF89a"], tf.string), "INVALID_ARGUMENT"),
        ("too many rows", lambda: predict(np.repeat(rows, 65, 0), tf.uint8), "INVALID_ARGUMENT"),
        ("unknown output", lambda: predict(rows, tf.uint8, ("nothing",)), "INVALID_ARGUMENT"),
        ("values left out, huge", lambda: predict(huge(), None), "RESOURCE_EXHAUSTED"),
        (
            "another type altogether",
            lambda: predict(tf.make_tensor_proto(rows.astype(np.complex64)), None),
            "INVALID_ARGUMENT",
        ),
    ):
        yield f"Predict, {words}", refused(call), lambda said, e=expected: said.startswith(e)
    if case.model == "colors":
        yield (
            "Classify, pictures",
            lambda: predicting.Classify(
                examples(named(classification_pb2.ClassificationRequest()), encoded(), encoded()), PATIENCE_S
            ),
            lambda r: (
                len(r.result.classifications) == 2
                and np.allclose(
                    sorted((c.score for c in r.result.classifications[0].classes), reverse=True),
                    np.sort(case.expected["picture_scores"][0])[::-1],
                    atol=1e-6,
                )
            ),
        )
        yield (
            "Classify, numbers",
            lambda: predicting.Classify(
                examples(named(classification_pb2.ClassificationRequest()), *map(numbers, rows)), PATIENCE_S
            ),
            lambda r: np.allclose(
                [max(c.score for c in one.classes) for one in r.result.classifications],
                case.expected["rows_scores"].max(1),
                atol=1e-6,
            ),
        )
    for words, features, name in (
        ("nothing", [], "image"),
        ("another feature", [encoded()], "other"),
        ("mixed", [encoded(), numbers(rows[0])], "image"),
        ("too few numbers", [numbers(rows[0][1:])], "image"),
    ):
        request = examples(named(classification_pb2.ClassificationRequest()), *features, name=name)
        yield (
            f"Classify, {words}",
            refused(lambda r=request: predicting.Classify(r, PATIENCE_S)),
            lambda said: said.startswith("INVALID_ARGUMENT"),
        )
    regression = examples(named(regression_pb2.RegressionRequest()), encoded())
    yield (
        "Regress, of a model without one number",
        refused(lambda: predicting.Regress(regression, PATIENCE_S)),
        lambda said: said.startswith("UNIMPLEMENTED"),
    )
    yield (
        "MultiInference",
        refused(lambda: predicting.MultiInference(inference_pb2.MultiInferenceRequest(), PATIENCE_S)),
        lambda said: said.startswith("UNIMPLEMENTED"),
    )

    def metadata(field: str) -> Any:
        request = named(get_model_metadata_pb2.GetModelMetadataRequest())
        request.metadata_field.append(field)
        return predicting.GetModelMetadata(request, PATIENCE_S)

    def signature(reply: Any) -> Any:
        found = get_model_metadata_pb2.SignatureDefMap()
        assert reply.metadata["signature_def"].Unpack(found)
        return found.signature_def["serving_default"]

    yield (
        "GetModelMetadata",
        lambda: signature(metadata("signature_def")),
        lambda s: s.inputs["image"].dtype == tf.uint8.as_datatype_enum and set(s.outputs) == set(case.outputs),
    )
    yield "GetModelMetadata, another field", refused(lambda: metadata("other")), lambda s: s.startswith("INVALID")
    yield (
        "GetModelStatus",
        lambda: models.GetModelStatus(named(get_model_status_pb2.GetModelStatusRequest()), PATIENCE_S),
        lambda r: [(v.version, v.state, v.status.error_code) for v in r.model_version_status] == [(1, 30, 0)],
    )
    yield (
        "GetModelStatus, unknown model",
        refused(
            lambda: models.GetModelStatus(named(get_model_status_pb2.GetModelStatusRequest(), "nobody"), PATIENCE_S)
        ),
        lambda said: said == "NOT_FOUND Could not find any versions of model nobody",
    )
    yield (
        "HandleReloadConfigRequest",
        refused(lambda: models.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest(), PATIENCE_S)),
        lambda said: said.startswith("UNIMPLEMENTED"),
    )


def tensor_of_values(rows: Any) -> Any:
    proto = tf.make_tensor_proto(0, tf.uint8, rows.shape)
    del proto.int_val[:]
    proto.int_val.extend(rows.ravel().tolist())
    return proto


def huge() -> Any:
    """A few bytes that mean 64 MB."""
    return tf.make_tensor_proto(7, tf.uint8, [2**26])


def over_rest(case: Case, address: str) -> Iterator[Check]:
    base = f"http://{address}/v1/models/{case.model}"
    picture = {"b64": base64.b64encode(case.picture).decode()}

    def ask(path: str, body: Any = None, base: str = base) -> Any:
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        with urllib.request.urlopen(base + path, data, timeout=PATIENCE_S) as reply:
            return json.load(reply)

    def columns(found: Any) -> dict[str, Any]:
        outputs = found["outputs"]
        return outputs if isinstance(outputs, dict) else {case.outputs[0]: outputs}

    yield (
        ":predict, columns",
        lambda: ask(":predict", {"inputs": case.rows.tolist()}),
        lambda r: case.right("rows", columns(r)),
    )
    yield (
        ":predict, rows of pictures",
        lambda: ask("/versions/1:predict", {"instances": [picture]}),
        lambda r: len(r["predictions"]) == 1,
    )
    yield "metadata", lambda: ask("/metadata"), lambda r: r["model_spec"]["name"] == case.model
    yield "status", lambda: ask(""), lambda r: r["model_version_status"][0]["state"] == "AVAILABLE"
    for words, call, expected in (
        (
            "unknown model",
            lambda: ask("s/nobody:predict", {"instances": [1]}, f"http://{address}/v1/model"),
            "404 Servable not found for request: Latest(nobody)",
        ),
        ("empty body", lambda: ask(":predict", b""), "400 JSON Parse error: The document is empty"),
        ("neither key", lambda: ask(":predict", {}), "400 Missing 'inputs' or 'instances' key"),
        (
            "bad path",
            lambda: ask(":predictt", {"instances": [1]}),
            f"400 Malformed request: POST /v1/models/{case.model}:predictt",
        ),
        ("no verb", lambda: ask("", {"instances": [1]}), f"400 Malformed request: POST /v1/models/{case.model}"),
        (":regress", lambda: ask(":regress", {"examples": [{"image": picture}]}), "501"),
    ):
        yield words, refused(call), lambda said, e=expected: said.startswith(e)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--http", required=True)
    parser.add_argument("--grpc", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--case", required=True)
    options = parser.parse_args()
    case = Case(options.case, options.model)
    for protocol, checks in (("grpc", over_grpc(case, options.grpc)), ("rest", over_rest(case, options.http))):
        for call, ask, test in checks:
            try:
                value = ask()
                ok, said = bool(test(value)), str(value)
            except Exception as error:
                ok, said = False, repr(error)
            print(json.dumps({"protocol": protocol, "call": call, "ok": ok, "said": said[:300]}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
