"""Convolution, pooling, normalisation, matrices and resizing, computed with channels last."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from saccade.export.exporters.tf_serving.tensorflow.node import Node, Unsupported, constant
from saccade.export.exporters.tf_serving.tensorflow.value import Value, last_axis

Pads = list[tuple[int, int]]


def _pads(node: Node, x: Value, kernel: list[int], strides: list[int], dilations: list[int]) -> Pads:
    """Before and after, of each side that slides."""
    auto = node.get("auto_pad", "NOTSET")
    if auto == "NOTSET":
        told = node.get("pads", [0] * (2 * len(kernel)))
        return list(zip(told[: len(kernel)], told[len(kernel) :], strict=True))
    if auto == "VALID":
        return [(0, 0)] * len(kernel)
    found = []
    for side, k, s, d in zip(x.shape[2:], kernel, strides, dilations, strict=True):
        if side is None:
            raise Unsupported(f"auto_pad {auto} of a side that only a run knows")
        more = max(0, (math.ceil(side / s) - 1) * s + (k - 1) * d + 1 - side)
        small, large = more // 2, more - more // 2
        found.append((small, large) if auto == "SAME_UPPER" else (large, small))
    return found


def _padded(value: Any, pads: Pads, fill: float = 0.0) -> Any:
    if all(p == (0, 0) for p in pads):
        return value
    return tf.pad(value, [(0, 0), *pads, (0, 0)], constant_values=tf.cast(fill, value.dtype))


def _plane(x: Value, op: str) -> None:
    if x.rank != 4:
        raise Unsupported(f"{op} of {x.rank - 2} dimensions, only planes")


def conv(node: Node, x: Value, w: Value, b: Value | None = None) -> Value:
    _plane(x, "convolution")
    weights = constant(w, "weights")
    groups = node.get("group", 1)
    kernel = list(weights.shape[2:])
    strides, dilations = list(node.get("strides", [1, 1])), list(node.get("dilations", [1, 1]))
    value = _padded(x.last, _pads(node, x, kernel, strides, dilations))
    channels = x.shape[1]
    filters = weights.transpose(2, 3, 1, 0)
    deep = groups > 1 and groups == channels and strides[0] == strides[1] and (max(strides) == 1 or max(dilations) == 1)
    if groups == 1:
        value = tf.nn.conv2d(value, filters, strides, "VALID", dilations=dilations)
    elif deep:
        # [out, 1, h, w] to [h, w, in, out / in]: outputs of one input channel lie together.
        each = weights.reshape(channels, -1, *kernel).transpose(2, 3, 0, 1)
        value = tf.nn.depthwise_conv2d(value, each, [1, *strides, 1], "VALID", dilations=dilations)
    else:
        parts = zip(tf.split(value, groups, -1), np.split(filters, groups, -1), strict=True)
        value = tf.concat([tf.nn.conv2d(v, f, strides, "VALID", dilations=dilations) for v, f in parts], -1)
    return Value(last=value if b is None else tf.nn.bias_add(value, b.plain))


def conv_transpose(node: Node, x: Value, w: Value, b: Value | None = None) -> Value:
    _plane(x, "convolution")
    weights = constant(w, "weights")
    groups, kernel = node.get("group", 1), list(weights.shape[2:])
    strides, dilations = list(node.get("strides", [1, 1])), list(node.get("dilations", [1, 1]))
    if "output_shape" in node.attributes or node.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise Unsupported("output_shape or auto_pad")
    if max(dilations) > 1:
        # TensorFlow's CPU kernels do not dilate here, so the holes become zeros of the filter.
        wide = np.zeros(
            (*weights.shape[:2], *((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))), weights.dtype
        )
        wide[:, :, :: dilations[0], :: dilations[1]] = weights
        weights, kernel, dilations = wide, list(wide.shape[2:]), [1, 1]
    pads, more = _pads(node, x, kernel, strides, dilations), node.get("output_padding", [0, 0])
    sizes = tf.shape(x.last)
    known = [None if s is None else int(s) for s in x.shape[2:]]
    full = [((tf.shape(x.last)[1 + i] if s is None else s) - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1
            for i, s in enumerate(known)]  # fmt: skip
    answers = []
    for value, part in zip(tf.split(x.last, groups, -1), np.split(weights, groups, 0), strict=True):
        shape = tf.stack([sizes[0], *full, part.shape[1]])
        filters = part.transpose(2, 3, 1, 0)
        answers.append(tf.nn.conv2d_transpose(value, filters, shape, strides, "VALID"))
    value = tf.concat(answers, -1)
    # What output_padding adds lies behind the full answer or inside what pads would cut away.
    value = _padded(value, [(0, max(0, m - after)) for m, (_, after) in zip(more, pads, strict=True)])
    ends = [full[i] + max(0, more[i] - pads[i][1]) - max(0, pads[i][1] - more[i]) for i in range(2)]
    value = value[:, pads[0][0] : ends[0], pads[1][0] : ends[1], :]
    return Value(last=value if b is None else tf.nn.bias_add(value, b.plain))


def _windows(node: Node, x: Value) -> tuple[list[int], list[int], list[int], Pads, Pads]:
    """Kernel, strides, dilations, pads, and how much more a rounded-up size reads."""
    kernel = list(node.attributes["kernel_shape"])
    strides, dilations = list(node.get("strides", [1] * len(kernel))), list(node.get("dilations", [1] * len(kernel)))
    pads = _pads(node, x, kernel, strides, dilations)
    beyond: Pads = [(0, 0)] * len(kernel)
    if node.get("ceil_mode", 0):
        beyond = []
        for side, k, s, d, (before, after) in zip(x.shape[2:], kernel, strides, dilations, pads, strict=True):
            if side is None:
                raise Unsupported("ceil_mode of a side that only a run knows")
            reach = (k - 1) * d + 1
            count = math.ceil((side + before + after - reach) / s) + 1
            # A window that would begin in the padding behind the picture is left out.
            count -= (count - 1) * s >= side + before
            beyond.append((0, max(0, (count - 1) * s + reach - side - before - after)))
    return kernel, strides, dilations, pads, beyond


def max_pool(node: Node, x: Value) -> Value:
    _plane(x, "pooling")
    kernel, strides, dilations, pads, beyond = _windows(node, x)
    both = [(a + c, b + d) for (a, b), (c, d) in zip(pads, beyond, strict=True)]
    if x.dtype.is_integer and any(p != (0, 0) for p in both):
        raise Unsupported("padding of whole numbers")
    value = _padded(x.last, both, -np.inf if not x.dtype.is_integer else 0)
    return Value(last=tf.nn.pool(value, kernel, "MAX", strides, "VALID", dilations=dilations))


def average_pool(node: Node, x: Value) -> Value:
    _plane(x, "pooling")
    kernel, strides, dilations, pads, beyond = _windows(node, x)
    both = [(a + c, b + d) for (a, b), (c, d) in zip(pads, beyond, strict=True)]

    def pool(value: Any) -> Any:
        return tf.nn.pool(value, kernel, "AVG", strides, "VALID", dilations=dilations)

    value = pool(_padded(x.last, both))
    counted = pads if node.get("count_include_pad", 0) else [(0, 0)] * len(kernel)
    if both != counted:
        ones = tf.ones([1, *tf.unstack(tf.shape(x.last)[1:3]), 1], value.dtype)
        edge = [(a - c, b - d) for (a, b), (c, d) in zip(both, counted, strict=True)]
        value = value / pool(_padded(_padded(ones, counted, 1.0), edge))
    return Value(last=value)


def batch_norm(node: Node, x: Value, scale: Value, b: Value, mean: Value, variance: Value) -> Value:
    factor = constant(scale, "scale") / np.sqrt(constant(variance, "variance") + node.get("epsilon", 1e-5))
    shift = constant(b, "shift") - constant(mean, "mean") * factor
    kind = x.dtype.as_numpy_dtype
    if x.rank < 3:
        return Value(x.plain * factor.astype(kind) + shift.astype(kind))
    return Value(last=x.last * factor.astype(kind) + shift.astype(kind))


def instance_norm(node: Node, x: Value, scale: Value, b: Value) -> Value:
    mean, variance = tf.nn.moments(x.last, list(range(1, x.rank - 1)), keepdims=True)
    return Value(last=(x.last - mean) * tf.math.rsqrt(variance + node.get("epsilon", 1e-5)) * scale.plain + b.plain)


def layer_norm(node: Node, x: Value, scale: Value, b: Value | None = None) -> Value:
    axis = node.get("axis", -1) % x.rank
    mean, variance = tf.nn.moments(x.plain, list(range(axis, x.rank)), keepdims=True)
    value = (x.plain - mean) * tf.math.rsqrt(variance + node.get("epsilon", 1e-5)) * scale.plain
    return Value(value if b is None else value + b.plain)


def group_norm(node: Node, x: Value, scale: Value, b: Value) -> Value:
    groups, channels = node.attributes["num_groups"], x.shape[1]
    if channels is None:
        raise Unsupported("channels that only a run knows")
    shape = tf.shape(x.last)
    split = tf.reshape(x.last, tf.concat([shape[:-1], [groups, channels // groups]], 0))
    axes = [*range(1, x.rank - 1), x.rank]
    mean, variance = tf.nn.moments(split, axes, keepdims=True)
    value = tf.reshape((split - mean) * tf.math.rsqrt(variance + node.get("epsilon", 1e-5)), shape)
    each = 1 if scale.shape[0] == channels else channels // groups  # before opset 21 one number a group
    return Value(last=value * tf.repeat(scale.plain, each) + tf.repeat(b.plain, each))


def gemm(node: Node, a: Value, b: Value, c: Value | None = None) -> Value:
    value = tf.matmul(a.plain, b.plain, bool(node.get("transA", 0)), bool(node.get("transB", 0)))
    value = value * node.get("alpha", 1.0) if node.get("alpha", 1.0) != 1 else value
    return Value(value if c is None else value + c.plain * node.get("beta", 1.0))


def matmul(node: Node, a: Value, b: Value) -> Value:
    x, y = a.plain, b.plain
    if a.rank == 1 and b.rank == 1:
        return Value(tf.tensordot(x, y, 1))
    if a.rank == 1:
        return Value(tf.squeeze(tf.matmul(x[None], y), -2))
    if b.rank == 1:
        return Value(tf.squeeze(tf.matmul(x, y[:, None]), -1))
    return Value(tf.matmul(x, y))


# Resizing


def resize(node: Node, x: Value, *rest: Value | None) -> Value:
    """Resize of opset 10 and later, and Upsample."""
    given = [*rest, None, None, None]
    if node.op == "Upsample" or node.opset < 11:
        told = node.attributes["scales"] if "scales" in node.attributes else constant(given[0], "scales")
        return _resize(node, x, [float(s) for s in told], None, "asymmetric", "floor")
    scales, sizes = given[1], given[2]
    if "axes" in node.attributes or node.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Unsupported("axes or keep_aspect_ratio_policy")
    how, near = node.get("coordinate_transformation_mode", "half_pixel"), node.get("nearest_mode", "round_prefer_floor")
    if node.get("antialias", 0) or node.get("exclude_outside", 0):
        raise Unsupported("antialias or exclude_outside")
    if sizes is not None and sizes.shape[0]:
        return _resize(node, x, None, sizes.sides, how, near)
    return _resize(node, x, [float(s) for s in constant(scales, "scales")], None, how, near)


def _resize(node: Node, x: Value, scales: Any, sizes: Any, how: str, near: str) -> Value:
    mode = node.get("mode", "nearest")
    sides = x.shape
    axes = []
    for axis in range(x.rank):
        told = sizes[axis] if sizes is not None else None
        if (scales is not None and scales[axis] == 1) or (
            told is not None and told is not sides[axis] and told == sides[axis]
        ):
            continue
        if axis < 2 and (sides[axis] is None or (sizes is not None and not isinstance(told, int))):
            continue  # the batch, carried along
        if sides[axis] is None or (sizes is not None and not isinstance(told, int)):
            raise Unsupported("a side that only a run knows")
        axes.append(axis)
    value = x.last
    for axis in axes:
        before = sides[axis]
        assert before is not None
        after = int(sizes[axis]) if sizes is not None else math.floor(before * scales[axis])
        zoom = scales[axis] if scales is not None else after / before
        place = last_axis(axis, x.rank)
        if mode == "nearest":
            value = tf.gather(value, _nearest(_source(before, after, zoom, how), before, near), axis=place)
        elif mode in ("linear", "cubic"):
            taps = _linear if mode == "linear" else _cubic(node.get("cubic_coeff_a", -0.75))
            value = _blend(value, taps(_source(before, after, zoom, how), before), place)
        else:
            raise Unsupported(f"mode {mode}")
    return Value(last=value)


def _source(before: int, after: int, zoom: float, how: str) -> Any:
    """Where each new place lies in the old side."""
    at = np.arange(after, dtype=np.float64)
    ways: dict[str, Callable[[], Any]] = {
        "half_pixel": lambda: (at + 0.5) / zoom - 0.5,
        "asymmetric": lambda: at / zoom,
        "align_corners": lambda: at * (before - 1) / max(1, after - 1),
        "pytorch_half_pixel": lambda: (at + 0.5) / zoom - 0.5 if after > 1 else at * 0,
    }
    if how not in ways:
        raise Unsupported(f"coordinates {how}")
    return ways[how]()


def _nearest(source: Any, before: int, near: str) -> Any:
    ways = {
        "round_prefer_floor": lambda: np.ceil(source - 0.5),
        "round_prefer_ceil": lambda: np.floor(source + 0.5),
        "floor": lambda: np.floor(source),
        "ceil": lambda: np.ceil(source),
    }
    return np.clip(ways[near](), 0, before - 1).astype(np.int32)


Taps = list[tuple[Any, Any]]
"""Places and weights that are added up."""


def _linear(source: Any, before: int) -> Taps:
    at = np.clip(source, 0, before - 1)
    low = np.minimum(np.floor(at).astype(np.int32), max(0, before - 2))
    share = at - low
    return [(low, 1 - share), (np.minimum(low + 1, before - 1), share)]


def _cubic(a: float) -> Callable[[Any, int], Taps]:
    def taps(source: Any, before: int) -> Taps:
        low = np.floor(source).astype(np.int32)
        t = source - low
        weights = [
            ((a * (t + 1) - 5 * a) * (t + 1) + 8 * a) * (t + 1) - 4 * a,
            ((a + 2) * t - (a + 3)) * t * t + 1,
            ((a + 2) * (1 - t) - (a + 3)) * (1 - t) ** 2 + 1,
            ((a * (2 - t) - 5 * a) * (2 - t) + 8 * a) * (2 - t) - 4 * a,
        ]
        return [(np.clip(low + i - 1, 0, before - 1), w) for i, w in enumerate(weights)]

    return taps


def _blend(value: Any, taps: Taps, place: int) -> Any:
    rank = len(value.shape)
    total: Any = None
    for places, weights in taps:
        if not np.any(weights):
            continue
        along = [1] * rank
        along[place] = -1
        part = tf.gather(value, places, axis=place) * weights.astype(value.dtype.as_numpy_dtype).reshape(along)
        total = part if total is None else total + part
    return total


OPS: dict[str, Callable[..., Any]] = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "BatchNormalization": batch_norm,
    "InstanceNormalization": instance_norm,
    "LayerNormalization": layer_norm,
    "GroupNormalization": group_norm,
    "Gemm": gemm,
    "MatMul": matmul,
    "Resize": resize,
    "Upsample": resize,
}
