"""Splits that are stratified, seeded and leak-proof: duplicates, near duplicates and groups stay on one side."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np

from saccade.data.dataset import Dataset
from saccade.data.fingerprint import content_hashes, near_pairs, perceptual_hashes
from saccade.errors import DataError
from saccade.types import Sample

FRACTIONS = (0.7, 0.15, 0.15)


def split(dataset: Dataset, seed: int = 0, fractions: tuple[float, float, float] = FRACTIONS) -> Dataset:
    """Makes the splits that are missing, and leaves those the dataset came with.

    fractions: train, val, test, summing to 1. A dataset with train and test gets its val from train. Raises DataError
    when a class has too few independent pictures to stand on every side.
    """
    have = set(dataset.splits)
    if {"train", "val", "test"} <= have:
        return dataset
    notes = []
    splits = dict(dataset.splits)
    if "all" in splits or have == {"train"}:
        parts = _part(splits.pop("all" if "all" in splits else "train"), ("train", "val", "test"), fractions, seed)
        notes.append(f"train, val and test were made from {len(dataset)} images, seed {seed}")
        splits.update(parts)
    else:
        missing = "val" if "test" in have else "test"
        share = fractions[1] / (fractions[0] + fractions[1])
        parts = _part(splits.pop("train"), ("train", missing), (1 - share, share), seed)
        notes.append(f"{missing} was made from train, seed {seed}")
        splits.update(parts)
    ordered = {name: splits[name] for name in ("train", "val", "test")}
    return replace(dataset, splits=ordered, notes=(*dataset.notes, *notes))


def _part(
    samples: Sequence[Sample], names: tuple[str, ...], fractions: Sequence[float], seed: int
) -> dict[str, tuple[Sample, ...]]:
    groups = _groups(samples)
    strata: dict[Hashable, list[list[int]]] = defaultdict(list)
    for group in groups:
        strata[_stratum(samples[group[0]])].append(group)
    random = np.random.default_rng(seed)
    parts: dict[str, list[int]] = {name: [] for name in names}
    for stratum in sorted(strata, key=str):
        members = strata[stratum]
        if len(members) < len(names):
            if len(stratum if isinstance(stratum, tuple) else ()) == 1:
                raise DataError(
                    f"a class has {len(members)} independent image(s), {len(names)} splits need one each "
                    f"({samples[members[0][0]].key})",
                    hint="add images of it, or make the splits yourself",
                )
            for group in members:
                parts[names[0]] += group
            continue
        order = [members[i] for i in random.permutation(len(members))]
        total = sum(len(g) for g in order)
        # Every side gets one group first, then the side that lacks most takes the next.
        filled = dict.fromkeys(names, 0)
        for i, group in enumerate(order):
            if i < len(names):
                side = names[i]
            else:
                side = max(names, key=lambda n: fractions[names.index(n)] * total - filled[n])
            parts[side] += group
            filled[side] += len(group)
    return {name: tuple(samples[i] for i in sorted(parts[name])) for name in names}


def _stratum(sample: Sample) -> tuple[int, ...]:
    classes = sample.annotation.get("classes")
    return tuple(int(c) for c in classes) if classes is not None else ()


def _groups(samples: Sequence[Sample]) -> list[list[int]]:
    """Indices that must stay together: same group, same content, or near duplicates (union-find)."""
    parent = list(range(len(samples)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[Hashable, int] = {}
    pairs = list(near_pairs(perceptual_hashes(samples)))
    for i, (sample, digest) in enumerate(zip(samples, content_hashes(samples), strict=True)):
        keys: list[Hashable] = [("content", digest)]
        if sample.group is not None:
            keys.append(("group", sample.group))
        pairs += [(first.setdefault(key, i), i) for key in keys]
    for a, b in pairs:
        # Near duplicates of different classes are the doctor's business; gluing them would break the strata.
        if _stratum(samples[a]) == _stratum(samples[b]) or samples[a].group == samples[b].group is not None:
            parent[root(b)] = root(a)
    groups: dict[int, list[int]] = defaultdict(list)
    for i in range(len(samples)):
        groups[root(i)].append(i)
    return list(groups.values())
