"""What is wrong with labels: classes too small, missing or misspelt, contradictions, doubtful labels."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations

from saccade.data.check.finding import WARN, Finding, finding
from saccade.data.check.scan import Seen
from saccade.data.dataset import Dataset
from saccade.data.folder import NO_LABEL
from saccade.data.splits import missing
from saccade.types import names_text

FEW = 10
IMBALANCE = 20.0
LONG = 100
"""Letters of a name beyond which it is a text, and is compared as a whole only."""
MOST_ALIKE = 50
"""Names that share all but one letter: where more do, letters number them as digits would, and none is a typo."""


def labels(dataset: Dataset, seen: Sequence[Seen]) -> list[Finding]:
    counts: dict[str, Counter[int]] = {split: Counter() for split in dataset.splits}
    for s in seen:
        counts[s.split].update(s.classes)
    return [*_classes(dataset, counts), *_spelling(dataset.labels.names), *_contradictions(seen)]


def _classes(dataset: Dataset, counts: dict[str, Counter[int]]) -> list[Finding]:
    names = dataset.labels.names
    total = sum(counts.values(), Counter[int]())
    learn = counts.get("train", total)
    used = [i for i in range(len(names)) if total[i]]
    alone = names_text([names[i] for i in used]) or "none"
    need = len(missing(dataset)) + ("train" in dataset.splits)
    few_to_split = [
        f"{names[i]} ({total[i]})" for i in used
        if missing(dataset) and dataset.labels.exclusive and 1 < learn[i] < need
    ]  # fmt: skip
    found = [
        *finding(
            "one_class",
            "fewer than two classes have images",
            [alone] if len(used) < 2 and dataset.labels.exclusive else [],
        ),
        *finding(
            "unused_class", "{n} {class has|classes have} no image", [n for i, n in enumerate(names) if not total[i]]
        ),
        *finding(
            "single_image_class",
            "{n} {class has|classes have} one image, which cannot be both learnt and tested",
            [names[i] for i in used if total[i] == 1],
            # Where images hold several classes the others can be learnt all the same: long tails are the rule.
            severity=None if dataset.labels.exclusive else WARN,
        ),
        *finding(
            "too_few_to_split",
            f"{{n}} {{class has|classes have}} fewer than the {need} images that splits need",
            few_to_split,
        ),
        *finding(
            "few_images",
            f"{{n}} {{class has|classes have}} fewer than {FEW} images to learn from",
            [f"{names[i]} ({learn[i]})" for i in used if total[i] > 1 and 0 < learn[i] < FEW],
        ),
        *finding(
            "missing_label",
            "{n} {row has no label and is|rows have no label and are} left out",
            [i.path for i in dataset.ignored if i.reason == NO_LABEL],
        ),
    ]
    for split in ("train", "val", "test"):
        if split in counts:
            absent = [names[i] for i in used if total[i] > 1 and not counts[split][i]]
            found += finding(f"absent_from_{split}", f"{{n}} {{class is|classes are}} absent from {split}", absent)
    present = [i for i in used if learn[i]]
    if present:
        most, least = max(present, key=lambda i: learn[i]), min(present, key=lambda i: learn[i])
        ratio = learn[most] / learn[least]
        found += finding(
            "imbalance",
            f"{names[most]} has {ratio:.0f} times the images of {names[least]} ({learn[most]:,} and {learn[least]:,})",
            [names[most], names[least]] if ratio > IMBALANCE else [],
            "saccade train DATA --set class_weights=balanced",
        )
    return found


def _spelling(names: Sequence[str]) -> list[Finding]:
    spaced = [repr(n) for n in names if n != n.strip() or "  " in n]
    near = [f"{names[i]} and {names[k]}" for i, k in _near([n.casefold().strip() for n in names])]
    return [
        *finding("spaced_name", "{n} class {name has|names have} leading, trailing or double spaces", spaced),
        *finding(
            "similar_names",
            "{n} {pair of class names differs|pairs of class names differ} by case or one letter: a typo?",
            near,
        ),
    ]


def _near(folded: Sequence[str]) -> list[tuple[int, int]]:
    """Index pairs (low, high) of names that are equal or one edit apart.

    Names one edit apart agree once a letter is taken out of each, or of the longer. Only names that so agree are
    compared: of ten thousand names every pair would be fifty million.
    """
    alike: dict[str, list[int]] = defaultdict(list)
    for i, name in enumerate(folded):
        for part in {name, *_shortened(name)}:
            alike[part].append(i)
    pairs = {pair for some in alike.values() if len(some) <= MOST_ALIKE for pair in combinations(some, 2)}
    return sorted((i, k) for i, k in pairs if folded[i] == folded[k] or one_edit(folded[i], folded[k]))


def _shortened(name: str) -> Iterator[str]:
    """The name without one of its letters; digits stay, as names told apart by them are taken as meant."""
    for i, letter in enumerate(name if len(name) <= LONG else ""):
        if not letter.isdigit():
            yield name[:i] + name[i + 1 :]


def one_edit(a: str, b: str) -> bool:
    """One letter added, dropped, changed or swapped with its neighbour, in words of four letters or more.

    Names told apart by a digit are taken as meant.
    """
    if abs(len(a) - len(b)) > 1 or min(len(a), len(b)) < 4 or a == b:
        return False
    start = 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    end = 0
    while end < min(len(a), len(b)) - start and a[-1 - end] == b[-1 - end]:
        end += 1
    left, right = a[start : len(a) - end], b[start : len(b) - end]
    if any(c.isdigit() for c in left + right):
        return False
    return max(len(left), len(right)) == 1 or (len(left) == 2 and left == right[::-1])


def _contradictions(seen: Sequence[Seen]) -> list[Finding]:
    same: dict[str, list[Seen]] = defaultdict(list)
    for s in seen:
        if s.digest and s.error is None:
            same[s.digest].append(s)
    torn = [" and ".join(s.key for s in group[:3]) for group in same.values() if len({s.told for s in group}) > 1]
    return finding(
        "two_labels",
        "{n} {image appears with different labels; --fix leaves it|images appear with different labels; --fix leaves them} out",
        torn,
    )
