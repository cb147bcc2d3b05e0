"""A model folder that TensorFlow Serving loads without edits: a SavedModel, its configuration, requests to warm it.

DIR/models.config                           names the model and where its folder lies on the server
DIR/NAME/VERSION/saved_model.pb, variables/ signatures serving_default (tensors) and serving_bytes (encoded pictures)
DIR/NAME/VERSION/assets.extra/              requests that the server runs before it answers
"""

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from saccade import tasks
from saccade.errors import PackageError, UsageError
from saccade.export.exporter import Exporter, Wish, Written
from saccade.images import preprocess
from saccade.inference import runtimes
from saccade.inference.opening import adapted
from saccade.inference.runtimes.tensorflow.aside import aside
from saccade.package.reader import Package
from saccade.types import Array

ALLOWED = 1e-3
"""How far answers may lie from the package's where its certificate does not say: as between
trainer and sealed graph."""
PIXELS = 2.0
"""How far pixels decoded by TensorFlow may lie from ours, on average over a picture, of 255."""
MODULE = "saccade.export.exporters.tf_serving.tensorflow.write"


class _TfServing(Exporter):
    name = "tf-serving"
    needs: Mapping[str, str] = {"tensorflow": "tensorflow", "onnx": "import"}
    settings: Mapping[str, tuple[str, str]] = {"root": ("/models", "where DIR lies on the server")}

    def write(self, package: Package, folder: Path, wish: Wish) -> Written:
        graph = package.manifest.graphs["default"]
        home = folder / wish.name / str(wish.version)
        root = wish.settings["root"].rstrip("/")
        if not root.startswith("/") or any(c in root for c in "'\"\\\n"):
            raise UsageError(f"root is an absolute path on the server, got {wish.settings['root']!r}")
        (folder / "models.config").write_text(_config(wish.name, root), "utf-8")
        if graph.runtime == "tensorflow":
            home.parent.mkdir()
            shutil.copytree(package.graph_path().parent, home)
            return _copied(package, home / package.graph_path().name)
        if graph.runtime != "onnxruntime":
            raise UsageError(f"the graph runs on {graph.runtime}, a SavedModel is made of ONNX graphs")
        home.mkdir(parents=True)
        with tempfile.TemporaryDirectory(prefix="saccade-export-") as space:
            answers = Path(space) / "answers.npz"
            facts = aside(MODULE, [str(package.path.resolve()), str(home.resolve()), wish.name, str(answers)])
            with np.load(answers, allow_pickle=False) as found:
                parts = _parts(found)
        return _compared(package, facts, parts)


def _copied(package: Package, graph: Path) -> Written:
    """Opens the copy and asks it the golden samples. Raises PackageError(golden_mismatch) when it answers otherwise."""
    manifest, allowed, worst = package.manifest, _allowed(package), 0.0
    task = tasks.find(manifest.task)
    opened = runtimes.find("tensorflow").open(graph)
    try:
        asked = adapted(opened, manifest)
        for golden in package.golden():
            arrays = golden.arrays or {"image": preprocess.load(golden.image_bytes, manifest.preprocess)[0]}
            theirs = asked.run({name: value[None] for name, value in arrays.items()})
            ours = {name: value.reshape(theirs[name].shape) for name, value in golden.expected.items()}
            worst = max(worst, _apart(task, theirs, ours, relative=True))
    finally:
        opened.close()
    if worst > allowed:
        raise PackageError(
            f"the copy answers {worst:.2g} apart from the package's golden samples, allowed {allowed:g}",
            hint="this machine computes something else than the one that sealed the package; seal it again here",
            code="golden_mismatch",
        )
    notes = (
        f"the SavedModel is the sealed one, asked {len(package.golden())} golden sample(s); it takes tensors",
        "there is no signature for encoded pictures, and no request to warm it: the graph came from elsewhere",
    )
    return Written(notes, worst if package.golden() else None, allowed)


def _config(name: str, root: str) -> str:
    return f"""model_config_list {{
  config {{
    name: '{name}'
    base_path: '{root}/{name}'
    model_platform: 'tensorflow'
  }}
}}
"""


def _parts(found: Mapping[str, Array]) -> dict[str, dict[str, dict[str, Array]]]:
    """PART/SAMPLE/TENSOR as three levels; a tensor's name may hold slashes."""
    made: dict[str, dict[str, dict[str, Array]]] = {}
    for key, value in found.items():
        part, sample, name = key.split("/", 2)
        made.setdefault(part, {}).setdefault(sample, {})[name] = value
    return made


def _compared(package: Package, facts: Mapping[str, Any], parts: dict[str, dict[str, dict[str, Array]]]) -> Written:
    """Raises PackageError(golden_mismatch) when tensors are answered too differently, or pictures decoded so."""
    manifest, allowed = package.manifest, _allowed(package)
    task = tasks.find(manifest.task) if manifest.adapter is None else tasks.find(tasks.TENSORS)
    worst = {"tensors": 0.0, "pictures": 0.0}
    graph = runtimes.find("onnxruntime").open(package.graph_path())
    for sample, arrays in parts.get("asked", {}).items():
        ours = graph.run(arrays)
        for part in worst:
            if sample in parts.get(part, {}):
                theirs = parts[part][sample]
                worst[part] = max(worst[part], _apart(task, theirs, ours, relative=manifest.adapter is not None))
    graph.close()
    notes = [
        *facts["notes"],
        f"written by TensorFlow {facts['version']}, compared on {facts['samples']} golden sample(s)",
    ]
    if worst["tensors"] > allowed:
        raise PackageError(
            f"the SavedModel answers {worst['tensors']:.2g} apart from the package, allowed {allowed:g}",
            hint="report the package: an operator is told wrongly",
            code="golden_mismatch",
        )
    if "apart" in parts:
        gaps = [v["pixels"] for v in parts["apart"].values()]
        mean, most = max(float(g.mean()) for g in gaps), max(int(g.max()) for g in gaps)
        notes.append(
            f"serving_bytes: pixels decoded by TensorFlow differ from saccade's by {mean:.2f} of 255 on average in the worst "
            f"picture, {most} at most; answers by {worst['pictures']:.1e}"
        )
        if mean > PIXELS:
            raise PackageError(
                f"pictures decoded by TensorFlow differ by {mean:.2f} of 255 on average, allowed {PIXELS:g}",
                hint="report the picture and the package",
                code="golden_mismatch",
            )
    else:
        notes.append("there is no signature for encoded pictures: the package answers tensors only")
    return Written(tuple(notes), worst["tensors"] if facts["samples"] else None, allowed)


def _apart(task: Any, theirs: Mapping[str, Array], ours: Mapping[str, Array], *, relative: bool) -> float:
    """As the task measures it; numbers of graphs from elsewhere have any size, so theirs as shares of the largest."""
    if not relative:
        return float(task.difference(theirs, ours))
    gaps = [task.difference({k: v}, ours) / max(1.0, float(np.abs(ours[k]).max(initial=0))) for k, v in theirs.items()]
    return max(gaps, default=0.0)


def _allowed(package: Package) -> float:
    file = package.path / "certificate.json"
    told = json.loads(file.read_text("utf-8")).get("allowed_difference", ALLOWED) if file.is_file() else ALLOWED
    return float(told)


EXPORTER = _TfServing()
