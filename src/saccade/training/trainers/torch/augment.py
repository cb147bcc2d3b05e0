"""Augmentation of whole batches on the device: one affine sampling, one colour matrix, then erasing and mixing.

All geometry of an image (rotation, shift, zoom, crop, flips, RandAugment's moves) is composed into one 2x3 matrix and
sampled once, so pixels are interpolated once. Random numbers come from a CPU generator: the same on every device.
Written from arXiv:1909.13719 (RandAugment), arXiv:1710.09412 (mixup), arXiv:1905.04899 (CutMix) and
arXiv:1708.04896 (erasing) and arXiv:2004.10934 (mosaic).
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from saccade.training.pictures import BORDER, FAINT, GREY, SEEN
from saccade.training.recipe import Recipe
from saccade.training.schedules import resting


def as_float(images_NHWC: Tensor) -> Tensor:
    """uint8 [N, H, W, 3] to float32 [N, 3, H, W] in 0..1, channels last in memory."""
    return images_NHWC.permute(0, 3, 1, 2).float().div_(255)


class Augment:
    """Random changes as the recipe says; the same seed gives the same batch."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def __call__(
        self,
        images_NHWC: Tensor,
        targets: Mapping[str, Tensor],
        seed: int,
        share: float = 1.0,
        several: bool = True,
        still: bool = False,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """uint8 [N, H, W, 3] to float32 [N, 3, H, W] in 0..1; targets named boxes and mask move with their picture.

        share: of both sides, to a multiple of 8 px, what comes out of what went in. Beyond its edge a picture
        goes on as its mirror image, with its mask; where there are boxes it is grey, for mirrored things
        would have none. several: whether four pictures with boxes may become one (mosaic). still: whether all
        are seen whole and in place.
        """
        targets = dict(targets)
        random = torch.Generator().manual_seed(seed)
        images = as_float(images_NHWC)
        n, device = images.shape[0], images.device
        now = resting(self.recipe) if still else self.recipe
        moves = _moves(now, n, images.shape[3], images.shape[2], random)
        colours = _colours(self.recipe, n, random)
        tones = None
        if self.recipe.randaugment:
            there = moves
            moves, colours, tones = _randaugment(self.recipe, moves, colours, images.shape, random)
            moves = there if still else moves
        joined = several and "boxes" in targets and "mask" not in targets and self._joins(random)
        if (share != 1 or joined) and moves is None:
            moves = _matrix(n)
        if moves is not None and joined:
            sides = [s if share == 1 else max(8, round(s * share / 8) * 8) for s in images.shape[2:]]
            images, places = self._mosaic(images, targets["boxes"], targets["box_classes"], sides, random)
            targets.update(places)
        elif moves is not None:
            sides = [s if share == 1 else max(8, round(s * share / 8) * 8) for s in images.shape[2:]]
            given = images.shape[2:]
            grid = sampling(moves.to(device), sides)
            if "boxes" in targets:
                images = F.grid_sample(images - BORDER, grid, padding_mode="zeros", align_corners=False) + BORDER
            else:
                images = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
            if "boxes" in targets:
                moved = move_boxes(targets["boxes"], targets["box_classes"], moves.to(device), given, sides)
                targets.update(fewest(moved))
            if "mask" in targets:
                targets["mask"] = move_mask(targets["mask"], grid)
        if colours is not None:
            images = _recolour(images, colours[0].to(device), colours[1].to(device))
        if tones is not None:
            images = _retone(images, tones.to(device))
        if float(now.erase):
            images = _erase(images, float(now.erase), random)
        return images, targets

    def _joins(self, random: torch.Generator) -> bool:
        share = 0.0 if self.recipe.is_auto("mosaic") else float(self.recipe.mosaic)
        return share > 0 and float(torch.rand(1, generator=random)) < share

    def _mosaic(
        self, images: Tensor, boxes: Tensor, classes: Tensor, sides: Sequence[int], random: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Every picture beside three others of the batch, each moved by its own draw; all meet at one random point.

        Boxes [N, 4 * K, 4] are cut at the seams. Only the pixels that are shown are sampled, so it costs one sampling.
        """
        n, device, given = images.shape[0], images.device, images.shape[2:]
        height, width = sides
        x, y = (round(side * (0.3 + 0.4 * float(torch.rand(1, generator=random)))) for side in (width, height))
        out, plain = images.new_empty(n, 3, height, width), images - BORDER
        found: list[dict[str, Tensor]] = []
        for step, (left, top, right, bottom) in enumerate(
            ((0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height))
        ):
            moves = _moves(self.recipe, n, given[1], given[0], random)
            moves = _matrix(n) if moves is None else moves
            zoom = moves[:, :2, :2].abs().sum(2)
            room = (1 - zoom * torch.tensor([(right - left) / width, (bottom - top) / height])).clamp(min=0)
            spot = (torch.rand(n, 2, generator=random) * 2 - 1) * room
            middle = torch.tensor([(left + right) / width - 1, (top + bottom) / height - 1]).expand(n, 2)
            moves = _matrix(n, a02=spot[:, 0] - moves[:, 0, 2], a12=spot[:, 1] - moves[:, 1, 2]) @ moves
            moves = (moves @ _matrix(n, a02=-middle[:, 0], a12=-middle[:, 1])).to(device)
            window = left, top, right, bottom
            grid = sampling(moves, sides, window)
            part = F.grid_sample(plain.roll(step, 0), grid, padding_mode="zeros", align_corners=False)
            torch.add(part, BORDER, out=out[:, :, top:bottom, left:right])
            found.append(move_boxes(boxes.roll(step, 0), classes.roll(step, 0), moves, given, sides, window))
        return out, fewest({k: torch.cat([f[k] for f in found], 1) for k in found[0]})

    def mix(
        self, images: Tensor, targets: Mapping[str, Tensor], seed: int, several: bool = True
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """mixup or CutMix of a share of batches; targets are soft float rows. One partner and share per image.

        With boxes there is mixup alone, while pictures may be joined (several): the objects of both are asked for
        whole, but those of a picture that is hardly seen (FAINT) are neither object nor background.
        """
        recipe, random = self.recipe, np.random.default_rng(seed)
        kinds = [k for k in ("mixup", "cutmix") if float(getattr(recipe, k)) > 0]
        if not kinds or random.random() >= recipe.mix_share or len(images) < 2:
            return images, dict(targets)
        if "boxes" in targets and not several:
            return images, dict(targets)
        kind = kinds[int(random.integers(len(kinds)))]
        n, height, width = images.shape[0], images.shape[2], images.shape[3]
        alpha = float(getattr(recipe, kind))
        share = torch.from_numpy(random.beta(alpha, alpha, n).astype(np.float32)).to(images.device)
        partner = images.roll(1, 0)
        if kind == "mixup":
            images = torch.lerp(partner, images, share.view(-1, 1, 1, 1))
        else:
            side = (1 - share).sqrt().cpu()
            centre = torch.from_numpy(random.random((n, 2)).astype(np.float32))
            inside = _rectangles(centre, side, side, height, width).to(images.device)
            images = torch.where(inside, partner, images)
            share = 1 - inside.float().mean((1, 2, 3))
        if "boxes" in targets:
            boxes, classes = targets["boxes"], targets["box_classes"]
            own, other = (
                torch.where((part < FAINT)[:, None] & (ids >= 0), -2, ids)
                for part, ids in ((share, classes), (1 - share, classes.roll(1, 0)))
            )
            both = {"boxes": torch.cat([boxes, boxes.roll(1, 0)], 1), "box_classes": torch.cat([own, other], 1)}
            return images, {**targets, **fewest(both)}
        mixed = {}
        for name, rows in targets.items():
            weight = share.view(-1, *([1] * (rows.ndim - 1)))
            mixed[name] = torch.lerp(rows.roll(1, 0), rows, weight)
        return images, mixed


def sampling(moves_N33: Tensor, sides: Sequence[int], window: Sequence[int] | None = None) -> Tensor:
    """Where every pixel of a picture of `sides` (height, width) comes from, float32 [N, h, w, 2], x and y in -1..1.

    window: left, top, right, bottom of the part that is asked for. What F.affine_grid gives, by sums instead of
    products of matrices.
    """
    height, width = sides
    left, top, right, bottom = window or (0, 0, width, height)
    x = (torch.arange(left, right, device=moves_N33.device) * 2 + 1) / width - 1
    y = (torch.arange(top, bottom, device=moves_N33.device) * 2 + 1) / height - 1
    rows = moves_N33[:, :2, 1, None] * y + moves_N33[:, :2, 2, None]
    columns = moves_N33[:, :2, 0, None] * x
    return (rows[:, :, :, None] + columns[:, :, None]).permute(0, 2, 3, 1)


def fewest(targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Boxes [N, K, 4] and their classes with what is none (-1) left out, as far as the fullest
    picture of the batch allows."""
    real = targets["box_classes"] != -1
    most = int(real.sum(1).max()) if real.numel() else 0
    order = real.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :most]
    boxes = targets["boxes"].gather(1, order[..., None].expand(-1, -1, 4))
    return {"boxes": boxes, "box_classes": targets["box_classes"].gather(1, order)}


def move_boxes(
    boxes_NK4: Tensor,
    classes_NK: Tensor,
    moves_N33: Tensor,
    given: Sequence[int],
    sides: Sequence[int],
    window: Sequence[int] | None = None,
) -> dict[str, Tensor]:
    """Boxes in px of the input (height, width: given) to px of what comes out (sides), cut at its edge or at the window
    (left, top, right, bottom).

    moves: from coordinates of what comes out to those of what went in, both -1..1. A turned box becomes the smallest
    upright one around it. A box that leaves the picture becomes [0, 0, 0, 0] with class -1; one of which less than
    `SEEN` stays becomes a region of class -2, neither object nor background, as those that came with class -2 remain.
    """
    there = torch.linalg.inv(moves_N33)
    x = boxes_NK4[..., [0, 2, 2, 0]] * (2 / given[1]) - 1
    y = boxes_NK4[..., [1, 1, 3, 3]] * (2 / given[0]) - 1
    corners = torch.stack([x, y, torch.ones_like(x)], -1)
    moved = torch.einsum("nij,nkcj->nkci", there, corners)
    size = torch.tensor([sides[1], sides[0]], device=moved.device)
    moved = (moved[..., :2] + 1) / 2 * size
    low, high = moved.amin(2), moved.amax(2)
    near, far = (torch.tensor(p, device=moved.device) for p in ((window or (0, 0))[:2], (window or sides[::-1])[-2:]))
    cut_low, cut_high = low.maximum(near).minimum(far), high.maximum(near).minimum(far)
    whole, left = (high - low).clamp(min=1e-6).prod(-1), (cut_high - cut_low).prod(-1)
    kept = (classes_NK != -1) & (left > 1)
    classes_NK = torch.where((classes_NK >= 0) & (left < SEEN * whole), -2, classes_NK)
    boxes = torch.where(kept[..., None], torch.cat([cut_low, cut_high], -1), 0.0)
    return {"boxes": boxes, "box_classes": torch.where(kept, classes_NK, -1)}


def move_mask(mask_NHW: Tensor, grid: Tensor) -> Tensor:
    """uint8 class ids sampled at the grid's nearest places, mirrored beyond the edge as the picture is."""
    moved = F.grid_sample(mask_NHW[:, None].float(), grid, "nearest", "reflection", align_corners=False)
    return moved[:, 0].round().to(mask_NHW.dtype)


def _uniform(n: int, spread: float, random: torch.Generator) -> Tensor:
    return (torch.rand(n, generator=random) * 2 - 1) * spread


def _matrix(n: int, **entries: Tensor) -> Tensor:
    """Identities [N, 3, 3] with some entries set: a00, a01, a02 ..."""
    matrix = torch.eye(3).repeat(n, 1, 1)
    for name, value in entries.items():
        matrix[:, int(name[1]), int(name[2])] = value
    return matrix


def _turn(angles: Tensor, width: int, height: int) -> Tensor:
    """Rotation in sampling coordinates -1..1, which are stretched unless the picture is square."""
    cos, sin, aspect = angles.cos(), angles.sin(), width / height
    return _matrix(len(angles), a00=cos, a01=-sin / aspect, a10=sin * aspect, a11=cos)


def _moves(recipe: Recipe, n: int, width: int, height: int, random: torch.Generator) -> Tensor | None:
    """Matrices [N, 3, 3] from output to input coordinates; None when nothing moves."""
    rotation, shift, zoom, crop = (float(getattr(recipe, k)) for k in ("rotation", "shift", "zoom", "crop"))
    mirrored = bool(recipe.flip_horizontal) or recipe.flip_vertical is True
    if not (rotation or shift or zoom or crop < 1 or mirrored):
        return None
    moves = _turn(_uniform(n, math.radians(rotation), random), width, height)
    scale = torch.exp(_uniform(n, math.log1p(zoom), random))
    moves = moves @ _matrix(n, a00=scale, a11=scale)
    if crop < 1:
        area = torch.rand(n, generator=random) * (1 - crop) + crop
        shape = torch.exp(_uniform(n, math.log(4 / 3), random) / 2)
        across, down = (area.sqrt() * shape).clamp(max=1), (area.sqrt() / shape).clamp(max=1)
        x, y = _uniform(n, 1, random) * (1 - across), _uniform(n, 1, random) * (1 - down)
        moves = moves @ _matrix(n, a00=across, a11=down, a02=x, a12=y)
    moves = _matrix(n, a02=_uniform(n, 2 * shift, random), a12=_uniform(n, 2 * shift, random)) @ moves
    if recipe.flip_horizontal:
        moves = moves @ _matrix(n, a00=torch.where(torch.rand(n, generator=random) < 0.5, -1.0, 1.0))
    if recipe.flip_vertical is True:
        moves = moves @ _matrix(n, a11=torch.where(torch.rand(n, generator=random) < 0.5, -1.0, 1.0))
    return moves


def _saturate(amount: Tensor) -> Tensor:
    grey = torch.tensor(GREY).expand(3, 3)
    return torch.lerp(grey, torch.eye(3), amount.view(-1, 1, 1))


def _hue(angles: Tensor) -> Tensor:
    """Rotation about the grey axis of the RGB cube."""
    cos, sin = angles.cos().view(-1, 1, 1), angles.sin().view(-1, 1, 1)
    axis = torch.full((3, 3), 1 / 3)
    cross = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    return cos * torch.eye(3) + sin * cross + (1 - cos) * axis


def _colours(recipe: Recipe, n: int, random: torch.Generator) -> tuple[Tensor, Tensor] | None:
    """Colour matrices [N, 3, 3] and contrast [N]; None when nothing changes."""
    names = ("brightness", "contrast", "saturation", "hue")
    bright, contrast, saturation, hue = (float(getattr(recipe, k)) for k in names)
    if not (bright or contrast or saturation or hue or recipe.randaugment):
        return None
    matrix = _hue(_uniform(n, 2 * math.pi * hue, random)) @ _saturate(1 + _uniform(n, saturation, random))
    return matrix * (1 + _uniform(n, bright, random)).view(-1, 1, 1), 1 + _uniform(n, contrast, random)


def _recolour(images: Tensor, matrix: Tensor, contrast: Tensor) -> Tensor:
    """Every pixel times its image's matrix, then contrast around the image's mean."""
    n, _, height, width = images.shape
    flat = torch.bmm(matrix, images.reshape(n, 3, height * width))
    mean = flat.mean((1, 2), keepdim=True)
    flat = torch.lerp(mean, flat, contrast.view(-1, 1, 1)).clamp_(0, 1)
    return flat.view(n, 3, height, width)


def _randaugment(
    recipe: Recipe,
    moves: Tensor | None,
    colours: tuple[Tensor, Tensor] | None,
    shape: torch.Size,
    random: torch.Generator,
) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
    """Draws `randaugment` operations per image. Tones [N, 4]: posterise, solarise, sharpen, stretch."""
    n, height, width, strength = shape[0], shape[2], shape[3], recipe.randaugment_strength
    moves = _matrix(n) if moves is None else moves
    matrix, contrast = colours if colours is not None else (_matrix(n), torch.ones(n))
    tones = torch.zeros(n, 4)
    for _ in range(recipe.randaugment):
        kind = torch.randint(12, (n,), generator=random)
        size = _uniform(n, strength, random)
        none = torch.zeros(n)
        turn = torch.where(kind == 0, size * math.radians(30), none)
        moves = moves @ _turn(turn, width, height)
        moves = moves @ _matrix(
            n,
            a01=torch.where(kind == 1, size * 0.3, none),
            a10=torch.where(kind == 2, size * 0.3, none),
            a02=torch.where(kind == 3, size * 0.6, none),
            a12=torch.where(kind == 4, size * 0.6, none),
        )
        matrix = matrix * (1 + torch.where(kind == 5, size * 0.9, none)).view(-1, 1, 1)
        matrix = matrix @ _saturate(1 + torch.where(kind == 6, size * 0.9, none))
        contrast = contrast * (1 + torch.where(kind == 7, size * 0.9, none))
        for place, operation in enumerate((8, 9, 10, 11)):
            tones[:, place] = torch.where(kind == operation, size.abs(), tones[:, place])
    return moves, (matrix, contrast), tones


def _retone(images: Tensor, tones: Tensor) -> Tensor:
    lost, solar, sharp, levels = (tones[:, i].view(-1, 1, 1, 1) for i in range(4))
    steps = 2 ** (8 - (4 * lost).round())
    images = torch.where(lost > 0, (images * steps).floor() / steps, images)
    images = torch.where((solar > 0) & (images > 1 - solar * 0.7), 1 - images, images)
    blurred = F.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
    images = (images + sharp * 2 * (images - blurred)).clamp(0, 1)
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    return torch.where(levels > 0, (images - low) / (high - low).clamp(min=1e-3), images)


def _rectangles(centre_N2: Tensor, down_N: Tensor, across_N: Tensor, height: int, width: int) -> Tensor:
    """bool [N, 1, H, W], true inside; sides are shares of the picture, cut at its edge."""
    ys = (torch.arange(height) + 0.5).view(1, 1, -1, 1) / height
    xs = (torch.arange(width) + 0.5).view(1, 1, 1, -1) / width
    y, x = centre_N2[:, 0].view(-1, 1, 1, 1), centre_N2[:, 1].view(-1, 1, 1, 1)
    return ((ys - y).abs() * 2 < down_N.view(-1, 1, 1, 1)) & ((xs - x).abs() * 2 < across_N.view(-1, 1, 1, 1))


def _erase(images: Tensor, share: float, random: torch.Generator) -> Tensor:
    n, _, height, width = images.shape
    hit = torch.rand(n, generator=random) < share
    area = torch.rand(n, generator=random) * 0.2 + 0.02
    shape = torch.exp(_uniform(n, math.log(3), random) / 2)
    centre = torch.rand(n, 2, generator=random)
    inside = _rectangles(centre, area.sqrt() * shape * hit, area.sqrt() / shape * hit, height, width)
    colour = torch.rand(n, 3, 1, 1, generator=random)
    return torch.where(inside.to(images.device), colour.to(images.device), images)
