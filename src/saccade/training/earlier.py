"""An earlier run as the start of another: its network, its input and its weights, class by class."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from saccade.errors import TrainingError, UsageError
from saccade.training import checkpoints
from saccade.training.recipe import Recipe
from saccade.training.run import Run
from saccade.types import Array, Labels

SHAPED = (
    "network", "width", "height", "finest", "resize", "filters", "kernel", "stride", "padding", "pooling", "dense",
)  # fmt: skip
"""Knobs that shape a network and its input: where nothing else is asked for they are those of the earlier run."""
OWN = ("mean", "std")
"""What every network holds and none learns."""
LEAST = 0.5
"""Share of the tensors that must fit: fewer are those of another network."""

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Earlier:
    """folder: as it was named. labels: the classes it learned. weights: its best ones by name."""

    folder: Path
    recipe: Recipe
    labels: Labels
    weights: Mapping[str, Array]


def folder_of(recipe: Recipe) -> Path | None:
    """The run folder that `weights` names; None for words and files. Raises UsageError for a
    folder that holds no run."""
    folder = Path(recipe.weights)
    if recipe.weights in ("auto", "none") or not folder.is_dir():
        return None
    if (folder / "manifest.json").is_file():
        raise UsageError(
            f"{folder} holds a sealed package, whose graph learns no more", hint="name the run folder it came from"
        )
    if not (folder / "recipe.toml").is_file():
        raise UsageError(f"{folder} holds no run (no recipe.toml)", hint="name a run folder or a file of weights")
    return folder


def settled(recipe: Recipe, task: str) -> dict[str, tuple[Any, str]]:
    """What an earlier run settles of the knobs that are still open, each with its reason. Raises UsageError when it is
    of another engine or task."""
    folder = folder_of(recipe)
    if folder is None:
        return {}
    theirs = Recipe.load(folder / "recipe.toml")
    if theirs.engine != recipe.engine:
        raise UsageError(
            f"{folder} was trained with {theirs.engine}, whose weights {recipe.engine} cannot take",
            hint=f"add --engine {theirs.engine}",
        )
    if theirs.task not in ("auto", task):
        raise UsageError(
            f"{folder} learned {theirs.task}, and this is {task}", hint="start from a run of the same task"
        )
    if not recipe.is_auto("network") and recipe.network != theirs.network:
        return {}
    usual = Recipe()
    keys = [k for k in SHAPED if getattr(recipe, k) == getattr(usual, k) != getattr(theirs, k)]
    if not recipe.is_auto("size"):
        keys = [k for k in keys if k not in ("width", "height")]
    return {k: (getattr(theirs, k), f"as in {folder}") for k in keys}


def read(recipe: Recipe) -> Earlier | None:
    """The run that `weights` names, its weights in memory. Raises UsageError when it has none, TrainingError
    when they are damaged."""
    folder = folder_of(recipe)
    if folder is None:
        return None
    run = Run(folder, Recipe.load(folder / "recipe.toml"))
    file = checkpoints.best(run)
    if not file.is_file():
        raise UsageError(f"the run {folder} has no weights yet", hint=f"let it learn first: --resume {folder}")
    found = checkpoints.read(file)
    try:
        labels = Labels.from_json(found.record["labels"])
    except KeyError as error:
        raise TrainingError(f"checkpoint {file} names no classes", hint="start from another run") from error
    return Earlier(folder, run.recipe, labels, found.part("network"))


def begin(
    start: Earlier, own: Mapping[str, Array], labels: Labels, shapes: Callable[[Labels], Shapes]
) -> tuple[dict[str, Array], str]:
    """A new network's weights with those of an earlier run wherever they fit, and a line on what was taken.

    own: the new network's, by name. labels: the classes it is to learn. shapes: of the same network for other classes.
    What runs over classes is carried over class by class, by name, so that a new order or a new class mixes none up; a
    class that the earlier run did not know starts afresh. Raises UsageError when too few fit, and what `shapes` raises.
    """
    axes: dict[str, tuple[int, ...]] = {}
    if labels.names != start.labels.names:
        axes = _over_classes({k: v.shape for k, v in own.items()}, shapes(_one_more(labels)))
    made = dict(own)
    taken = 0
    for name, value in start.weights.items():
        if name in OWN:
            continue
        fitted = _carried(own[name], value, axes.get(name, ()), labels, start.labels) if name in own else None
        if fitted is not None:
            made[name] = fitted
            taken += 1
    count = len(own.keys() - set(OWN))
    if taken < LEAST * count:
        raise UsageError(
            f"{taken} of {count} tensors of this network are in {start.folder}, which learned with {start.recipe.network}",
            hint="leave --network and its knobs away to take those of that run",
        )
    return made, f"weights: {taken} of {count} tensors from {start.folder}" + _told(labels, start.labels)


def _one_more(labels: Labels) -> Labels:
    name = next(n for i in range(len(labels) + 1) if (n := f"class {i}") not in labels.names)
    return replace(labels, names=(*labels.names, name), originals=(*labels.originals, name))


def _over_classes(shapes: Shapes, wider: Shapes) -> dict[str, tuple[int, ...]]:
    """The axes that grow by one with one class more."""
    return {
        name: axes
        for name, shape in shapes.items()
        if len(shape) == len(other := wider.get(name, ()))
        and (axes := tuple(i for i, (a, b) in enumerate(zip(shape, other, strict=True)) if b == a + 1))
    }


def _carried(own: Array, found: Array, axes: tuple[int, ...], labels: Labels, known: Labels) -> Array | None:
    """One weight with the earlier values; None when it does not fit. axes: those that run over classes, and over what
    stands behind them, such as a place for padding."""
    if own.ndim != found.ndim:
        return None
    ours, theirs = [], []
    for axis, (size, other) in enumerate(zip(own.shape, found.shape, strict=True)):
        names, others = (labels.names, known.names) if axis in axes else ((), ())
        if size - len(names) != other - len(others):
            return None
        both = [n for n in names if n in others]
        behind = range(size - len(names))
        ours.append([names.index(n) for n in both] + [len(names) + i for i in behind])
        theirs.append([others.index(n) for n in both] + [len(others) + i for i in behind])
    made = own.copy()
    made[np.ix_(*ours)] = found[np.ix_(*theirs)].astype(own.dtype)
    return made


def _told(labels: Labels, known: Labels) -> str:
    new = [n for n in labels.names if n not in known.names]
    gone = [n for n in known.names if n not in labels.names]
    words = [f"{text} {', '.join(names[:4])}{' and others' if len(names) > 4 else ''}"
             for text, names in (("new classes:", new), ("classes left behind:", gone)) if names]  # fmt: skip
    return "".join(f"; {w}" for w in words)
