"""A model's folder in a repository of Triton: its configuration, its newest version, its labels."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, text_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from saccade.errors import PackageError
from saccade.types import TensorSpec
from saccade.wire.names import TRITON, TRITON_STRING

CONFIG = "config.pbtxt"
MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Held:
    """A model of a repository. file: its graph. most: rows it takes at once, 0 for what the graph says. labels: a file
    of names, one a line, if its configuration names one. inputs, outputs: as configured, batch axis first."""

    name: str
    file: Path
    version: int
    most: int = 0
    labels: Path | None = None
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()


def read(folder: Path) -> Held:
    """Raises PackageError(onnx_invalid) for a folder that holds no ONNX graph as Triton would find it."""
    config = _config(folder / CONFIG)
    runs = config.backend or config.platform.partition("_")[0]
    if config.platform == "ensemble":
        raise _unfit(f"{folder} is an ensemble, which has no graph of its own", "import the models in it")
    if runs not in ("", "onnxruntime"):
        raise _unfit(f"{folder} runs on {runs!r}", "only ONNX graphs are taken from a folder of Triton")
    versions = {int(p.name): p for p in folder.iterdir() if p.is_dir() and p.name.isascii() and p.name.isdigit()}
    wanted = set(config.version_policy.specific.versions)
    versions = {number: place for number, place in versions.items() if not wanted or number in wanted}
    if not versions:
        raise _unfit(f"{folder} has no folder of a version{f' of {sorted(wanted)}' if wanted else ''}", "1/model.onnx")
    newest = max(versions)
    file = _inside(folder, versions[newest], config.default_model_filename or "model.onnx")
    if not file.is_file():
        raise _unfit(f"{file} is not there", "copy the model's whole folder")
    named = [output.label_filename for output in config.output if output.label_filename]
    most = int(config.max_batch_size)
    if not 0 <= most <= 1 << 16:
        raise _unfit(f"{folder / CONFIG}: max_batch_size is {most}", "0 to 65536")
    return Held(
        config.name or folder.resolve().name,
        file,
        newest,
        most,
        _inside(folder, folder, named[0]) if named else None,
        tuple(_spec(folder, one, most) for one in config.input),
        tuple(_spec(folder, one, most) for one in config.output),
    )


def differing(held: Held, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> str:
    """In what the graph is not the one that is configured; nothing when it is. What is not
    configured is not compared."""
    for what, told, found in (("input", held.inputs, inputs), ("output", held.outputs, outputs)):
        by_name = {spec.name: spec for spec in found}
        for spec in told:
            other = by_name.get(spec.name)
            if other is None:
                return f"the graph has no {what} {spec.name!r}, it has {', '.join(map(repr, by_name))}"
            if spec.dtype != other.dtype or not _fits(spec.shape, other.shape):
                return f"{what} {spec.name!r} is {other.dtype} {_written(other)}, configured as {spec.dtype} {_written(spec)}"
    if held.most and any(spec.shape[:1] not in ((None,), ()) for spec in inputs):
        return f"max_batch_size is {held.most}, and the graph takes a fixed number of rows"
    return ""


def _fits(told: tuple[int | None, ...], found: tuple[int | None, ...]) -> bool:
    """A side that is free on either side fits; Triton writes a row of one number as [1]."""
    if told == (None, 1) and len(found) == 1:
        return True
    return len(told) == len(found) and all(None in pair or pair[0] == pair[1] for pair in zip(told, found, strict=True))


def _spec(folder: Path, one: Any, most: int) -> TensorSpec:
    dtype = TRITON.get(one.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number[one.data_type].name, "")
    if not dtype:
        raise _unfit(f"{folder / CONFIG}: {one.name!r} is of no type of numbers", "import it with another input")
    dims = tuple(None if side < 0 else int(side) for side in one.dims)
    return TensorSpec(one.name, dtype, (None, *dims) if most else dims)


def _config(file: Path) -> Any:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise _unfit(f"{file} has {file.stat().st_size} bytes, limit {MAX_BYTES}", "it is no configuration")
        return text_format.Parse(
            file.read_text("utf-8"), _message()(), allow_unknown_field=True, descriptor_pool=_pool()
        )
    except (OSError, ValueError, RecursionError, text_format.ParseError) as error:
        raise _unfit(f"{file} is no configuration of Triton: {str(error)[:200]}", "see model_config.proto") from error


def _inside(folder: Path, place: Path, name: str) -> Path:
    """A file named by the configuration. Raises PackageError for a name that leads out of the model's folder."""
    file = place / name
    if "/" in name or "\\" in name or name in ("", ".", "..") or not file.resolve().is_relative_to(folder.resolve()):
        raise _unfit(f"{folder / CONFIG} names {name!r}, which is not in the model's folder", "name a file of it")
    return file


def _unfit(what: str, hint: str) -> PackageError:
    return PackageError(what, hint=hint, code="onnx_invalid")


def _written(spec: TensorSpec) -> str:
    return str([-1 if side is None else side for side in spec.shape])


@cache
def _pool() -> DescriptorPool:
    """The fields of ModelConfig that matter here, in a pool of our own: tritonclient has the whole of it in
    protobuf's."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="triton.proto", package="triton", syntax="proto3")
    enum = file.enum_type.add(name="DataType")
    for number, name in enumerate(("TYPE_INVALID", *TRITON, TRITON_STRING, "TYPE_BF16")):
        enum.value.add(name=name, number=number)
    messages: dict[str, dict[str, tuple[int, str, bool]]] = {
        "Tensor": {
            "name": (kinds.TYPE_STRING, "", False),
            "data_type": (kinds.TYPE_ENUM, ".triton.DataType", False),
            "dims": (kinds.TYPE_INT64, "", True),
            "label_filename": (kinds.TYPE_STRING, "", False),
        },
        "Specific": {"versions": (kinds.TYPE_INT64, "", True)},
        "Policy": {"specific": (kinds.TYPE_MESSAGE, ".triton.Specific", False)},
        "Config": {
            "name": (kinds.TYPE_STRING, "", False),
            "platform": (kinds.TYPE_STRING, "", False),
            "backend": (kinds.TYPE_STRING, "", False),
            "max_batch_size": (kinds.TYPE_INT32, "", False),
            "default_model_filename": (kinds.TYPE_STRING, "", False),
            "version_policy": (kinds.TYPE_MESSAGE, ".triton.Policy", False),
            "input": (kinds.TYPE_MESSAGE, ".triton.Tensor", True),
            "output": (kinds.TYPE_MESSAGE, ".triton.Tensor", True),
        },
    }
    for name, held in messages.items():
        message = file.message_type.add(name=name)
        for number, (field, (kind, of, many)) in enumerate(held.items(), 1):
            label = kinds.LABEL_REPEATED if many else kinds.LABEL_OPTIONAL
            message.field.add(name=field, number=number, type=kind, type_name=of or None, label=label)
    pool = DescriptorPool()
    pool.Add(file)
    return pool


@cache
def _message() -> Any:
    return GetMessageClass(_pool().FindMessageTypeByName("triton.Config"))
