"""The short form of every figure, one after another, in a few minutes; `make bench` calls this.

python -m benchmarks [NAME...] [--list]

Short forms show that every figure can be had here and roughly what it is; they are not kept. The long form of each is
named below with --list; `python -m benchmarks.NAME --help` tells what it can do, and it keeps its figures in results/.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time

PHOTOS, CELLS, FLOOR = (f"examples/data/{name}" for name in ("trash", "cells", "corridor"))
SHORT: dict[str, tuple[str, list[str]]] = {
    "startup": ("import, help, first answer, weight of a serving install", ["-n", "3"]),
    "serving": ("images per second: bare loop, our server, seven peers", ["--short"]),
    "decode": ("decoding: time by size and scale", ["--n", "20"]),
    "train_throughput": ("training: ours, plain torch, Keras", ["--steps", "3", "--rounds", "1"]),
    "train_accuracy": ("accuracy in a given time, ours and a plain loop", [PHOTOS, "--minutes", "0.3", "--seeds", "0"]),
    "keras_throughput": (
        "training in Keras: ours, model.fit, ours in torch",
        ["--images", "256", "--rounds", "1"],
    ),
    "twins": ("the same recipe on both engines", [PHOTOS, "--seeds", "0", "--epochs", "2", "--size", "32"]),
    "train_detection": (
        "boxes in a given time, ours and a plain CenterNet",
        [CELLS, "--minutes", "0.3", "--seeds", "0"],
    ),
    "train_segmentation": (
        "masks in a given time, ours and a plain U-Net",
        [FLOOR, "--minutes", "0.3", "--seeds", "0"],
    ),
    "vision_throughput": (
        "training boxes and masks: ours, torchvision's FCOS, smp's U-Net",
        [CELLS, FLOOR, "--size", "128", "--seconds", "2", "--rounds", "1"],
    ),
    "box_metrics": ("numbers of boxes: ours and pycocotools", ["--images", "300"]),
    "lessons": ("the newcomers' experiments, here the first", ["kernel", "--seeds", "1", "--epochs", "2"]),
    "tensors": ("pictures per second through every mouth", ["--seconds", "1", "--rounds", "1"]),
    "bodies": ("fuzzed bodies and messages of every dialect", ["--cases", "2000"]),
    "interop": ("real clients of other houses: calls that pass, by protocol and model", []),
    "web_applications": ("a model inside a web application and behind it", ["--seconds", "3"]),
    "faults": ("workers killed, versions swapped, memory, five times the capacity", ["--short"]),
    "hostile": ("files as bodies to a real server, here sound ones", [PHOTOS]),
}
"""Name of the module: what it measures, and the arguments of its short form."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SHORT)}; none runs all")
    parser.add_argument("--list", action="store_true", help="say what there is and end")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in SHORT]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(SHORT)}")
    chosen = options.names or list(SHORT)
    for name in chosen:
        print(f"{name:<17} {SHORT[name][0]:<58} python -m benchmarks.{name} {' '.join(SHORT[name][1])}")
    if options.list:
        return 0
    failed = []
    with tempfile.TemporaryDirectory() as results:
        for name in chosen:
            print(f"\n== {name}: {SHORT[name][0]}", flush=True)
            began = time.monotonic()
            command = [sys.executable, "-m", f"benchmarks.{name}", *SHORT[name][1]]
            code = subprocess.run(command, env={**os.environ, "SACCADE_RESULTS": results}).returncode
            print(f"-- {name}: {time.monotonic() - began:.0f} s" + (f", exit code {code}" if code else ""), flush=True)
            failed += [name] if code else []
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
