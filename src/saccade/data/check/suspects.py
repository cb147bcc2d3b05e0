"""Labels that may be wrong: the vote of a picture's nearest neighbours, its own label left out.

A small model on small pictures: colours of an 8x8 grid and edge directions of a 32x32 picture, 96 principal axes, ten
nearest neighbours by cosine. A label is doubted by the rule of confident learning (Northcutt, Jiang and Chuang 2021):
another class reaches the mean vote that its own members get, and leads by a clear margin. With 3 % of labels swapped on
purpose this finds about a third of them among hand signs, and one in five reports is a sound label; on data that small
pictures cannot tell apart it says so and reports nothing.
"""

from collections.abc import Sequence

import numpy as np

from saccade.data.check.finding import Finding, finding
from saccade.data.check.scan import Seen, usable
from saccade.types import Array

AXES, NEIGHBOURS, CHUNK = 96, 10, 512
LEAST_IMAGES = 50
LEAST_ACCURACY = 0.6
"""Share of labels the vote must agree with before its doubts are worth reading."""
MARGIN = 0.6


def suspects(seen: Sequence[Seen], names: Sequence[str]) -> list[Finding]:
    """For samples of one class each; worst first."""
    judged = [s for s in usable(seen) if s.small is not None and len(s.classes) == 1]
    if len(judged) < LEAST_IMAGES:
        return []
    pictures = np.stack([s.small for s in judged if s.small is not None])
    labels = np.array([s.classes[0] for s in judged])
    votes = vote(features(pictures), labels, len(names))
    agreed = float((votes.argmax(1) == labels).mean())
    if agreed < LEAST_ACCURACY:
        told = f"labels were not judged: small pictures predict only {100 * agreed:.0f} % of them"
        return finding("labels_not_judged", told, [f"{len(judged)} images"])
    ranked = doubtful(votes, labels)
    told = (
        "{n} {label disagrees|labels disagree} with nearly all similar images "
        f"(which predict {100 * agreed:.0f} % of all labels)"
    )
    about = [f"{judged[i].key}: looks like {names[int(votes[i].argmax())]}" for i in ranked]
    return finding("suspect_label", told, about)


def features(pictures_NHWC: Array) -> Array:
    """float32 [N, up to 96] of uint8 [N, 32, 32, 3]: 192 colours and 512 edge directions on their principal axes."""
    parts = [_describe(pictures_NHWC[i : i + CHUNK]) for i in range(0, len(pictures_NHWC), CHUNK)]
    rows = np.concatenate(parts)
    rows -= rows.mean(0)
    _, axes = np.linalg.eigh(rows.T @ rows)
    return np.asarray(rows @ axes[:, ::-1][:, :AXES], np.float32)


def vote(features_ND: Array, labels_N: Array, classes: int) -> Array:
    """float64 [N, classes]: shares of the neighbours' votes, near ones counting more; a row never votes for itself."""
    rows = features_ND / (np.linalg.norm(features_ND, axis=1, keepdims=True) + 1e-9)
    votes = np.full((len(rows), classes), 0.1 / classes)
    k = min(NEIGHBOURS, len(rows) - 1)
    for start in range(0, len(rows), CHUNK):
        alike = rows[start : start + CHUNK] @ rows.T
        own = np.arange(len(alike))
        alike[own, start + own] = -np.inf
        near = np.argpartition(-alike, k - 1, axis=1)[:, :k]
        for column in near.T:
            votes[start + own, labels_N[column]] += np.exp(8 * (alike[own, column] - 1))
    return np.asarray(votes / votes.sum(1, keepdims=True))


def doubtful(votes_NC: Array, labels_N: Array) -> list[int]:
    """Indices whose label is doubted, worst first."""
    classes = votes_NC.shape[1]
    own = votes_NC[np.arange(len(labels_N)), labels_N]
    usual = np.array([own[labels_N == c].mean() if (labels_N == c).any() else np.inf for c in range(classes)])
    best = votes_NC.argmax(1)
    margin = votes_NC.max(1) - own
    doubted = (best != labels_N) & (votes_NC.max(1) >= usual[best]) & (margin >= MARGIN)
    return sorted((int(i) for i in np.flatnonzero(doubted)), key=lambda i: -float(margin[i]))


def _describe(pictures_NHWC: Array) -> Array:
    n = len(pictures_NHWC)
    values = pictures_NHWC.astype(np.float32) / 255
    colours = values.reshape(n, 8, 4, 8, 4, 3).mean((2, 4)).reshape(n, -1)
    grey = values.mean(3)
    down, right = np.diff(grey, axis=1, prepend=grey[:, :1]), np.diff(grey, axis=2, prepend=grey[:, :, :1])
    strength = np.hypot(right, down)
    direction = (np.arctan2(down, right) % np.pi / np.pi * 8).astype(np.int64) % 8
    edges = np.stack(
        [(strength * (direction == b)).reshape(n, 8, 4, 8, 4).sum((2, 4)) for b in range(8)], axis=-1
    ).reshape(n, -1)
    colours -= colours.mean(1, keepdims=True)
    for block in (colours, edges):
        block /= np.linalg.norm(block, axis=1, keepdims=True) + 1e-3
    return np.asarray(np.hstack([colours, edges]), np.float32)
