"""The torch trainer: the common loop over a network in PyTorch, and the way out of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from saccade import tasks
from saccade.data.dataset import Dataset
from saccade.tasks.statistics import spread
from saccade.tasks.task import Task
from saccade.training.checkpoints import best, read
from saccade.training.loop import LoopTrainer
from saccade.training.outset import extras_of, outputs_of
from saccade.training.recipe import Recipe
from saccade.training.run import Run
from saccade.training.trainer import PROBES, Graph
from saccade.training.trainers.torch import checkpoints, export, networks
from saccade.training.trainers.torch.augment import as_float
from saccade.training.trainers.torch.batches import pack
from saccade.training.trainers.torch.gradcam import gradcam
from saccade.training.trainers.torch.learner import TorchLearner
from saccade.training.trainers.torch.session import build, machine, torch_half
from saccade.types import Array, Labels, Sample, TensorSpec


class TorchTrainer(LoopTrainer):
    name = "torch"

    def machine(self, recipe: Recipe) -> tuple[str, bool]:
        return machine(recipe)

    def pretrained(self, recipe: Recipe, half: Any, labels: Labels) -> str:
        return build(recipe, half, labels, int(recipe.width), int(recipe.height), "auto")[1]

    def learner(
        self, run: Run, labels: Labels, task: Task, train: Sequence[Sample], val: Sequence[Sample]
    ) -> TorchLearner:
        return TorchLearner(run, labels, task, train, val)

    def export(self, run: Run, dataset: Dataset, to: Path) -> Graph:
        """Writes `model.onnx` (float32, whatever the training arithmetic was) with probes from the validation split."""
        sealed, task, record = _open_sealed(run)
        spec = run.preprocess
        samples = dataset.splits.get("val") or dataset.splits["train"]
        probed = [samples[i] for i in spread(len(samples), PROBES)]
        probe = pack(probed, sealed._labels, task, spec, run.recipe).images.numpy()
        given = TensorSpec("image", "uint8", (None, spec.height, spec.width, 3))
        outputs = outputs_of(task, sealed._labels, run.recipe)
        to.mkdir(parents=True, exist_ok=True)
        file = to / "model.onnx"
        notes = {"saccade.task": task.name, "saccade.ledger": sealed._labels.digest()}
        export.write(sealed, tuple(o.name for o in outputs), given, file, notes)
        info = {
            "network": run.recipe.network,
            "parameters": networks.parameters(sealed.network),
            "opset": export.OPSET,
            "exporter": f"torch {torch.__version__}, dynamo",
            "calibration": record["calibration"],
        }
        return Graph(file, (given,), outputs, {"image": probe}, export.run(sealed, probe), info)

    def outputs(self, run: Run, images_NHWC: Array) -> Mapping[str, Array]:
        return export.run(_open_sealed(run)[0], images_NHWC)

    def explain(self, run: Run, images_NHWC: Array, class_ids_N: Array) -> Array:
        """Grad-CAM of the best weights. Raises TrainingError when the network ends without a feature map."""
        sealed, task, _ = _open_sealed(run)
        half = torch_half(task)
        ids = torch.from_numpy(np.asarray(class_ids_N, np.int64))
        images = as_float(torch.from_numpy(images_NHWC.copy()))
        place = half.explained(sealed.network) if hasattr(half, "explained") else None
        return gradcam(sealed.network, images, lambda raw, rows: half.evidence(half.named(raw), ids[rows]), place=place)


def _open_sealed(run: Run) -> tuple[export.Sealed, Task, Mapping[str, Any]]:
    found = read(best(run))
    labels = Labels.from_json(found.record["labels"])
    task = tasks.find(found.record["task"])
    half = torch_half(task)
    spec = run.preprocess
    network, _ = build(run.recipe, half, labels, spec.width, spec.height, "none")
    network.load_state_dict(checkpoints.to_tensors(found.part("network")))
    extras = extras_of(task, run.recipe)
    return export.Sealed(network, half, labels, found.record["calibration"], extras), task, found.record


trainer = TorchTrainer
