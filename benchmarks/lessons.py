"""The small experiments behind docs/newcomers.md: one question each, answered by short trainings of the project.

    python -m benchmarks.lessons [LESSON ...] [--seeds 2] [--epochs 10]

Two sets are used. `photos`: the sample photos of the project, small. `shapes`: circles, squares, triangles and
crosses of chance size, place and angle on a noisy ground; for the lesson on augmentation the pictures to learn from
are upright and centred, the unseen ones are not. Every row is the mean over seeds, with the spread, on pictures that no training has seen.
"""

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.machine import describe
from saccade import tasks
from saccade.data import formats
from saccade.data.dataset import Dataset
from saccade.errors import TrainingError
from saccade.images.preprocess import load
from saccade.training import trainers
from saccade.training.events import Epoch, Event, Started
from saccade.training.recipe import Recipe
from saccade.training.run import Run
from saccade.types import Array, Labels, Sample

PHOTOS = Path(__file__).resolve().parents[1] / "examples" / "data" / "trash"
SHAPES = ("circle", "square", "triangle", "cross")
STILL: Mapping[str, Any] = {
    "rotation": 0, "shift": 0, "zoom": 0, "crop": 1, "flip_horizontal": False, "brightness": 0, "contrast": 0,
    "saturation": 0, "hue": 0, "mixup": 0, "cutmix": 0, "erase": 0,
}  # fmt: skip
PLAIN: Mapping[str, Any] = {
    "network": "cnn-small", "filters": (8, 16, 32), "dense": 32, "optimizer": "adam", "rate": 0.002, "weight_decay": 0,
    "schedule": "constant", "smoothing": 0, "ema": 0, "batch": 32, "precision": "float32", "weights": "none",
    "cache": "none", "clip": 0, "threads": 1, **STILL,
}  # fmt: skip


@dataclass(frozen=True)
class Result:
    """accuracy, seen: shares of the unseen and of the training pictures; loss: of the last epoch; seconds: of training."""

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
    """Shapes to learn from and unseen ones alike. centred: only the unseen are turned and shifted. rare: few crosses."""
    learn = shapes(1, train) if centred else shapes(1, train, turn, shift)
    if rare:
        learn = [s for i, s in enumerate(learn) if i % len(SHAPES) != 3 or i % 40 == 3]
    watch = shapes(2, 120) if centred else shapes(2, 120, turn, shift)
    splits = {"train": tuple(learn), "val": tuple(watch), "test": tuple(shapes(3, 480, turn, shift))}
    return Dataset("arrays", Path("shapes"), Labels(SHAPES), splits)


def photos(share: int = 1) -> Dataset:
    """The sample photos; of the training split every share-th picture."""
    dataset, _ = formats.read(PHOTOS)
    train = dataset.splits["train"][::share]
    return replace(dataset, splits={**dataset.splits, "train": tuple(train)})


def learn(dataset: Dataset, changes: Mapping[str, Any], seed: int, epochs: int, size: int) -> Result:
    """One training with the project's own loop, scored on the test split."""
    (name,) = tasks.fitting(dataset.fields)
    wish = {**PLAIN, "size": size, "epochs": epochs, **changes, "seed": seed, "task": name}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run", Recipe.load(None, wish), dataset)
        trainer = trainers.find("torch")
        events: list[Event] = list(trainer.fit(run, dataset))
        seconds = time.monotonic() - began
        unseen = _share(run, dataset, "test")
        seen = _share(run, dataset, "train")
    started = next(e for e in events if isinstance(e, Started))
    ends = [e for e in events if isinstance(e, Epoch)]
    return Result(unseen, seen, ends[-1].loss, started.parameters, seconds, ends[-1].epoch)


def _share(run: Run, dataset: Dataset, split: str) -> float:
    samples = dataset.splits[split]
    pictures = np.stack([load(s.image, run.preprocess)[0] for s in samples])
    scores = trainers.find("torch").outputs(run, pictures)["scores"]
    truth = np.array([int(s.annotation["classes"][0]) for s in samples])
    return float(np.mean(scores.argmax(axis=1) == truth))


Rows = dict[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Lesson:
    """One question. rows: what is changed, by name. data: the set, or one a row where the set is what changes."""

    question: str
    rows: Rows
    data: Callable[[], Dataset]
    size: int = 32
    epochs: float = 1.0
    sets: Mapping[str, Callable[[], Dataset]] | None = None


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
            "stride 1, no pooling": {"pooling": "none"},
        },
        drawn,
    ),
    "padding": Lesson(
        "Same or valid padding?",
        {"same": {}, "valid": {"padding": "valid"}},
        drawn,
    ),
    "pooling": Lesson(
        "Why pool, and which?",
        {"max": {}, "average": {"pooling": "average"}, "none": {"pooling": "none"}},
        drawn,
    ),
    "optimizer": Lesson(
        "Which optimizer?",
        {
            "gradient descent": {"optimizer": "gradient_descent", "rate": 0.1, "batch": "auto"},
            "sgd": {"optimizer": "sgd", "rate": 0.05},
            "momentum": {"optimizer": "momentum", "rate": 0.02},
            "nesterov": {"optimizer": "nesterov", "rate": 0.02},
            "adam": {"optimizer": "adam"},
            "adamw": {"optimizer": "adamw", "weight_decay": 0.05},
        },
        drawn,
    ),
    "rate": Lesson(
        "How fast should it learn?",
        {f"{r:g}": {"rate": r} for r in (0.00005, 0.0005, 0.002, 0.01, 0.1)},
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
            "flipped": {"flip_horizontal": True, "flip_vertical": True},
            "all defaults of augmentation": dict.fromkeys(STILL, "auto"),
        },
        photos,
        size=64,
        epochs=2,
    ),
    "amount": Lesson(
        "More pictures, or a better recipe?",
        {"30 pictures": {}, "120 pictures": {}, "480 pictures": {}},
        drawn,
        sets={f"{n} pictures": lambda n=n: drawn(n) for n in (30, 120, 480)},  # type: ignore[misc]
    ),
}


def table(name: str, seeds: int, epochs: int) -> str:
    """A lesson as the lines that are printed: one row a change."""
    lesson = LESSONS[name]
    turns = max(1, round(epochs * lesson.epochs))
    lines = [f"{name}: {lesson.question}  ({seeds} seeds, {turns} epochs, {lesson.size} px)", ""]
    lines += [
        "| recipe | unseen | spread | training pictures | last loss | parameters | time |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row, changes in lesson.rows.items():
        dataset = (lesson.sets or {}).get(row, lesson.data)()
        try:
            found = [learn(dataset, changes, seed, turns, lesson.size) for seed in range(seeds)]
        except TrainingError as error:
            lines.append(f"| {row} | lost | | | | | {error.message} |")
            continue
        unseen = [100 * f.accuracy for f in found]
        lines.append(
            f"| {row} | {statistics.mean(unseen):.1f} % | {max(unseen) - min(unseen):.1f} "
            f"| {100 * statistics.mean(f.seen for f in found):.1f} % | {statistics.mean(f.loss for f in found):.3f} "
            f"| {found[0].parameters:,} | {statistics.mean(f.seconds for f in found):.1f} s |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Small experiments for newcomers")
    parser.add_argument("lessons", nargs="*", metavar="LESSON", help=f"of {', '.join(LESSONS)}; none runs all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    options = parser.parse_args()
    unknown = [name for name in options.lessons if name not in LESSONS]
    if unknown:
        parser.error(f"no lesson {unknown[0]!r}; lessons are {', '.join(LESSONS)}")
    print(describe())
    for name in options.lessons or LESSONS:
        print()
        print(table(name, options.seeds, options.epochs), flush=True)


if __name__ == "__main__":
    main()
