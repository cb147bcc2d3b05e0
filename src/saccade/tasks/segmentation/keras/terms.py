"""What is made small when pixels are classified, in Keras: the losses of `torch/terms.py` with the same definitions.

Written from arXiv:1708.02002 (focal), arXiv:1606.04797 (Dice) and arXiv:1705.08790
(Lovász-Softmax). Axes are [N, h, w, C].
"""

from collections.abc import Callable
from typing import Any

from saccade.tasks.keras import tf

Term = Callable[[Any, Any, Any], Any]


def shares(mask_NHW: Any, size: tuple[Any, Any], classes: int) -> Any:
    """Masks uint8 [N, H, W] as the share of each class below every score, float32 [N, h, w, C].

    size: h, w of the scores, whose stride is the power of two from H / h on: a map of 8 rows over 240 px has a stride
    of 32, and its last row hangs over. Shares of a score add up to 1, less what is ignored (255) or hangs over.
    """
    shape = tf.shape(mask_NHW)
    powers = tf.constant([1 << k for k in range(14)])
    down, across = (
        tf.reduce_min(tf.where(powers >= -(-side // cells), powers, powers[-1]))
        for side, cells in ((shape[1], size[0]), (shape[2], size[1]))
    )
    ids = tf.minimum(tf.cast(mask_NHW, tf.int32), classes)
    more = [[0, 0], [0, size[0] * down - shape[1]], [0, size[1] * across - shape[2]]]
    ids = tf.pad(ids, more, constant_values=classes)
    rows = tf.one_hot(ids, classes)
    cells = tf.reshape(rows, [shape[0], size[0], down, size[1], across, classes])
    return tf.reduce_mean(cells, [2, 4])


def smooth(rows: Any, amount: float) -> Any:
    """Label smoothing: `amount` of what is asked is spread evenly over all classes."""
    if not amount:
        return rows
    return rows * (1 - amount) + tf.reduce_sum(rows, -1, keepdims=True) * amount / rows.shape[-1]


def cross_entropy(logits: Any, rows: Any, weights: Any) -> Any:
    """Mean over what is not ignored, each class weighted as in torch: the weights of the truth add up to 1."""
    if weights is not None:
        rows = rows * weights
    return -tf.reduce_sum(rows * tf.nn.log_softmax(logits)) / tf.maximum(tf.reduce_sum(rows), 1e-6)


def focal(logits: Any, rows: Any, weights: Any, gamma: float) -> Any:
    """Cross-entropy whose terms fade by (1 - p)^gamma as the truth's p nears 1."""
    logs = tf.nn.log_softmax(logits)
    if weights is not None:
        rows = rows * weights
    terms = rows * tf.pow(1 - tf.exp(logs), gamma) * logs
    return -tf.reduce_sum(terms) / tf.maximum(tf.reduce_sum(rows), 1e-6)


def dice(logits: Any, rows: Any) -> Any:
    """1 minus the soft Dice over the whole batch, mean over the classes that the batch shows."""
    chance = tf.nn.softmax(logits) * tf.reduce_sum(rows, -1, keepdims=True)
    asked = tf.reduce_sum(rows, [0, 1, 2])
    both, areas = tf.reduce_sum(chance * rows, [0, 1, 2]), tf.reduce_sum(chance, [0, 1, 2]) + asked
    present = tf.cast(asked > 0, tf.float32)
    lost = 1 - (2 * both + 1) / (areas + 1)
    return tf.reduce_sum(lost * present) / tf.maximum(tf.reduce_sum(present), 1)


def lovasz(logits: Any, rows: Any) -> Any:
    """The Lovász extension of the Jaccard loss on softmax errors, over the batch, mean over the classes it shows.

    A score counts as the class that most of its pixels have, and not at all where most are ignored.
    """
    asked = tf.reduce_sum(rows, -1) > 0.5
    truth = tf.boolean_mask(tf.argmax(rows, -1, tf.int32), asked)
    chance = tf.boolean_mask(tf.nn.softmax(logits), asked)
    losses, shown = [], []
    for c in range(rows.shape[-1]):
        own = tf.cast(truth == c, tf.float32)
        errors = tf.abs(own - chance[:, c])
        order = tf.argsort(errors, direction="DESCENDING", stable=True)
        losses.append(tf.reduce_sum(tf.gather(errors, order) * _jaccard_steps(tf.gather(own, order))))
        shown.append(tf.cast(tf.reduce_any(truth == c), tf.float32))
    here = tf.stack(shown)
    return tf.reduce_sum(tf.stack(losses) * here) / tf.maximum(tf.reduce_sum(here), 1)


def _jaccard_steps(own: Any) -> Any:
    """How much the Jaccard loss grows with each further error; own: 1 where an error is on the class."""
    total = tf.reduce_sum(own)
    either = total + tf.cumsum(1 - own)
    loss = 1 - tf.math.divide_no_nan(total - tf.cumsum(own), either)
    return loss - tf.concat([tf.zeros([tf.minimum(tf.size(loss), 1)]), loss[:-1]], 0)


def by_name(name: str, gamma: float) -> Term:
    """A loss by its name as f(logits, rows, weights); parts are added up with equal weight."""
    kinds: dict[str, Term] = {
        "cross_entropy": cross_entropy,
        "focal": lambda logits, rows, weights: focal(logits, rows, weights, gamma),
        "dice": lambda logits, rows, weights: dice(logits, rows),
        "lovasz": lambda logits, rows, weights: lovasz(logits, rows),
    }
    parts = [kinds[part] for part in name.split("+")]
    return lambda logits, rows, weights: tf.add_n([part(logits, rows, weights) for part in parts])
