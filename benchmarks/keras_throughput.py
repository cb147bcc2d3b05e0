"""Training throughput with augmentation: our Keras trainer, a plain `model.fit` as the tutorials write it, our torch
trainer.

    python -m benchmarks.keras_throughput [--size 64] [--images 2048] [--rounds 3] [--xla]

All train cnn-small from pictures in memory, batch 32, rotating, shifting, zooming and mirroring each. The tutorial's
way is an ImageDataGenerator feeding `fit`. With --xla ours runs once more with `compile=true`, whose first pass, as
everybody's, is not counted. Each contestant runs in its own process, in turn; the median of the rounds is printed.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import describe, save

BATCH, CLASSES = 32, 6
CHANGES = {"rotation": 15.0, "shift": 0.1, "zoom": 0.2, "flip_horizontal": True}


def pictures(images: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.integers(0, 256, (images, size, size, 3), np.uint8), random.integers(0, CLASSES, images)


def ours(engine: str, images: int, size: int, compiled: bool = False) -> float:
    from saccade import tasks
    from saccade.data.dataset import Dataset
    from saccade.training.recipe import Recipe
    from saccade.training.run import Run
    from saccade.training.trainers import find
    from saccade.types import Labels, Sample

    pixels, ids = pictures(images, size)
    samples = tuple(
        Sample(str(i), p, {"classes": np.array([k])}) for i, (p, k) in enumerate(zip(pixels, ids, strict=True))
    )
    names = tuple(f"class {i}" for i in range(CLASSES))
    data = Dataset("arrays", Path("memory"), Labels(names), {"train": samples, "val": samples[:BATCH]})
    (task,) = tasks.fitting(frozenset({"classes"}))
    still = dict.fromkeys(["brightness", "contrast", "saturation", "hue", "mixup", "cutmix", "erase"], 0)
    knobs: dict[str, Any] = {
        "task": task, "engine": engine, "network": "cnn-small", "weights": "none", "size": size, "batch": BATCH,
        "rate": 0.001, "optimizer": "adam", "weight_decay": 0, "smoothing": 0, "ema": 0, "crop": 1, "cache": "none",
        "compile": compiled, "class_weights": "none", "schedule": "constant", "clip": 0, "device": "cpu", "epochs": 3, "precision": "float32",
        **still, **CHANGES,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run", Recipe.load(None, knobs), data)
        ends = [e.time for e in find(engine).fit(run, data) if e.kind == "epoch"]
    # The first pass warms up. What is left holds a validation of one batch a pass, and the checkpoints.
    return (len(ends) - 1) * images / (ends[-1] - ends[0])


def fit(images: int, size: int) -> float:
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras

    legacy = __import__("keras.src.legacy.preprocessing.image", fromlist=["ImageDataGenerator"])
    parts: list[Any] = [keras.layers.Input((size, size, 3))]
    for filters in (32, 64, 128):
        parts += [keras.layers.Conv2D(filters, 3, padding="same", activation="relu"), keras.layers.MaxPooling2D()]
    parts += [keras.layers.Flatten(), keras.layers.Dense(128, "relu"), keras.layers.Dense(CLASSES, "softmax")]
    model = keras.Sequential(parts)
    model.compile("adam", "sparse_categorical_crossentropy")
    pixels, ids = pictures(images, size)
    change = legacy.ImageDataGenerator(
        rescale=1 / 255, rotation_range=15, width_shift_range=0.1, height_shift_range=0.1, zoom_range=0.2,
        horizontal_flip=True,
    )  # fmt: skip
    flow = change.flow(pixels, ids, batch_size=BATCH)
    model.fit(flow, epochs=1, verbose=0)
    began = time.perf_counter()
    model.fit(flow, epochs=2, verbose=0)
    return 2 * images / (time.perf_counter() - began)


CONTESTANTS = {
    "ours, keras": lambda n, size: ours("keras", n, size),
    "model.fit": fit,
    "ours, torch": lambda n, size: ours("torch", n, size),
}
XLA = {"ours, XLA": lambda n, size: ours("keras", n, size, compiled=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--xla", action="store_true")
    parser.add_argument("--one", choices=[*CONTESTANTS, *XLA], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print((CONTESTANTS | XLA)[options.one](options.images, options.size))
        return
    print(describe())
    print(f"cnn-small {options.size}x{options.size}, batch {BATCH}, {options.images} pictures, {options.rounds} rounds")
    figures: dict[str, list[float]] = {n: [] for n in (*CONTESTANTS, *(XLA if options.xla else ()))}
    for _ in range(options.rounds):
        for name, speeds in figures.items():
            command = [sys.executable, "-m", "benchmarks.keras_throughput", "--one", name]
            command += ["--images", str(options.images), "--size", str(options.size)]
            answer = subprocess.run(command, capture_output=True, text=True, check=True)
            speeds.append(float(answer.stdout.strip().splitlines()[-1]))
    base = statistics.median(figures["ours, keras"])
    for name, speeds in figures.items():
        middle = statistics.median(speeds)
        ends = f"{min(speeds):.1f} to {max(speeds):.1f}"
        print(f"{name:<12} {middle:7.1f} img/s  {ends}  ours in Keras is {base / middle:.2f} times this")
    save("keras_throughput", {"img_per_s": figures, "size": options.size, "images": options.images})


if __name__ == "__main__":
    main()
