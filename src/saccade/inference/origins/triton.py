"""A model's folder of Triton, whose graph is an ONNX file: the version that would be served, with
its labels and limits."""

from pathlib import Path

from saccade.errors import PackageError
from saccade.inference import runtimes
from saccade.inference.origin import Origin, Ready, Told


class _Repository(Origin):
    title = "a model's folder of Triton (config.pbtxt)"
    needs = {"onnx": "import"}  # noqa: RUF012 - never changed

    def recognises(self, file: Path) -> bool:
        return (file / "config.pbtxt").is_file()

    def read(self, file: Path, folder: Path, told: Told) -> Ready:
        from saccade.inference import onnx, repository

        held = repository.read(file)
        facts = onnx.read(held.file)
        (folder / "model.onnx").write_bytes(facts.data)
        if not facts.strange:
            graph = runtimes.find("onnxruntime").open(folder / "model.onnx")
            differing = repository.differing(held, graph.inputs, graph.outputs)
            graph.close()
            if differing:
                hint = "correct its config.pbtxt"
                raise PackageError(f"{file} is not what it says: {differing}", hint=hint, code="onnx_invalid")
        notes = [*facts.notes, f"version {held.version} of {held.name}, as its config.pbtxt says"]
        notes += [f"at most {held.most} rows are run at once, its max_batch_size"] if held.most else []
        notes += [f"{held.labels.name} holds names for its classes"] if held.labels else []
        return Ready(
            "onnxruntime", "model.onnx", facts.last, tuple(notes), facts.strange, held.name, held.labels, held.most
        )


ORIGIN = _Repository()
