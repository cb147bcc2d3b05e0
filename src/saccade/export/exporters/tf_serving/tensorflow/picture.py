"""Encoded pictures to network input in TensorFlow's operators, as near to images/preprocess.py as they come."""

from typing import Any

import tensorflow as tf

from saccade.images.preprocess import PreprocessSpec

AREA, CUBIC = "area", -0.75


@tf.function(autograph=False, reduce_retracing=False)
def pixels(encoded: Any, spec: PreprocessSpec) -> Any:
    """encoded: strings [N], JPEG, PNG, GIF, BMP or WebP. Returns uint8 [N, height, width, 3]."""
    shape = tf.TensorSpec([spec.height, spec.width, 3], tf.uint8)
    return tf.map_fn(lambda one: _one(one, spec), encoded, fn_output_signature=shape)


def _one(encoded: Any, spec: PreprocessSpec) -> Any:
    image, width, height = _decoded(encoded, spec)
    shape = tf.shape(image)
    left, top, right, bottom = _window(shape[1], shape[0], spec)
    image = image[top:bottom, left:right]
    inner_width, inner_height, x, y = _inner(width, height, spec)
    image = _resized(image, inner_width, inner_height, spec)
    if spec.mode == "letterbox":
        around = [[y, spec.height - inner_height - y], [x, spec.width - inner_width - x], [0, 0]]
        image = tf.pad(image, around, constant_values=spec.fill)
    if spec.color == "bgr":
        image = image[..., ::-1]
    return tf.ensure_shape(image, [spec.height, spec.width, 3])


def _decoded(encoded: Any, spec: PreprocessSpec) -> tuple[Any, Any, Any]:
    """Pixels, and width and height of the whole picture; a JPEG may come smaller, as `reduction` has it."""

    def on_white() -> Any:
        image = tf.cast(tf.io.decode_png(encoded, channels=4), tf.float32)
        color, cover = image[..., :3], image[..., 3:] / 255
        return tf.cast(tf.round(color * cover + 255 * (1 - cover)), tf.uint8)

    def opaque() -> Any:
        return tf.io.decode_image(encoded, channels=3, expand_animations=False)

    def png() -> Any:
        # Of fewer than eight bits TensorFlow makes pixels that are all clear, when it is asked for four channels.
        head = tf.io.decode_raw(tf.strings.substr(encoded, 24, 2), tf.uint8)
        depth, kind = head[0], head[1]
        clear = (kind == 4) | (kind == 6) | ((kind == 3) & (depth == 8))
        return tf.cond(clear, on_white, opaque)

    def any_kind() -> tuple[Any, Any, Any]:
        is_png = tf.strings.substr(encoded, 0, 4) == b"\x89PNG"
        image = tf.ensure_shape(tf.cond(is_png, png, opaque), [None, None, 3])
        return image, tf.shape(image)[1], tf.shape(image)[0]

    def jpeg(ratio: int) -> Any:
        return tf.io.decode_jpeg(encoded, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE", fancy_upscaling=True)

    def jpegs() -> tuple[Any, Any, Any]:
        shape, turn = tf.io.extract_jpeg_shape(encoded), _orientation(encoded)
        height, width = tf.where(turn > 4, shape[1], shape[0]), tf.where(turn > 4, shape[0], shape[1])
        if not spec.dct_scale:
            return _upright(jpeg(1), turn), width, height
        left, top, right, bottom = _window(width, height, spec)
        inner_width, inner_height, _, _ = _inner(width, height, spec)
        room = tf.minimum(_ratio(right - left, inner_width), _ratio(bottom - top, inner_height))
        step = sum(tf.cast(room >= factor * spec.dct_margin, tf.int32) for factor in (2, 4, 8))
        image = tf.switch_case(step, [lambda r=r: jpeg(r) for r in (1, 2, 4, 8)])
        return _upright(image, turn), width, height

    found: tuple[Any, Any, Any] = tf.cond(tf.io.is_jpeg(encoded), jpegs, any_kind)
    return found


def _orientation(encoded: Any) -> Any:
    """1 to 8, the orientation in a JPEG's Exif segment; 1 where there is none. TensorFlow's decoder passes it by."""
    data = tf.cast(tf.io.decode_raw(tf.strings.substr(encoded, 0, 65536), tf.uint8), tf.int32)
    data = tf.pad(data, [(0, 16)])
    # FF E1, two bytes of length, "Exif", two zeros.
    mark = [0xFF, 0xE1, None, None, 0x45, 0x78, 0x69, 0x66, 0, 0]
    count = tf.maximum(tf.size(data) - len(mark), 0)
    fits = tf.ones([count], tf.bool)
    for i, byte in enumerate(mark):
        if byte is not None:
            fits &= data[i : i + count] == byte
    found = tf.where(fits)[:, 0]

    def read() -> Any:
        start = tf.cast(found[0], tf.int32) + len(mark)
        little = data[start] == 0x49

        def number(at: Any, size: int) -> Any:
            parts = [tf.gather(data, tf.clip_by_value(at + i, 0, tf.size(data) - 1)) for i in range(size)]
            small = sum(p * 256**i for i, p in enumerate(parts[:4]))
            large = sum(p * 256**i for i, p in enumerate(parts[::-1][:4]))
            return tf.where(little, small, large)

        table = start + number(start + 4, 4)
        entries = table + 2 + 12 * tf.range(tf.minimum(number(table, 2), 512))
        values = tf.boolean_mask(number(entries + 8, 2), number(entries, 2) == 0x0112)
        value = tf.cond(tf.size(values) > 0, lambda: values[0], lambda: tf.constant(1))
        return tf.where((value >= 1) & (value <= 8), value, 1)

    return tf.cond(tf.size(found) > 0, read, lambda: tf.constant(1))


def _upright(image: Any, turn: Any) -> Any:
    """As the camera was held: Exif's eight ways."""
    turned = tf.transpose(image, [1, 0, 2])
    ways = [
        image, image[:, ::-1], image[::-1, ::-1], image[::-1],
        turned, turned[:, ::-1], turned[::-1, ::-1], turned[::-1],
    ]  # fmt: skip
    return tf.switch_case(turn - 1, [lambda w=w: w for w in ways])


def _rounded(value: Any) -> Any:
    return tf.cast(tf.round(value), tf.int32)


def _ratio(a: Any, b: Any) -> Any:
    return tf.cast(a, tf.float64) / tf.cast(b, tf.float64)


def _window(width: Any, height: Any, spec: PreprocessSpec) -> tuple[Any, Any, Any, Any]:
    if spec.mode != "center_crop":
        return 0, 0, width, height
    scale = tf.maximum(_ratio(spec.width, width), _ratio(spec.height, height)) * max(1.0, spec.crop_ratio)
    kept_width = tf.minimum(width, tf.maximum(1, _rounded(spec.width / scale)))
    kept_height = tf.minimum(height, tf.maximum(1, _rounded(spec.height / scale)))
    left, top = (width - kept_width) // 2, (height - kept_height) // 2
    return left, top, left + kept_width, top + kept_height


def _inner(width: Any, height: Any, spec: PreprocessSpec) -> tuple[Any, Any, Any, Any]:
    if spec.mode != "letterbox":
        return spec.width, spec.height, 0, 0
    scale = tf.minimum(_ratio(spec.width, width), _ratio(spec.height, height))
    inner_width = tf.maximum(1, tf.minimum(spec.width, _rounded(tf.cast(width, tf.float64) * scale)))
    inner_height = tf.maximum(1, tf.minimum(spec.height, _rounded(tf.cast(height, tf.float64) * scale)))
    return inner_width, inner_height, (spec.width - inner_width) // 2, (spec.height - inner_height) // 2


def _resized(image: Any, width: Any, height: Any, spec: PreprocessSpec) -> Any:
    sides = tf.shape(image)
    value = tf.cast(image, tf.float32)
    if spec.interpolation == "mean4" and spec.antialias:
        shrinks = (width < sides[1]) | (height < sides[0])
        near = (_ratio(sides[1], width) <= spec.mean4_most) & (_ratio(sides[0], height) <= spec.mean4_most)
        value = tf.cond(
            shrinks & near, lambda: _mean_of_four(value, width, height), lambda: _by_kernel(value, width, height, spec)
        )
    else:
        value = _by_kernel(value, width, height, spec)
    return tf.cast(value, tf.uint8)


def _mean_of_four(value: Any, width: Any, height: Any) -> Any:
    """Twice as large by bilinear samples, then the mean of each four."""
    for axis, wish in ((0, 2 * height), (1, 2 * width)):
        value = _along(value, wish, axis, "bilinear")
    value = _eight_bits(value)
    four = value[0::2, 0::2] + value[1::2, 0::2] + value[0::2, 1::2] + value[1::2, 1::2]
    return tf.floor((four + 2) / 4)


def _by_kernel(value: Any, width: Any, height: Any, spec: PreprocessSpec) -> Any:
    sides = tf.shape(value)
    if spec.antialias or spec.interpolation == AREA:
        # Areas are averaged only where a side shrinks; what grows follows by the spec's own kernel.
        smaller = tf.stack([tf.minimum(height, sides[0]), tf.minimum(width, sides[1])])
        if not spec.antialias:
            grows = tf.reduce_any(tf.stack([height, width]) > sides[:2])
            smaller = tf.where(grows, sides[:2], smaller)
        value = _eight_bits(_averaged(value, smaller))
    for axis, wish in ((0, height), (1, width)):
        value = _along(value, wish, axis, spec.interpolation)
    return _eight_bits(value)


def _eight_bits(value: Any) -> Any:
    """As numbers of 8 bits would have it: OpenCV rounds after every step."""
    return tf.clip_by_value(tf.round(value), 0, 255)


def _averaged(image: Any, size: Any) -> Any:
    return tf.raw_ops.ResizeArea(images=image[None], size=size, align_corners=False)[0]


def _along(value: Any, wish: Any, axis: int, kernel: str) -> Any:
    """One axis resized by a kernel of a few taps, edges repeated."""
    before = tf.shape(value)[axis]
    old, new = tf.cast(before, tf.float32), tf.cast(wish, tf.float32)
    place = tf.range(new)
    if kernel == AREA:
        # OpenCV's areas where a side grows: each old pixel fills its share of the new ones, and only edges are blended.
        low = tf.floor(place * old / new)
        share = (place + 1) - (low + 1) * new / old
        taps = _linear(tf.where(share <= 0, 0.0, share - tf.floor(share)))
    else:
        source = (place + 0.5) * old / new - 0.5
        low = tf.floor(source)
        taps = (_cubic if kernel == "bicubic" else _linear)(source - low)
    total: Any = None
    for step, weight in taps:
        places = tf.clip_by_value(tf.cast(low, tf.int32) + step, 0, before - 1)
        along = [-1, 1, 1] if axis == 0 else [1, -1, 1]
        part = tf.gather(value, places, axis=axis) * tf.reshape(weight, along)
        total = part if total is None else total + part
    return total


def _linear(share: Any) -> list[tuple[int, Any]]:
    return [(0, 1 - share), (1, share)]


def _cubic(t: Any, a: float = CUBIC) -> list[tuple[int, Any]]:
    return [
        (-1, ((a * (t + 1) - 5 * a) * (t + 1) + 8 * a) * (t + 1) - 4 * a),
        (0, ((a + 2) * t - (a + 3)) * t * t + 1),
        (1, ((a + 2) * (1 - t) - (a + 3)) * (1 - t) ** 2 + 1),
        (2, ((a * (2 - t) - 5 * a) * (2 - t) + 8 * a) * (2 - t) - 4 * a),
    ]
