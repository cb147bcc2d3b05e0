"""Keras files (.keras): only layers of Keras itself, no lambda, weights as plain arrays; sealed as a SavedModel.

python -m saccade.inference.origins.keras RESULT FILE OUT
"""

import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from saccade.errors import PackageError
from saccade.inference.origin import Origin, Ready, Told
from saccade.inference.runtimes.tensorflow.aside import aside, tell

PARTS = ("metadata.json", "config.json", "model.weights.h5")
MAX_CONFIG, MAX_WEIGHTS = 64 * 1024 * 1024, 2**31 - 1
RATIO = 200
"""How many times as large a part may become; weights hardly shrink, configurations some thirty times."""
ROOMS = ("layers", "models", "initializers", "regularizers", "constraints", "activations", "dtype_policies",
         "optimizers", "losses", "metrics", "ops", "Function")  # fmt: skip
"""Of Keras, where the objects of a model come from; its other rooms fetch files and run functions."""
CODE = ("__lambda__", "Lambda", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "TFSMLayer", "PyFunc")
"""Layers of Keras that hold code, or a model of another library."""


class _Keras(Origin):
    title = "a Keras file (.keras)"
    needs = {"tensorflow": "tensorflow", "keras": "tensorflow"}  # noqa: RUF012 - never changed

    def recognises(self, file: Path) -> bool:
        return file.is_file() and (file.suffix == ".keras" or _holds(file, "model.weights.h5"))

    def read(self, file: Path, folder: Path, told: Told) -> Ready:
        _look(file)
        facts = aside(__name__, [str(file), str(folder)])
        return Ready("tensorflow", "saved_model/saved_model.pb", facts["last"], tuple(facts["notes"]))


def _holds(file: Path, part: str) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            return part in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def _look(file: Path) -> None:
    """Raises PackageError for whatever is more than a configuration and weights, before Keras sees it."""
    try:
        with zipfile.ZipFile(file) as archive:
            for part in archive.infolist():
                limit = MAX_WEIGHTS if part.filename == PARTS[2] else MAX_CONFIG
                if part.filename not in PARTS:
                    raise _forbidden(f"it brings {part.filename[:80]!r} beside its weights")
                if part.file_size > limit or part.file_size > RATIO * max(part.compress_size, 1024):
                    raise _forbidden(f"{part.filename} would become {part.file_size:,} bytes")
            if len(archive.infolist()) != len(PARTS):
                raise PackageError(
                    f"{file} is no Keras file: it lacks a part of {', '.join(PARTS)}", code="onnx_invalid"
                )
            config = json.loads(archive.read("config.json"))
    except (OSError, zipfile.BadZipFile, ValueError, RecursionError, NotImplementedError) as error:
        raise PackageError(
            f"{file} is no Keras file", hint="save it again: model.save('m.keras')", code="onnx_invalid"
        ) from error
    for name, module, registered in _classes(config):
        own = (
            module in (None, "builtins", "keras")
            or module.removeprefix("keras.").removeprefix("src.").split(".")[0] in ROOMS
        )
        if not own or (registered and ">" in registered):
            raise _forbidden(f"{name} of {module or registered} is no layer of Keras itself")
        if name in CODE:
            raise _forbidden(f"a layer {name} holds code")


def _classes(value: Any) -> Iterator[tuple[str, str | None, str | None]]:
    """Every object the configuration names: class, module, registered name."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if "class_name" in one:
                module, registered = one.get("module"), one.get("registered_name")
                yield (
                    str(one["class_name"]),
                    None if module is None else str(module),
                    None if registered is None else str(registered),
                )
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


def _forbidden(why: str) -> PackageError:
    return PackageError(
        f"the Keras file is not opened: {why}",
        hint="export it as a SavedModel (model.export) or ONNX where you trust it",
        code="package_format_forbidden",
    )


def _convert(file: Path, out: Path) -> dict[str, Any]:
    import h5py
    import keras

    from saccade.inference.runtimes.tensorflow import savedmodel

    with zipfile.ZipFile(file) as archive, archive.open(PARTS[2]) as weights:
        try:
            with h5py.File(weights, "r") as tree:
                _plain(tree)
        except (OSError, RuntimeError, KeyError) as error:
            raise PackageError("the weights of the Keras file are damaged", code="onnx_invalid") from error
    try:
        model = keras.models.load_model(file, compile=False, safe_mode=True)
        model.export(out / "saved_model", format="tf_saved_model", verbose=False)
    except Exception as error:
        # Whatever Keras throws at a file that looked sound: the file is at fault.
        raise PackageError(
            f"Keras cannot rebuild the model: {type(error).__name__}: {str(error).strip().splitlines()[0][:200] if str(error).strip() else ''}",
            code="onnx_invalid",
        ) from error
    for more in (out / "saved_model").iterdir():
        if more.name not in ("saved_model.pb", "variables"):
            more.unlink() if more.is_file() else more.rmdir()
    graph = savedmodel.read(out / "saved_model")
    signature = savedmodel.chosen(graph)
    savedmodel.specs(signature.inputs)
    savedmodel.refuse_outside(graph, signature)
    return {
        "last": savedmodel.makers(graph, signature),
        "notes": [f"rebuilt by Keras {keras.__version__} and sealed as a SavedModel"],
    }


def _plain(group: Any) -> None:
    """Raises PackageError for an array that lies in another file."""
    import h5py

    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise _forbidden(f"its weights {name!r} are a link")
        item = group[name]
        if isinstance(item, h5py.Group):
            _plain(item)
        elif item.is_virtual or item.external:
            raise _forbidden(f"its weights {name!r} lie in another file")


ORIGIN = _Keras()

if __name__ == "__main__":
    tell(Path(sys.argv[1]), lambda: _convert(Path(sys.argv[2]), Path(sys.argv[3])))
