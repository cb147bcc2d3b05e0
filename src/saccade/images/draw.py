"""Pictures for people: captions, contact sheets, heat overlays."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image as pillow
from PIL import ImageDraw, ImageFont

from saccade.types import Array, Image


def caption(image: Image, text: str, height: int = 18) -> Image:
    """The picture with a line of text below it."""
    canvas = pillow.new("RGB", (image.shape[1], image.shape[0] + height), (24, 24, 27))
    canvas.paste(pillow.fromarray(image), (0, 0))
    pen = ImageDraw.Draw(canvas)
    pen.text((4, image.shape[0] + 2), text, font=ImageFont.load_default(12), fill=(244, 244, 245))
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


def overlay(image: Image, heat_HW: Array, strength: float = 0.5) -> Image:
    """The picture under a heat map (float, 0..1, any size)."""
    size = (image.shape[1], image.shape[0])
    heat = cv2.resize(heat_HW.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    colour = cv2.applyColorMap(np.round(np.clip(heat, 0, 1) * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1]
    return np.asarray(np.round(image * (1 - strength) + colour * strength), np.uint8)


def bars(image: Image, names: Sequence[str], values: Sequence[float]) -> Image:
    """The picture with one labelled bar (0..1) a line below it."""
    line = 16
    width = max(image.shape[1], 220)
    canvas = pillow.new("RGB", (width, image.shape[0] + line * len(names) + 4), (24, 24, 27))
    canvas.paste(pillow.fromarray(image), (0, 0))
    pen = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(11)
    for i, (name, value) in enumerate(zip(names, values, strict=True)):
        y = image.shape[0] + 2 + i * line
        pen.rectangle((0, y, round(value * (width - 1)), y + line - 3), fill=(37, 99, 235))
        pen.text((4, y), f"{name} {value:.3f}", font=font, fill=(250, 250, 250))
    return np.array(canvas, np.uint8)


def colours(n: int) -> Array:
    """Colours for class ids, uint8 [n, 3]: hues a golden ratio apart, so that neighbours differ and none repeats soon."""
    ids = np.arange(n)
    hue = (ids * 0.618033988749895 * 180 + 105) % 180
    saturation, value = np.where(ids % 3 == 1, 130, 210), np.where(ids % 3 == 2, 165, 240)
    hsv = np.stack([hue, saturation, value], 1).astype(np.uint8)
    return np.asarray(cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0])


def mask(image: Image, mask_HW: Array, names: Sequence[str], strength: float = 0.55) -> Image:
    """The picture under a mask of class ids, and its largest classes with their shares in lines below.

    mask_HW: uint8, the picture's size; ids beyond `names` (ignored, not seen) leave the picture as it is.
    """
    table = np.zeros((256, 3), np.uint8)
    table[: len(names)] = colours(len(names))
    known = np.where(np.arange(256) < len(names), np.float32(strength), np.float32(0))
    weight = known[mask_HW][:, :, None]
    mixed = np.round(image * (1 - weight) + table[mask_HW] * weight).astype(np.uint8)
    counts = np.bincount(mask_HW.ravel(), minlength=256)[: len(names)]
    held = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i]][:8]
    line, wide = 16, 150
    columns = max(1, max(image.shape[1], wide) // wide)
    rows = -(-len(held) // columns)
    canvas = pillow.new("RGB", (max(image.shape[1], wide), image.shape[0] + line * rows), (24, 24, 27))
    canvas.paste(pillow.fromarray(mixed), (0, 0))
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(11)
    for place, i in enumerate(held):
        x, y = place % columns * wide + 4, image.shape[0] + place // columns * line
        pen.rectangle((x, y + 3, x + 9, y + 12), fill=tuple(table[i].tolist()))
        pen.text((x + 14, y + 1), f"{names[i]} {100 * counts[i] / mask_HW.size:.0f} %", font=font, fill=(244, 244, 245))
    return np.array(canvas, np.uint8)
