"""What the server must reach, beside what it did: each bar by name, the least (or most) asked, and what was found."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.serving.entrants import Figures
from benchmarks.serving.table import grouped, middle, ours, sound


@dataclass(frozen=True)
class Bar:
    """found is None where the row, or whoever it is measured by, was not measured. most: the bar is an upper one."""

    name: str
    asked: float
    found: float | None
    most: bool = False

    def __str__(self) -> str:
        sign = "at most" if self.most else "at least"
        if self.found is None:
            return f"not measured  {self.name}: {sign} {self.asked:g}"
        held = self.found <= self.asked if self.most else self.found >= self.asked
        return f"{'reached' if held else 'MISSED':<12}  {self.name}: {self.found:.2f}, {sign} {self.asked:g}"


class _Row:
    def __init__(self, found: Sequence[Figures], row: str) -> None:
        self._loads = grouped(found, row)

    def value(self, load: str, entrant: str, key: str = "per_s") -> float | None:
        records = self._loads.get(load, {}).get(entrant)
        return middle(records, key) if records and (ours(entrant) or sound(records)) else None

    def best(self, load: str) -> float | None:
        """The fastest peer that answered soundly."""
        return max(self._rates(load).values(), default=None)

    def peers(self, load: str) -> str:
        """Which one that is, and of how many."""
        rates = self._rates(load)
        return f"{max(rates, key=lambda name: rates[name])} of {len(rates)} peers" if rates else "no peer"

    def _rates(self, load: str) -> dict[str, float]:
        entrants = self._loads.get(load, {})
        return {n: middle(r, "per_s") for n, r in entrants.items() if not ours(n) and sound(r)}


def _over(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def bars(found: Sequence[Figures]) -> list[Bar]:
    mobile, large, blank = (_Row(found, name) for name in ("mobilenet", "resnet50", "empty"))
    one, many, big = "1 caller", "16 callers", "12 MP, 8 callers"
    same = _most([mobile.value(many, name) for name in ("saccade", "saccade, same, 2 processes")])
    own = [mobile.value(many, name) for name in ("saccade, optimised", "saccade, 2 processes")]
    huge = [mobile.value(big, name) for name in ("saccade, optimised", "saccade, 2 processes")]
    rates = [blank.value(many, name) for name in ("saccade", "saccade, 2 processes")]
    out = [
        Bar("MobileNetV3, same decode, of the loop's images/s", 0.95, _over(same, mobile.value(many, "bare loop"))),
        Bar(f"the same, of the best peer's ({mobile.peers(many)})", 1.0, _over(same, mobile.best(many))),
        Bar("the same, p50 of one caller, of the loop's", 1.15, _over(mobile.value(one, "saccade", "p50_ms"), mobile.value(one, "bare loop", "p50_ms")), True),
        Bar(f"MobileNetV3, optimised, of the best peer's ({mobile.peers(many)})", 1.4, _over(_most(own), mobile.best(many))),
        Bar(f"JPEG of 12 megapixels, of the best peer's ({mobile.peers(big)})", 4.0, _over(_most(huge), mobile.best(big))),
        Bar(f"ResNet-50, optimised, of the best peer's ({large.peers(many)})", 3.5, _over(large.value(many, "saccade, optimised"), large.best(many))),
        Bar("the same, of its own loop's", 0.95, _over(large.value(many, "saccade, optimised"), large.value(many, "bare loop, optimised"))),
    ]  # fmt: skip
    for name in ("boxes", "masks"):
        row = _Row(found, name)
        plain = row.value(many, "fastapi as it comes")
        out.append(Bar(f"{name}, same graph, of FastAPI as it comes", 1.5, _over(row.value(many, "saccade"), plain)))
    out.append(Bar("empty graph, p50 of one caller, ms", 0.6, blank.value(one, "saccade", "p50_ms"), True))
    out.append(Bar("empty graph, requests/s", 2500, _most(rates)))
    return out


def _most(values: Sequence[float | None]) -> float | None:
    return max((v for v in values if v is not None), default=None)
