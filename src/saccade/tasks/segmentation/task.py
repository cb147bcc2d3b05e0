"""Semantic segmentation: which class does every pixel show?"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from saccade.errors import DataError, InferenceError
from saccade.images import decode, draw, fonts
from saccade.images.geometry import mask_to_original
from saccade.images.masks import VOID
from saccade.images.preprocess import Placement
from saccade.tasks import temperature
from saccade.tasks.segmentation.score import MaskScorer
from saccade.tasks.task import Scorer, Task
from saccade.types import Array, Image, Labels, Prediction, Sample, TensorSpec


class Segmentation(Task):
    """Targets: `mask` uint8 [H, W] of class ids, 255 where nothing is asked. Sealed: `mask` uint8 [N, H, W], and where
    the recipe says so `confidence` uint8 [N, H, W], 255ths."""

    name = "segmentation"
    needs = ("mask",)
    extras = MappingProxyType({"confidence": TensorSpec("confidence", "uint8", (None, None, None))})

    def outputs(self, labels: Labels) -> tuple[TensorSpec, ...]:
        return (TensorSpec("mask", "uint8", (None, None, None)),)

    def encode(self, sample: Sample, labels: Labels) -> dict[str, Array]:
        """The mask in pixels of the upright original.

        Raises DataError when it is missing, of another kind or size than the picture, or holds ids beyond the ledger.
        """
        if len(labels) > VOID:
            raise DataError(f"a mask of bytes holds at most {VOID} classes, the ledger has {len(labels)}")
        mask = sample.annotation.get("mask")
        if mask is None:
            raise DataError(f"{sample.key} has no mask", hint="give it one, or leave it out")
        mask = np.asarray(mask)
        if mask.dtype != np.uint8 or mask.ndim != 2 or not mask.size:
            raise DataError(f"{sample.key}: a mask is uint8 [H, W], got {mask.dtype} {list(mask.shape)}")
        width, height = _size(sample)
        if mask.shape != (height, width):
            raise DataError(
                f"{sample.key}: the mask is {mask.shape[1]}x{mask.shape[0]} px, its picture {width}x{height} px",
                hint="save the mask at the picture's own upright size",
            )
        counts = np.bincount(mask.ravel(), minlength=256)
        strange = [int(i) for i in np.flatnonzero(counts) if len(labels) <= i != VOID]
        if strange:
            raise DataError(
                f"{sample.key}: pixel value {strange[0]} of the mask ({counts[strange[0]]} px) is not in the ledger of "
                f"{len(labels)} classes",
                hint=f"add the class, or paint such pixels {VOID} to have them ignored",
            )
        return {"mask": mask}

    def calibrate(self, outputs: Mapping[str, Array], targets: Mapping[str, Array], labels: Labels) -> dict[str, float]:
        """The temperature of the scores, for how sure a pixel is; which class is its best hangs on none.

        outputs: `sampled` float [N, K, C] and `asked` uint8 [N, K]; ignored pixels are left out. Raises DataError when
        scores are not finite.
        """
        asked = np.asarray(outputs["asked"])
        known = asked != VOID
        sampled = np.asarray(outputs["sampled"])[known]
        if not np.isfinite(sampled).all():
            raise DataError("scores are not finite", hint="the network diverged; lower the learning rate")
        return {"temperature": temperature.fit(sampled, asked[known].astype(np.int64))} if known.any() else {}

    def decode(self, outputs: Mapping[str, Array], placements: Sequence[Placement], labels: Labels) -> list[Prediction]:
        """Masks at the originals' sizes, nearest neighbour; 255 where the network saw nothing (a cropped border), and
        there a confidence of 0."""
        given = {name: np.asarray(outputs[name]) for name in ("mask", "confidence") if name in outputs}
        for name, rows in given.items():
            if rows.ndim != 3 or len(rows) != len(placements) or rows.dtype != np.uint8:
                raise InferenceError(
                    f"{name} has shape {list(rows.shape)} and type {rows.dtype}, "
                    f"expected uint8 [{len(placements)}, H, W]",
                    code="model_does_not_fit",
                )
        mask = given["mask"]
        if ((mask >= len(labels)) & (mask != VOID)).any():
            raise InferenceError(f"the graph names classes beyond the {len(labels)} known", code="model_does_not_fit")
        outside = {"mask": VOID, "confidence": 0}
        return [
            Prediction(
                p.width, p.height, **{k: mask_to_original(v[i], p, outside=outside[k]) for k, v in given.items()}
            )
            for i, p in enumerate(placements)
        ]

    def evidence(self, outputs: Mapping[str, Array], class_id: int) -> Array:
        """The share of the picture that is called the class."""
        masks = np.asarray(outputs["mask"])
        return np.asarray((masks == class_id).mean((1, 2)))

    def truth(self, sample: Sample, labels: Labels) -> Prediction:
        """The mask of the sample."""
        mask = self.encode(sample, labels)["mask"]
        return Prediction(mask.shape[1], mask.shape[0], mask=mask)

    def scorer(self, labels: Labels) -> Scorer:
        return MaskScorer(self, labels)

    def draw(self, image: Image, prediction: Prediction, labels: Labels) -> Image:
        """The picture under its mask, with the largest classes named below."""
        if prediction.mask is None:
            raise InferenceError(f"a {self.name} answer has a mask")
        return draw.mask(image, prediction.mask, fonts.names(labels.names))

    def difference(self, theirs: Mapping[str, Array], ours: Mapping[str, Array]) -> float:
        """The share of pixels whose class differs; where both tell how sure they are, no less than how far that lies
        apart on average, as a share of all."""
        apart = float((np.asarray(theirs["mask"]) != np.asarray(ours["mask"])).mean())
        if "confidence" in theirs and "confidence" in ours:
            gap = np.abs(np.asarray(theirs["confidence"], np.float32) - np.asarray(ours["confidence"], np.float32))
            apart = max(apart, float(gap.mean()) / 255)
        return apart


def _size(sample: Sample) -> tuple[int, int]:
    """Upright width and height of the picture, from its header alone."""
    if isinstance(sample.image, np.ndarray):
        return int(sample.image.shape[1]), int(sample.image.shape[0])
    header = decode.inspect(sample.image)
    return header.width, header.height


task = Segmentation
