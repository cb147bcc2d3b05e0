"""A contact sheet of annotations: what a person must see before an hour is spent on learning it."""

from collections.abc import Sequence

import numpy as np

from saccade.data.annotation import present
from saccade.data.dataset import Dataset
from saccade.errors import DataError, ImageError
from saccade.images import decode, draw, fonts
from saccade.types import Image, Sample, names_text

SAMPLES = 9
CELL = 360


def sheet(dataset: Dataset, n: int = SAMPLES) -> Image:
    """uint8 [H, W, 3]: up to n pictures with their boxes, masks or labels, spread evenly over what is learnt from.

    Pictures that cannot be shown are grey, and their caption says why.
    """
    split = next(iter(dataset.splits))
    names = fonts.names(dataset.labels.names)
    drawn = [_drawn(s, names) for s in _spread(dataset.splits[split], n)]
    return draw.contact_sheet([d[0] for d in drawn], [d[1] for d in drawn], columns=3, cell=CELL)


def _spread(samples: Sequence[Sample], n: int) -> list[Sample]:
    places = np.unique(np.linspace(0, len(samples) - 1, min(n, len(samples))).round().astype(int))
    return [samples[i] for i in places]


def _drawn(sample: Sample, names: Sequence[str]) -> tuple[Image, str]:
    record = sample.annotation
    try:
        picture = decode.decode(sample.image)
        if "boxes" in record:
            shown = draw.boxes(picture, record["boxes"], names, class_ids=record["box_classes"])
            return shown, f"{sample.key}: {len(record['boxes'])} boxes"
        if "mask" in record:
            return draw.mask(picture, record["mask"], names), sample.key
        return picture, f"{sample.key}: {names_text([names[k] for k in present(record, len(names))], 3)}"
    except (ImageError, DataError) as error:
        return np.full((CELL, CELL, 3), 96, np.uint8), f"{sample.key}: {error.message}"
