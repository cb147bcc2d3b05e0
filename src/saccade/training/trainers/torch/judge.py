"""What validation sees of a network in PyTorch."""

import contextlib
import copy
import time
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from saccade.training.trainers.torch.augment import as_float
from saccade.training.trainers.torch.batches import Pack
from saccade.training.trainers.torch.session import Session, arithmetic


def look(s: Session, network: nn.Module, val: Pack, exact: bool) -> tuple[dict[str, Tensor], float]:
    """What the task keeps of a split, and the mean loss. exact: in float32, as the exported graph will be."""
    network.eval()
    pieces: list[dict[str, Tensor]] = []
    loss = 0.0
    options = {**s.options, "smoothing": 0.0}
    with torch.inference_mode():
        for places in torch.arange(len(val)).split(rows(s)):
            pixels, targets = val.take(places, s.device)
            images = as_float(pixels)
            with contextlib.nullcontext() if exact else arithmetic(s):
                named = s.half.named(network(images))
            named = {k: v.float() for k, v in named.items()}
            soft = s.half.soft_targets(targets, s.labels)
            loss += float(s.half.loss(named, soft, s.labels, options)) * len(places) / len(val)
            pieces.append({k: v.cpu() for k, v in s.half.keep(named, targets, s.labels).items()})
    return {k: torch.cat([p[k] for p in pieces]) for k in pieces[0]}, loss


def rehearse(s: Session, val: Pack) -> float:
    """Seconds that the last validation and the calibration will take, from one batch of each: a budget must hold them
    before the first validation is over. Changes nothing but memory."""
    network = copy.deepcopy(s.network)
    took = 0.0
    # The first pass is not counted: it pays for memory and for code that is loaded once.
    for count in (1, min(len(val), rows(s))):
        places = torch.arange(count)
        part = Pack(val.images[places], {k: v[places] for k, v in val.targets.items()})
        start = time.monotonic()
        for exact in (False, True):
            kept, _ = look(s, network, part, exact)
            arrays, targets = ({k: v.numpy() for k, v in d.items()} for d in (kept, part.targets))
            (s.task.calibrate if exact else s.half.watch)(arrays, targets, s.labels)
        took = (time.monotonic() - start) * len(val) / count
    return took


def rows(s: Session) -> int:
    """Pictures that go through the network at once when it is judged."""
    return min(128, max(8, int(s.recipe.batch)))


def steady(s: Session) -> Mapping[str, Tensor]:
    """The weights that are judged and kept: averaged ones when there are any."""
    return s.network.state_dict() if s.average is None else s.average.state


def with_weights(s: Session, weights: Mapping[str, Tensor]) -> nn.Module:
    """A copy of the network that holds them."""
    network = copy.deepcopy(s.network)
    network.load_state_dict(weights)
    return network
