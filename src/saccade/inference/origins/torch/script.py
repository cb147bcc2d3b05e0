"""TorchScript (.pt): frozen, and sealed with the names, types and shapes that the caller told
and the module answered."""

from pathlib import Path
from typing import Any

from saccade.errors import PackageError, UsageError
from saccade.inference.origin import Origin, Ready, Told
from saccade.types import TensorSpec


class _Script(Origin):
    title = "a TorchScript file (.pt)"
    needs = {"torch": "torch"}  # noqa: RUF012 - never changed
    takes = ("inputs",)

    def recognises(self, file: Path) -> bool:
        return file.is_file() and file.suffix in (".pt", ".ptl", ".torchscript")

    def read(self, file: Path, folder: Path, told: Told) -> Ready:
        from saccade.inference.runtimes.torch import script

        try:
            module, _ = script.load(file)
        except PackageError:
            raise
        except Exception as error:
            # Whatever the loader throws at a damaged archive, the archive is at fault.
            raise PackageError(f"{file} cannot be opened by this PyTorch", code="onnx_invalid") from error
        names = [i.debugName().split(".")[0] for i in module.forward.graph.inputs()][1:]
        if [i.name for i in told.inputs] != names:
            given = ", ".join(i.name for i in told.inputs) or "nothing"
            raise UsageError(
                f"a TorchScript file does not say what its inputs {', '.join(names)} are; told was {given}",
                hint=" ".join(f"--input {name}:float32:N,3,224,224" for name in names)
                + ", with the type and shape it has",
            )
        last = _last(module)
        outputs = _answers(module, told.inputs)
        script.save(_frozen(module), folder / "model.pt", told.inputs, outputs)
        return Ready("torch", "model.pt", dict(zip((o.name for o in outputs), last, strict=False)) if last else {})


def _frozen(module: Any) -> Any:
    """Weights become constants and branches of training go, where the module allows."""
    import warnings

    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return torch.jit.freeze(module)
        except RuntimeError:
            return module


def _last(module: Any) -> list[str]:
    """The operators that make the module's answers, where it answers one tensor or a tuple of them."""
    words = {"aten::softmax": "Softmax", "aten::sigmoid": "Sigmoid", "aten::sigmoid_": "Sigmoid"}
    [answer] = module.inlined_graph.outputs()
    node = answer.node()
    made = [i.node() for i in node.inputs()] if node.kind() == "prim::TupleConstruct" else [node]
    return [words.get(n.kind(), n.kind()) for n in made]


def _answers(module: Any, inputs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """Asked twice with rows of zeros; an axis that follows the number of rows is free."""
    import numpy as np
    import torch

    from saccade.inference.runtimes.torch.graph import dtype_name, leaves

    def ask(rows: int) -> Any:
        shapes = [
            [rows if d is None and i == 0 else 1 if d is None else d for i, d in enumerate(s.shape)] for s in inputs
        ]
        zeros = [torch.from_numpy(np.zeros(shape, spec.dtype)) for shape, spec in zip(shapes, inputs, strict=True)]
        with torch.inference_mode():
            return module(*zeros)

    free = any(spec.shape and spec.shape[0] is None for spec in inputs)
    try:
        found = ask(2 if free else 1)
        again = leaves(ask(3)) if free else leaves(found)
        names = list(found) if isinstance(found, dict) else None
        first = leaves(found)
    except (RuntimeError, TypeError, AttributeError, ValueError) as error:
        raise UsageError(
            f"the module fails on inputs like these: {str(error).strip().splitlines()[-1][:200]}",
            hint="say the --input that it takes",
        ) from error
    named = names if names and len(names) == len(first) else [f"output_{i}" for i in range(len(first))]
    made = []
    for name, one, two in zip(named, first, again, strict=True):
        shape = tuple(None if a != b else a for a, b in zip(one.shape, two.shape, strict=True))
        made.append(TensorSpec(str(name), dtype_name(one.dtype, f"output {name!r}"), shape))
    return tuple(made)


ORIGIN = _Script()
