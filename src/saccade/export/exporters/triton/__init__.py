"""A model repository that Triton loads without edits: the graph, and a variant that takes encoded pictures.

DIR/NAME/          config.pbtxt  labels.txt  1/model.onnx               tensors in, tensors out
DIR/NAME_pixels/   config.pbtxt  1/model.py  1/preprocess.json  1/saccade/   encoded pictures in, pixels out
DIR/NAME_image/    config.pbtxt  1/                                     an ensemble of the two
"""

import json
from collections.abc import Mapping
from pathlib import Path

import saccade
from saccade.errors import UsageError
from saccade.export.exporter import Exporter, Wish, Written
from saccade.export.exporters.triton import config, models
from saccade.export.exporters.triton.models import Settings
from saccade.package.reader import Package

CARRIED = (
    "errors.py", "limits.py", "types.py",
    "images/__init__.py", "images/header.py", "images/png.py", "images/decode.py", "images/preprocess.py",
    "images/fill.py",
)  # fmt: skip
"""Files of ours that the stage of pictures takes along, as they are."""
OWN = ("image", "pixels", "placement")
"""Tensors of the ensemble that are not the graph's."""


class _Triton(Exporter):
    name = "triton"
    settings: Mapping[str, tuple[str, str]] = {
        "max_batch": ("16", "rows that may share a run, 1 to 4096"),
        "instances": ("1", "copies of the graph that run at the same time, 1 to 64"),
        "device": ("auto", "where the graph runs: auto, cpu or gpu"),
        "delay_us": ("0", "how long a batch may wait for more rows, 0 to 1000000 microseconds"),
    }

    def write(self, package: Package, folder: Path, wish: Wish) -> Written:
        """Nothing here can run what was written: benchmarks/interop does, on the real Triton."""
        asked = Settings.read(wish.settings)
        graph = package.manifest.graphs["default"]
        if graph.runtime != "onnxruntime":
            raise UsageError(f"the graph runs on {graph.runtime}, Triton would need an ONNX file")
        rows = models.rows(package.manifest, asked.max_batch)
        home = folder / wish.name
        _put(home / "config.pbtxt", config.text(models.graph(package, wish.name, rows, asked)))
        _put(home / str(wish.version) / "model.onnx", package.graph_path().read_bytes())
        if models.labelled(package.manifest):
            names = (name.replace("\n", " ") for name in package.manifest.labels.names)
            _put(home / models.LABELS, "".join(f"{name}\n" for name in names))
        notes = [f"{wish.name} takes {models.told(graph.inputs, rows)} and answers {models.told(graph.outputs, rows)}"]
        why = _unfit(package)
        if why:
            return Written((*notes, f"there is no variant that takes encoded pictures: {why}"))
        return Written((*notes, *_pictures(package, folder, wish, rows)))


def _unfit(package: Package) -> str:
    """Why there is no variant that takes encoded pictures, or nothing."""
    adapter, outputs = package.manifest.adapter, package.manifest.graphs["default"].outputs
    taken = sorted(set(OWN) & {spec.name for spec in outputs})
    if adapter is not None and not adapter.outputs:
        return "the package answers tensors only"
    if adapter is not None and adapter.batch > 1:
        return f"the graph takes {adapter.batch} rows at a time, neither fewer nor more"
    return f"the graph has an output {taken[0]!r} of its own" if taken else ""


def _pictures(package: Package, folder: Path, wish: Wish, rows: int) -> list[str]:
    manifest = package.manifest
    pixels, image = f"{wish.name}_pixels", f"{wish.name}_image"
    graph, adapter = manifest.graphs["default"], manifest.adapter
    version = folder / pixels / str(wish.version)
    _put(folder / pixels / "config.pbtxt", config.text(models.stage(pixels, graph.inputs[0], rows)))
    _put(version / "model.py", (Path(__file__).parent / "stage.py").read_bytes())
    _put(version / "saccade" / "__init__.py", '"""The files of saccade that decode and resize."""\n')
    for name in CARRIED:
        _put(version / "saccade" / name, (Path(saccade.__file__).parent / name).read_bytes())
    record = {
        "package": package.digest,
        "preprocess": manifest.preprocess.to_json(),
        "filling": None if adapter is None else adapter.filling.to_json(),
    }
    _put(version / "preprocess.json", json.dumps(record, indent=1) + "\n")
    _put(folder / image / "config.pbtxt", config.text(models.ensemble(image, pixels, wish.name, graph, rows)))
    # Triton asks for a folder of the version, and tools that copy repositories leave empty folders behind.
    _put(folder / image / str(wish.version) / "README", f"{pixels}, then {wish.name}\n")
    told = [f"{image} takes encoded JPEG, PNG or WebP; {pixels} decodes them as saccade does, to the byte"]
    if adapter is not None:
        told.append(f"{image} answers as the graph does: scores, boxes or masks are yours to read from it")
    return told


def _put(file: Path, data: str | bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data.encode() if isinstance(data, str) else data)


EXPORTER = _Triton()
