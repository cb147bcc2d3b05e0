"""The contract of a trainer: fit, then export a graph. Keepers: training/trainers/*."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from saccade.data.dataset import Dataset
from saccade.errors import TrainingError
from saccade.training.events import Event
from saccade.training.run import Run
from saccade.types import Array, TensorSpec

PROBES = 16
"""Pictures whose answers an exported graph is compared by."""


@dataclass(frozen=True)
class Graph:
    """An exported network: uint8 NHWC in, the task's outputs out, normalisation and calibrated tail inside.

    probe_inputs and probe_outputs: arrays that went through the trainer's framework, for the parity certificate. info:
    network name, parameters, opset, exporter, calibration. forms: the same network as other runtimes open it, by the
    name of the runtime: the file it opens, in a folder that holds nothing else.
    """

    file: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    probe_inputs: Mapping[str, Array]
    probe_outputs: Mapping[str, Array]
    info: Mapping[str, Any]
    forms: Mapping[str, Path] = field(default_factory=dict)


class Trainer(ABC):
    name: str

    @abstractmethod
    def fit(self, run: Run, dataset: Dataset) -> Iterator[Event]:
        """Learns from dataset.splits["train"], watches "val"; continues when the run holds a checkpoint."""

    @abstractmethod
    def export(self, run: Run, dataset: Dataset, to: Path) -> Graph:
        """Writes the best weights as one ONNX file (or this framework's own form) into folder `to`."""

    @abstractmethod
    def outputs(self, run: Run, images_NHWC: Array) -> Mapping[str, Array]:
        """The framework's own answers (task outputs, calibrated) for preprocessed uint8 images, for parity."""

    def explain(self, run: Run, images_NHWC: Array, class_ids_N: Array) -> Array:
        """Where each preprocessed image spoke for its class: heat float32 [N, h, w] in 0..1 over the input.

        Raises TrainingError when this trainer or network has no such map.
        """
        raise TrainingError(f"{self.name} gives no gradient maps", hint="occlusion works for every package")
