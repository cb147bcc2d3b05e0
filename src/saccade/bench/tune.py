"""How many runs at once, with how many threads, in batches of how many? Measured on this host, never guessed."""

from collections.abc import Callable, Sequence
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


Setting = tuple[int, int, int]
"""Runners, threads of each run, rows of a batch at most."""


def shared(number: int) -> list[tuple[int, int]]:
    """Runners and threads that use so many cores: by every power of two, and each its own."""
    powers = [1 << i for i in range(number.bit_length()) if 1 << i <= number]
    return [(runners, max(1, number // runners)) for runners in sorted({*powers, number})]


def _raced(
    package: Path, image: bytes, variant: str | None, settings: Sequence[Setting], pictures: int
) -> dict[Setting, float]:
    """Pictures a second of each, all of them open at the same time and asked in turns."""
    models: dict[Setting, Model] = {}
    rates: dict[Setting, list[float]] = {setting: [] for setting in settings}
    try:
        for runners, threads, batch in settings:
            wish = Options(variant=variant, runners=runners, threads=threads, max_batch=batch)
            models[runners, threads, batch] = Model.open(package, options=wish)
        for turn in range(ROUNDS):
            for setting, model in list(models.items())[:: -1 if turn % 2 else 1]:
                began = perf_counter()
                model.results([image] * pictures)
                rates[setting].append(pictures / (perf_counter() - began))
    finally:
        for model in models.values():
            model.close()
    return {setting: median(values) for setting, values in rates.items()}


def tune(
    package: Path, image: bytes, variant: str | None = None, *, pictures: int = 96, listen: Callable[[str], None]
) -> Tuned:
    """Settings in turn answer the same pictures, decoding included, ROUNDS times over; medians decide. First how the
    cores are shared, then, for the best of these, the batch."""
    unasked = Options().resolved()
    usual = (unasked.runners or 1, unasked.threads or 1, unasked.max_batch or 1)

    def raced(settings: Sequence[Setting]) -> dict[Setting, float]:
        return _raced(package, image, variant, list(dict.fromkeys([usual, *settings])), pictures)

    found = raced([(runners, threads, usual[2]) for runners, threads in shared(process.cores())])
    runners, threads, _ = max(found, key=lambda s: found[s])
    found |= raced([(runners, threads, batch) for batch in BATCHES])
    with Model.open(package, options=Options(variant=variant)) as model:
        digest, answering = model.digest, model.choice.variant
    for (runners, threads, batch), rate in sorted(found.items(), key=lambda pair: -pair[1]):
        listen(f"{rate:8.1f} images/s with {runners} runners of {threads} threads, batches up to {batch}")
    best = max(found, key=lambda s: found[s])
    if found[best] < CLEAR * found[usual]:
        best, why = usual, f"nothing was {CLEAR:g} times as fast as what is taken unasked ({found[usual]:.1f} images/s)"
    else:
        why = f"{found[best]:.1f} images/s, {found[best] / found[usual]:.2f} times what is taken unasked"
    tried = {f"{r} x {t}, {b}": round(rate, 1) for (r, t, b), rate in found.items()}
    return Tuned(digest, process.host(), answering, *best, reason=why, tried=tried)
