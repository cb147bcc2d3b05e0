"""Pictures for people: boxes, masks, captions, contact sheets.

A class has the same colour everywhere, by its id. The colours are told apart by people who are colour-blind, and no
colour is the only sign: a name stands beside it, as far as fonts can show it (`fonts.names`). Small pictures are
enlarged so that their captions can be read.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image as pillow
from PIL import ImageDraw

from saccade.images import fonts
from saccade.images.masks import VOID
from saccade.types import Array, Image

Colour = tuple[int, int, int]
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#882255", "#999933", "#6a51a3")
"""The eight hues of Okabe and Ito without black, then three of Tol's; later ids take them lighter, then darker."""
LEGIBLE = 480
"""A picture whose longer side is below this many px is enlarged by a whole factor before it is drawn on."""
_DARK, _LIGHT = (24, 24, 27), (250, 250, 250)


def colour(class_id: int) -> Colour:
    """The RGB colour of a class, the same for every picture and page."""
    text = PALETTE[class_id % len(PALETTE)]
    plain = [int(text[i : i + 2], 16) for i in (1, 3, 5)]
    towards, share = ((0, 0.0), (255, 0.5), (0, 0.4))[class_id // len(PALETTE) % 3]
    red, green, blue = (round(v + (towards - v) * share) for v in plain)
    return red, green, blue


def boxes(
    image: Image,
    boxes_N4: Array,
    names: Sequence[str],
    scores: Array | None = None,
    class_ids: Array | None = None,
    *,
    dashed: bool = False,
    captions: bool = True,
) -> Image:
    """The picture with boxes and their captions, the first box on top.

    boxes_N4: x_min y_min x_max y_max in px of the picture. names: of all classes, by id. scores: [N], 0..1, shown when
    given. class_ids: int [N], default 0. dashed: interrupted lines, for boxes that are not there.
    captions: False leaves the names away. Small pictures come
    back enlarged.
    """
    zoom = _zoom(image)
    canvas = pillow.fromarray(_enlarged(image, zoom))
    ids = np.zeros(len(boxes_N4), int) if class_ids is None else class_ids
    line, px = _line(canvas.size), _text_px(canvas.size)
    pen = ImageDraw.Draw(canvas)
    limit = np.array([canvas.width - 1, canvas.height - 1] * 2)
    corners = np.round(np.clip(np.nan_to_num(np.asarray(boxes_N4, np.float64)), 0, limit / zoom) * zoom).astype(int)
    for i in reversed(range(len(corners))):
        left, top, right, bottom = corners[i].tolist()
        _frame(pen, (left, top, max(left, right), max(top, bottom)), colour(int(ids[i])), line, dashed)
    taken: list[tuple[float, float, float, float]] = []
    for i in range(len(boxes_N4) if captions else 0):
        said = names[int(ids[i])] + ("" if scores is None else f" {float(scores[i]):.2f}")
        _tag(pen, canvas.size, corners[i], said, px, colour(int(ids[i])), line, taken)
    return np.array(canvas, np.uint8)


def mask(image: Image, mask_HW: Array, names: Sequence[str], strength: float = 0.5) -> Image:
    """The picture under the colours of its classes, edges drawn firm, and a legend of the classes below.

    mask_HW: class ids, the picture's size; 255 is void, drawn as hatching. names: of all classes, by id. The legend
    gives each class's share of the picture. Small pictures come back enlarged.
    """
    zoom = _zoom(image)
    plain, ids = _enlarged(image, zoom), _enlarged(np.asarray(mask_HW, np.uint8), zoom)
    table = np.array([[colour(k) for k in range(256)]], np.uint8)
    tints = np.asarray(cv2.LUT(cv2.merge([ids] * 3), table), np.uint8)
    out = np.asarray(cv2.addWeighted(plain, 1 - strength, tints, strength, 0), np.uint8)
    edge = np.zeros(ids.shape, bool)
    edge[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    edge[1:] |= ids[1:] != ids[:-1]
    if (width := _line((ids.shape[1], ids.shape[0]))) > 1:
        edge = cv2.dilate(edge.astype(np.uint8), np.ones((width, width), np.uint8)) > 0
    void = ids == VOID
    firm = edge & ~void
    np.copyto(out, tints, where=firm[:, :, None])
    if void.any():
        step = 4 * max(2, width)
        stripes = (np.arange(ids.shape[0])[:, None] + np.arange(ids.shape[1])) % step < step // 4
        out[void] = plain[void] // 2
        out[void & stripes] = 200
    counts = np.bincount(ids.ravel(), minlength=256)
    present = [int(k) for k in np.flatnonzero(counts) if k != VOID]
    entries = [(colour(k), f"{names[k]} {_percent(counts[k] / ids.size)}") for k in present]
    if counts[VOID]:
        entries.append(((150, 150, 150), "void"))
    return _with_legend(out, entries)


def legend(image: Image, names: Sequence[str], class_ids: Sequence[int]) -> Image:
    """The picture with the colours and names of these classes below it."""
    return _with_legend(image, [(colour(k), names[k]) for k in class_ids])


def beside(images: Sequence[Image], captions: Sequence[str], gap: int = 6) -> Image:
    """Pictures in a row, tops aligned, each with a caption below."""
    text_px = max(_text_px((i.shape[1], i.shape[0])) for i in images)
    tiles = [caption(i, text, round(1.6 * text_px)) for i, text in zip(images, captions, strict=True)]
    height = max(t.shape[0] for t in tiles)
    width = sum(t.shape[1] for t in tiles) + gap * (len(tiles) - 1)
    canvas = np.full((height, width, 3), _DARK, np.uint8)
    left = 0
    for tile in tiles:
        canvas[: tile.shape[0], left : left + tile.shape[1]] = tile
        left += tile.shape[1] + gap
    return canvas


def caption(image: Image, text: str, height: int = 18) -> Image:
    """The picture with a line of text below it."""
    canvas = pillow.new("RGB", (image.shape[1], image.shape[0] + height), _DARK)
    canvas.paste(pillow.fromarray(image), (0, 0))
    pen = ImageDraw.Draw(canvas)
    font = fonts.font(text, height * 2 // 3)
    pen.text((4, image.shape[0] + height // 9), fonts.drawable(text, font), font=font, fill=_LIGHT)
    return np.array(canvas, np.uint8)


def contact_sheet(images: Sequence[Image], captions: Sequence[str], columns: int = 4, cell: int = 160) -> Image:
    """A grid of captioned pictures, each fitted into a square cell of `cell` px."""
    tiles = []
    for image, text in zip(images, captions, strict=True):
        scale = cell / max(image.shape[:2])
        width = max(1, round(image.shape[1] * scale))
        height = max(1, round(image.shape[0] * scale))
        kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
        tile = np.full((cell, cell, 3), 24, np.uint8)
        top, left = (cell - height) // 2, (cell - width) // 2
        tile[top : top + height, left : left + width] = cv2.resize(image, (width, height), interpolation=kind)
        tiles.append(caption(tile, text))
    blank = np.full((cell + 18, cell, 3), 24, np.uint8)
    columns = max(1, min(columns, len(tiles)))
    tiles += [blank] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    return np.asarray(np.vstack(rows) if rows else blank, np.uint8)


def bars(image: Image, names: Sequence[str], values: Sequence[float]) -> Image:
    """The picture with one labelled bar (0..1) a line below it, larger below larger pictures."""
    px = max(11, round(max(image.shape[:2]) / 48))
    line = round(16 / 11 * px)
    width = max(image.shape[1], 220)
    canvas = pillow.new("RGB", (width, image.shape[0] + line * len(names) + 4), _DARK)
    canvas.paste(pillow.fromarray(image), (0, 0))
    pen = ImageDraw.Draw(canvas)
    for i, (name, value) in enumerate(zip(names, values, strict=True)):
        y = image.shape[0] + 2 + i * line
        pen.rectangle((0, y, round(value * (width - 1)), y + line - 3), fill=(37, 99, 235))
        font = fonts.font(name, px)
        pen.text((4, y), fonts.drawable(f"{name} {value:.3f}", font), font=font, fill=_LIGHT)
    return np.array(canvas, np.uint8)


# Size: everything drawn grows with the picture


def _zoom(image: Image) -> int:
    return max(1, -(-LEGIBLE // max(image.shape[:2])) if max(image.shape[:2]) < LEGIBLE else 1)


def _enlarged(pixels: Array, zoom: int) -> Array:
    return pixels if zoom == 1 else pixels.repeat(zoom, 0).repeat(zoom, 1)


def _line(size: tuple[int, int]) -> int:
    return max(2, round(max(size) / 400))


def _text_px(size: tuple[int, int]) -> int:
    return max(12, round(max(size) / 48))


# Pieces


def _ink(ground: Colour) -> Colour:
    """Black or white, whichever reads better on the ground (WCAG relative luminance)."""
    linear = [(v / 255 / 12.92) if v < 11 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in ground]
    light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return _DARK if light > 0.179 else _LIGHT


def _frame(
    pen: ImageDraw.ImageDraw, box: tuple[int, int, int, int], tint: Colour, line: int, dashed: bool = False
) -> None:
    """A rectangle between two thin lines of the opposite lightness, so that it shows on any ground."""
    left, top, right, bottom = box
    halo = max(1, line // 3)
    if not dashed:
        grown = (left - halo, top - halo, right + halo, bottom + halo)
        pen.rectangle(grown, outline=_ink(tint), width=line + 2 * halo)
        pen.rectangle(box, outline=tint, width=line)
        return
    dash = 4 * line
    pen.rectangle(box, outline=_ink(tint), width=line)
    for x in range(left, right + 1, 2 * dash):
        for y in (top, max(top, bottom - line + 1)):
            pen.rectangle((x, y, min(x + dash, right), min(y + line - 1, bottom)), fill=tint)
    for y in range(top, bottom + 1, 2 * dash):
        for x in (left, max(left, right - line + 1)):
            pen.rectangle((x, y, min(x + line - 1, right), min(y + dash, bottom)), fill=tint)


def _tag(
    pen: ImageDraw.ImageDraw,
    size: tuple[int, int],
    box: Array,
    text: str,
    px: int,
    tint: Colour,
    line: int,
    taken: list[tuple[float, float, float, float]],
) -> None:
    """A caption above its box; inside or below where there is no room or another caption stands; else left out."""
    left, top, _, bottom = (float(v) for v in box)
    font = fonts.font(text, px)
    text = fonts.drawable(text, font)
    x0, y0, x1, y1 = font.getbbox(text)
    pad = max(2, line)
    wide, high = x1 - x0 + 2 * pad, y1 - y0 + 2 * pad
    x = min(max(0.0, left), max(0.0, size[0] - wide))
    for y in (top - high, top, bottom - high, bottom):
        if y < 0 or y + high > size[1]:
            continue
        spot = (x, y, x + wide, y + high)
        if any(spot[0] < t[2] and t[0] < spot[2] and spot[1] < t[3] and t[1] < spot[3] for t in taken):
            continue
        taken.append(spot)
        pen.rectangle((x, y, x + wide - 1, y + high - 1), fill=tint)
        pen.text((x + pad - x0, y + pad - y0), text, font=font, fill=_ink(tint))
        return


def _with_legend(image: Image, entries: Sequence[tuple[Colour, str]]) -> Image:
    """A swatch and a text each, flowing in lines as wide as the picture."""
    if not entries:
        return image
    size = (image.shape[1], image.shape[0])
    px = _text_px(size)
    high = round(1.6 * px)
    spots, x, y = [], px // 2, 0
    lettering = [fonts.font(text, px) for _, text in entries]
    texts = [fonts.drawable(text, font) for (_, text), font in zip(entries, lettering, strict=True)]
    for text, font in zip(texts, lettering, strict=True):
        wide = round(font.getbbox(text)[2]) + round(2.4 * px)
        if x > px // 2 and x + wide > size[0]:
            x, y = px // 2, y + high
        spots.append((x, y))
        x += wide
    canvas = pillow.new("RGB", (size[0], size[1] + y + high + px // 2), _DARK)
    canvas.paste(pillow.fromarray(image), (0, 0))
    pen = ImageDraw.Draw(canvas)
    for (tint, _), text, font, (left, down) in zip(entries, texts, lettering, spots, strict=True):
        top = size[1] + down + px // 2
        pen.rectangle((left, top, left + px, top + px), fill=tint, outline=_LIGHT)
        pen.text((left + round(1.4 * px), top), text, font=font, fill=_LIGHT)
    return np.array(canvas, np.uint8)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.1f} %" if share >= 0.001 else "< 0.1 %"
