"""What a picture costs from bytes to network input, beside plain OpenCV and Pillow; and what malloc tuning saves.

python -m benchmarks.decode [--n 100]
"""

import argparse
import io
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as pillow

from benchmarks.machine import describe
from saccade import process
from saccade.images.decode import inspect
from saccade.images.preprocess import PreprocessSpec, load

PHOTO = next((Path(__file__).resolve().parents[1] / "examples/data/trash/train").glob("*/*.jpg"))
SPEC = PreprocessSpec(224, 224)


def picture(width: int, height: int, format: str, **options: object) -> bytes:
    """A real photo enlarged to width x height and encoded; JPEG quality 85."""
    with pillow.open(PHOTO) as photo:
        file = io.BytesIO()
        photo.convert("RGB").resize((width, height), pillow.Resampling.BICUBIC).save(file, format, **options)
    return file.getvalue()


def plain_opencv(data: bytes) -> np.ndarray:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(cv2.resize(pixels, (224, 224), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)


def plain_pillow(data: bytes) -> np.ndarray:
    with pillow.open(io.BytesIO(data)) as photo:
        return np.asarray(photo.convert("RGB").resize((224, 224), pillow.Resampling.BILINEAR))


def times_ms(paths: dict[str, Callable[[], object]], n: int) -> dict[str, list[float]]:
    """n times of each path in milliseconds, taken in turn so that all meet the same weather."""
    found: dict[str, list[float]] = {name: [] for name in paths}
    for path in paths.values():
        path()
    for _ in range(n):
        for name, path in paths.items():
            began = time.perf_counter()
            path()
            found[name].append(1000 * (time.perf_counter() - began))
    return found


def large(tuned: bool, n: int) -> float:
    """Median ms of a 12 MP decode at full size, in a fresh process."""
    if tuned:
        process.tune_memory()
    cv2.setNumThreads(1)
    data = picture(4000, 3000, "jpeg", quality=85)
    plain = PreprocessSpec(224, 224, dct_scale=False)
    return statistics.median(times_ms({"load": lambda: load(data, plain)}, n)["load"])


def _apart(tuned: bool, n: int) -> float:
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        return pool.apply(large, (tuned, n))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--json", type=Path, help="write the raw times here")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    cases = {
        "jpeg 512x384": (picture(512, 384, "jpeg", quality=85), options.n),
        "jpeg 1600x1200": (picture(1600, 1200, "jpeg", quality=85), max(5, options.n // 3)),
        "jpeg 4000x3000": (picture(4000, 3000, "jpeg", quality=85), max(5, options.n // 10)),
        "progressive 512x384": (picture(512, 384, "jpeg", quality=85, progressive=True), options.n),
        "png 512x384": (picture(512, 384, "png"), options.n),
        "webp 512x384": (picture(512, 384, "webp"), options.n),
    }
    print(describe())
    print(
        f"to 224x224, one thread, median of n (10th to 90th percentile), ms; baseline: cv2.imdecode + resize\n{'':21}",
        end="",
    )
    print(f"{'n':>4} {'header':>8} {'saccade':>22} {'opencv':>8} {'pillow':>8} {'opencv/saccade':>15}")
    raw = {}
    for name, (data, n) in cases.items():
        found = raw[name] = times_ms(
            {
                "header": lambda data=data: inspect(data),
                "saccade": lambda data=data: load(data, SPEC),
                "opencv": lambda data=data: plain_opencv(data),
                "pillow": lambda data=data: plain_pillow(data),
            },
            n,
        )
        middle = {key: statistics.median(times) for key, times in found.items()}
        low, high = np.percentile(found["saccade"], [10, 90])
        print(
            f"{name:21}{n:4} {middle['header']:8.3f} {middle['saccade']:7.2f} ({low:5.2f} to {high:5.2f}) "
            f"{middle['opencv']:8.2f} {middle['pillow']:8.2f} {middle['opencv'] / middle['saccade']:15.2f}"
        )
    n, rounds = max(5, options.n // 10), 4
    pairs = [[_apart(flag, n) for flag in (False, True)] for _ in range(rounds)]
    ratios = sorted(usual / tuned for usual, tuned in pairs)
    usual, tuned = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(
        f"malloc: 4000x3000 at full size, median of {n} in each of {rounds} processes in turn: {usual:.1f} ms as glibc "
        f"comes, {tuned:.1f} ms tuned, ratio {usual / tuned:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )
    if options.json:
        options.json.write_text(json.dumps({"machine": describe(), "times_ms": raw, "malloc_ms": pairs}, indent=1))


if __name__ == "__main__":
    main()
