"""The Keras trainer: the common loop over a network in Keras on TensorFlow, and the way out of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from saccade import tasks
from saccade.data.dataset import Dataset
from saccade.tasks.keras import fill, keras, tf
from saccade.tasks.statistics import spread
from saccade.tasks.task import Task
from saccade.training import checkpoints
from saccade.training.loop import LoopTrainer
from saccade.training.outset import extras_of, outputs_of
from saccade.training.recipe import Recipe
from saccade.training.run import Run
from saccade.training.trainer import PROBES, Graph
from saccade.training.trainers.keras import export, networks, savedmodel
from saccade.training.trainers.keras.batches import pack
from saccade.training.trainers.keras.gradcam import gradcam
from saccade.training.trainers.keras.learner import KerasLearner
from saccade.training.trainers.keras.session import build, keras_half, machine
from saccade.types import Array, Labels, Sample, TensorSpec


class KerasTrainer(LoopTrainer):
    name = "keras"

    def machine(self, recipe: Recipe) -> tuple[str, bool]:
        return machine(recipe)

    def pretrained(self, recipe: Recipe, half: Any, labels: Labels) -> str:
        return "; ".join(build(recipe, half, labels, int(recipe.width), int(recipe.height), "auto")[1])

    def learner(
        self, run: Run, labels: Labels, task: Task, train: Sequence[Sample], val: Sequence[Sample]
    ) -> KerasLearner:
        return KerasLearner(run, labels, task, train, val)

    def export(self, run: Run, dataset: Dataset, to: Path) -> Graph:
        """Writes `model.onnx` and the folder `saved_model` (float32, whatever the training arithmetic was), with probes
        from the validation split."""
        sealed, task, record = _open_sealed(run)
        samples = dataset.splits.get("val") or dataset.splits["train"]
        probed = [samples[i] for i in spread(len(samples), PROBES)]
        probe = np.array(pack(probed, sealed.labels, task, run.preprocess, run.recipe).images)
        outputs = outputs_of(task, sealed.labels, run.recipe)
        to.mkdir(parents=True, exist_ok=True)
        file = to / "model.onnx"
        notes = {"saccade.task": task.name, "saccade.ledger": sealed.labels.digest()}
        writer = export.write(sealed, tuple(o.name for o in outputs), file, notes)
        savedmodel.write(sealed, to / "saved_model", run.preprocess.mode == "stretch")
        info = {
            "network": run.recipe.network,
            "parameters": networks.parameters(sealed.network),
            "opset": export.OPSET,
            "exporter": f"keras {keras.__version__}, tensorflow {tf.__version__}, {writer}",
            "calibration": record["calibration"],
        }
        forms = {"tensorflow": to / "saved_model" / "saved_model.pb"}
        return Graph(file, (_given(run),), outputs, {"image": probe}, export.run(sealed, probe), info, forms)

    def outputs(self, run: Run, images_NHWC: Array) -> Mapping[str, Array]:
        return export.run(_open_sealed(run)[0], images_NHWC)

    def explain(self, run: Run, images_NHWC: Array, class_ids_N: Array) -> Array:
        """Grad-CAM of the best weights. Raises TrainingError when the network ends without a feature map."""
        sealed, task, _ = _open_sealed(run)
        return gradcam(sealed.network, keras_half(task), images_NHWC, class_ids_N)


def _given(run: Run) -> TensorSpec:
    spec = run.preprocess
    return TensorSpec("image", "uint8", (None, spec.height, spec.width, 3))


def _open_sealed(run: Run) -> tuple[export.Sealed, Task, Mapping[str, Any]]:
    found = checkpoints.read(checkpoints.best(run))
    labels = Labels.from_json(found.record["labels"])
    task = tasks.find(found.record["task"])
    half = keras_half(task)
    spec = run.preprocess
    network, _ = build(run.recipe, half, labels, spec.width, spec.height, "none")
    fill(network, found.part("network"))
    extras, calibration = extras_of(task, run.recipe), found.record["calibration"]
    return export.Sealed(network, half, labels, calibration, _given(run), extras), task, found.record


trainer = KerasTrainer
