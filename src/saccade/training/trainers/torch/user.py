"""An `nn.Module` of the user's own: checked for type and shape, and taken without its last softmax or sigmoid."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from saccade.training import given
from saccade.types import Labels

ENDS = (nn.Softmax, nn.LogSoftmax, nn.Sigmoid)


def body(name: str, half: object, labels: Labels, width: int, height: int) -> tuple[nn.Module, str]:
    """From images [N, 3, H, W] in 0..1 to raw scores, and a line on what was done. Raises UsageError."""
    wanted = half.answers(labels, width, height)  # type: ignore[attr-defined]
    if wanted is None:
        given.refuse_task(name)
    wanted = (wanted[-1], *wanted[:-1])
    network = given.make(name, width, height, len(labels))
    if not isinstance(network, nn.Module):
        given.refuse_type(name, network, "torch.nn.Module")
    meaning = f"{len(labels)} values, one a class ({', '.join(labels.names[:3])}{', ...' if len(labels) > 3 else ''})"
    shape: object = None
    try:
        with torch.no_grad(), _heard(network) as heard:
            answer = network.eval()(torch.zeros(2, 3, height, width))
        shape = ("N", *answer.shape[1:]) if isinstance(answer, Tensor) else type(answer).__name__
    except Exception as error:  # noqa: BLE001 - whatever a stranger's network raises is told
        given.refuse_shape(name, f"{type(error).__name__}: {str(error).splitlines()[0]}", wanted, meaning)
    if shape != ("N", *wanted):
        given.refuse_shape(name, shape, wanted, meaning)
    return network, _raw(network, name, heard, answer)


@contextmanager
def _heard(network: nn.Module) -> Iterator[list[tuple[nn.Module, Any]]]:
    """Every softmax and sigmoid of a network that runs meanwhile, in order, with what it gave."""
    heard: list[tuple[nn.Module, Any]] = []
    ends = [m for m in network.modules() if isinstance(m, ENDS)]
    hooks = [m.register_forward_hook(lambda m, _, given: heard.append((m, given))) for m in ends]
    try:
        yield heard
    finally:
        for hook in hooks:
            hook.remove()


def _raw(network: nn.Module, name: str, heard: Sequence[tuple[nn.Module, Any]], answer: Tensor) -> str:
    """Losses and calibration want the scores before softmax: that whose output is the network's goes, whatever was
    registered last; one that runs elsewhere too, such as in a gate, stays."""
    runs = [m for m, _ in heard]
    last = next((m for m, given in heard if given is answer and runs.count(m) == 1), None)
    places = [k for k, m in network.named_modules(remove_duplicate=False) if m is last and k]
    if not places:
        return f"network  {name}, its last layer taken as raw scores"
    for place in places:
        holder, _, key = place.rpartition(".")
        setattr(network.get_submodule(holder), key, nn.Identity())
    return f"network  {name}, without its last {type(last).__name__}: loss and calibration work on raw scores"
