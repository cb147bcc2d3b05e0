"""Splits that are stratified, seeded and leak-proof: duplicates, near duplicates and groups stay on one side."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from saccade.data.annotation import present
from saccade.data.dataset import Dataset
from saccade.data.fingerprint import content_hashes, near_pairs, prints
from saccade.errors import DataError, UsageError
from saccade.types import Array, Labels, Sample, names_text

FRACTIONS = (0.7, 0.15, 0.15)
NAMES = ("train", "val", "test")


def split(
    dataset: Dataset,
    seed: int = 0,
    fractions: tuple[float, float, float] = FRACTIONS,
    kept: Mapping[str, str] = MappingProxyType({}),
) -> Dataset:
    """Makes the splits that are missing, and leaves those the dataset came with.

    fractions: train, val, test, summing to 1. A dataset with train and test gets its val from train. kept: content
    hashes to the side that these pictures had before, and keep; what stood on several sides, alike pictures counted as
    one, is learned from. Raises DataError when a class has too few independent images to stand on every side,
    UsageError when there is nothing to split.
    """
    sides = missing(dataset)
    if not sides:
        return dataset
    if abs(sum(fractions) - 1) > 1e-6 or min(fractions) <= 0:
        raise UsageError(f"fractions must be positive and sum to 1, got {fractions}")
    source = "all" if "all" in dataset.splits else "train"
    if source not in dataset.splits:
        raise UsageError(
            f"there is nothing to make {' and '.join(sides)} from: the data has only {', '.join(dataset.splits)}",
            hint="give a dataset with a train split, or none",
        )
    names = ("train", *(s for s in sides if s != "train"))
    share = np.array([fractions[NAMES.index(n)] for n in names])
    whole, share = dataset.splits[source], share / share.sum()
    if kept:
        parts = _beside(whole, dataset.labels, names, share, seed, kept)
    else:
        parts = _part(whole, dataset.labels, names, share, seed)
    made = " and ".join(f"{n} ({len(parts[n])})" for n in names)
    note = f"{made} were made from {source}, {len(dataset.splits[source])} images, seed {seed}"
    given = {n: s for n, s in dataset.splits.items() if n != source}
    ordered = {n: {**given, **parts}[n] for n in NAMES}
    return replace(dataset, splits=ordered, notes=(*dataset.notes, note), seed=seed)


def _beside(
    samples: Sequence[Sample],
    labels: Labels,
    names: tuple[str, ...],
    share_S: Array,
    seed: int,
    kept: Mapping[str, str],
) -> dict[str, tuple[Sample, ...]]:
    """What was seen before stays where it was; the rest is shared out, or learned from where it
    is too little for that."""
    sides = [kept.get(content) for content in content_hashes(samples)]
    place = {id(sample): i for i, sample in enumerate(samples)}
    parts: dict[str, list[int]] = {name: [] for name in names}
    loose: list[int] = []
    for unit in groups(samples):
        known = {sides[i] for i in unit}
        side = next((name for name in names if name in known), None)
        (loose if side is None else parts[side]).extend(unit)
    if loose:
        new = [samples[i] for i in sorted(loose)]
        try:
            shared = _part(new, labels, names, share_S, seed)
        except DataError:
            shared = {names[0]: tuple(new)}
        for name, some in shared.items():
            parts[name] += [place[id(sample)] for sample in some]
    if empty := [n for n in names if not parts[n]]:
        raise DataError(f"none of the pictures that were in {empty[0]} before is in the data", hint="bring them back")
    return {name: tuple(samples[i] for i in sorted(parts[name])) for name in names}


def missing(dataset: Dataset) -> tuple[str, ...]:
    """The splits that `split` would make."""
    return tuple(n for n in NAMES if n not in dataset.splits)


def groups(samples: Sequence[Sample]) -> list[list[int]]:
    """Indices that must stay together: same group, same content, or near duplicates (union-find), labels aside."""
    parent = list(range(len(samples)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[Hashable, int] = {}
    pairs = near_pairs(prints(samples))
    for i, (sample, digest) in enumerate(zip(samples, content_hashes(samples), strict=True)):
        pairs.append((first.setdefault(("content", digest), i), i))
        if sample.group is not None:
            pairs.append((first.setdefault(("group", sample.group), i), i))
    for a, b in pairs:
        parent[root(b)] = root(a)
    found: dict[int, list[int]] = defaultdict(list)
    for i in range(len(samples)):
        found[root(i)].append(i)
    return list(found.values())


def _part(
    samples: Sequence[Sample], labels: Labels, names: tuple[str, ...], share_S: Array, seed: int
) -> dict[str, tuple[Sample, ...]]:
    """Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011) with groups in the place of samples."""
    units = groups(samples)
    # The class behind the last counts images, so that those without a class are shared out as well.
    every = len(labels)
    held = [Counter(c for i in unit for c in (*present(samples[i].annotation, every), every)) for unit in units]
    ids, counts = ([np.array(list(part(h)), np.int64) for h in held] for part in (Counter.keys, Counter.values))
    open_C, images_C = np.zeros(every + 1, np.int64), np.zeros(every + 1, np.int64)
    for classes, count in zip(ids, counts, strict=True):
        open_C[classes] += 1
        images_C[classes] += count
    _refuse_few(labels, open_C, images_C, names)
    random = np.random.default_rng(seed)
    order = random.permutation(len(units))
    order = order[np.argsort([-len(units[u]) for u in order], kind="stable")]
    of_class: dict[int, list[int]] = defaultdict(list)
    for u in order.tolist():
        for c in held[u]:
            of_class[c].append(u)
    wish_SC = share_S[:, None] * images_C
    held_SC = np.zeros(wish_SC.shape, np.int64)
    side = np.full(len(units), -1)
    while open_C[every]:
        # Those without a class come when no class is open any more.
        few = np.where(open_C[:every] > 0, open_C[:every], len(units) + 1)
        rare = int(few.argmin()) if open_C[:every].any() else every
        turn = [u for u in of_class[rare] if side[u] < 0]
        for k, u in enumerate(turn):
            bare = np.flatnonzero(held_SC[:, rare] == 0)
            need = wish_SC[:, rare] - held_SC[:, rare]
            # The last groups of a class go where it is still absent; until then to the side that lacks most.
            choose = bare if len(bare) > 0 and len(turn) - k <= len(bare) else np.arange(len(names))
            best = choose[need[choose] >= need[choose].max() - 1e-9]
            total = (wish_SC[:, every] - held_SC[:, every])[best]
            side[u] = best[int(total.argmax())]
            held_SC[side[u], ids[u]] += counts[u]
            open_C[ids[u]] -= 1
    parts: dict[str, list[int]] = {name: [] for name in names}
    for u, unit in enumerate(units):
        parts[names[int(side[u])]] += unit
    if empty := [n for n in names if not parts[n]]:
        raise DataError(f"{len(units)} independent images are too few for {', '.join(names)}: {empty[0]} stays empty")
    return {name: tuple(samples[i] for i in sorted(parts[name])) for name in names}


def _refuse_few(labels: Labels, units_C: Array, images_C: Array, names: tuple[str, ...]) -> None:
    need = len(names)
    if units_C[-1] < need:
        raise DataError(
            f"{images_C[-1]} images with {units_C[-1]} independent image(s) cannot make {need} splits",
            hint="add images: duplicates and groups count once",
        )
    few = [
        f"{name} has {units_C[c]} independent image(s) among {images_C[c]}"
        for c, name in enumerate(labels.names)
        if labels.exclusive and 0 < units_C[c] < need
    ]
    if few:
        raise DataError(
            f"{need} splits ({', '.join(names)}) need {need} images a class: {names_text(few, 3)}",
            hint="add images of it (duplicates and groups count once), or bring the splits yourself",
        )
