"""One step of training: gradients in pieces that fit into memory, one move of the weights; and
the range test of rates."""

import copy

import numpy as np
import torch
from torch import Tensor, nn

from saccade.training.events import RateFound
from saccade.training.packed import mixed
from saccade.training.trainers.torch import optimizers
from saccade.training.trainers.torch.augment import Augment
from saccade.training.trainers.torch.batches import Pack, order
from saccade.training.trainers.torch.session import Session, arithmetic


def one_step(s: Session, train: Pack, places: Tensor, augment: Augment) -> tuple[float, list[str]]:
    """Gradients of all images in pieces of `micro`, one move of the weights. Out of memory halves `micro`."""
    words: list[str] = []
    while True:
        try:
            s.optimizer.zero_grad(set_to_none=True)
            total = 0.0
            for number, piece in enumerate(places.split(s.micro)):
                share = len(piece) / len(places)
                loss = loss_of(s, train, piece, augment, mixed(s.recipe.seed, s.step, number)) * share
                loss.backward()
                total += float(loss.detach())
            break
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error) or s.micro <= 1:
                raise
            s.optimizer.zero_grad(set_to_none=True)
            s.micro = max(1, s.micro // 2)
            words.append(f"out of memory: images now go through {s.micro} at a time, gradients are added up")
        if s.device.type == "cuda":
            torch.cuda.empty_cache()
    if not np.isfinite(total):
        return total, words
    if s.recipe.clip:
        nn.utils.clip_grad_norm_(s.network.parameters(), s.recipe.clip)
    s.optimizer.step()
    if s.average is not None:
        s.average.update(s.network)
    return total, words


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in text or "can't allocate memory" in text


def loss_of(s: Session, train: Pack, places: Tensor, augment: Augment, seed: int) -> Tensor:
    pixels, targets = train.take(places, s.device)
    targets = s.half.soft_targets(targets, s.labels)
    images, targets = augment(pixels, targets, seed, s.share, s.several, s.still)
    if not s.still:
        images, targets = augment.mix(images, targets, seed, s.several)
    if s.recipe.channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    torch.manual_seed(seed)  # dropout
    with arithmetic(s):
        raw = s.eyes(images)
    answer: Tensor = s.half.loss(s.half.named(raw), targets, s.labels, s.options)
    return answer


def find_rate(s: Session, train: Pack, augment: Augment, steps: int = 60) -> RateFound:
    """The range test of arXiv:1506.01186: the rate rises from 1e-6 to 1; a tenth of the rate with the lowest loss."""
    weights = copy.deepcopy(s.network.state_dict())
    state = copy.deepcopy(s.optimizer.state_dict())
    rates = np.geomspace(1e-6, 1.0, steps)
    turn = order(len(train), s.recipe.seed, -1)
    smooth: list[float] = []
    average, s.average = s.average, None
    s.network.train()
    for number, rate in enumerate(rates):
        optimizers.set_rate(s.optimizer, float(rate))
        loss, _ = one_step(s, train, turn.roll(-number * s.micro)[: s.micro], augment)
        if not np.isfinite(loss) or (smooth and loss > 4 * min(smooth)):
            break
        smooth.append(loss if not smooth else 0.8 * smooth[-1] + 0.2 * loss)
    s.network.load_state_dict(weights)
    s.optimizer.load_state_dict(state)
    s.average = average
    lowest = int(np.argmin(smooth)) if smooth else 0
    rate = float(rates[lowest]) / 10
    return RateFound(tuple(float(r) for r in rates[: len(smooth)]), tuple(smooth), rate)
