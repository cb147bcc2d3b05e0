"""Boxes and masks lie over the network's input, and move with the picture."""

import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from saccade import tasks
from saccade.errors import UsageError
from saccade.images import preprocess as one_way
from saccade.images.preprocess import PreprocessSpec, placement, preprocess
from saccade.tasks.task import Task
from saccade.training import packed
from saccade.training.outset import refuse_mixing
from saccade.training.packed import images_of, targets_of
from saccade.training.pictures import BORDER
from saccade.training.recipe import Recipe
from saccade.training.trainers.torch.augment import Augment, fewest, sampling
from saccade.training.trainers.torch.batches import Pack
from saccade.training.trainers.torch.networks import backbone
from saccade.types import Array, Labels, Sample

STILL = {
    "rotation": 0, "shift": 0, "zoom": 0, "crop": 1, "flip_horizontal": False, "brightness": 0, "contrast": 0,
    "saturation": 0, "hue": 0, "erase": 0, "mixup": 0, "cutmix": 0, "mosaic": 0,
}  # fmt: skip


class Places(type(tasks.find(tasks.names()[0]))):  # type: ignore[misc]
    """A task whose targets are places: only encode and padding matter here."""

    padding: Mapping[str, float] = {"boxes": 0, "box_classes": -1}

    def encode(self, sample: Sample, labels: Labels) -> dict[str, Array]:
        return {k: np.asarray(v) for k, v in sample.annotation.items()}


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(8, 300),
    height=st.integers(8, 300),
    mode=st.sampled_from(["stretch", "center_crop", "letterbox"]),
    size=st.sampled_from([(32, 32), (64, 48), (40, 96)]),
)
def test_placement_is_known_without_pixels(width: int, height: int, mode: str, size: tuple[int, int]) -> None:
    spec = PreprocessSpec(*size, mode=mode)  # type: ignore[arg-type]
    seen = preprocess(np.zeros((height, width, 3), np.uint8), spec)[1]
    told = placement(width, height, spec)
    np.testing.assert_allclose(
        [told.scale_x, told.scale_y, told.shift_x, told.shift_y],
        [seen.scale_x, seen.scale_y, seen.shift_x, seen.shift_y],
    )


def test_targets_of_uneven_length_stack_over_the_network_input() -> None:
    picture = np.zeros((50, 100, 3), np.uint8)
    boxes = np.array([[10, 10, 30, 20], [0, 0, 100, 50]], np.float32)
    samples = [
        Sample("two", picture, {"boxes": boxes, "box_classes": np.array([1, 0])}),
        Sample("none", picture, {"boxes": np.zeros((0, 4), np.float32), "box_classes": np.zeros(0, np.int64)}),
    ]
    task: Task = Places()
    found = targets_of(samples, Labels(("a", "b")), task, PreprocessSpec(50, 50, mode="letterbox", fill=0))
    np.testing.assert_allclose(found["boxes"][0], [[5, 17.5, 15, 22.5], [0, 12.5, 50, 37.5]], atol=0.51)
    assert found["box_classes"].tolist() == [[1, 0], [-1, -1]]


def test_masks_are_packed_without_a_second_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """By as many threads as this process has cores, whatever the machine has."""
    masks = np.random.default_rng(0).integers(0, 2, (200, 128, 128)).astype(np.uint8)
    samples = [Sample(f"{i}", np.zeros((128, 128, 3), np.uint8), {"mask": m}) for i, m in enumerate(masks)]
    asked: list[int | None] = []
    pool = packed.ThreadPoolExecutor
    monkeypatch.setattr(packed, "cores", lambda: 1)
    monkeypatch.setattr(packed, "ThreadPoolExecutor", lambda most: asked.append(most) or pool(most))
    tracemalloc.start()
    try:
        found = targets_of(samples, Labels(("a", "b")), Places(), PreprocessSpec(128, 128))["mask"]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(found, masks)
    assert peak < 1.5 * found.nbytes
    images_of(samples[:2], PreprocessSpec(8, 8), Recipe.load(None, {"cache": "none"}))
    assert asked == [1, 1]


@pytest.mark.parametrize("share", [1.0, 0.5, 1.25])
@pytest.mark.parametrize("seed", range(8))
def test_boxes_and_masks_follow_the_pixels(seed: int, share: float) -> None:
    images = torch.full((4, 96, 64, 3), round(BORDER * 255), dtype=torch.uint8)
    images[:, 30:50, 20:44] = 255
    mask = torch.zeros(4, 96, 64, dtype=torch.uint8)
    mask[:, 30:50, 20:44] = 1
    targets = {"boxes": torch.tensor([[20.0, 30, 44, 50]]).repeat(4, 1, 1), "box_classes": torch.zeros(4, 1).long()}
    moving = {**STILL, "shift": 0.15, "zoom": 0.2, "crop": 0.5, "flip_horizontal": True, "flip_vertical": True}
    augment = Augment(Recipe.load(None, {**moving, "start_size": 1}))
    out, moved = augment(images, {**targets, "mask": mask}, seed, share)
    assert out.shape[2:] == moved["mask"].shape[1:]
    for picture, box, kind, drawn in zip(out, moved["boxes"], moved["box_classes"], moved["mask"], strict=True):
        bright = picture[0] > (1 + BORDER) / 2
        rows, columns = torch.nonzero(bright.any(1)).flatten(), torch.nonzero(bright.any(0)).flatten()
        if int(kind[0]) < 0:
            assert len(rows) < 20
            continue
        seen = [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
        np.testing.assert_allclose(box[0].numpy(), seen, atol=1.01)
        assert float(((drawn == 1) & bright).sum()) >= 0.8 * float(bright.sum())


def test_a_box_that_leaves_the_picture_is_no_longer_asked_for() -> None:
    images = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    targets = {"boxes": torch.tensor([[[0.0, 0, 3, 3]]]), "box_classes": torch.tensor([[2]])}
    augment = Augment(Recipe.load(None, {**STILL, "crop": 0.1}))
    left = {tuple(augment(images, targets, seed)[1]["box_classes"][0].tolist()) for seed in range(20)}
    assert {(2,), ()} <= left <= {(2,), (), (-2,)}


def test_blending_is_refused_where_answers_do_not_blend() -> None:
    data = Pack(torch.zeros(1, 8, 8, 3, dtype=torch.uint8), {"mask": torch.zeros(1, 8, 8)})
    with pytest.raises(UsageError, match="mixup"):
        refuse_mixing(Recipe.load(None, {**STILL, "mixup": 0.2}), data.targets)
    boxes = {"boxes": torch.zeros(1, 1, 4)}
    with pytest.raises(UsageError, match="cutmix"):
        refuse_mixing(Recipe.load(None, {**STILL, "cutmix": 1}), boxes)
    refuse_mixing(Recipe.load(None, {**STILL, "mixup": 8}), boxes)


def test_the_objects_of_both_pictures_are_asked_for() -> None:
    """Blended pictures with boxes: each pixel between its two, every box of both; not once pictures stay alone."""
    images = torch.stack([torch.zeros(3, 8, 8), torch.ones(3, 8, 8)])
    targets = {
        "boxes": torch.tensor([[[0.0, 0, 4, 4], [0, 0, 0, 0]], [[2, 2, 8, 8], [1, 1, 3, 3]]]),
        "box_classes": torch.tensor([[0, -1], [1, -2]]),
    }
    augment = Augment(Recipe.load(None, {**STILL, "mixup": 8, "mix_share": 1}))
    mixed, asked = augment.mix(images, targets, 3)
    shares = mixed.mean((1, 2, 3))
    assert bool(((shares > 0.1) & (shares < 0.9)).all())
    assert [sorted(row[row != -1].tolist()) for row in asked["box_classes"]] == [[-2, 0, 1], [-2, 0, 1]]
    found = {tuple(box) for box in asked["boxes"][0].tolist()}
    assert {(0, 0, 4, 4), (2, 2, 8, 8), (1, 1, 3, 3)} <= found
    faint = Augment(Recipe.load(None, {**STILL, "mixup": 0.05, "mix_share": 1})).mix(images, targets, 4)[1]
    assert sorted(faint["box_classes"][0].tolist()) != sorted(asked["box_classes"][0].tolist()), "one is hardly seen"
    alone, same = augment.mix(images, targets, 3, several=False)
    assert torch.equal(alone, images)
    assert torch.equal(same["boxes"], targets["boxes"])


@pytest.mark.parametrize(
    ("name", "size"), [("residual-32", 32), ("residual-64", 64), ("residual-64", 32), ("residual-224", 128)]
)
def test_maps_have_the_strides_and_channels_they_promise(name: str, size: int) -> None:
    body = backbone(Recipe(network=name), size, size, "maps")
    maps = body.eval()(torch.zeros(1, 3, size, size))
    assert [(m.shape[1], size // m.shape[2]) for m in maps] == list(body.features)


@pytest.mark.parametrize("window", [None, (3, 2, 31, 17)])
def test_sampling_is_the_affine_grid_of_torch(window: tuple[int, int, int, int] | None) -> None:
    moves = torch.eye(3).repeat(4, 1, 1) + 0.2 * torch.randn(4, 3, 3, generator=torch.Generator().manual_seed(0))
    moves[:, 2] = torch.tensor([0.0, 0.0, 1.0])
    theirs = torch.nn.functional.affine_grid(moves[:, :2], [4, 3, 20, 33], align_corners=False)
    left, top, right, bottom = window or (0, 0, 33, 20)
    torch.testing.assert_close(sampling(moves, (20, 33), window), theirs[:, top:bottom, left:right], atol=1e-6, rtol=0)


def test_only_boxes_that_are_there_are_carried() -> None:
    """In their order, ignored regions (-2) too, as many places as the fullest picture needs."""
    boxes = torch.arange(2 * 4 * 4.0).view(2, 4, 4)
    found = fewest({"boxes": boxes, "box_classes": torch.tensor([[-1, 2, -1, -2], [-1, -1, -1, 0]])})
    assert found["box_classes"].tolist() == [[2, -2], [0, -1]]
    assert torch.equal(found["boxes"][0], boxes[0, [1, 3]])
    assert torch.equal(found["boxes"][1, 0], boxes[1, 3])
    bare = fewest({"boxes": boxes, "box_classes": torch.full((2, 4), -1)})
    assert bare["boxes"].shape == (2, 0, 4)
    none = fewest({"boxes": boxes[:, :0], "box_classes": torch.zeros((2, 0), dtype=torch.int64)})
    assert none["box_classes"].shape == (2, 0)


@pytest.mark.parametrize("cache", ["none", "folder"])
@pytest.mark.parametrize("mode", ["stretch", "center_crop", "letterbox"])
def test_what_is_learned_from_is_what_is_served(
    cache: str, mode: Literal["stretch", "center_crop", "letterbox"], tmp_path: Path
) -> None:
    """The packed pictures are byte for byte those of the one preprocessing, whatever the file."""
    random = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    samples = []
    for i, (kind, sides) in enumerate(
        (("JPEG", (300, 200)), ("PNG", (40, 90)), ("WEBP", (120, 120)), ("JPEG", (700, 500)))
    ):
        pixels = Image.fromarray(random.integers(0, 256, (12, 16, 3)).astype(np.uint8)).resize(sides)
        pixels.save(tmp_path / f"{i}.{kind.lower()}", kind, exif=exif)
        samples.append(Sample(f"{i}", tmp_path / f"{i}.{kind.lower()}"))
    spec = PreprocessSpec(56, 40, mode=mode)
    recipe = Recipe.load(None, {"cache": "none" if cache == "none" else str(tmp_path / "cache")})
    for _ in range(2):
        packed = images_of(samples, spec, recipe)
        for row, sample in zip(packed, samples, strict=True):
            np.testing.assert_array_equal(row, one_way.load(sample.image, spec)[0])


@pytest.mark.parametrize("randaugment", [0, 2])
def test_at_the_end_of_a_run_pictures_are_seen_whole_and_in_place(randaugment: int) -> None:
    """A picture that was turned, zoomed and shifted before is now itself or its mirror image, and so are its boxes."""
    moving = {"rotation": 30, "shift": 0.3, "zoom": 1.0, "crop": 0.3, "flip_horizontal": True, "flip_vertical": True}
    knobs = Recipe.load(
        None, {**STILL, **moving, "mosaic": 1.0, "erase": 1, "randaugment": randaugment, "randaugment_strength": 0}
    )
    images = torch.randint(0, 256, (12, 40, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    targets = {"boxes": torch.tensor([[[3.0, 5, 20, 33]]]).repeat(12, 1, 1), "box_classes": torch.zeros(12, 1).long()}
    shown, moved = Augment(knobs)(images, targets, 1, several=False, still=True)
    turns = set()
    for before, after, box in zip(images, shown.permute(0, 2, 3, 1), moved["boxes"][:, 0].tolist(), strict=True):
        given = before.float() / 255
        ways = {(x, y): given.flip([a for a, on in ((1, x), (0, y)) if on]) for x in (0, 1) for y in (0, 1)}
        x, y = min(ways, key=lambda way: float((ways[way] - after).abs().max()))
        assert torch.allclose(ways[x, y], after, atol=1e-4)
        assert box == pytest.approx([44 if x else 3, 7 if y else 5, 61 if x else 20, 35 if y else 33], abs=1e-3)
        turns.add((x, y))
    assert len(turns) > 1
    mask = {"mask": images[..., 0] % 3}
    assert torch.equal(Augment(Recipe.load(None, {**STILL, **moving, "flip_horizontal": False, "flip_vertical": False}))(
        images, mask, 1, still=True)[1]["mask"], mask["mask"])  # fmt: skip
