"""Mistakes as pictures. The worst: truth beside answer where they can be drawn, and what spoke for the wrong answer; and
crops of single ones by kind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile

import cv2
import numpy as np

from saccade.errors import DataError
from saccade.evaluation import beside
from saccade.evaluation.explain import FAINT, Explanation, occlusion, rise
from saccade.evaluation.spots import Crop, crops, sized
from saccade.images import decode, preprocess
from saccade.images.encode import to_jpeg
from saccade.images.preprocess import Placement
from saccade.inference.model import Model
from saccade.types import Array, Case, Image, Prediction, Sample, Scorecard

SHOWN = 12
SIDE_PX = 288
PLACE_PX = 480
"""The longer side of pictures that show where things are."""
MAPS = "gradcam.npz"
"""The file in a run's samples that holds the gradient maps of its worst mistakes."""


@dataclass(frozen=True)
class Mistake:
    """A case with JPEGs to show: the picture, then overlays by name. words: what covering it found."""

    case: Case
    pictures: tuple[tuple[str, bytes], ...]
    words: str = ""


@dataclass(frozen=True)
class Gallery:
    """What a page shows in pictures. mistakes: worst first. crops: kind by kind."""

    mistakes: tuple[Mistake, ...] = ()
    crops: tuple[Crop, ...] = ()


def shown(card: Scorecard) -> tuple[Case, ...]:
    """The cases of a card that a gallery shows."""
    return card.worst[:SHOWN]


def gallery(model: Model, card: Scorecard, samples: Sequence[Sample], maps: Mapping[tuple[str, int], Array]) -> Gallery:
    """maps: heat [h, w] in 0..1 over the network's input by (key, class id), from the network before it was sealed."""
    by_key = {s.key: s for s in samples}
    mistakes = tuple(_mistake(model, case, by_key[case.key], maps) for case in shown(card))
    return Gallery(mistakes, crops(card, samples, model.labels))


def _mistake(model: Model, case: Case, sample: Sample, maps: Mapping[tuple[str, int], Array]) -> Mistake:
    image = decode.decode(sample.image)
    small = sized(image, SIDE_PX)
    pictures = [("picture", _jpeg(small))]
    # Of the file, as it was scored: a JPEG that is decoded at its full size may be answered otherwise.
    truth, answer = model.task.truth(sample, model.labels), model.predict(sample.image)
    if truth is not None:
        place = sized(image, PLACE_PX)
        size = place.shape[1], place.shape[0]
        true, said = scaled(truth, *size), scaled(model.shown(answer), *size)
        pictures += [(name, _jpeg(drawn)) for name, drawn in beside.pictures(place, true, said, model.labels)]
    words = ""
    if case.class_id is not None:
        kind, found, what = _explained(model, image, case.class_id, truth, answer)
        label = f"{what}{model.labels.names[case.class_id]}"
        pictures.append((kind, _jpeg(warm(small, found.heat))))
        words = f"Covering the most telling part takes {label} from {found.evidence:.2f} to {found.lowest:.2f}."
        if found.evidence - found.lowest < FAINT * found.evidence:
            words = f"No single part decides: {label} stays at {found.lowest:.2f} or more."
        heat = maps.get((case.key, case.class_id))
        if heat is not None:
            spec = model.manifest.preprocess
            landed = preprocess.load(sample.image, spec)[1]
            size = small.shape[1], small.shape[0]
            pictures.append(("Grad-CAM", _jpeg(warm(small, on_picture(heat, landed, (spec.width, spec.height), size)))))
    return Mistake(case, tuple(pictures), words)


def _explained(
    model: Model, image: Image, class_id: int, truth: Prediction | None, answer: Prediction
) -> tuple[str, Explanation, str]:
    """Name and explanation of what went wrong with a class, and what it speaks of.

    The place of an answer is asked by covers at random: the wrong box of the class that was surest, else the box that
    was missed, else the surest; or the region called so. An answer without a place is asked part by part.
    """
    if answer.mask is not None:
        return "RISE", rise(model, image, class_id), "the region called "
    if truth is None or answer.boxes is None or truth.boxes is None:
        return "occlusion", occlusion(model, image, class_id), ""
    seen = model.shown(answer)
    right, found = beside.match(truth, seen)
    for boxes, ids, open_ones, what in (
        (seen.boxes, seen.class_ids, ~right, "the wrong "),
        (truth.boxes, truth.class_ids, ~found, "the missed "),
        (answer.boxes, answer.class_ids, np.ones(len(answer.boxes), bool), "the surest "),
    ):
        assert boxes is not None
        places = np.flatnonzero(open_ones & (ids == class_id))
        if len(places):
            return "RISE", rise(model, image, class_id, boxes[places[0]]), what
    return "occlusion", occlusion(model, image, class_id), ""


def maps_to_bytes(keys: Sequence[str], class_ids: Array, heats_NHW: Array) -> bytes:
    """Heat maps as the bytes of an `.npz` file of plain arrays."""
    out = BytesIO()
    np.savez_compressed(out, keys=np.array(keys, np.str_), class_ids=class_ids, heats=heats_NHW)
    return out.getvalue()


def read_maps(file: Path) -> dict[tuple[str, int], Array]:
    """The maps of `maps_to_bytes` by (key, class id); none when there is no such file. Raises DataError if damaged."""
    if not file.is_file():
        return {}
    try:
        with file.open("rb") as data, np.load(data, allow_pickle=False) as found:
            rows = zip(found["keys"].tolist(), found["class_ids"].tolist(), found["heats"], strict=True)
            return {(str(key), int(class_id)): heat for key, class_id, heat in rows}
    except (OSError, ValueError, KeyError, BadZipFile, EOFError) as error:
        raise DataError(f"{file} holds no heat maps: {error}", hint="delete it; the report works without") from error


def warm(image: Image, heat_HW: Array) -> Image:
    """The picture in grey where the heat (0..1, any size) is 0, in colour and ever redder where it rises."""
    size = image.shape[1], image.shape[0]
    heat = np.clip(cv2.resize(heat_HW.astype(np.float32), size, interpolation=cv2.INTER_CUBIC), 0, 1)[:, :, None]
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None].astype(np.float32)
    cool = 0.55 * (0.75 * grey + 0.25 * image) + 0.08 * 255
    glow = np.array([255, 196, 0], np.float32) * (1 - heat) + np.array([235, 30, 20], np.float32) * heat
    return np.asarray(np.clip(cool + heat * (0.35 * image + 0.65 * glow - cool), 0, 255).round(), np.uint8)


def scaled(answer: Prediction, width: int, height: int) -> Prediction:
    """The same answer over the picture at another size: boxes move, a mask is sampled (nearest), all else stays."""
    boxes, mask = answer.boxes, answer.mask
    if boxes is not None:
        zoom = np.array([width / answer.width, height / answer.height] * 2, np.float32)
        boxes = (boxes * zoom).astype(np.float32)
    if mask is not None:
        mask = np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
    return replace(answer, width=width, height=height, boxes=boxes, mask=mask, confidence=None)


def on_picture(heat_HW: Array, place: Placement, given: tuple[int, int], size: tuple[int, int]) -> Array:
    """Heat over the network's input (width, height: given) as heat over the whole picture at `size`; 0 where unseen."""
    whole = cv2.resize(heat_HW.astype(np.float32), given, interpolation=cv2.INTER_LINEAR)
    x, y = place.scale_x * place.width / size[0], place.scale_y * place.height / size[1]
    matrix = np.array([[x, 0, place.shift_x + 0.5 * x - 0.5], [0, y, place.shift_y + 0.5 * y - 0.5]])
    return np.asarray(cv2.warpAffine(whole, matrix, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP))


def _jpeg(image: Image) -> bytes:
    return to_jpeg(image, 82)
