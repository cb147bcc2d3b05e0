"""Networks in numbers, the same for every engine: `residual-32`, `residual-64` and `residual-224` of ours, and what
the maps of others may lack."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """stem: strides of the first convolutions. widths, depths: channels and blocks of every stage, sides halving in
    between. squeeze: whether blocks weigh their channels."""

    stem: tuple[int, ...]
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    squeeze: bool = False


SMALL = (32, 64, 128)
PLANS = {
    "residual-32": Plan((2,), SMALL, (2, 2, 2)),
    "residual-64": Plan((2, 1), SMALL, (2, 2, 2)),
    "residual-224": Plan((2, 2), (*SMALL, 256), (1, 1, 1, 1), squeeze=True),
}
OWN = ("cnn-small", *PLANS)
TINY = 40
"""An input up to so many px keeps its size before the first stage of residual-64."""
EDGE = 4
"""Cells that the maps of Inception, which pads nothing, are short of at the most."""


def plan(name: str, longer: int) -> Plan:
    """longer: longer side of the input in px. Raises KeyError for another name."""
    if name == "residual-64" and longer <= TINY:
        return Plan((1,), SMALL, (2, 2, 2))
    return PLANS[name]
