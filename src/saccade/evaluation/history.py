"""The curves of a training, from the `metrics.csv` of its run folder."""

import csv
from pathlib import Path

from saccade.evaluation.plots import finite
from saccade.evaluation.words import words
from saccade.types import Curve, Series


def curves(table: Path) -> tuple[Curve, ...]:
    """Loss and the watched metric by epoch; none when the file is missing or holds no row.

    Expects columns epoch, loss, val_loss, metric and metric_name; a row that does not parse is left out (a run that is
    being written, or was cut short).
    """
    if not table.is_file():
        return ()
    rows, name = [], "metric"
    with table.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            try:
                rows.append(tuple(float(row[c]) for c in ("epoch", "loss", "val_loss", "metric")))
                name = row.get("metric_name") or name
            except (KeyError, TypeError, ValueError):
                continue
    if not rows:
        return ()
    epoch, loss, val_loss, metric = zip(*rows, strict=True)
    losses = finite(Series("training", epoch, loss)), finite(Series("validation", epoch, val_loss))
    word = words(name)
    return (
        Curve("Loss", "epoch", "loss", losses, help="Training loss is measured on augmented pictures."),
        Curve(f"Validation {word}", "epoch", word, (finite(Series(word, epoch, metric)),)),
    )
