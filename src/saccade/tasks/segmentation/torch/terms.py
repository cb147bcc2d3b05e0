"""What is made small when pixels are classified: cross-entropy, focal, Dice and Lovász, alone or added up.

Targets are shares: of the pixels below one score of the network, which part is of which class. At a stride of 4 a score
on a border learns that 7 of its 16 pixels are wall, so the border comes out between the scores when they are enlarged.
Written from arXiv:1708.02002 (focal), arXiv:1606.04797 (Dice) and arXiv:1705.08790 (Lovász-Softmax).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def shares(mask_NHW: Tensor, size: Sequence[int], classes: int) -> Tensor:
    """Masks uint8 [N, H, W] as the share of each class below every score, float32 [N, C, h, w].

    size: h, w of the scores, whose stride is the power of two from H / h on: a map of 8 rows over 240 px has a stride
    of 32, and its last row hangs over. Shares of a score add up to 1, less what is ignored (255) or hangs over.
    """
    n, height, width = mask_NHW.shape
    down, across = (1 << (-(-side // cells) - 1).bit_length() for side, cells in ((height, size[0]), (width, size[1])))
    ids = mask_NHW.clamp(max=classes)
    ids = F.pad(ids, (0, size[1] * across - width, 0, size[0] * down - height), value=classes)
    cells = ids.view(n, size[0], down, size[1], across).permute(0, 1, 3, 2, 4)
    ids = cells.reshape(n, size[0], size[1], down * across).long()
    counts = torch.zeros((n, size[0], size[1], classes + 1), device=ids.device)
    counts.scatter_add_(3, ids, torch.ones((), device=ids.device).expand(ids.shape))
    return counts[..., :classes].permute(0, 3, 1, 2) / (down * across)


def smooth(rows: Tensor, amount: float) -> Tensor:
    """Label smoothing: `amount` of what is asked is spread evenly over all classes."""
    return rows * (1 - amount) + rows.sum(1, keepdim=True) * amount / rows.shape[1] if amount else rows


def cross_entropy(logits: Tensor, rows: Tensor, weights: Tensor | None) -> Tensor:
    """Mean over what is not ignored, each class weighted as in torch: the weights of the truth add up to 1."""
    if weights is not None:
        rows = rows * weights.view(1, -1, 1, 1)
    return -(rows * F.log_softmax(logits, 1)).sum() / rows.sum().clamp(min=1e-6)


def focal(logits: Tensor, rows: Tensor, weights: Tensor | None, gamma: float) -> Tensor:
    """Cross-entropy whose terms fade by (1 - p)^gamma as the truth's p nears 1."""
    logs = F.log_softmax(logits, 1)
    if weights is not None:
        rows = rows * weights.view(1, -1, 1, 1)
    return -(rows * (1 - logs.exp()).pow(gamma) * logs).sum() / rows.sum().clamp(min=1e-6)


def dice(logits: Tensor, rows: Tensor) -> Tensor:
    """1 minus the soft Dice over the whole batch, mean over the classes that the batch shows."""
    chance = logits.softmax(1) * rows.sum(1, keepdim=True)
    both, areas = (chance * rows).sum((0, 2, 3)), (chance + rows).sum((0, 2, 3))
    present = rows.sum((0, 2, 3)) > 0
    lost = 1 - (2 * both + 1) / (areas + 1)
    return (lost * present).sum() / present.sum().clamp(min=1)


def lovasz(logits: Tensor, rows: Tensor) -> Tensor:
    """The Lovász extension of the Jaccard loss on softmax errors, over the batch, mean over the classes it shows.

    A score counts as the class that most of its pixels have, and not at all where most are ignored.
    """
    asked = rows.sum(1) > 0.5
    truth = rows.argmax(1)[asked]
    chance = logits.softmax(1).permute(0, 2, 3, 1)[asked]
    losses = []
    for c in torch.unique(truth).tolist():
        own = (truth == c).to(chance.dtype)
        errors, order = torch.sort((own - chance[:, c]).abs(), descending=True)
        losses.append((errors * _jaccard_steps(own[order])).sum())
    return torch.stack(losses).mean() if losses else logits.sum() * 0


def _jaccard_steps(own: Tensor) -> Tensor:
    """How much the Jaccard loss grows with each further error; own: 1 where an error is on the class."""
    missed = own.cumsum(0)
    loss = 1 - (own.sum() - missed) / (own.sum() + (1 - own).cumsum(0))
    return torch.diff(loss, prepend=loss.new_zeros(1))


def by_name(name: str, gamma: float) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    """A loss by its name as f(logits, rows, weights); parts are added up with equal weight."""
    kinds: dict[str, Callable[[Tensor, Tensor, Tensor | None], Tensor]] = {
        "cross_entropy": cross_entropy,
        "focal": lambda logits, rows, weights: focal(logits, rows, weights, gamma),
        "dice": lambda logits, rows, weights: dice(logits, rows),
        "lovasz": lambda logits, rows, weights: lovasz(logits, rows),
    }
    parts = [kinds[part] for part in name.split("+")]
    return lambda logits, rows, weights: torch.stack([part(logits, rows, weights) for part in parts]).sum()
