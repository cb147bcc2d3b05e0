"""What "auto" means for detection: asked before the general table."""

from collections.abc import Mapping
from typing import Any

import numpy as np

SEEN = 40_000
"""Images a run from scratch looks at by default."""
FEW = 400
"""Images that an epoch shows at least, a small set several times."""
LEAST = 10
"""Epochs of a run, for each is followed by a look at the validation split."""
SMALL = 12
"""A box whose shorter side is below so many px of the input wants a finer grid than 8 px."""
CPU_PX, CUDA_PX = 320, 640
STILL = 0.25
"""Last share of a run without mosaic, shift and zoom. Measured in decision 10."""
OWN = ("auto", "residual-32", "residual-64", "residual-224")
QUERIES = "hf-"
"""How names of networks begin whose queries answer for one object each."""
START, LEAST_GROWN = 0.7, 256
"""Share of the size that learning begins with, and the size in px from which it does. Measured in decision 10."""


def prefer(facts: Any, recipe: Any) -> Mapping[str, tuple[Any, str]]:
    """Recipe keys with value and reason. facts: what the trainer knows of data and machine; `facts.smallest` is the
    tenth percentile of the boxes' shorter sides as a share of the picture's longer side, `facts.no_up` whether boxes
    tell up from down."""
    found: dict[str, tuple[Any, str]] = {}
    longer = float(np.median(np.maximum(facts.widths, facts.heights))) if facts.widths else float(CPU_PX)
    if recipe.smoke:
        size = 64
        found["size"] = size, "smoke run"
        found["epochs"] = 1, "smoke run"
    else:
        most = CUDA_PX if facts.device == "cuda" else CPU_PX
        size = max(32, int(min(most, longer)) // 32 * 32)
        found["size"] = size, f"images are {longer:.0f} px long; {facts.device} affords {most}"
        repeat = -(-FEW // max(1, facts.train)) if recipe.is_auto("epochs") else 1
        found["repeat"] = repeat, f"{facts.train} training images" + (" make a short epoch" if repeat > 1 else "")
        if not recipe.budget:
            passes = int(np.clip(SEEN // max(1, facts.train), 12, 200))
            epochs = max(LEAST, recipe.in_epochs(passes, repeat))
            found["epochs"] = epochs, f"about {SEEN:,} images in all, {facts.train} a pass"
    size = size if recipe.is_auto("size") else int(recipe.size)
    finest = 4 if facts.smallest * size < SMALL else 8
    found["finest"] = finest, f"a tenth of the boxes is narrower than {facts.smallest * size:.0f} px at {size} px"
    found["network"] = "residual-224", "gives maps of 4 to 32 px"
    if recipe.network.startswith(QUERIES):
        found["loss"] = "matching", "each query of this network answers for one object"
        found["weights"] = "none", "weights of these networks are not fetched"
        if recipe.is_auto("optimizer"):
            found["optimizer"] = "adamw", "good without tuning"
            found["rate"] = 1e-4, "usual for networks with queries"
            found["weight_decay"] = 1e-4, "usual for networks with queries"
    # Other networks may want an input of one size.
    grows = recipe.engine == "torch" and recipe.network in OWN and not recipe.smoke
    if grows and finest > 4 and size >= LEAST_GROWN:
        found["start_size"] = START, "at first seven tenths of the size teach as much an image in half the time"
    else:
        found["start_size"] = 1.0, "boxes keep their size; zoom brings several"
    found["batch"] = max(1, min(16, facts.train // 4 or 1)), "boxes are many examples an image"
    found["class_weights"] = "none", "the loss weighs points by how well they fit"
    found["rotation"] = 0.0, "a turned box is no longer tight"
    found["shift"] = 0.1, "usual for boxes"
    found["zoom"] = 0.5, "objects of many sizes"
    found["crop"] = 1.0, "zoom and shift crop already"
    found["erase"] = 0.0, "an erased object would still be asked for"
    found["mosaic"] = 0.5, "four pictures in one: more neighbours, more borders"
    found["still"] = STILL, "what is cut by a border, and whether it counts, is as it will be"
    if facts.no_up and not any(_handed(name) for name in facts.classes):
        found["flip_vertical"] = True, "boxes lie alike above and below, long and tall"
    return found


def _handed(name: str) -> bool:
    """Classes in which up and down may matter: digits, letters, directions."""
    words = set(name.lower().replace("-", " ").replace("_", " ").split())
    return name.strip().isdigit() or len(name.strip()) == 1 or bool(words & {"up", "down", "top", "bottom"})
