"""How many runs at once, with how many threads, in batches of how many? Measured on this host, never guessed."""

from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

from saccade import process
from saccade.inference.model import Model
from saccade.inference.options import Options
from saccade.inference.tuning import Tuned

ROUNDS = 5
BATCHES = (4, 16, 32)
CLEAR = 1.02
"""A setting wins over the one this machine would get unasked only when it is this many times as fast."""


def tune(
    package: Path, image: bytes, variant: str | None = None, *, pictures: int = 96, listen: Callable[[str], None]
) -> Tuned:
    """Every setting in turn answers the same pictures, decoding included, ROUNDS times over; medians decide."""
    number = process.cores()
    pairs = sorted({(1, number), (2, max(1, number // 2)), (number, 1)})
    rates: dict[tuple[int, int, int], list[float]] = {}
    models: dict[tuple[int, int, int], Model] = {}
    unasked = Options().resolved()
    usual = (unasked.runners or 1, unasked.threads or 1, unasked.max_batch or 1)
    try:
        for runners, threads in pairs:
            for batch in BATCHES:
                wish = Options(variant=variant, runners=runners, threads=threads, max_batch=batch)
                models[runners, threads, batch] = Model.open(package, options=wish)
        if usual not in models:
            models[usual] = Model.open(package, options=Options(variant=variant))
        for turn in range(ROUNDS):
            for setting, model in list(models.items())[:: -1 if turn % 2 else 1]:
                began = perf_counter()
                model.results([image] * pictures)
                rates.setdefault(setting, []).append(pictures / (perf_counter() - began))
        digest, answering = next((m.digest, m.choice.variant) for m in models.values())
    finally:
        for model in models.values():
            model.close()
    found = {setting: median(values) for setting, values in rates.items()}
    for (runners, threads, batch), rate in sorted(found.items(), key=lambda pair: -pair[1]):
        listen(f"{rate:8.1f} images/s with {runners} runners of {threads} threads, batches up to {batch}")
    best = max(found, key=lambda s: found[s])
    if found[best] < CLEAR * found[usual]:
        best, why = usual, f"nothing was {CLEAR:g} times as fast as what is taken unasked ({found[usual]:.1f} images/s)"
    else:
        why = f"{found[best]:.1f} images/s, {found[best] / found[usual]:.2f} times what is taken unasked"
    tried = {f"{r} x {t}, {b}": round(rate, 1) for (r, t, b), rate in found.items()}
    return Tuned(digest, process.host(), answering, *best, reason=why, tried=tried)
