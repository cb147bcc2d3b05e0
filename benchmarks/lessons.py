"""The small experiments behind docs/newcomers.md: one question each, answered by short trainings of the project.

    python -m benchmarks.lessons [LESSON ...] [--seeds 3] [--epochs 12]

Two sets are used. `photos`: the sample photos of the project, small. `shapes`: circles, squares, triangles and
crosses of chance size, place and angle on a noisy ground; for the lesson on augmentation the pictures to learn from
are upright and centred, the unseen ones are not. Every row is the mean over seeds, with the distance from worst to best
seed, on pictures that no training has seen.
"""

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.machine import describe, save
from saccade import tasks
from saccade.data import formats
from saccade.data.dataset import Dataset
from saccade.errors import TrainingError
from saccade.images.preprocess import load
from saccade.training import trainers
from saccade.training.events import Epoch, Event, Started
from saccade.training.recipe import Recipe
from saccade.training.run import Run
from saccade.types import Array, Labels, Number, Sample, Scorecard

PHOTOS = Path(__file__).resolve().parents[1] / "examples" / "data" / "trash"
SHAPES = ("circle", "square", "triangle", "cross")
STILL: Mapping[str, Any] = {
    "rotation": 0, "shift": 0, "zoom": 0, "crop": 1, "flip_horizontal": False, "brightness": 0, "contrast": 0,
    "saturation": 0, "hue": 0, "mixup": 0, "cutmix": 0, "erase": 0,
}  # fmt: skip
DEFAULTS: Mapping[str, Any] = dict.fromkeys(STILL, "auto")
AMOUNTS = (32, 96, 288, 864)
PLAIN: Mapping[str, Any] = {
    "network": "cnn-small", "filters": (8, 16, 32), "dense": 32, "optimizer": "adam", "rate": 0.002, "weight_decay": 0,
    "schedule": "constant", "smoothing": 0, "ema": 0, "batch": 32, "precision": "float32", "weights": "none",
    "cache": "none", "clip": 0, "threads": 1, **STILL,
}  # fmt: skip


@dataclass(frozen=True)
class Result:
    """accuracy, seen: shares of the unseen and of the training pictures; loss: of the last epoch; seconds: of
    training."""

    accuracy: float
    seen: float
    loss: float
    parameters: int
    seconds: float
    epochs: int


def shapes(seed: int, count: int = 480, turn: float = 0.0, shift: float = 0.0, size: int = 32) -> list[Sample]:
    """Drawn shapes on a noisy ground, upright and near the middle unless turn (degrees) or shift (a share) say more."""
    random = np.random.default_rng(seed)
    samples = []
    for i in range(count):
        label = i % len(SHAPES)
        radius = random.uniform(6, 9)
        angle = math.radians(random.uniform(-turn, turn))
        middle = size / 2 + random.uniform(-1, 1, 2) + random.uniform(-shift, shift, 2) * size
        ground, ink = random.integers(20, 110, 3), random.integers(130, 235, 3)
        picture = Image.new("RGB", (size, size), tuple(int(v) for v in ground))
        _draw(ImageDraw.Draw(picture), SHAPES[label], middle, radius, angle, tuple(int(v) for v in ink))
        noisy = np.asarray(picture, np.float64) + random.normal(0, 18, (size, size, 3))
        pixels = np.clip(noisy, 0, 255).astype(np.uint8)
        samples.append(Sample(f"{seed}-{i}", pixels, {"classes": np.array([label], np.int64)}))
    return samples


def _draw(pen: ImageDraw.ImageDraw, kind: str, middle: Array, radius: float, angle: float, ink: Any) -> None:
    def around(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
        cosine, sine = math.cos(angle), math.sin(angle)
        x0, y0 = middle
        return [(x0 + radius * (x * cosine - y * sine), y0 + radius * (x * sine + y * cosine)) for x, y in points]

    if kind == "circle":
        pen.ellipse([*(middle - radius), *(middle + radius)], fill=ink)
    elif kind == "square":
        pen.polygon(around([(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)]), fill=ink)
    elif kind == "triangle":
        pen.polygon(around([(0, -1), (0.95, 0.8), (-0.95, 0.8)]), fill=ink)
    else:
        pen.line(around([(-1, 0), (1, 0)]), fill=ink, width=4)
        pen.line(around([(0, -1), (0, 1)]), fill=ink, width=4)


def drawn(
    train: int = 480, *, turn: float = 20, shift: float = 0.15, centred: bool = False, rare: bool = False
) -> Dataset:
    """Shapes to learn from and unseen ones alike. centred: only the unseen are turned and shifted. rare: few
    crosses."""
    learn = shapes(1, train) if centred else shapes(1, train, turn, shift)
    if rare:
        learn = few_crosses(learn)
    watch = shapes(2, 120) if centred else shapes(2, 120, turn, shift)
    splits = {"train": tuple(learn), "val": tuple(watch), "test": tuple(shapes(3, 480, turn, shift))}
    return Dataset("arrays", Path("shapes"), Labels(SHAPES), splits)


def few_crosses(samples: Sequence[Sample]) -> list[Sample]:
    """All of `shapes`, but of the last class only every tenth."""
    return [s for i, s in enumerate(samples) if i % len(SHAPES) != 3 or i % 40 == 3]


def photos() -> Dataset:
    dataset, _ = formats.read(PHOTOS)
    return dataset


@contextmanager
def fitted(
    dataset: Dataset, changes: Mapping[str, Any], seed: int, epochs: int, size: int
) -> Iterator[tuple[Run, list[Event], float]]:
    """One training with the project's own loop: its run, what it said, and the seconds it took."""
    (name,) = tasks.fitting(dataset.fields)
    wish = {**PLAIN, "size": size, "epochs": epochs, **changes, "seed": seed, "task": name}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run", Recipe.load(None, wish), dataset)
        events = list(trainers.find("torch").fit(run, dataset))
        yield run, events, time.monotonic() - began


def learn(dataset: Dataset, changes: Mapping[str, Any], seed: int, epochs: int, size: int) -> Result:
    with fitted(dataset, changes, seed, epochs, size) as (run, events, seconds):
        unseen = measure(run, dataset.splits["test"], dataset.labels).headline.value
        seen = measure(run, dataset.splits["train"], dataset.labels).headline.value
    started = next(e for e in events if isinstance(e, Started))
    ends = [e for e in events if isinstance(e, Epoch)]
    return Result(unseen, seen, ends[-1].loss, started.parameters, seconds, ends[-1].epoch)


def measure(run: Run, samples: Sequence[Sample], labels: Labels) -> Scorecard:
    """The numbers of an evaluation, on pictures given one by one."""
    loaded = [load(s.image, run.preprocess) for s in samples]
    outputs = trainers.find("torch").outputs(run, np.stack([pixels for pixels, _ in loaded]))
    task = tasks.find(run.recipe.task)
    scorer = task.scorer(labels)
    for answer, sample in zip(task.decode(outputs, [p for _, p in loaded], labels), samples, strict=True):
        scorer.add(answer, sample)
    return scorer.card("")


Rows = dict[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Lesson:
    """One question. rows: what is changed, by name. data: the set. sets, passes: where a row has its own set, or more
    passes than the others (as a factor)."""

    question: str
    rows: Rows
    data: Callable[[], Dataset]
    size: int = 32
    epochs: float = 1.0
    sets: Mapping[str, Callable[[], Dataset]] = field(default_factory=dict)
    passes: Mapping[str, int] = field(default_factory=dict)


LESSONS: dict[str, Lesson] = {
    "kernel": Lesson(
        "How large should a kernel be?",
        {f"{k}x{k}": {"kernel": k} for k in (1, 3, 5, 7)},
        drawn,
    ),
    "stride": Lesson(
        "Why not stride instead of pooling?",
        {
            "stride 1, max pooling": {},
            "stride 2, no pooling": {"stride": 2, "pooling": "none"},
            "stride 2, no pooling, longer": {"stride": 2, "pooling": "none"},
            "stride 1, no pooling": {"pooling": "none"},
        },
        drawn,
        passes={"stride 2, no pooling, longer": 3},
    ),
    "padding": Lesson(
        "Same or valid padding?",
        {"same": {}, "valid": {"padding": "valid"}},
        drawn,
    ),
    "pooling": Lesson(
        "Why pool, and which?",
        {
            "max": {},
            "average": {"pooling": "average"},
            "average, longer": {"pooling": "average"},
            "none": {"pooling": "none"},
        },
        drawn,
        passes={"average, longer": 3},
    ),
    "depth": Lesson(
        "How many layers?",
        {f"{n} block{'s' * (n > 1)}": {"filters": (16,) * n} for n in (1, 2, 3, 4)},
        drawn,
    ),
    "optimizer": Lesson(
        "Which optimizer?",
        {
            "gradient descent": {"optimizer": "gradient_descent", "rate": 0.1, "batch": "auto"},
            "gradient descent, as many steps": {"optimizer": "gradient_descent", "rate": 0.1, "batch": "auto"},
            "sgd": {"optimizer": "sgd", "rate": 0.05},
            "sgd, longer": {"optimizer": "sgd", "rate": 0.05},
            "momentum": {"optimizer": "momentum", "rate": 0.02},
            "nesterov": {"optimizer": "nesterov", "rate": 0.02},
            "adam": {"optimizer": "adam"},
            "adamw": {"optimizer": "adamw", "weight_decay": 0.05},
        },
        drawn,
        passes={"gradient descent, as many steps": 15, "sgd, longer": 3},
    ),
    "rate": Lesson(
        "How fast should it learn?",
        {f"{r:g}": {"rate": r} for r in (0.00005, 0.0005, 0.002, 0.01, 0.1)},
        drawn,
    ),
    "schedule": Lesson(
        "Should the rate change on the way?",
        {name: {"schedule": name, "rate": 0.01} for name in ("constant", "step", "cosine", "one_cycle")},
        drawn,
    ),
    "loss": Lesson(
        "Which loss, when one class is rare?",
        {
            "cross-entropy": {"class_weights": "none"},
            "cross-entropy, balanced": {"class_weights": "balanced"},
            "focal": {"loss": "focal", "class_weights": "none"},
            "mean squared error": {"loss": "mse", "class_weights": "none"},
            "binary cross-entropy": {"loss": "bce", "class_weights": "none"},
        },
        lambda: drawn(rare=True),
    ),
    "augment": Lesson(
        "What does augmentation buy?",
        {
            "none": {},
            "shift": {"shift": 0.2},
            "rotation": {"rotation": 45},
            "shift and rotation": {"shift": 0.2, "rotation": 45},
        },
        lambda: drawn(turn=45, shift=0.2, centred=True),
        epochs=2,
    ),
    "photos": Lesson(
        "And on photos?",
        {
            "as they are": {},
            "default augmentation": DEFAULTS,
            "as they are, four times as long": {},
            "default augmentation, four times as long": DEFAULTS,
        },
        photos,
        size=64,
        passes={"as they are, four times as long": 4, "default augmentation, four times as long": 4},
    ),
    "amount": Lesson(
        "What are more pictures worth, at the same number of steps?",
        {f"{n} pictures": {} for n in AMOUNTS},
        drawn,
        sets={f"{n} pictures": lambda n=n: drawn(n) for n in AMOUNTS},  # type: ignore[misc]
        passes={f"{n} pictures": max(AMOUNTS) // n for n in AMOUNTS},
    ),
}


JUDGE = "judge"


def table(name: str, seeds: int, epochs: int) -> str:
    """A lesson as the lines that are printed: one row a change."""
    lesson = LESSONS[name]
    turns = max(1, round(epochs * lesson.epochs))
    lines = [f"{name}: {lesson.question}  ({seeds} seeds, {lesson.size} px)", ""]
    lines += [
        "| recipe | unseen | spread | training pictures | last loss | parameters | epochs | time |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row, changes in lesson.rows.items():
        dataset = lesson.sets.get(row, lesson.data)()
        passes = turns * lesson.passes.get(row, 1)
        try:
            found = [learn(dataset, changes, seed, passes, lesson.size) for seed in range(seeds)]
        except TrainingError as error:
            lines.append(f"| {row} | lost | | | | | {passes} | {error.message} |")
            continue
        unseen = [100 * f.accuracy for f in found]
        lines.append(
            f"| {row} | {statistics.mean(unseen):.1f} % | {max(unseen) - min(unseen):.1f} "
            f"| {100 * statistics.mean(f.seen for f in found):.1f} % | {statistics.mean(f.loss for f in found):.3f} "
            f"| {found[0].parameters:,} | {passes} | {statistics.mean(f.seconds for f in found):.1f} s |"
        )
    return "\n".join(lines)


def judge(epochs: int) -> str:
    """One network that saw few crosses, judged on four sets: what a number is worth depends on what it was taken
    from."""
    dataset = drawn(rare=True)
    unseen = shapes(3, 960, 20, 0.15)
    sets = {
        "its own training pictures": dataset.splits["train"],
        "32 unseen, crosses as rare": few_crosses(unseen)[:32],
        "744 unseen, crosses as rare": few_crosses(unseen),
        "960 unseen, classes alike": unseen,
    }
    lines = [
        f"{JUDGE}: What is a number worth?  (one network, {epochs} epochs, 32 px; in brackets 95 % intervals)",
        "",
        "| judged on | accuracy | macro F1 | calibration error |",
        "|---|--:|--:|--:|",
    ]
    with fitted(dataset, {"class_weights": "none"}, 0, epochs, 32) as (run, _, _):
        for name, samples in sets.items():
            card = measure(run, samples, dataset.labels)
            cells = [_percent(card[n]) for n in ("accuracy", "macro_f1", "calibration_error")]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _percent(number: Number) -> str:
    if number.low is None or number.high is None:
        return f"{100 * number.value:.1f} %"
    return f"{100 * number.value:.1f} % ({100 * number.low:.0f} to {100 * number.high:.0f})"


def main() -> None:
    every = [*LESSONS, JUDGE]
    parser = argparse.ArgumentParser(description="Small experiments for newcomers")
    parser.add_argument("lessons", nargs="*", metavar="LESSON", help=f"of {', '.join(every)}; none runs all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    options = parser.parse_args()
    unknown = [name for name in options.lessons if name not in every]
    if unknown:
        parser.error(f"no lesson {unknown[0]!r}; lessons are {', '.join(every)}")
    print(describe())
    told: dict[str, list[str]] = {}
    for name in options.lessons or every:
        print()
        text = judge(options.epochs) if name == JUDGE else table(name, options.seeds, options.epochs)
        print(text, flush=True)
        told[name] = text.splitlines()
        save("lessons", {"seeds": options.seeds, "epochs": options.epochs, "tables": told})


if __name__ == "__main__":
    main()
