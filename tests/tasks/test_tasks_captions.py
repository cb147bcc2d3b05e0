"""Captions of what is learned from, in names that pictures can show; the same for every engine."""

import numpy as np
import pytest

from saccade.images import fonts
from saccade.tasks.classification import learning as classes
from saccade.tasks.detection import learning as boxes
from saccade.tasks.segmentation import learning as masks
from saccade.types import Labels


def test_captions_use_the_names_that_pictures_can_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three names that a machine without their letters shows by id; a ledger of what is shown is never made."""
    monkeypatch.setattr(fonts, "_file", lambda letters: None if letters else fonts.OWN)
    labels = Labels(("dừa", "dứa", "dưa"))
    assert classes.captions(np.eye(3, dtype=np.float32), labels) == ["class 0", "class 1", "class 2"]
    assert classes.captions(np.array([[0.6, 0.4, 0.0]]), labels) == ["class 0 60 % class 1 40 %"]
    assert boxes.captions(np.array([[0, 0, 2, -1], [-1, -1, -1, -1]]), labels) == ["class 0 2, class 2 1", "nothing"]
    assert masks.captions(np.array([[[0, 1], [1, 1]]], np.uint8), labels) == ["class 1 75 % class 0 25 %"]
