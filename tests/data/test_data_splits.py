"""Splits and near duplicates where there are many: as the plain definitions say, and in time."""

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from saccade.data.dataset import Dataset
from saccade.data.fingerprint import ALIKE, NEAR, Print, near_pairs
from saccade.data.splits import NAMES, split
from saccade.types import Array, Labels, Sample


def prints(seed: int, count: int, spread: int, likeness: float) -> list[Print | None]:
    """Hashes that lie `spread` flipped bits around a few centres, pictures that are alike or not."""
    random = np.random.default_rng(seed)
    centres = random.integers(0, 1 << 63, 3)
    common = random.normal(size=32)
    found: list[Print | None] = []
    for i in range(count):
        bits = int(centres[i % 3])
        for place in random.integers(0, 64, spread):
            bits ^= 1 << int(place)
        grey = likeness * common + random.normal(size=32)
        found.append(None if i % 11 == 5 else Print(bits, (grey / np.linalg.norm(grey)).astype(np.float32)))
    return found


def near(a: Print | None, b: Print | None) -> bool:
    if a is None or b is None or a.bits is None or b.bits is None:
        return False
    return (a.bits ^ b.bits).bit_count() <= NEAR and float(a.grey @ b.grey) >= ALIKE


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 99), st.integers(0, 40), st.integers(0, 6), st.sampled_from([2.0, 20.0]))
def test_pairs_are_those_of_the_definition(seed: int, count: int, spread: int, likeness: float) -> None:
    found = prints(seed, count, spread, likeness)
    wanted = [(a, b) for a in range(count) for b in range(a + 1, count) if near(found[a], found[b])]
    assert near_pairs(found, most=10_000) == wanted
    joining = near_pairs(found)
    assert set(joining) <= set(wanted)
    assert components(count, joining) == components(count, wanted), "fewer pairs, the same groups"
    assert len(joining) == count - len(set(components(count, wanted)))


def components(count: int, pairs: list[tuple[int, int]]) -> list[int]:
    root = list(range(count))
    for _ in range(count):
        for a, b in pairs:
            root[a] = root[b] = min(root[a], root[b])
    return root


def test_thousands_of_frames_of_one_camera_are_one_group() -> None:
    """Every one is like every other: fifty million pairs of ten thousand would not fit memory."""
    grey = np.ones(1024, np.float32) / 32
    frames: list[Print | None] = [Print(0b1011, grey)] * 10_000
    assert len(near_pairs(frames)) == 9_999
    assert len(near_pairs(frames, most=20_000)) < 30_000


def drawn(seed: int, images: int, classes: int) -> Dataset:
    random = np.random.default_rng(seed)
    samples = []
    for i in range(images):
        held = np.flatnonzero(random.random(classes) < 0.4).astype(np.int64)
        pixels = random.integers(0, 256, (8, 8, 3)).astype(np.uint8)
        samples.append(Sample(f"{i}", pixels, {"classes": held}, group=f"g{i % 7}" if i % 3 == 0 else None))
    labels = Labels(tuple(f"c{c}" for c in range(classes)), exclusive=False)
    return Dataset("memory", Path(), labels, {"all": tuple(samples)})


def plainly(counts_UC: Array, share_S: Array, order: Array) -> list[int]:
    """Iterative stratification on a whole matrix, as it is written down: memory for each unit times each class."""
    wish_SC = share_S[:, None] * counts_UC.sum(0)
    held_SC = np.zeros(wish_SC.shape, np.int64)
    side = np.full(len(counts_UC), -1)
    left = [int(u) for u in order]
    while left:
        open_C = (counts_UC[left] > 0).sum(0)[:-1]
        rare = int(np.where(open_C > 0, open_C, np.iinfo(np.int64).max).argmin()) if open_C.any() else -1
        turn = [u for u in left if counts_UC[u, rare]]
        for k, u in enumerate(turn):
            bare = np.flatnonzero(held_SC[:, rare] == 0)
            need = (wish_SC - held_SC)[:, rare]
            choose = bare if len(bare) > 0 and len(turn) - k <= len(bare) else np.arange(len(share_S))
            best = choose[need[choose] >= need[choose].max() - 1e-9]
            side[u] = best[int((wish_SC - held_SC)[best, -1].argmax())]
            held_SC[side[u]] += counts_UC[u]
        left = [u for u in left if side[u] < 0]
    return [int(s) for s in side]


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 99), st.integers(24, 60), st.integers(1, 6))
def test_splits_are_those_of_the_plain_algorithm(seed: int, images: int, classes: int) -> None:
    data = drawn(seed, images, classes)
    made = split(data, seed=seed).splits
    samples = data.splits["all"]
    groups: dict[str, list[int]] = {}
    for i, sample in enumerate(samples):
        groups.setdefault(sample.group or f"own {i}", []).append(i)
    units = sorted(groups.values())
    counts_UC = np.zeros((len(units), classes + 1), np.int64)
    for u, unit in enumerate(units):
        counts_UC[u, -1] = len(unit)
        for i in unit:
            counts_UC[u, samples[i].annotation["classes"]] += 1
    order = np.random.default_rng(seed).permutation(len(units))
    order = order[np.argsort(-counts_UC[order, -1], kind="stable")]
    side = plainly(counts_UC, np.array([0.7, 0.15, 0.15]), order)
    for s, name in enumerate(NAMES):
        wanted = sorted(i for u, unit in enumerate(units) if side[u] == s for i in unit)
        assert [int(sample.key) for sample in made[name]] == wanted
