"""SavedModels of TensorFlow: the signature that serves is kept alone, weights stay as they are,
files of their own stay out.

python -m saccade.inference.origins.tensorflow FOLDER OUT RESULT [SIGNATURE]
"""

import shutil
import sys
from pathlib import Path

from saccade.errors import PackageError, UsageError
from saccade.inference.origin import Origin, Ready, Told
from saccade.inference.runtimes.tensorflow.aside import aside, tell

FILE = "saved_model.pb"


class _SavedModel(Origin):
    title = "a SavedModel folder"
    needs = {"tensorflow": "tensorflow"}  # noqa: RUF012 - never changed
    takes = ("signature",)

    def recognises(self, file: Path) -> bool:
        return file.is_dir() and ((file / FILE).is_file() or (file / "saved_model.pbtxt").is_file())

    def read(self, file: Path, folder: Path, told: Told) -> Ready:
        if not (file / FILE).is_file():
            raise PackageError(
                f"{file} is a SavedModel written as text", hint="save it again as binary", code="onnx_invalid"
            )
        facts = aside(__name__, [str(file), str(folder), *([told.signature] if told.signature else [])])
        if "asked" in facts:
            names = ", ".join(facts["asked"])
            if told.signature:
                raise UsageError(f"{file} has no signature {told.signature!r}", hint=f"it has {names}")
            raise UsageError(f"{file} has {len(facts['asked'])} signatures: {names}", hint="say --signature NAME")
        return Ready("tensorflow", f"saved_model/{FILE}", facts["last"], tuple(facts["notes"]))


def _prepare(folder: Path, out: Path, wish: str | None) -> dict[str, object]:
    from saccade.inference.runtimes.tensorflow import savedmodel

    graph = savedmodel.read(folder)
    found = savedmodel.signatures(graph)
    name = wish or (next(iter(found)) if len(found) == 1 else "")
    if name not in found:
        return {"asked": list(found)}
    signature = found[name]
    savedmodel.specs(signature.inputs)
    savedmodel.specs(signature.outputs)
    savedmodel.refuse_outside(graph, signature)
    (out / "saved_model").mkdir()
    (out / "saved_model" / FILE).write_bytes(savedmodel.alone(graph, name))
    weights = folder / "variables"
    if weights.is_dir():
        shutil.copytree(weights, out / "saved_model" / "variables")
    notes = [f"signature {name!r} of {len(found)} answers"] if len(found) > 1 else []
    return {"last": savedmodel.makers(graph, signature), "notes": notes}


ORIGIN = _SavedModel()

if __name__ == "__main__":
    result, folder, out, *wish = sys.argv[1:]
    tell(Path(result), lambda: _prepare(Path(folder), Path(out), wish[0] if wish else None))
