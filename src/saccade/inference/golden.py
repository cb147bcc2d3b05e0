"""Does a graph still give what it gave when its package was sealed?"""

from collections.abc import Callable, Mapping

import numpy as np

from saccade.errors import PackageError
from saccade.package.reader import Golden, Package
from saccade.tasks.task import Task
from saccade.types import Array

MOST = 0.25
"""How far a variant may lie from the golden outputs, whatever its certificate allows: a check that
lets more pass is none."""


def check(package: Package, variant: str, task: Task, ask: Callable[[Golden], Mapping[str, Array]]) -> None:
    """ask: outputs [1, ...] of a golden sample. Raises PackageError(golden_mismatch)."""
    certified = package.manifest.graphs[variant].certified
    for i, golden in enumerate(package.golden()):
        got = ask(golden)
        for name in golden.expected:
            if name not in got:
                raise PackageError(f"the graph has no output {name!r}", code="golden_mismatch")
        if certified is None and type(task).difference is not Task.difference:
            agree_as(task, golden.expected, got, f"golden picture {i}")
            continue
        if certified is None:
            for name, expected in golden.expected.items():
                agree(expected, got[name][0], f"golden picture {i}, output {name!r}")
            continue
        theirs = shaped(golden.expected, got, f"golden picture {i}")
        allowed = min(certified.allowed_difference, most(task, theirs))
        apart = task.difference(theirs, dict(got))
        if not apart <= allowed:
            raise PackageError(
                f"golden picture {i}: the answer lies {apart:.2g} from the default graph's, a certificate allows "
                f"{allowed:.2g} here",
                hint="this machine computes something else than the one that certified it; run saccade optimize here",
                code="golden_mismatch",
            )


def most(task: Task, expected: Mapping[str, Array]) -> float:
    """The farthest from these golden outputs that can be certified: MOST, where a task's own measure or outputs in 0..1
    end at 1; of larger outputs that share of the largest."""
    if type(task).difference is not Task.difference:
        return MOST
    sizes = [np.abs(v[np.isfinite(v)].astype(np.float64)).max(initial=0.0) for v in expected.values()]
    return MOST * float(max([1.0, *sizes]))


def shaped(expected: Mapping[str, Array], got: Mapping[str, Array], what: str) -> dict[str, Array]:
    """The expected outputs with the batch axis that the answers have.

    Raises PackageError(golden_mismatch) where an answer is missing or has another shape.
    """
    found = {}
    for name, value in expected.items():
        if name not in got:
            raise PackageError(f"the graph has no output {name!r}", code="golden_mismatch")
        shape = got[name].shape
        due = value.shape if value.ndim == len(shape) else (1, *value.shape)
        if shape != due:
            raise PackageError(
                f"{what}, output {name!r}: expected shape {list(due)}, got {list(shape)}",
                hint="a variant answers in the shapes of the default graph: give one of the same network",
                code="golden_mismatch",
            )
        found[name] = value.reshape(shape)
    return found


def agree_as(task: Task, expected: Mapping[str, Array], got: Mapping[str, Array], what: str) -> None:
    """Raises PackageError(golden_mismatch) where the task finds more than 1e-2 between two sets of
    outputs of one picture."""
    absent = sorted(set(expected) - set(got))
    if absent:
        raise PackageError(f"the graph has no output {absent[0]!r}", code="golden_mismatch")
    mine = {k: np.asarray(got[k][0])[None] for k in expected}
    theirs = {k: v if v.shape == mine[k].shape else v[None] for k, v in expected.items()}
    for name, value in theirs.items():
        if value.shape != mine[name].shape:
            raise PackageError(
                f"{what}, output {name!r}: expected shape {value.shape[1:]}, got {mine[name].shape[1:]}",
                code="golden_mismatch",
            )
    worst = task.difference(theirs, mine)
    if not worst <= 1e-2:
        raise PackageError(
            f"{what}: answers differ by {worst:.2g}, allowed 0.01",
            hint="this machine computes something else than the one that sealed the package; seal it again here",
            code="golden_mismatch",
        )


def agree(expected: Array, got: Array, what: str) -> None:
    """Raises PackageError(golden_mismatch) unless cosine >= 0.999 and floats differ by at most 1e-2 of their range.

    Kernels of other CPUs round differently, so equality to the bit cannot be asked for; integers must agree on 99 %.
    """
    expected = expected[0] if expected.shape == (1, *got.shape) else expected
    if expected.shape != got.shape:
        raise PackageError(f"{what}: expected shape {expected.shape}, got {got.shape}", code="golden_mismatch")
    if not np.issubdtype(got.dtype, np.floating):
        share = float(np.mean(expected == got)) if got.size else 1.0
        if share < 0.99:
            raise PackageError(f"{what}: {share:.2%} of values agree, expected 99 %", code="golden_mismatch")
        return
    a, b = expected.astype(np.float64).ravel(), got.astype(np.float64).ravel()
    if not np.array_equal(np.isfinite(a), np.isfinite(b)):
        raise PackageError(f"{what}: values are not finite in the same places", code="golden_mismatch")
    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    cosine = float(a @ b) / length if length else float(np.array_equal(a, b))
    worst = float(np.abs(a - b).max(initial=0.0))
    allowed = 1e-2 * max(1.0, float(np.abs(a).max(initial=0.0)))
    if cosine < 0.999 or worst > allowed:
        raise PackageError(
            f"{what}: cosine {cosine:.5f} (expected 0.999), largest difference {worst:.2g} (allowed {allowed:.2g})",
            hint="this machine computes something else than the one that sealed the package; seal it again here",
            code="golden_mismatch",
        )
