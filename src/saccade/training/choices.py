"""What "auto" means: facts about the data and the machine in, every knob filled in with its reason out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from saccade.training.events import Chosen
from saccade.training.plans import OWN, TINY
from saccade.training.recipe import Recipe

SMOKE_SIZE = 64
SMOKE_IMAGES = 64
SPEED, TINY_SPEED = 150, 600
"""Images a second that a small CPU learns from, at 160 px and in residual-32; only for guessing how many
passes a budget holds."""
SIZES = ((192, 800), (160, 400), (128, 60), (96, 0))
"""Sizes in px of photos on a CPU for networks of ours, and the passes from which each is worth its
time; see decision 21."""
MANY = 1000
"""Training images from which residual-32 learns best with momentum."""
PATIENT, TINY_PATIENT = 100, 40
"""Passes from which CutMix stops costing more than it brings, on photos and in residual-32."""


@dataclass(frozen=True)
class Facts:
    """What the choices rest on. widths, heights: upright pixels of (some of) the training images.

    geometry: the answers lie over the picture (boxes, masks). loss: the task's own first choice. smallest: tenth
    percentile of the boxes' shorter sides, as a share of the picture's longer side. no_up: boxes lie alike above and
    below, long and tall. lacks: why the pretrained weights of a recipe's network cannot be had, empty when they can.
    """

    train: int
    classes: tuple[str, ...]
    counts: tuple[int, ...]
    exclusive: bool
    widths: tuple[int, ...]
    heights: tuple[int, ...]
    cores: int
    device: str
    bfloat16: bool
    loss: str
    geometry: bool = False
    smallest: float = 1.0
    no_up: bool = False
    lacks: Callable[[Recipe], str] = lambda recipe: ""

    @property
    def per_class(self) -> float:
        return self.train / max(1, len(self.classes))


@dataclass(frozen=True)
class Choices:
    recipe: Recipe
    chosen: tuple[Chosen, ...]

    @property
    def reasons(self) -> dict[str, str]:
        return {c.key: c.reason for c in self.chosen}


class _Filler:
    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.chosen: list[Chosen] = []

    def fill(self, key: str, value: Any, reason: str) -> None:
        if self.recipe.is_auto(key):
            self.settle(key, value, reason)

    def settle(self, key: str, value: Any, reason: str) -> None:
        self.recipe = replace(self.recipe, **{key: value})
        self.chosen.append(Chosen(key, value, reason))


Preference = Callable[[Recipe], Mapping[str, tuple[Any, str]]]
"""A task's own choices: from the recipe as it stands to knobs with value and reason."""


def choose(
    recipe: Recipe,
    facts: Facts,
    prefer: Preference = lambda _: {},
    settled: Mapping[str, tuple[Any, str]] = MappingProxyType({}),
) -> Choices:
    """Fills in every "auto" knob; explicit values are never touched. settled: what an earlier run decided, which goes
    first; then what the task prefers, then the table here."""
    filler = _Filler(recipe)
    for key, (value, reason) in settled.items():
        filler.settle(key, value, reason)
    _machine(filler, facts)
    for key, (value, reason) in prefer(filler.recipe).items():
        filler.fill(key, value, reason)
    _size(filler, facts)
    _network(filler, facts)
    _growth(filler, facts)
    _learning(filler, facts)
    _augmentation(filler, facts)
    _boxes(filler)
    return Choices(filler.recipe, tuple(filler.chosen))


def _machine(filler: _Filler, facts: Facts) -> None:
    filler.fill("device", facts.device, "an accelerator is there" if facts.device == "cuda" else "no accelerator found")
    filler.fill("threads", facts.cores, f"{facts.cores} cores may be used")
    if facts.bfloat16:
        filler.fill("precision", "bfloat16", "this device multiplies bfloat16 natively; the exported graph is float32")
    else:
        filler.fill("precision", "float32", "no native bfloat16 here")


def _passes(recipe: Recipe, facts: Facts) -> float:
    """How often each training image will be seen, as far as can be told before the first step: NaN where a budget ends
    a run on an accelerator, whose speed nobody knows."""
    if recipe.smoke:
        return 1.0
    if recipe.budget:
        return float("nan") if facts.device == "cuda" else recipe.budget * SPEED / max(1, facts.train)
    repeat = 1 if recipe.is_auto("repeat") else int(recipe.repeat)
    return float(_epochs(facts.train) if recipe.is_auto("epochs") else int(recipe.epochs) * repeat)


def _epochs(train: int) -> int:
    return int(np.clip(60_000 // max(1, train), 12, 120))


def _size(filler: _Filler, facts: Facts) -> None:
    widths, heights = np.asarray(facts.widths or (224,)), np.asarray(facts.heights or (224,))
    width, height = float(np.median(widths)), float(np.median(heights))
    longer = max(width, height)
    if filler.recipe.smoke:
        filler.fill("size", int(min(SMOKE_SIZE, longer)), "smoke run")
    elif longer <= 40:
        filler.fill("size", int(longer), f"images are {width:.0f}x{height:.0f}, kept as they are")
    elif longer <= 140:
        filler.fill("size", int(min(64, longer)) // 8 * 8, f"images are {width:.0f}x{height:.0f}")
    elif facts.device == "cuda":
        filler.fill("size", 224, f"images are {width:.0f}x{height:.0f}")
    else:
        passes = _passes(filler.recipe, facts)
        own = filler.recipe.is_auto("network") or filler.recipe.network in OWN
        worth = next(size for size, least in SIZES if passes >= least) if own else 160
        most = min(worth, 192 if longer >= 320 else 160 if longer >= 192 else 128)
        why = "a CPU learns more from more passes than from more pixels"
        filler.fill("size", most, f"images are {width:.0f}x{height:.0f}, about {passes:.0f} passes; {why}")
    size = int(filler.recipe.size)
    aspects = widths / np.maximum(heights, 1)
    middle = float(np.median(aspects))
    alike = float(np.mean(np.abs(np.log(aspects / middle)) < 0.1))
    if alike < 0.8 or 0.87 < middle < 1.15:
        why = "images are square" if alike >= 0.8 else f"shapes differ ({100 * alike:.0f} % share one)"
        filler.fill("width", size, why)
        filler.fill("height", size, why)
        return
    why = f"{100 * alike:.0f} % of the images share the shape {middle:.2f}:1"
    step = 16 if size >= 128 else 8
    shorter = max(16, round(size * min(middle, 1 / middle) / step) * step)
    filler.fill("width", size if middle > 1 else shorter, why)
    filler.fill("height", shorter if middle > 1 else size, why)


def _network(filler: _Filler, facts: Facts) -> None:
    longest = max(int(filler.recipe.width), int(filler.recipe.height))
    if longest <= TINY and facts.device == "cpu":
        filler.fill("network", "residual-32", f"{longest} px input; a CPU learns more from more passes")
    elif longest <= 72:
        filler.fill("network", "residual-64", f"{longest} px input")
    else:
        filler.fill("network", "residual-224", f"{longest} px input")
    own = filler.recipe.network in OWN or ":" in filler.recipe.network
    if own:
        filler.fill("weights", "none", "this network learns from scratch")
    elif filler.recipe.is_auto("weights"):
        # Asked now, for a network from scratch wants other rates than one that knows pictures already.
        why = facts.lacks(filler.recipe)
        filler.settle("weights", "none" if why else "auto", why or "pretrained weights are here")


def _growth(filler: _Filler, facts: Facts) -> None:
    longest = max(int(filler.recipe.width), int(filler.recipe.height))
    if filler.recipe.smoke or longest <= 72 or filler.recipe.network != "residual-224":
        filler.fill("start_size", 1.0, "one size from the start")
    else:
        filler.fill("start_size", 0.5, "small pictures first buy more passes in the same time")


def _learning(filler: _Filler, facts: Facts) -> None:
    recipe, n = filler.recipe, facts.train
    filler.fill("repeat", 1, "an epoch is one pass")
    filler.fill("loss", facts.loss, "one class an image" if facts.exclusive else "several classes may hold at once")
    if recipe.smoke:
        filler.fill("epochs", 1, "smoke run")
    elif recipe.budget:
        filler.fill("epochs", 100_000, f"the budget of {recipe.budget:.0f} s ends the run")
    else:
        filler.fill("epochs", filler.recipe.in_epochs(_epochs(n)), f"about 60,000 images in all, {n} a pass")
    if recipe.optimizer == "gradient_descent":
        filler.fill("batch", n, "gradient descent looks at every image before it moves")
    else:
        batch = 64 if n >= 3000 else 32
        if facts.device == "cuda":
            batch *= 2
        filler.fill("batch", max(1, min(batch, n // 4)) if n >= 8 else n, f"{n} training images")
    quick = recipe.network == "residual-32" and not facts.geometry and n >= MANY
    if quick:
        filler.fill("optimizer", "nesterov", f"generalises best in this network from {MANY:,} images on")
    else:
        filler.fill("optimizer", "adamw", "good without tuning")
    pretrained = filler.recipe.weights != "none"
    rates = {
        "gradient_descent": 0.1,
        "sgd": 0.1,
        "momentum": 0.03,
        "nesterov": 0.2 if quick else 0.03,
        "adam": 1e-3,
        "adamw": 2e-3,
    }
    rate = rates[filler.recipe.optimizer] * (0.15 if pretrained else 1.0)
    if filler.recipe.network == "cnn-small":
        rate = min(rate, 1e-3) if filler.recipe.optimizer in ("adam", "adamw") else rate
    filler.fill(
        "rate", rate, f"usual peak for {filler.recipe.optimizer}{' from pretrained weights' if pretrained else ''}"
    )
    adamw = filler.recipe.optimizer == "adamw"
    filler.fill("weight_decay", 0.05 if adamw else 5e-4, f"usual for {filler.recipe.optimizer}")
    # The average moves with the weights: once in so many batches.
    steps = max(1, n // max(1, int(filler.recipe.batch) * recipe.accumulate))
    filler.fill("ema", round(float(np.clip(1 - 1 / (3 * steps), 0.9, 0.999)), 5), "averages about three passes")
    ratio = max(facts.counts, default=1) / max(1, min(facts.counts, default=1))
    if ratio >= 4:
        filler.fill("class_weights", "balanced", f"the largest class is {ratio:.0f} times the smallest")
    else:
        filler.fill("class_weights", "none", f"classes are balanced within {ratio:.1f} times")
    smooth = facts.loss == "cross_entropy" and filler.recipe.loss == "cross_entropy"
    filler.fill(
        "smoothing", 0.1 if smooth else 0.0, "usual with cross-entropy" if smooth else f"none with {filler.recipe.loss}"
    )


def _augmentation(filler: _Filler, facts: Facts) -> None:
    small = max(int(filler.recipe.width), int(filler.recipe.height)) <= 40
    scarce = facts.per_class < 250
    why = "tiny images" if small else ("few images a class" if scarce else "enough images a class")
    filler.fill("rotation", 8.0 if small else 15.0, why)
    filler.fill("shift", 0.08 if small else 0.1, why)
    filler.fill("zoom", 0.1 if small else 0.2, why)
    photos = max(int(filler.recipe.width), int(filler.recipe.height)) > 72
    filler.fill("crop", 0.5 if photos and scarce else 1.0, why if photos else "small images keep their whole subject")
    _flips(filler, facts)
    colour = 0.15 if small else 0.3
    filler.fill("brightness", colour, why)
    filler.fill("contrast", colour, why)
    filler.fill("saturation", 0.0 if small else 0.3, why)
    filler.fill("hue", 0.0 if small else 0.03, why)
    if facts.geometry:
        filler.fill("cutmix", 0.0, "boxes and masks do not blend")
    filler.fill(
        "mixup", 0.0, "mosaic and crops show enough" if facts.geometry else "CutMix serves better where mixing pays"
    )
    quick = filler.recipe.network == "residual-32" and filler.recipe.optimizer == "nesterov"
    passes = _passes(filler.recipe, facts) * (TINY_SPEED / SPEED if quick and filler.recipe.budget else 1)
    patient, where = (TINY_PATIENT, "in this network") if quick else (PATIENT, "on scarce photos")
    mixes = (quick or (photos and scarce)) and facts.exclusive and passes >= patient
    here = "what the budget holds here is not known" if np.isnan(passes) else f"about {passes:.0f} here"
    filler.fill("cutmix", 1.0 if mixes else 0.0, f"mixing pays {where} from {patient} passes on; {here}")
    filler.fill("erase", 0.25 if small else 0.1, why)


def _flips(filler: _Filler, facts: Facts) -> None:
    handed = handed_classes(facts.classes)
    if handed:
        filler.fill("flip_horizontal", False, f"mirror images may mean something else in classes like {handed[0]!r}")
    else:
        filler.fill("flip_horizontal", True, "no class name speaks of side, digit or letter")
    filler.fill("flip_vertical", False, "most pictures have an up")


def _boxes(filler: _Filler) -> None:
    filler.fill("finest", 8, "no boxes here")
    filler.fill("mosaic", 0.0, "no boxes here")
    filler.fill("still", 0.0, "no figure speaks for it here")


def handed_classes(names: Sequence[str]) -> list[str]:
    """Class names in which left and right may matter: digits, single letters, words of side or direction."""
    sides = {"left", "right", "clockwise", "counterclockwise", "east", "west", "l", "r"}

    def matters(name: str) -> bool:
        words = set(name.lower().replace("-", " ").replace("_", " ").split())
        return name.strip().isdigit() or len(name.strip()) == 1 or bool(words & sides)

    return [n for n in names if matters(n)]
