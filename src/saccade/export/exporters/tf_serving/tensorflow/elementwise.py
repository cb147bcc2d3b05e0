"""Operators that treat each number alone, and those that fold axes away."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from saccade.export.exporters.tf_serving.tensorflow.node import Node, Unsupported
from saccade.export.exporters.tf_serving.tensorflow.value import Value, last_axis, made, together


def _one(act: Callable[..., Any]) -> Callable[..., Value]:
    def handler(node: Node, x: Value) -> Value:
        return made(act(x.last), True) if x.native_last else made(act(x.plain), False)

    return handler


def _with(act: Callable[[Node, Any], Any]) -> Callable[..., Value]:
    """One that reads attributes."""

    def handler(node: Node, x: Value) -> Value:
        return made(act(node, x.last), True) if x.native_last else made(act(node, x.plain), False)

    return handler


def _two(act: Callable[[Any, Any], Any]) -> Callable[..., Value]:
    def handler(node: Node, a: Value, b: Value) -> Value:
        (x, y), last = together([a, b])
        return made(act(x, y), last)

    return handler


def _many(act: Callable[[Any, Any], Any], mean: bool = False) -> Callable[..., Value]:
    def handler(node: Node, *values: Value) -> Value:
        found, last = together(values)
        total = found[0]
        for more in found[1:]:
            total = act(total, more)
        return made(total / len(found) if mean else tf.identity(total), last)

    return handler


def _divide(a: Any, b: Any) -> Any:
    return tf.truncatediv(a, b) if tf.as_dtype(a.dtype).is_integer else tf.divide(a, b)


def _power(a: Any, b: Any) -> Any:
    return tf.pow(a, tf.cast(b, a.dtype))


def _modulo(node: Node, a: Value, b: Value) -> Value:
    (x, y), last = together([a, b])
    return made(tf.truncatemod(x, y) if node.get("fmod", 0) else tf.math.floormod(x, y), last)


def _gelu(node: Node, x: Any) -> Any:
    return tf.nn.gelu(x, approximate=node.get("approximate", "none") == "tanh")


def _prelu(x: Any, slope: Any) -> Any:
    return tf.where(x < 0, x * slope, x)


def _clip(node: Node, x: Value, low: Value | None = None, high: Value | None = None) -> Value:
    value = x.last if x.native_last else x.plain
    least = node.get("min", None) if low is None else low.plain
    most = node.get("max", None) if high is None else high.plain
    if least is not None:
        value = tf.maximum(value, tf.cast(least, value.dtype))
    if most is not None:
        value = tf.minimum(value, tf.cast(most, value.dtype))
    return made(value, x.native_last)


def _cast(node: Node, x: Value) -> Value:
    kind = node.dtype("to")
    value = x.last if x.native_last else x.plain
    if kind == tf.bool:
        return made(tf.not_equal(value, tf.zeros([], value.dtype)), x.native_last)
    if x.constant is not None:
        return Value(x.constant.astype(kind.as_numpy_dtype))
    told = x.told_sides if kind.is_integer else None
    if told is not None:
        return Value(tf.cast(value, kind), sides=told)
    return made(tf.cast(value, kind), x.native_last)


def _where(node: Node, condition: Value, a: Value, b: Value) -> Value:
    (c, x, y), last = together([condition, a, b])
    return made(tf.where(c, x, y), last)


# Folding axes


def _reduce(act: Callable[..., Any]) -> Callable[..., Value]:
    def handler(node: Node, x: Value, axes: Value | None = None) -> Value:
        told = node.axes(axes)
        if told is None and node.get("noop_with_empty_axes", 0):
            return x
        keep = bool(node.get("keepdims", 1))
        # Only what keeps the order of axes can stay with channels last.
        if x.native_last and told is not None and keep:
            return made(act(x.last, [last_axis(a, x.rank) for a in told], True), True)
        if x.native_last and told is not None and {a % x.rank for a in told} == set(range(2, x.rank)):
            return made(act(x.last, list(range(1, x.rank - 1)), False), False)
        return made(act(x.plain, told, keep), False)

    return handler


def _pooled(act: Callable[..., Any]) -> Callable[..., Value]:
    def handler(node: Node, x: Value) -> Value:
        return made(act(x.last, list(range(1, x.rank - 1)), True), True)

    return handler


def _l2(x: Any, axes: Any, keep: bool) -> Any:
    return tf.sqrt(tf.reduce_sum(x * x, axes, keep))


def _mean(x: Any, axes: Any, keep: bool) -> Any:
    return tf.reduce_mean(x, axes, keep)


def _softmax(log: bool) -> Callable[..., Value]:
    act = tf.nn.log_softmax if log else tf.nn.softmax

    def handler(node: Node, x: Value) -> Value:
        axis = node.get("axis", -1 if node.opset >= 13 else 1) % x.rank
        if node.opset < 13 and axis != x.rank - 1:
            # Before opset 13 all axes from this one on are one.
            flat = tf.reshape(x.plain, [*[tf.shape(x.plain)[i] for i in range(axis)], -1])
            return made(tf.reshape(act(flat, -1), tf.shape(x.plain)), False)
        if x.native_last:
            return made(act(x.last, last_axis(axis, x.rank)), True)
        return made(act(x.plain, axis), False)

    return handler


def _arg(act: Callable[..., Any]) -> Callable[..., Value]:
    def handler(node: Node, x: Value) -> Value:
        axis = node.get("axis", 0) % x.rank
        if node.get("select_last_index", 0):
            raise Unsupported("select_last_index")
        value, place = (x.last, last_axis(axis, x.rank)) if x.native_last else (x.plain, axis)
        found = act(value, place, tf.int64)
        if node.get("keepdims", 1):
            return made(tf.expand_dims(found, place), x.native_last)
        # Without its channels a tensor has one order of axes only.
        if x.native_last and axis != 1:
            found = act(x.plain, axis, tf.int64)
        return made(found, False)

    return handler


def _hard_sigmoid(node: Node, x: Any) -> Any:
    return tf.clip_by_value(x * node.get("alpha", 0.2) + node.get("beta", 0.5), 0, 1)


OPS: dict[str, Callable[..., Any]] = {
    "Abs": _one(tf.abs), "Neg": _one(tf.negative), "Exp": _one(tf.exp), "Log": _one(tf.math.log),
    "Sqrt": _one(tf.sqrt), "Floor": _one(tf.floor), "Ceil": _one(tf.math.ceil), "Round": _one(tf.round),
    "Sign": _one(tf.sign), "Reciprocal": _one(tf.math.reciprocal), "Erf": _one(tf.math.erf), "Sin": _one(tf.sin),
    "Cos": _one(tf.cos), "Tanh": _one(tf.tanh), "Sigmoid": _one(tf.sigmoid), "Relu": _one(tf.nn.relu),
    "Softplus": _one(tf.nn.softplus), "Softsign": _one(tf.nn.softsign), "Identity": _one(tf.identity),
    "Not": _one(tf.logical_not), "IsNaN": _one(tf.math.is_nan), "HardSwish": _one(lambda x: x * tf.nn.relu6(x + 3) / 6),
    "Mish": _one(lambda x: x * tf.tanh(tf.nn.softplus(x))),
    "LeakyRelu": _with(lambda n, x: tf.nn.leaky_relu(x, n.get("alpha", 0.01))),
    "Elu": _with(lambda n, x: tf.where(x < 0, n.get("alpha", 1.0) * tf.math.expm1(x), x)),
    "HardSigmoid": _with(_hard_sigmoid), "Gelu": _with(_gelu),
    "Add": _two(tf.add), "Sub": _two(tf.subtract), "Mul": _two(tf.multiply), "Div": _two(_divide), "Pow": _two(_power),
    "Greater": _two(tf.greater), "GreaterOrEqual": _two(tf.greater_equal), "Less": _two(tf.less),
    "LessOrEqual": _two(tf.less_equal), "Equal": _two(tf.equal), "And": _two(tf.logical_and), "Or": _two(tf.logical_or),
    "Xor": _two(tf.math.logical_xor), "PRelu": _two(_prelu), "Mod": _modulo, "Min": _many(tf.minimum),
    "Max": _many(tf.maximum), "Sum": _many(tf.add), "Mean": _many(tf.add, mean=True), "Clip": _clip, "Cast": _cast,
    "Where": _where, "ReduceMean": _reduce(_mean), "ReduceSum": _reduce(tf.reduce_sum),
    "ReduceMax": _reduce(tf.reduce_max), "ReduceMin": _reduce(tf.reduce_min), "ReduceProd": _reduce(tf.reduce_prod),
    "ReduceL2": _reduce(_l2), "GlobalAveragePool": _pooled(_mean), "GlobalMaxPool": _pooled(tf.reduce_max),
    "Softmax": _softmax(False), "LogSoftmax": _softmax(True), "ArgMax": _arg(tf.argmax), "ArgMin": _arg(tf.argmin),
}  # fmt: skip


def dropped(node: Node, x: Value, *rest: Value | None) -> Value:
    """Dropout: nothing, when a network answers."""
    return x


OPS["Dropout"] = dropped
