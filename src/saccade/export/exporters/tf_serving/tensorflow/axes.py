"""Operators that move numbers: shapes, slices, joins, gathers, scatters, orders."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from saccade.export.exporters.tf_serving.tensorflow.node import Node, Unsupported, constant
from saccade.export.exporters.tf_serving.tensorflow.value import Side, Value, last_axis, made, of_sides, size


def shape(node: Node, x: Value) -> Value:
    sides = [size(x, axis) for axis in range(x.rank)]
    return of_sides(sides[node.get("start", 0) : node.get("end", None)])


def reshape(node: Node, x: Value, to: Value | None = None) -> Value:
    sides = to.sides if to is not None else list(node.attributes["shape"])
    if not node.get("allowzero", 0):
        sides = [size(x, i) if isinstance(s, int) and s == 0 else s for i, s in enumerate(sides)]
    return Value(_shaped(x.plain, sides), sides=x.told_sides if len(sides) <= 1 else None)


def _shaped(tensor: Any, sides: list[Side]) -> Any:
    """Reshaped; where one side alone is unknown it is left to be counted, which keeps the others known."""
    unknown = [s for s in sides if not isinstance(s, int)]
    if len(unknown) == 1 and -1 not in [s for s in sides if isinstance(s, int)]:
        sides = [s if isinstance(s, int) else -1 for s in sides]
        unknown = []
    return tf.reshape(tensor, tf.stack([tf.cast(s, tf.int32) for s in sides]) if unknown else sides)


def flatten(node: Node, x: Value) -> Value:
    axis = node.get("axis", 1)
    axis = axis % x.rank if axis < 0 else axis
    known = x.shape[axis:]
    right = int(np.prod([s for s in known if s is not None])) if None not in known else -1
    left: Side = 1
    for i in range(axis):
        left = left * size(x, i)
    if right == -1:
        return Value(tf.reshape(x.plain, tf.stack([tf.cast(left, tf.int32), -1])))
    return Value(tf.reshape(x.plain, [-1 if not isinstance(left, int) else left, right]))


def transpose(node: Node, x: Value) -> Value:
    order = list(node.get("perm", range(x.rank - 1, -1, -1)))
    back = [0, *range(2, x.rank), 1]
    if x.native_last and order == back:
        return Value(x.last)
    forth = [0, x.rank - 1, *range(1, x.rank - 1)]
    if x.rank > 2 and order == forth and x.constant is None:
        return Value(last=x.plain)
    return Value(tf.transpose(x.plain, order))


def squeeze(node: Node, x: Value, given: Value | None = None) -> Value:
    axes = node.axes(given)
    if axes is None:
        axes = [i for i, s in enumerate(x.shape) if s == 1]
    if x.native_last and x.rank == 4 and {a % 4 for a in axes} == {2, 3}:
        return Value(tf.squeeze(x.last, [1, 2]))
    return Value(tf.squeeze(x.plain, axes), sides=x.told_sides)


def unsqueeze(node: Node, x: Value, given: Value | None = None) -> Value:
    axes = node.axes(given) or []
    rank = x.rank + len(axes)
    value = x.plain
    for axis in sorted(a % rank for a in axes):
        value = tf.expand_dims(value, axis)
    return Value(value, sides=x.told_sides if rank <= 1 else None)


def concat(node: Node, *values: Value) -> Value:
    axis, rank = node.attributes["axis"], values[0].rank
    if rank == 1 and all(v.told_sides is not None for v in values):
        return of_sides([s for v in values for s in v.sides], values[0].dtype.as_numpy_dtype)
    if rank >= 3 and any(v.native_last for v in values):
        return Value(last=tf.concat([v.last for v in values], last_axis(axis, rank)))
    return Value(tf.concat([v.plain for v in values], axis))


def split(node: Node, x: Value, sizes: Value | None = None) -> list[Value]:
    axis = node.get("axis", 0) % x.rank
    told = node.attributes.get("split") if sizes is None else [int(s) for s in constant(sizes, "sizes")]
    if told is None:
        count, whole = node.attributes.get("outputs", 0), x.shape[axis]
        if whole is None:
            raise Unsupported("parts of a side that only a run knows")
        each = -(-whole // count)
        told = [min(each, whole - each * i) for i in range(count)]
    if x.native_last:
        return [made(part, True) for part in tf.split(x.last, list(told), last_axis(axis, x.rank))]
    return [made(part, False) for part in tf.split(x.plain, list(told), axis)]


def slice_(node: Node, x: Value, *given: Value | None) -> Value:
    if node.opset < 10:
        starts, ends = ([int(v) for v in node.attributes[k]] for k in ("starts", "ends"))
        axes, steps = node.attributes.get("axes"), None
    else:
        first, final, which, step = [*given, None, None][:4]
        assert first is not None
        assert final is not None
        starts, ends = first.sides, final.sides
        axes = None if which is None else [int(v) for v in constant(which, "axes").reshape(-1)]
        steps = None if step is None else [int(v) for v in constant(step, "steps").reshape(-1)]
    axes = list(range(len(starts))) if axes is None else [a % x.rank for a in axes]
    cuts = [slice(None)] * x.rank
    for axis, start, end, step_ in zip(axes, starts, ends, steps or [1] * len(starts), strict=True):
        cuts[axis] = _cut(x, axis, start, end, step_)
    if (
        x.rank == 1
        and x.told_sides is not None
        and all(isinstance(v, int | None) for v in (cuts[0].start, cuts[0].stop))
    ):
        return of_sides(x.sides[cuts[0]], x.dtype.as_numpy_dtype)
    if x.native_last:
        return Value(last=x.last[(cuts[0], *cuts[2:], cuts[1])])
    return Value(x.plain[tuple(cuts)])


def _cut(x: Value, axis: int, start: Side, end: Side, step: int) -> slice:
    """ONNX says "as far as there is" with numbers that do not fit an int32."""
    far = 2**31 - 1
    if isinstance(start, int):
        start = None if (step > 0 and start <= -far) or (step < 0 and start >= far) else min(start, far)
    if isinstance(end, int):
        end = None if (step > 0 and end >= far) or (step < 0 and end <= -far) else end
    del axis, x
    return slice(_small(start), _small(end), step)


def _small(side: Side) -> Side:
    return side if side is None or isinstance(side, int) else tf.cast(side, tf.int32)


def gather(node: Node, x: Value, places: Value) -> Value:
    axis = node.get("axis", 0) % x.rank
    index = places.constant
    if x.rank == 1 and x.told_sides is not None and index is not None and index.ndim <= 1:
        sides = x.sides
        return of_sides([sides[int(i)] for i in index.reshape(-1)], x.dtype.as_numpy_dtype, scalar=index.ndim == 0)
    if x.native_last and index is not None and index.ndim == 1:
        return Value(last=tf.gather(x.last, _positive(places, x, axis), axis=last_axis(axis, x.rank)))
    return Value(tf.gather(x.plain, _positive(places, x, axis), axis=axis))


def _positive(places: Value, x: Value, axis: int) -> Any:
    """Places from the end made places from the beginning."""
    whole = tf.cast(size(x, axis), tf.int64)
    index = tf.cast(places.plain, tf.int64)
    return tf.where(index < 0, index + whole, index)


def gather_elements(node: Node, x: Value, places: Value) -> Value:
    axis = node.get("axis", 0) % x.rank
    index = _positive(places, x, axis)
    return Value(tf.gather_nd(x.plain, _everywhere(index, axis, x.rank)))


def _everywhere(index: Any, axis: int, rank: int) -> Any:
    """Whole places [..., rank]: an index along one axis, everything else where it stands."""
    sides = tf.shape(index, tf.int64)
    parts = []
    for i in range(rank):
        along = [1] * rank
        along[i] = -1
        own = index if i == axis else tf.broadcast_to(tf.reshape(tf.range(sides[i]), along), sides)
        parts.append(own)
    return tf.stack(parts, -1)


def scatter_elements(node: Node, x: Value, places: Value, updates: Value) -> Value:
    axis = node.get("axis", 0) % x.rank
    index = _everywhere(_positive(places, x, axis), axis, x.rank)
    return Value(_scatter(node)(x.plain, index, updates.plain))


def scatter_nd(node: Node, x: Value, places: Value, updates: Value) -> Value:
    return Value(_scatter(node)(x.plain, _whole(x, places), updates.plain))


def _scatter(node: Node) -> Any:
    ways = {
        "none": tf.tensor_scatter_nd_update,
        "add": tf.tensor_scatter_nd_add,
        "max": tf.tensor_scatter_nd_max,
        "min": tf.tensor_scatter_nd_min,
    }
    how = node.get("reduction", "none")
    if how not in ways:
        raise Unsupported(f"reduction {how}")
    return ways[how]


def _whole(x: Value, places: Value, skip: int = 0) -> Any:
    """Tuples of places, none of them counted from the end."""
    depth = places.shape[-1]
    if depth is None:
        raise Unsupported("places of a depth that only a run knows")
    sides = tf.stack([tf.cast(size(x, skip + i), tf.int64) for i in range(depth)])
    index = tf.cast(places.plain, tf.int64)
    return tf.where(index < 0, index + sides, index)


def gather_nd(node: Node, x: Value, places: Value) -> Value:
    skip = node.get("batch_dims", 0)
    return Value(tf.gather_nd(x.plain, _whole(x, places, skip), batch_dims=skip))


def expand(node: Node, x: Value, to: Value) -> Value:
    wish = to.sides
    rank = max(len(wish), x.rank)
    own = [1] * (rank - x.rank) + [size(x, i) for i in range(x.rank)]
    wish = [1] * (rank - len(wish)) + wish
    ends = [b if isinstance(a, int) and a == 1 else a if isinstance(b, int) and b == 1 else
            a if isinstance(a, int) else tf.maximum(tf.cast(a, tf.int64), tf.cast(b, tf.int64)) if not isinstance(b, int) else b
            for a, b in zip(own, wish, strict=True)]  # fmt: skip
    known = all(isinstance(e, int) for e in ends)
    return Value(tf.broadcast_to(x.plain, ends if known else tf.stack([tf.cast(e, tf.int64) for e in ends])))


def tile(node: Node, x: Value, times: Value) -> Value:
    return Value(tf.tile(x.plain, times.plain))


def range_(node: Node, start: Value, end: Value, step: Value) -> Value:
    return Value(tf.range(start.plain, end.plain, step.plain))


def filled(node: Node, to: Value) -> Value:
    value = node.get("value", np.zeros(1, np.float32)).reshape(())
    sides = to.sides
    if all(isinstance(s, int) for s in sides):
        return Value(np.full(sides, value))
    return Value(tf.fill(tf.stack([tf.cast(s, tf.int64) for s in sides]), value))


def held(node: Node) -> Value:
    """Constant."""
    for name, kind in (("value", None), ("value_float", np.float32), ("value_int", np.int64),
                       ("value_floats", np.float32), ("value_ints", np.int64)):  # fmt: skip
        if name in node.attributes:
            return Value(np.array(node.attributes[name], kind))
    raise Unsupported("a constant that is no number")


def pad(node: Node, x: Value, *given: Value | None) -> Value:
    amounts, fill, which = [*given, None, None, None][:3]
    told = list(node.attributes["pads"]) if node.opset < 11 else [int(v) for v in constant(amounts, "pads")]
    axes = list(range(x.rank)) if which is None else [int(a) % x.rank for a in constant(which, "axes")]
    both = [(0, 0)] * x.rank
    for i, axis in enumerate(axes):
        both[axis] = (told[i], told[i + len(axes)])
    value = x.last if x.native_last else x.plain
    both = [both[0], *both[2:], both[1]] if x.native_last else both
    # What a negative amount takes away.
    value = value[tuple(slice(max(0, -a), -max(0, -b) or None) for a, b in both)]
    both = [(max(0, a), max(0, b)) for a, b in both]
    mode = node.get("mode", "constant")
    if mode == "edge":
        for place, (a, b) in enumerate(both):
            side = value.shape[place]
            if (a or b) and side is None:
                raise Unsupported("edges of a side that only a run knows")
            if a or b:
                value = tf.gather(value, np.clip(np.arange(-a, side + b), 0, side - 1), axis=place)
        return made(value, x.native_last)
    if mode not in ("constant", "reflect"):
        raise Unsupported(f"mode {mode}")
    number = node.get("value", 0.0) if fill is None else fill.plain
    if mode == "reflect":
        return made(tf.pad(value, both, "REFLECT"), x.native_last)
    return made(tf.pad(value, both, constant_values=tf.cast(tf.reshape(number, []), value.dtype)), x.native_last)


def top_k(node: Node, x: Value, many: Value | None = None) -> list[Value]:
    axis = node.get("axis", -1) % x.rank
    count = node.attributes["k"] if many is None else tf.cast(tf.reshape(many.sides[0], []), tf.int32)
    value = x.plain
    order = [*(i for i in range(x.rank) if i != axis), axis]
    turned = axis != x.rank - 1
    value = tf.transpose(value, order) if turned else value
    largest = bool(node.get("largest", 1))
    found, places = tf.math.top_k(value if largest else -value, count)
    found = found if largest else -found
    if turned:
        back = [order.index(i) for i in range(x.rank)]
        found, places = tf.transpose(found, back), tf.transpose(places, back)
    return [Value(found), Value(tf.cast(places, tf.int64))]


def depth_to_space(node: Node, x: Value) -> Value:
    if node.get("mode", "DCR") == "DCR":
        return Value(last=tf.nn.depth_to_space(x.last, node.attributes["blocksize"]))
    block, channels = node.attributes["blocksize"], x.shape[1]
    if channels is None:
        raise Unsupported("channels that only a run knows")
    n, h, w = (size(x, i) for i in (0, 2, 3))
    parts = _shaped(x.plain, [n, channels // block**2, block, block, h, w])
    return Value(_shaped(tf.transpose(parts, [0, 1, 4, 2, 5, 3]), [n, channels // block**2, h * block, w * block]))


def space_to_depth(node: Node, x: Value) -> Value:
    return Value(last=tf.nn.space_to_depth(x.last, node.attributes["blocksize"]))


def cumulated(node: Node, x: Value, axis: Value) -> Value:
    how = bool(node.get("exclusive", 0)), bool(node.get("reverse", 0))
    return Value(tf.cumsum(x.plain, int(constant(axis, "axis").reshape(())), *how))


def einsum(node: Node, *values: Value) -> Value:
    return Value(tf.einsum(node.attributes["equation"].replace(" ", ""), *[v.plain for v in values]))


def nonzero(node: Node, x: Value) -> Value:
    return Value(tf.transpose(tf.where(tf.not_equal(x.plain, tf.zeros([], x.dtype)))))


def suppress(
    node: Node, boxes: Value, scores: Value, most: Value | None = None, overlap: Value | None = None,
    floor: Value | None = None,
) -> Value:  # fmt: skip
    """NonMaxSuppression: (row, class, place) of each survivor, rows and classes in order, best first within."""
    limit = tf.constant(0, tf.int32) if most is None else tf.cast(tf.reshape(most.plain, []), tf.int32)
    nearness = tf.constant(0.0) if overlap is None else tf.reshape(overlap.plain, [])
    least = tf.constant(-np.inf, tf.float32) if floor is None else tf.reshape(floor.plain, [])
    corners = boxes.plain
    if node.get("center_point_box", 0):
        half = corners[..., 2:] / 2
        corners = tf.concat([corners[..., :2] - half, corners[..., :2] + half], -1)
    rows, classes, places = (tf.shape(scores.plain)[i] for i in range(3))
    count = tf.minimum(limit, places)
    # One suppression for each row and class, padded to the same length.
    each = tf.reshape(scores.plain, [-1, places])

    def one(i: Any) -> tuple[Any, Any]:
        found, valid = tf.raw_ops.NonMaxSuppressionV4(
            boxes=corners[i // classes], scores=each[i], max_output_size=count, iou_threshold=nearness,
            score_threshold=least, pad_to_max_output_size=True,
        )  # fmt: skip
        return found, valid

    spec = (tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.int32))
    found, valid = tf.map_fn(one, tf.range(rows * classes), fn_output_signature=spec)
    kept = tf.range(count)[None] < valid[:, None]
    at = tf.where(kept)
    row = at[:, 0] // tf.cast(classes, tf.int64)
    kind = at[:, 0] % tf.cast(classes, tf.int64)
    return Value(tf.stack([row, kind, tf.cast(tf.gather_nd(found, at), tf.int64)], 1))


OPS: dict[str, Callable[..., Any]] = {
    "Shape": shape, "Reshape": reshape, "Flatten": flatten, "Transpose": transpose, "Squeeze": squeeze,
    "Unsqueeze": unsqueeze, "Concat": concat, "Split": split, "Slice": slice_, "Gather": gather,
    "GatherElements": gather_elements, "GatherND": gather_nd, "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd, "Expand": expand, "Tile": tile, "Range": range_, "ConstantOfShape": filled,
    "Constant": held, "Pad": pad, "TopK": top_k, "DepthToSpace": depth_to_space, "SpaceToDepth": space_to_depth,
    "CumSum": cumulated, "Einsum": einsum, "NonZero": nonzero, "NonMaxSuppression": suppress,
}  # fmt: skip
