"""What a SavedModel says of itself: its signatures, the operator behind each output, and what it must not hold.

Read from the protocol buffers alone, before TensorFlow runs any of it. Runs in the graph's own process.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import dtypes

SERVE, SIGNATURE, INIT = "serve", "serving_default", "__saved_model_init_op"
MAX_BYTES = 2**31 - 1
PASSING = ("Identity", "IdentityN", "StopGradient", "PreventGradient", "EnsureShape")
CALLS = ("PartitionedCall", "StatefulPartitionedCall")
OUTSIDE = re.compile(
    r"PyFunc|File|Save|Restore|Checkpoint|Reader|Dataset|Iterator|Rpc|Socket|Print|Summary|Debug|Remap|ImmutableConst"
    r"|Send$|Recv$|Remote|Env|LoadLibrary|Collective|Configure|Worker|Server|Stub|LogString|AssetPath|Stage"
)
"""Operators that reach beyond the numbers they are given: files, the network, Python, other processes."""


class Refused(Exception):  # noqa: N818 - carried over the pipe as code and sentence
    """code: of PackageError."""

    def __init__(self, message: str, code: str = "onnx_invalid") -> None:
        super().__init__(message)
        self.code = code


def read(folder: Path) -> Any:
    """The one graph for serving, a MetaGraphDef. Raises Refused."""
    file = folder / "saved_model.pb"
    try:
        if file.stat().st_size > MAX_BYTES:
            raise Refused("the SavedModel is beyond 2 GiB")
        saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    except Refused:
        raise
    except Exception as error:
        # The parser of protobuf has its own family of exceptions, which moved between versions.
        raise Refused("the graph is no SavedModel of TensorFlow") from error
    graphs = [g for g in saved.meta_graphs if SERVE in g.meta_info_def.tags]
    if len(graphs) != 1:
        raise Refused(f"the SavedModel holds {len(graphs)} graphs with the tag 'serve', expected one")
    return graphs[0]


def signatures(graph: Any) -> dict[str, Any]:
    """SignatureDefs that answer something, by name."""
    return {n: s for n, s in sorted(graph.signature_def.items()) if not n.startswith("__saved_model_") and s.outputs}


def chosen(graph: Any) -> Any:
    """The signature that serves: serving_default, else the only one. Raises Refused."""
    found = signatures(graph)
    if SIGNATURE in found:
        return found[SIGNATURE]
    if len(found) != 1:
        raise Refused(f"the SavedModel has no signature {SIGNATURE!r} but {', '.join(found) or 'none'}")
    return next(iter(found.values()))


def specs(tensors: Any) -> list[tuple[str, str, list[int | None]]]:
    """Name, NumPy's dtype and shape (None: free) of a signature's side, by name. Raises Refused."""
    told = []
    for name, info in sorted(tensors.items()):
        kind = dtypes.as_dtype(info.dtype)
        if info.WhichOneof("encoding") != "name" or info.tensor_shape.unknown_rank:
            raise Refused(f"tensor {name!r} of the signature is sparse or of no known rank")
        if not (kind.is_floating or kind.is_integer or kind.is_bool) or kind.name == "bfloat16":
            raise Refused(f"tensor {name!r} of the signature is {kind.name}, expected numbers")
        told.append((name, kind.name, [None if d.size < 0 else d.size for d in info.tensor_shape.dim]))
    return told


def alone(graph: Any, name: str) -> bytes:
    """A SavedModel of this graph whose only signature is that one, under the name that serves."""
    made = saved_model_pb2.SavedModel(saved_model_schema_version=1)
    own = made.meta_graphs.add()
    own.CopyFrom(graph)
    # What only Python reads back: functions and layers by name.
    own.ClearField("object_graph_def")
    signature = graph.signature_def[name]
    for other in list(own.signature_def):
        if other != INIT:
            del own.signature_def[other]
    own.signature_def[SIGNATURE].CopyFrom(signature)
    return bytes(made.SerializeToString())


def makers(graph: Any, signature: Any) -> dict[str, str]:
    """By output, the operator that makes it, looked for through functions and whatever only passes it on."""
    functions = {f.signature.name: f for f in graph.graph_def.library.function}
    nodes = {n.name: n for n in graph.graph_def.node}
    return {name: _maker(nodes, functions, info.name, 0) for name, info in signature.outputs.items()}


def _maker(nodes: dict[str, Any], functions: dict[str, Any], tensor: str, depth: int) -> str:
    name, _, place = tensor.removeprefix("^").partition(":")
    node = nodes.get(name)
    if node is None or depth > 100:
        return ""
    inputs = [i for i in node.input if not i.startswith("^")]
    position = int(place.rpartition(":")[2] or 0)
    if node.op in PASSING and inputs:
        return _maker(nodes, functions, inputs[position if len(inputs) > 1 else 0], depth + 1)
    if node.op in CALLS and (inner := functions.get(node.attr["f"].func.name)) is not None:
        answers = [inner.ret[arg.name] for arg in inner.signature.output_arg]
        if position < len(answers):
            return _maker({n.name: n for n in inner.node_def}, functions, answers[position], depth + 1)
    return str(node.op)


def refuse_outside(graph: Any, signature: Any) -> None:
    """Raises Refused when answering, starting or restoring would reach beyond the graph's own numbers."""
    ends = [info.name for info in signature.outputs.values()]
    if INIT in graph.signature_def:
        ends += [info.name for info in graph.signature_def[INIT].outputs.values()]
    for key in ("saved_model_main_op", "legacy_init_op"):
        ends += list(graph.collection_def[key].node_list.value) if key in graph.collection_def else []
    _refuse(graph, ends, ())
    if graph.saver_def.restore_op_name:
        # Weights are read by an operator of the graph itself, from the place that TensorFlow feeds.
        _refuse(graph, [graph.saver_def.restore_op_name], ("Restore", "RestoreV2", "RestoreSlice", "ShardedFilename"))


def _refuse(graph: Any, ends: list[str], allowed: tuple[str, ...]) -> None:
    for op in sorted(set(_reached(graph, ends))):
        if OUTSIDE.search(op) and op not in allowed:
            raise Refused(f"the SavedModel reaches beyond its graph: operator {op}", "package_format_forbidden")


def _reached(graph: Any, ends: list[str]) -> Iterator[str]:
    """Operators that run when these tensors are asked for, functions included."""
    nodes = {n.name: n for n in graph.graph_def.node}
    functions = {f.signature.name: f for f in graph.graph_def.library.function}
    waiting, seen, called = [e.removeprefix("^").partition(":")[0] for e in ends], set[str](), set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in nodes:
            continue
        seen.add(name)
        node = nodes[name]
        waiting += [i.removeprefix("^").partition(":")[0] for i in node.input]
        yield node.op
        yield from _functions(node, functions, called)


def _functions(node: Any, functions: dict[str, Any], called: set[str]) -> Iterator[str]:
    waiting = [node]
    while waiting:
        one = waiting.pop()
        for value in one.attr.values():
            for name in [value.func.name, *(f.name for f in value.list.func)]:
                if name in functions and name not in called:
                    called.add(name)
                    for inner in functions[name].node_def:
                        yield inner.op
                        waiting.append(inner)
        if one.op in functions and one.op not in called:  # a function may be called by its name alone
            called.add(one.op)
            for inner in functions[one.op].node_def:
                yield inner.op
                waiting.append(inner)
