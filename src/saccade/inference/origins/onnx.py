"""ONNX files: one self-contained graph, weights beside it taken in."""

from pathlib import Path

from saccade.inference.origin import Origin, Ready, Told


class _Onnx(Origin):
    title = "an ONNX file"
    needs = {"onnx": "import"}  # noqa: RUF012 - never changed

    def recognises(self, file: Path) -> bool:
        return file.is_file() and file.suffix == ".onnx"

    def read(self, file: Path, folder: Path, told: Told) -> Ready:
        from saccade.inference import onnx

        facts = onnx.read(file)
        (folder / "model.onnx").write_bytes(facts.data)
        return Ready("onnxruntime", "model.onnx", facts.last, facts.notes, facts.strange)


ORIGIN = _Onnx()
