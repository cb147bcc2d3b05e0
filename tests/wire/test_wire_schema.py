"""Descriptions of messages: as their sources say, in a pool of their own, and a stranger's bytes read within bounds."""

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_health.v1 import health_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from saccade.errors import ServerError
from saccade.wire import schema

Infer = schema.message("inference.ModelInferRequest")


def test_the_compiled_descriptions_are_those_of_the_sources() -> None:
    def own(data: bytes) -> dict[str, descriptor_pb2.FileDescriptorProto]:
        files = descriptor_pb2.FileDescriptorSet.FromString(data).file
        return {file.name: file for file in files if not file.name.startswith("google/")}

    assert own(schema.compiled()) == own(schema.COMPILED.read_bytes()), "run python -m saccade.wire.schema"


def test_another_librarys_messages_live_beside_ours() -> None:
    mine = schema.message("grpc.health.v1.HealthCheckRequest")
    assert mine(service="a").SerializeToString() == health_pb2.HealthCheckRequest(service="a").SerializeToString()
    assert mine is not health_pb2.HealthCheckRequest
    schema.service("inference.GRPCInferenceService")
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("inference.ModelInferRequest")


def test_a_name_that_is_not_described() -> None:
    for find, name in ((schema.message, "inference.Nothing"), (schema.service, "inference.Nothing")):
        with pytest.raises(KeyError):
            find(name)


def test_calls_know_their_path_and_messages() -> None:
    calls = schema.service("inference.GRPCInferenceService")
    assert calls["ModelInfer"].path == "/inference.GRPCInferenceService/ModelInfer"
    assert calls["ModelInfer"].request is Infer
    assert [name for name, rpc in calls.items() if rpc.streams] == ["ModelStreamInfer"]


def inputs(count: int) -> bytes:
    return b"\x2a\x00" * count


@pytest.mark.parametrize(("count", "fine"), [(9_999, True), (10_000, True), (10_001, False), (8_000_000, False)])
def test_many_small_fields_are_counted_before_they_are_objects(count: int, fine: bool) -> None:
    if fine:
        assert len(schema.read(Infer, inputs(count)).inputs) == count
        return
    with pytest.raises(ServerError, match="fields") as caught:
        schema.read(Infer, inputs(count))
    assert caught.value.code == "malformed_protobuf"


def test_fields_inside_fields_are_counted_too() -> None:
    request = Infer()
    tensor = request.inputs.add()
    for i in range(4_000):
        tensor.parameters[str(i)].bool_param = True
    with pytest.raises(ServerError, match="fields"):
        schema.read(Infer, request.SerializeToString())


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a",
        b"\x0a\x05abc",
        b"\x0b",
        b"\xff" * 11,
        b"\x08",
        b"\x0a\x02\xff\xfe",
        b"\x00",
        b"\x3a\xff\xff\xff\xff\x0f",
    ],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(ServerError) as caught:
        schema.read(Infer, data)
    assert caught.value.code == "malformed_protobuf"


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_a_typed_refusal(data: bytes) -> None:
    code, found = "", None
    try:
        found = schema.read(Infer, data)
    except ServerError as error:
        code = error.code
    if found is None:
        assert code == "malformed_protobuf"
    else:
        assert found == Infer.FromString(data)
