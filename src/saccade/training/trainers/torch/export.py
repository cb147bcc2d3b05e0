"""A trained network as one ONNX file: uint8 NHWC in, normalisation and the task's calibrated tail inside."""

import contextlib
import io
import logging
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from saccade.errors import TrainingError
from saccade.training.trainers.torch.augment import as_float
from saccade.types import Array, Labels, TensorSpec

OPSET = 18
MOST_ROWS = 65_536


class Sealed(nn.Module):
    """What a package holds: cast, normalise, network, tail. extras: what the tail gives besides."""

    def __init__(
        self,
        network: nn.Module,
        half: Any,
        labels: Labels,
        calibration: Mapping[str, float],
        extras: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.network = network
        self._half, self._labels, self._calibration = half, labels, dict(calibration)
        self._tail = partial(half.tail, extras=extras) if extras else half.tail

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        named = self._half.named(self.network(as_float(image)))
        answer: dict[str, Tensor] = self._tail(named, self._calibration, self._labels)
        return answer

    def translations(self) -> dict[Any, Any]:
        """How operators of the task's own are written, by the operator; None of the exporter's are changed."""
        return dict(self._half.translations()) if hasattr(self._half, "translations") else {}


def run(sealed: Sealed, images_NHWC: Array, rows: int = 64) -> dict[str, Array]:
    """The framework's own answers in float32, in pieces of `rows`."""
    sealed.eval()
    pieces: list[dict[str, Tensor]] = []
    with torch.inference_mode():
        for chunk in torch.from_numpy(images_NHWC.copy()).split(rows):
            pieces.append(sealed(chunk))
    return {k: torch.cat([p[k] for p in pieces]).numpy() for k in pieces[0]}


def write(sealed: Sealed, names: tuple[str, ...], spec: TensorSpec, file: Path, notes: Mapping[str, str]) -> None:
    """One ONNX file with free rows. notes: strings kept in the file's metadata. Raises TrainingError."""
    sealed.eval()
    height, width = spec.shape[1], spec.shape[2]
    example = torch.zeros((2, int(height or 0), int(width or 0), 3), dtype=torch.uint8)
    rows = torch.export.Dim("rows", min=1, max=MOST_ROWS)
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        # The exporter talks on stdout and warns of its own internals; both would drown what a user must read.
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                sealed,
                (example,),
                dynamo=True,
                dynamic_shapes={"image": {0: rows}},
                input_names=["image"],
                output_names=list(names),
                opset_version=OPSET,
                external_data=False,
                custom_translation_table=sealed.translations(),
            )
            if program is None:
                raise TrainingError("the exporter gave no graph; this is a bug")
            program.model.metadata_props.update(notes)
            program.save(str(file), external_data=False)
    except torch.onnx.errors.OnnxExporterError as error:
        raise TrainingError(f"this network cannot be exported: {error}", hint="choose another network") from error
    finally:
        quiet.setLevel(level)
