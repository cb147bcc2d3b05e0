"""What the doctor may say: one line per kind of finding, listed for people in docs/02-data.md."""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

ERROR, WARN, INFO = "ERROR", "WARN", "INFO"
COPY = "saccade check DATA --fix --out NEW_FOLDER"

KINDS = {
    "empty_file": ERROR,
    "unreadable": ERROR,
    "truncated": ERROR,
    "unsupported_format": ERROR,
    "huge_image": ERROR,
    "wrong_extension": WARN,
    "exif_orientation": INFO,
    "mixed_modes": INFO,
    "animated": ERROR,
    "blank_image": INFO,
    "case_clash": WARN,
    "link_loop": WARN,
    "link_outside": INFO,
    "ignored_file": INFO,
    "slow_disk": WARN,
    "bad_annotation": ERROR,
    "bad_box": ERROR,
    "box_not_finite": ERROR,
    "unknown_class": ERROR,
    "pixel_coordinates": ERROR,
    "corners_as_sizes": ERROR,
    "path_outside": ERROR,
    "same_id": WARN,
    "orientation_unsure": WARN,
    "box_without_area": WARN,
    "box_off_image": WARN,
    "box_clipped": WARN,
    "other_size": WARN,
    "other_resolution": ERROR,
    "crossed_polygon": WARN,
    "box_off_outline": WARN,
    "missing_annotation": WARN,
    "missing_image": WARN,
    "in_two_splits": WARN,
    "boxes_elsewhere": ERROR,
    "boxes_as_shares": ERROR,
    "boxes_in_a_corner": WARN,
    "counted_from_one": WARN,
    "duplicate_box": WARN,
    "two_class_box": WARN,
    "tiny_box": WARN,
    "thin_box": WARN,
    "whole_image_box": INFO,
    "same_annotation": WARN,
    "crowd": INFO,
    "bad_mask": ERROR,
    "void_mask": WARN,
    "same_mask": WARN,
    "specks": INFO,
    "halo_class": WARN,
    "one_class": ERROR,
    "single_image_class": ERROR,
    "too_few_to_split": ERROR,
    "absent_from_train": ERROR,
    "absent_from_val": WARN,
    "absent_from_test": WARN,
    "unused_class": WARN,
    "missing_label": WARN,
    "few_images": WARN,
    "spaced_name": WARN,
    "similar_names": WARN,
    "imbalance": WARN,
    "two_labels": WARN,
    "near_two_labels": INFO,
    "suspect_label": WARN,
    "labels_not_judged": INFO,
    "leak_exact": WARN,
    "leak_near": WARN,
    "video_in_two_splits": WARN,
    "group_in_two_splits": WARN,
    "duplicate": INFO,
    "near_duplicate": INFO,
    "label_shift": WARN,
    "size_shift": WARN,
    "brightness_shift": WARN,
    "small_val": WARN,
    "small_test": WARN,
}
"""Id to its usual severity; `leak_exact` becomes an ERROR when it touches more than 1 % of the held-out images, and
`single_image_class` a WARN where an image may have several classes."""

EXAMPLES = 5
"""Of a finding, shown where not all are asked for."""


@dataclass(frozen=True)
class Finding:
    """id: a key of KINDS. count: how many files, classes or pairs. files: every one of them, by its name and place.
    fix: a command or ""."""

    id: str
    severity: str
    count: int
    sentence: str
    files: tuple[str, ...] = ()
    fix: str = ""

    def told(self) -> str:
        """The sentence with its first examples, for an error that must stand alone."""
        rest = f" and {self.count - 2:,} more" if self.count > 2 else ""
        return f"{self.sentence} ({', '.join(self.files[:2])}{rest})" if self.files else self.sentence

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def finding(id: str, sentence: str, about: Iterable[str], fix: str = "", severity: str | None = None) -> list[Finding]:
    """One finding about the things named; nothing when there are none.

    sentence: {n} becomes their count, and {one|many} what fits it: "{n} {file holds|files hold} no byte".
    """
    every = list(about)
    if not every:
        return []
    text = re.sub(r"\{([^{}|]+)\|([^{}|]+)\}", r"\1" if len(every) == 1 else r"\2", sentence)
    text = text.replace("{n}", f"{len(every):,}")
    return [Finding(id, severity or KINDS[id], len(every), text, tuple(every), fix)]
