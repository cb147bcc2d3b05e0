"""What is wrong between splits: leaks, shifts, too few images to measure on."""

import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import PurePosixPath

import numpy as np

from saccade.data.check.finding import COPY, ERROR, Finding, finding
from saccade.data.check.scan import Seen, usable
from saccade.data.dataset import Dataset
from saccade.data.fingerprint import Print, near_pairs, perceptual
from saccade.data.splits import FRACTIONS, missing
from saccade.types import Array

HELD_OUT = ("val", "test")
SMALL = 100
MOST_PAIRS = 100_000
"""Near duplicates from which only those are told that join new pictures."""
SHIFT = 0.25
"""Population stability index commonly called a shift."""
SIZE_RATIO = 1.5
LEAK_SHARE = 0.01
NUMBERED = re.compile(r"(.*?)(\d+)\D*")
FRAMES = 20
"""Numbered pictures from which they may be a video."""
FRAME, FRAME_GAP, FRAME_SHARE = 0.8, 0.3, 0.2
"""Correlation of small grey pictures that frames of one video reach; by how much more than those far apart; and the
share of held-out ones that must. Neighbours in a walk through corridors: 0.97, others 0.0; numbered photos that are no
video: 0.1 to 0.5, others 0.0 to 0.4."""


def splits(dataset: Dataset, seen: Sequence[Seen]) -> list[Finding]:
    return [*_exact(seen), *_groups(seen), *_small(dataset), *_label_shift(dataset, seen), *_size_shift(seen)]


def splits_full(seen: Sequence[Seen]) -> list[Finding]:
    """Near duplicates and brightness, from the small pictures of the full layer."""
    small = [s for s in usable(seen) if s.small is not None]
    prints = [perceptual(s.small) for s in small if s.small is not None]
    near = [(small[a], small[b]) for a, b in near_pairs(prints, most=MOST_PAIRS) if small[a].digest != small[b].digest]
    across = [f"{a.key} and {b.key}" for a, b in near if a.split != b.split]
    inside = [f"{a.key} and {b.key}" for a, b in near if a.split == b.split]
    video = _videos(small, prints)
    torn = [f"{a.key} and {b.key}" for a, b in near if "classes" in a.sample.annotation and a.classes != b.classes]
    return [
        *finding(
            "leak_near", "{n} {pair of near duplicates lies|pairs of near duplicates lie} in different splits", across
        ),
        *finding(
            "video_in_two_splits",
            "{n} held-out {picture looks|pictures look} like the next in number, which is learnt from: frames of one video?",
            video,
        ),
        *finding(
            "near_duplicate", "{n} {pair of near duplicates lies|pairs of near duplicates lie} in one split", inside
        ),
        *finding(
            "near_two_labels", "{n} {pair of near duplicates has|pairs of near duplicates have} different labels", torn
        ),
        *_brightness_shift(small),
    ]


def _videos(small: Sequence[Seen], prints: Sequence[Print]) -> list[str]:
    """Held-out pictures beside a picture to learn from that comes before or after by the number in its name and looks
    alike, where pictures far apart by number do not."""
    series: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for i, s in enumerate(small):
        if numbered := NUMBERED.fullmatch(PurePosixPath(s.key).stem):
            series[numbered[1]].append((int(numbered[2]), i))
    found = []
    for members in series.values():
        places = [i for _, i in sorted(members)]
        if len(places) < FRAMES:
            continue
        alike = [float(prints[a].grey @ prints[b].grey) for a, b in pairwise(places)]
        far = [float(prints[a].grey @ prints[b].grey) for a, b in zip(places, places[len(places) // 2 :], strict=False)]
        if np.median(alike) < np.median(far) + FRAME_GAP:
            continue
        told = []
        for k, i in enumerate(places):
            beside = [(alike[j], places[p]) for j, p in ((k - 1, k - 1), (k, k + 1)) if 0 <= p < len(places)]
            known = [(likeness, p) for likeness, p in beside if likeness >= FRAME and small[p].split not in HELD_OUT]
            if small[i].split in HELD_OUT and known:
                told.append(f"{small[i].key} and {small[max(known)[1]].key}")
        if len(told) >= FRAME_SHARE * sum(small[i].split in HELD_OUT for i in places):
            found += told
    return found


def half_width(n: int, p: float) -> float:
    """Half of the 95 % interval (normal approximation) of a share p measured on n images, in points."""
    return 196 * float(np.sqrt(p * (1 - p) / n))


def psi(a_K: Array, b_K: Array) -> float:
    """Population stability index of two histograms; half a count is added to each bin."""
    a = (a_K + 0.5) / (a_K + 0.5).sum()
    b = (b_K + 0.5) / (b_K + 0.5).sum()
    return float(((a - b) * np.log(a / b)).sum())


def _exact(seen: Sequence[Seen]) -> list[Finding]:
    same: dict[str, list[Seen]] = defaultdict(list)
    for s in usable(seen):
        same[s.digest].append(s)
    groups = [g for g in same.values() if len(g) > 1]
    leaks = [g for g in groups if len({s.split for s in g}) > 1]
    twice = [g for g in groups if len({s.split for s in g}) < len(g)]
    held = sum(s.split in HELD_OUT for s in seen)
    leaked = sum(s.split in HELD_OUT for g in leaks for s in g)
    severe = ERROR if leaked > LEAK_SHARE * held else None
    told = f"{{n}} {{image lies|images lie}} in more than one split: {leaked:,} of {held:,} held-out images measure memory, not skill"
    return [
        *finding("leak_exact", told, [_keys(g) for g in leaks], COPY, severe),
        *finding(
            "duplicate", "{n} {image appears|images appear} more than once in a split", [_keys(g) for g in twice], COPY
        ),
    ]


def _keys(group: Sequence[Seen]) -> str:
    return " and ".join(s.key for s in group[:3])


def _groups(seen: Sequence[Seen]) -> list[Finding]:
    sides: dict[str, set[str]] = defaultdict(set)
    for s in seen:
        if s.sample.group is not None:
            sides[s.sample.group].add(s.split)
    torn = [f"{group} ({', '.join(sorted(found))})" for group, found in sides.items() if len(found) > 1]
    return finding(
        "group_in_two_splits",
        "{n} {group (patient, scene, video) lies|groups (patient, scene, video) lie} in more than one split",
        torn,
    )


def _small(dataset: Dataset) -> list[Finding]:
    source = len(dataset.splits.get("all", dataset.splits.get("train", ())))
    found = []
    for split, share in zip(HELD_OUT, FRACTIONS[1:], strict=True):
        made = split in missing(dataset)
        n = round(source * share) if made else len(dataset.splits[split])
        if 0 < n < SMALL:
            told = (
                f"{split} {'will have about' if made else 'has'} {n} images: the 95 % interval of a score is "
                f"± {half_width(n, 0.9):.1f} points at 90 %, ± {half_width(n, 0.5):.1f} at 50 %"
            )
            found += finding(f"small_{split}", told, [f"{n} images"])
    return found


def _label_shift(dataset: Dataset, seen: Sequence[Seen]) -> list[Finding]:
    counts = {split: np.zeros(len(dataset.labels)) for split in dataset.splits}
    for s in seen:
        counts[s.split][list(s.classes)] += 1
    if "train" not in counts:
        return []
    found = {split: psi(counts["train"], counts[split]) for split in HELD_OUT if split in counts}
    return finding(
        "label_shift",
        f"the classes are shared out differently than in train (PSI above {SHIFT})",
        [f"{split}: PSI {shift:.2f}" for split, shift in found.items() if shift > SHIFT],
    )


def _size_shift(seen: Sequence[Seen]) -> list[Finding]:
    sides: dict[str, list[float]] = defaultdict(list)
    for s in seen:
        if s.header is not None:
            sides[s.split].append(float(np.sqrt(s.header.width * s.header.height)))
    if not sides["train"]:
        return []
    middle = {split: float(np.median(v)) for split, v in sides.items() if v}
    base = middle["train"]
    far = [
        f"{split}: {middle[split]:.0f} px, train: {base:.0f} px" for split in HELD_OUT
        if split in middle and max(middle[split] / base, base / middle[split]) > SIZE_RATIO
    ]  # fmt: skip
    return finding("size_shift", "images are of another size than in train (median of the square root of area)", far)


def _brightness_shift(seen: Sequence[Seen]) -> list[Finding]:
    light: dict[str, list[float]] = defaultdict(list)
    for s in seen:
        if s.small is not None:
            light[s.split].append(float(s.small.mean()))
    # Fewer images than this give a large index by chance alone.
    if len(light["train"]) < SMALL:
        return []
    edges = np.quantile(light["train"], np.linspace(0, 1, 6)[1:-1])
    base = np.bincount(np.searchsorted(edges, light["train"]), minlength=5)
    far = []
    for split in HELD_OUT:
        if len(light[split]) >= SMALL // 2:
            shift = psi(base, np.bincount(np.searchsorted(edges, light[split]), minlength=5))
            if shift > SHIFT:
                far.append(
                    f"{split}: PSI {shift:.2f}, mean {np.mean(light[split]):.0f} and {np.mean(light['train']):.0f}"
                )
    return finding("brightness_shift", f"images are lighter or darker than in train (PSI above {SHIFT})", far)
