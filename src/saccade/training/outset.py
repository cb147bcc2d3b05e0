"""What every run begins with, whatever the engine: which task, which samples, and every "auto" knob filled in."""

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import numpy as np

from saccade import tasks
from saccade.data.dataset import Dataset
from saccade.errors import DataError, UsageError, first_line
from saccade.images.preprocess import PreprocessSpec
from saccade.process import cores
from saccade.tasks.statistics import spread
from saccade.tasks.task import NOT_HAD, Task
from saccade.training import checkpoints, earlier
from saccade.training.choices import SMOKE_IMAGES, Facts, choose
from saccade.training.events import Chosen, Note
from saccade.training.packed import GEOMETRY, sizes, targets_of
from saccade.training.recipe import Recipe
from saccade.training.run import Run
from saccade.types import Array, Labels, Sample, TensorSpec

BEFORE = {"repeat": 1, "still": 0.0}
"""What knobs meant that came later and are "auto" by default."""
TINY_PX = 3.0
"""A box with a side below this many px of the network's input is told to be too small."""
LOOKED_AT = 1000
"""Samples whose targets decide what "auto" means; the weights of classes are counted over all."""


def half_of(task: Task, engine: str) -> Any:
    """The learning half beside a task: what stands in its `torch.py` or `keras.py`, as tasks/task.py lists it.

    Raises UsageError when the task has none for that engine.
    """
    name = f"{type(task).__module__.rpartition('.')[0]}.{engine}"
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise UsageError(f"{task.name} cannot be learned with {engine}", hint="choose another --engine") from None


def task_name(recipe: Recipe, dataset: Dataset) -> str:
    if recipe.task != "auto":
        return recipe.task
    fitting = tasks.fitting(dataset.fields)
    if len(fitting) != 1:
        raise UsageError(
            f"{len(fitting)} tasks fit this dataset: {', '.join(fitting) or 'none'}", hint="name one with --task"
        )
    return fitting[0]


def samples_of(dataset: Dataset, recipe: Recipe) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    train, val = dataset.splits.get("train", ()), dataset.splits.get("val", ())
    if not train or not val:
        have = ", ".join(f"{k} {len(v)}" for k, v in dataset.splits.items())
        raise DataError(
            f"training needs a train and a val split, got {have or 'no images'}", hint="split the dataset first"
        )
    if recipe.smoke:
        train, val = (tuple(part[i] for i in spread(len(part), SMOKE_IMAGES)) for part in (train, val))
    return train, val


def choose_knobs(
    run: Run,
    labels: Labels,
    task: Task,
    half: Any,
    samples: tuple[Sample, ...],
    device: str,
    bfloat16: bool,
    pretrained: Callable[[Recipe], str],
) -> Iterator[Chosen]:
    """Fills in "auto" once; a resumed run finds its recipe complete. bfloat16: whether the device multiplies it
    natively. pretrained: makes the network of a recipe with pretrained weights and says what it got."""
    some = samples[:: max(1, len(samples) // LOOKED_AT)]
    targets = targets_of(some, labels, task, PreprocessSpec(64, 64))
    weights = half.class_weights(targets, labels)
    counts = tuple(int(c) for c in np.round(1e6 / np.maximum(weights, 1e-9)))
    widths, heights = sizes(samples)
    facts = Facts(
        train=len(samples),
        classes=labels.names,
        counts=counts,
        exclusive=labels.exclusive,
        widths=widths,
        heights=heights,
        cores=cores(),
        device=device,
        bfloat16=bfloat16,
        loss=half.losses(labels)[0],
        geometry=not GEOMETRY.isdisjoint(targets),
        lacks=lambda recipe: told if NOT_HAD in (told := pretrained(recipe)) else "",
        **_facts_of_boxes(targets, some),
    )
    _refuse_foreign_loss(run.recipe, half.losses(labels), task)
    _refuse_foreign_extras(run.recipe, task)
    # What has begun needs no earlier run any more.
    begun = checkpoints.last(run).exists()
    known = {} if begun else earlier.settled(run.recipe, task.name)
    # Its recipe is complete but for knobs that came later, which have had their old meaning all along.
    later = {k: v for k, v in BEFORE.items() if run.recipe.is_auto(k)} if begun else {}
    recipe = run.recipe.replace_from(later)
    choices = choose(recipe, facts, lambda recipe: half.prefer(facts, recipe), known)
    if choices.chosen or later:
        run.keep_recipe(choices.recipe, choices.reasons)
    yield from choices.chosen


def hard_boxes(run: Run, labels: Labels, task: Task, samples: tuple[Sample, ...]) -> Iterator[Note]:
    """A word on boxes that the network's input, once it is chosen, is too small to show, and on pictures with more of
    them than an answer holds."""
    some = samples[:: max(1, len(samples) // LOOKED_AT)]
    if "boxes" not in task.encode(some[0], labels):
        return
    targets = targets_of(some, labels, task, run.preprocess)
    boxes = targets["boxes"][targets["box_classes"] >= 0]
    count = int(((boxes[:, 2:] - boxes[:, :2]).min(1, initial=np.inf) < TINY_PX).sum())
    if count:
        yield Note(
            f"{count:,} of {len(boxes):,} boxes are narrower than {TINY_PX:g} px at {run.recipe.width} x "
            f"{run.recipe.height} px and will hardly be learned: a larger size shows them"
        )
    most = next((spec.shape[1] for spec in task.outputs(labels) if spec.name == "boxes"), None)
    crowded = int(((targets["box_classes"] >= 0).sum(1) > most).sum()) if most else 0
    if crowded:
        yield Note(
            f"{crowded:,} of {len(some):,} pictures hold more than {most} boxes, the most that one answer has: "
            "ask such pictures in tiles, whose answers are joined"
        )


def _facts_of_boxes(targets: Mapping[str, Array], samples: tuple[Sample, ...]) -> dict[str, Any]:
    """What boxes over an input of 64 x 64 px, to which their pictures were stretched, say of sizes, and of up and down;
    nothing where there are none."""
    if "boxes" not in targets:
        return {}
    row, place = np.nonzero(np.asarray(targets["box_classes"]) >= 0)
    if not len(row):
        return {}
    boxes = np.asarray(targets["boxes"], np.float64)[row, place] / 64
    pictures = np.stack(sizes(samples, len(samples)), 1)[row]
    sides = (boxes[:, 2:] - boxes[:, :2]) * pictures / pictures.max(1, keepdims=True)
    height = boxes[:, [1, 3]].mean(1)
    shape = float(np.median(np.log(sides[:, 1] / sides[:, 0])))
    lying = abs(float(height.mean()) - 0.5) < 0.04 and abs(float(np.mean(height < 0.5)) - 0.5) < 0.08
    wide = float(height.std()) > 0.2
    return {"smallest": float(np.quantile(sides.min(1), 0.1)), "no_up": lying and wide and abs(shape) < 0.35}


def refused_size(recipe: Recipe, error: Exception) -> UsageError:
    """What to raise where a network cannot take the sizes that a recipe would show it."""
    return UsageError(
        f"{recipe.network} takes pictures of one size only ({first_line(error)})",
        hint="set start_size=1 and multi_scale=0",
    )


def other_sizes(recipe: Recipe) -> list[tuple[int, int]]:
    """Heights and widths that are not the full ones, as a run of several sizes shows them: odd multiples of
    8 px, and the largest."""
    full = int(recipe.height), int(recipe.width)
    odd = [max(8, round(0.75 * side / 16 - 0.5) * 16 + 8) for side in full]
    most = [max(8, round((1 + recipe.multi_scale) * side / 8) * 8) for side in full]
    return [(odd[0], odd[1])] + ([(most[0], most[1])] if recipe.multi_scale else [])


def extras_of(task: Task, recipe: Recipe) -> tuple[str, ...]:
    """What the sealed graph of a run gives besides the task's outputs, by name."""
    return tuple(name for name in task.extras if getattr(recipe, name, False))


def outputs_of(task: Task, labels: Labels, recipe: Recipe) -> tuple[TensorSpec, ...]:
    """What the sealed graph of a run gives."""
    return (*task.outputs(labels), *(task.extras[name] for name in extras_of(task, recipe)))


def _refuse_foreign_extras(recipe: Recipe, task: Task) -> None:
    others = {name for other in tasks.names() for name in tasks.find(other).extras} - set(task.extras)
    for name in sorted(others):
        if getattr(recipe, name):
            raise UsageError(f"{task.name} has no output named {name}", hint=f"set {name}=false")


def _refuse_foreign_loss(recipe: Recipe, known: tuple[str, ...], task: Task) -> None:
    if recipe.loss != "auto" and recipe.loss not in known:
        near = get_close_matches(recipe.loss, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(known)}"
        raise UsageError(f"{task.name} has no loss {recipe.loss!r}", hint=hint)


def refuse_mixing(recipe: Recipe, targets: Mapping[str, Any]) -> None:
    """Blended pictures need blended answers, which masks do not have; of boxes those of both can be asked for."""
    kinds = ("mixup", "cutmix") if "mask" in targets else ("cutmix",) if "boxes" in targets else ()
    mixing = [k for k in kinds if float(getattr(recipe, k)) > 0]
    if mixing:
        raise UsageError(f"{mixing[0]} blends class labels and cannot blend boxes or masks", hint=f"set {mixing[0]}=0")
