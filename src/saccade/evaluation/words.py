"""How names of metrics and columns are written for people."""

SPELLED = {
    "iou": "IoU", "ap": "AP", "ap50": "AP50", "ap75": "AP75", "ar": "AR", "f1": "F1", "roc": "ROC", "auc": "AUC",
    "nll": "NLL", "brier": "Brier",
}  # fmt: skip
"""Short words as the field writes them."""


def words(name: str) -> str:
    """`mean_iou` as "mean IoU"."""
    return " ".join(SPELLED.get(word, word) for word in name.replace("_", " ").split(" "))
