"""Augmentation of whole batches: what happens to each picture is drawn with numpy, and done by TensorFlow.

The same names, ranges and order as `trainers/torch/augment.py`, from the same papers: all geometry of a picture is one
2x3 matrix and sampled once, all colour one 3x3 matrix. A draw follows from its seed alone.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from saccade.tasks.keras import tf
from saccade.training.pictures import BORDER, FAINT, GREY, SEEN
from saccade.training.recipe import Recipe
from saccade.training.schedules import resting
from saccade.types import Array


def draw(
    recipe: Recipe,
    targets: Mapping[str, Array],
    n: int,
    given: tuple[int, int],
    seed: int,
    share: float,
    several: bool,
    still: bool = False,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """What happens to a batch, and its boxes moved along. given: height, width in px; share: of
    both sides, what comes out.

    several: whether four pictures with boxes may become one (mosaic). still: whether all are seen whole and in place.
    """
    random = np.random.default_rng(seed)
    targets = dict(targets)
    found: dict[str, Array] = {}
    now = resting(recipe) if still else recipe
    moves = moves_of(now, n, given[1], given[0], random)
    colours = colours_of(recipe, n, random)
    if recipe.randaugment:
        there = moves
        moves, colours, found["tones"] = _randaugment(recipe, moves, colours, n, given, random)
        moves = (_matrix(n) if there is None else there) if still else moves
    joins = "boxes" in targets and "mask" not in targets and float(recipe.mosaic or 0) > 0
    joined = joins and several and random.random() < float(recipe.mosaic)
    sides = given if share == 1 else (max(8, round(given[0] * share / 8) * 8), max(8, round(given[1] * share / 8) * 8))
    # The arrays of a run keep their names, whatever its last share leaves in place.
    if moves is None and (not recipe.one_size or joins or moves_of(recipe, 1, given[1], given[0], random) is not None):
        moves = _matrix(n)
    if joins and moves is not None:
        parts = _mosaic(recipe, n, given, sides, random) if joined else [(moves, (0, 0, sides[1], sides[0]), 0)]
        parts = parts + [(_matrix(n), (0, 0, 0, 0), 0)] * (4 - len(parts))
        found["parts"] = np.stack([to_pixels(m, given, sides, w[:2]) for m, w, _ in parts])
        found["windows"] = np.array([w for _, w, _ in parts], np.int32)
        moved = [
            move_boxes(np.roll(targets["boxes"], step, 0), np.roll(targets["box_classes"], step, 0), m, given, sides, w)
            for m, w, step in parts[: 4 if joined else 1]
        ]
        targets.update({k: np.concatenate([m[k] for m in moved], 1) for k in moved[0]})
    elif moves is not None:
        found["moves"] = to_pixels(moves, given, sides)
        if "boxes" in targets:
            targets.update(move_boxes(targets["boxes"], targets["box_classes"], moves, given, sides))
    found["sides"] = np.array(sides, np.int32)
    if colours is not None:
        found["matrix"], found["contrast"] = colours
    if float(recipe.erase):
        found.update(_erased(n, float(now.erase), random))
    if any(float(getattr(recipe, k)) > 0 for k in ("mixup", "cutmix")):
        found.update(_mixed(recipe, n, seed, (several or "boxes" not in targets) and not still))
        if "boxes" in targets and found["mix_kind"]:
            targets.update(_both(targets["boxes"], targets["box_classes"], found["mix_share"]))
    return {k: v if v.dtype == np.int32 else v.astype(np.float32) for k, v in found.items()}, targets


def apply(pixels: Any, targets: Mapping[str, Any], drawn: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """uint8 [N, H, W, 3] to float32 [N, h, w, 3] in 0..1 as drawn; targets that are soft rows are mixed along."""
    targets, drawn = dict(targets), {k: tf.convert_to_tensor(v) for k, v in drawn.items()}
    images = tf.cast(pixels, tf.float32) / 255
    boxed = "boxes" in targets
    if "parts" in drawn:
        images = _joined(images, drawn)
    elif "moves" in drawn:
        fill = "CONSTANT" if boxed else "REFLECT"
        images = _sampled(images, drawn["moves"], drawn["sides"], "BILINEAR", fill, BORDER)
        if "mask" in targets:
            mask = targets["mask"][..., None]
            targets["mask"] = _sampled(mask, drawn["moves"], drawn["sides"], "NEAREST", "REFLECT")[..., 0]
    if "matrix" in drawn:
        images = _recolour(images, drawn["matrix"], drawn["contrast"])
    if "tones" in drawn:
        images = _retone(images, drawn["tones"])
    if "erase_down" in drawn:
        inside = _rectangles(drawn["erase_centre"], drawn["erase_down"], drawn["erase_across"], tf.shape(images))
        images = tf.where(inside, drawn["erase_colour"][:, None, None], images)
    if "mix_kind" in drawn:
        images, targets = _mix(images, targets, drawn)
    return images, targets


def to_pixels(moves_N33: Array, given: Sequence[int], sides: Sequence[int], corner: Sequence[int] = (0, 0)) -> Array:
    """Matrices between coordinates -1..1 as TensorFlow wants them: from px of what comes out (its corner at left, top)
    to px of what went in, float32 [N, 8]."""
    (high, wide), (out_high, out_wide) = given, sides
    out = np.array(
        [
            [2 / out_wide, 0, (2 * corner[0] + 1) / out_wide - 1],
            [0, 2 / out_high, (2 * corner[1] + 1) / out_high - 1],
            [0, 0, 1],
        ]
    )
    back = np.array([[wide / 2, 0, (wide - 1) / 2], [0, high / 2, (high - 1) / 2], [0, 0, 1]])
    return np.asarray((back @ moves_N33 @ out).reshape(-1, 9)[:, :8], np.float32)


def _sampled(images: Any, moves: Any, sides: Any, how: str, fill: str, value: float = 0.0) -> Any:
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images, transforms=moves, output_shape=sides, fill_value=value, interpolation=how, fill_mode=fill
    )


def _joined(images: Any, drawn: Mapping[str, Any]) -> Any:
    """Windows of up to four pictures each, set together; the first window alone is the whole."""

    def window(step: int) -> Any:
        left, top, right, bottom = tf.unstack(drawn["windows"][step])
        sides = tf.stack([bottom - top, right - left])
        return _sampled(tf.roll(images, step, 0), drawn["parts"][step], sides, "BILINEAR", "CONSTANT", BORDER)

    def four() -> Any:
        rows = [tf.concat([window(a), window(b)], 2) for a, b in ((0, 1), (2, 3))]
        return tf.concat(rows, 1)

    return tf.cond(drawn["windows"][3][2] > 0, four, lambda: window(0))


def _mosaic(
    recipe: Recipe, n: int, given: tuple[int, int], sides: tuple[int, int], random: np.random.Generator
) -> list[tuple[Array, tuple[int, int, int, int], int]]:
    """Every picture beside three others of the batch, each moved by its own draw; all meet at one random point.

    Matrices, the window (left, top, right, bottom) each fills, and how far the batch is rolled.
    """
    height, width = sides
    x, y = (round(side * (0.3 + 0.4 * random.random())) for side in (width, height))
    parts = []
    windows = ((0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height))
    for step, (left, top, right, bottom) in enumerate(windows):
        drawn = moves_of(recipe, n, given[1], given[0], random)
        moves = _matrix(n) if drawn is None else drawn
        zoom = np.abs(moves[:, :2, :2]).sum(2)
        room = np.maximum(1 - zoom * np.array([(right - left) / width, (bottom - top) / height]), 0)
        spot = (random.random((n, 2)) * 2 - 1) * room
        moves = _matrix(n, a02=spot[:, 0] - moves[:, 0, 2], a12=spot[:, 1] - moves[:, 1, 2]) @ moves
        moves = moves @ _matrix(n, a02=1 - (left + right) / width, a12=1 - (top + bottom) / height)
        parts.append((moves, (left, top, right, bottom), step))
    return parts


def move_boxes(
    boxes_NK4: Array,
    classes_NK: Array,
    moves_N33: Array,
    given: Sequence[int],
    sides: Sequence[int],
    window: Sequence[int] | None = None,
) -> dict[str, Array]:
    """Boxes in px of the input (height, width: given) to px of what comes out (sides), cut at
    its edge or at the window.

    A turned box becomes the smallest upright one around it. A box that leaves the picture becomes [0, 0, 0, 0] with
    class -1; one of which less than `SEEN` stays becomes a region of class -2, neither object nor background.
    """
    there = np.linalg.inv(moves_N33)
    x = boxes_NK4[..., [0, 2, 2, 0]] * (2 / given[1]) - 1
    y = boxes_NK4[..., [1, 1, 3, 3]] * (2 / given[0]) - 1
    corners = np.stack([x, y, np.ones_like(x)], -1)
    moved = np.einsum("nij,nkcj->nkci", there, corners)[..., :2]
    moved = (moved + 1) / 2 * np.array([sides[1], sides[0]])
    low, high = moved.min(2), moved.max(2)
    near, far = np.array((window or (0, 0))[:2]), np.array((window or sides[::-1])[-2:])
    cut_low, cut_high = np.clip(low, near, far), np.clip(high, near, far)
    whole, left = np.maximum(high - low, 1e-6).prod(-1), (cut_high - cut_low).prod(-1)
    kept = (classes_NK != -1) & (left > 1)
    classes_NK = np.where((classes_NK >= 0) & (left < SEEN * whole), -2, classes_NK)
    boxes = np.where(kept[..., None], np.concatenate([cut_low, cut_high], -1), 0.0).astype(np.float32)
    return {"boxes": boxes, "box_classes": np.where(kept, classes_NK, -1)}


def _uniform(n: int, spread: float, random: np.random.Generator) -> Array:
    return (random.random(n) * 2 - 1) * spread


def _matrix(n: int, **entries: Any) -> Array:
    """Identities [N, 3, 3] with some entries set: a00, a01, a02 ..."""
    matrix = np.tile(np.eye(3), (n, 1, 1))
    for name, value in entries.items():
        matrix[:, int(name[1]), int(name[2])] = value
    return matrix


def _turn(angles: Array, width: int, height: int) -> Array:
    """Rotation in sampling coordinates -1..1, which are stretched unless the picture is square."""
    cos, sin, aspect = np.cos(angles), np.sin(angles), width / height
    return _matrix(len(angles), a00=cos, a01=-sin / aspect, a10=sin * aspect, a11=cos)


def moves_of(recipe: Recipe, n: int, width: int, height: int, random: np.random.Generator) -> Array | None:
    """Matrices [N, 3, 3] from output to input coordinates; None when nothing moves."""
    rotation, shift, zoom, crop = (float(getattr(recipe, k)) for k in ("rotation", "shift", "zoom", "crop"))
    mirrored = bool(recipe.flip_horizontal) or recipe.flip_vertical is True
    if not (rotation or shift or zoom or crop < 1 or mirrored):
        return None
    moves = _turn(_uniform(n, math.radians(rotation), random), width, height)
    scale = np.exp(_uniform(n, math.log1p(zoom), random))
    moves = moves @ _matrix(n, a00=scale, a11=scale)
    if crop < 1:
        area = random.random(n) * (1 - crop) + crop
        shape = np.exp(_uniform(n, math.log(4 / 3), random) / 2)
        across, down = np.minimum(np.sqrt(area) * shape, 1), np.minimum(np.sqrt(area) / shape, 1)
        x, y = _uniform(n, 1, random) * (1 - across), _uniform(n, 1, random) * (1 - down)
        moves = moves @ _matrix(n, a00=across, a11=down, a02=x, a12=y)
    moves = _matrix(n, a02=_uniform(n, 2 * shift, random), a12=_uniform(n, 2 * shift, random)) @ moves
    if recipe.flip_horizontal:
        moves = moves @ _matrix(n, a00=np.where(random.random(n) < 0.5, -1.0, 1.0))
    if recipe.flip_vertical is True:
        moves = moves @ _matrix(n, a11=np.where(random.random(n) < 0.5, -1.0, 1.0))
    return moves


def _saturate(amount: Array) -> Array:
    grey = np.tile(np.array(GREY), (3, 1))
    return np.asarray(grey + amount[:, None, None] * (np.eye(3) - grey))


def _hue(angles: Array) -> Array:
    """Rotation about the grey axis of the RGB cube."""
    cos, sin = np.cos(angles)[:, None, None], np.sin(angles)[:, None, None]
    cross = np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    return np.asarray(cos * np.eye(3) + sin * cross + (1 - cos) / 3)


def colours_of(recipe: Recipe, n: int, random: np.random.Generator) -> tuple[Array, Array] | None:
    """Colour matrices [N, 3, 3] and contrast [N]; None when nothing changes."""
    names = ("brightness", "contrast", "saturation", "hue")
    bright, contrast, saturation, hue = (float(getattr(recipe, k)) for k in names)
    if not (bright or contrast or saturation or hue or recipe.randaugment):
        return None
    matrix = _hue(_uniform(n, 2 * math.pi * hue, random)) @ _saturate(1 + _uniform(n, saturation, random))
    return matrix * (1 + _uniform(n, bright, random))[:, None, None], 1 + _uniform(n, contrast, random)


def _recolour(images: Any, matrix: Any, contrast: Any) -> Any:
    """Every pixel times its image's matrix, then contrast around the image's mean."""
    shape = tf.shape(images)
    flat = tf.matmul(tf.reshape(images, [shape[0], -1, 3]), matrix, transpose_b=True)
    mean = tf.reduce_mean(flat, [1, 2], keepdims=True)
    flat = tf.clip_by_value(mean + contrast[:, None, None] * (flat - mean), 0.0, 1.0)
    return tf.reshape(flat, shape)


def _randaugment(
    recipe: Recipe,
    moves: Array | None,
    colours: tuple[Array, Array] | None,
    n: int,
    given: tuple[int, int],
    random: np.random.Generator,
) -> tuple[Array, tuple[Array, Array], Array]:
    """Draws `randaugment` operations per image. Tones [N, 4]: posterise, solarise, sharpen, stretch."""
    (height, width), strength = given, recipe.randaugment_strength
    moves = _matrix(n) if moves is None else moves
    matrix, contrast = colours if colours is not None else (_matrix(n), np.ones(n))
    tones = np.zeros((n, 4))
    for _ in range(recipe.randaugment):
        kind = random.integers(12, size=n)
        size = _uniform(n, strength, random)
        moves = moves @ _turn(np.where(kind == 0, size * math.radians(30), 0.0), width, height)
        moves = moves @ _matrix(
            n,
            a01=np.where(kind == 1, size * 0.3, 0.0),
            a10=np.where(kind == 2, size * 0.3, 0.0),
            a02=np.where(kind == 3, size * 0.6, 0.0),
            a12=np.where(kind == 4, size * 0.6, 0.0),
        )
        matrix = matrix * (1 + np.where(kind == 5, size * 0.9, 0.0))[:, None, None]
        matrix = matrix @ _saturate(1 + np.where(kind == 6, size * 0.9, 0.0))
        contrast = contrast * (1 + np.where(kind == 7, size * 0.9, 0.0))
        for place, operation in enumerate((8, 9, 10, 11)):
            tones[:, place] = np.where(kind == operation, np.abs(size), tones[:, place])
    return moves, (matrix, contrast), tones


def _retone(images: Any, tones: Any) -> Any:
    lost, solar, sharp, levels = (tones[:, i][:, None, None, None] for i in range(4))
    steps = tf.pow(2.0, 8 - tf.round(4 * lost))
    images = tf.where(lost > 0, tf.floor(images * steps) / steps, images)
    images = tf.where((solar > 0) & (images > 1 - solar * 0.7), 1 - images, images)
    blurred = tf.nn.avg_pool2d(images, 3, 1, "SAME")
    images = tf.clip_by_value(images + sharp * 2 * (images - blurred), 0.0, 1.0)
    low, high = tf.reduce_min(images, [1, 2], keepdims=True), tf.reduce_max(images, [1, 2], keepdims=True)
    return tf.where(levels > 0, (images - low) / tf.maximum(high - low, 1e-3), images)


def _erased(n: int, share: float, random: np.random.Generator) -> dict[str, Array]:
    hit = random.random(n) < share
    area = random.random(n) * 0.2 + 0.02
    shape = np.exp(_uniform(n, math.log(3), random) / 2)
    centre = random.random((n, 2))
    down, across = np.sqrt(area) * shape * hit, np.sqrt(area) / shape * hit
    return {"erase_centre": centre, "erase_down": down, "erase_across": across, "erase_colour": random.random((n, 3))}


def _rectangles(centre_N2: Any, down_N: Any, across_N: Any, shape: Any) -> Any:
    """bool [N, H, W, 1], true inside; sides are shares of the picture, cut at its edge."""
    height, width = tf.cast(shape[1], tf.float32), tf.cast(shape[2], tf.float32)
    ys = ((tf.range(height) + 0.5) / height)[None, :, None, None]
    xs = ((tf.range(width) + 0.5) / width)[None, None, :, None]
    y, x = centre_N2[:, 0][:, None, None, None], centre_N2[:, 1][:, None, None, None]
    across = tf.abs(xs - x) * 2 < across_N[:, None, None, None]
    return (tf.abs(ys - y) * 2 < down_N[:, None, None, None]) & across


def _mixed(recipe: Recipe, n: int, seed: int, may: bool) -> dict[str, Array]:
    """mixup or CutMix of a share of batches: 0 neither, 1, 2; one partner and share per image.
    may: else none of them."""
    random = np.random.default_rng((seed, 1))
    kinds = [k for k in ("mixup", "cutmix") if float(getattr(recipe, k)) > 0]
    if random.random() >= recipe.mix_share or n < 2 or not may:
        return {"mix_kind": np.array(0, np.int32), "mix_share": np.ones(n), "mix_centre": np.zeros((n, 2))}
    kind = kinds[int(random.integers(len(kinds)))]
    alpha = float(getattr(recipe, kind))
    share = random.beta(alpha, alpha, n)
    which = np.array(1 if kind == "mixup" else 2, np.int32)
    return {"mix_kind": which, "mix_share": share, "mix_centre": random.random((n, 2))}


def _both(boxes: Array, classes: Array, share: Array) -> dict[str, Array]:
    """The boxes of each picture and of its partner; those of one that is hardly seen become regions of class -2."""
    other = np.roll(classes, 1, 0)
    classes = np.where((share < FAINT)[:, None] & (classes >= 0), -2, classes)
    other = np.where((1 - share < FAINT)[:, None] & (other >= 0), -2, other)
    ids, places = np.concatenate([classes, other], 1), np.concatenate([boxes, np.roll(boxes, 1, 0)], 1)
    order = np.argsort(ids == -1, 1, kind="stable")[:, : max(1, int((ids != -1).sum(1).max(initial=0)))]
    return {
        "boxes": np.take_along_axis(places, order[..., None], 1),
        "box_classes": np.take_along_axis(ids, order, 1),
    }


def _mix(images: Any, targets: Mapping[str, Any], drawn: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    kind, share = drawn["mix_kind"], drawn["mix_share"]
    partner = tf.roll(images, 1, 0)

    def blended() -> tuple[Any, Any]:
        return partner + share[:, None, None, None] * (images - partner), share

    def cut() -> tuple[Any, Any]:
        side = tf.sqrt(1 - share)
        inside = _rectangles(drawn["mix_centre"], side, side, tf.shape(images))
        return tf.where(inside, partner, images), 1 - tf.reduce_mean(tf.cast(inside, tf.float32), [1, 2, 3])

    mixed, share = tf.switch_case(kind, {0: lambda: (images, share), 1: blended, 2: cut})
    if "boxes" in targets:  # those of both pictures stand there already
        return mixed, dict(targets)
    soft = {}
    for name, rows in targets.items():
        weight = tf.reshape(share, [-1, *([1] * (rows.shape.rank - 1))])
        other = tf.roll(rows, 1, 0)
        soft[name] = tf.where(kind > 0, other + weight * (rows - other), rows)
    return mixed, soft
