"""Published sets of masks, known by the names of their files: which values are classes, and what these are called."""

import csv
import io
import re
from pathlib import Path

from saccade.data import folder
from saccade.data.formats.masks.layout import Layout, Pair
from saccade.errors import DataError

CAMVID = (
    "Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist",
)  # fmt: skip
VOC = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
CITYSCAPES = {
    7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole", 19: "traffic light",
    20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky", 24: "person", 25: "rider", 26: "car", 27: "truck",
    28: "bus", 31: "train", 32: "motorcycle", 33: "bicycle",
}  # fmt: skip
"""By the value in labelIds the classes that are evaluated (Cordts et al. 2016, cityscapesScripts); in this order they
are 0 to 18 in labelTrainIds."""
CITYSCAPES_IDS = 34
"""Values of labelIds; those of no class above are ignored."""
ADE20K = 150
"""Classes of the scene parsing benchmark (Zhou et al. 2017): masks hold 1 to 150, and 0 for what is none of them."""
ADE20K_FILES = ("objectInfo150.txt", "objectInfo150.csv")
MOST_BYTES = 1024 * 1024


def is_camvid(pair: Pair) -> bool:
    """A mask in trainannot/ of a picture in train/: folders called annotations are those of many."""
    return pair.mask.parent.name == f"{pair.picture.parent.name}annot"


def is_cityscapes(layout: Layout, kind: str) -> bool:
    """kind: labelIds or labelTrainIds."""
    return all(pair.mask.stem.endswith(f"_gtFine_{kind}") for pair in layout.pairs)


def is_ade20k(layout: Layout) -> bool:
    """Masks like annotations/training/ADE_train_00000001.png."""
    places = (("annotations", "training"), ("annotations", "validation"))
    masks = [pair.mask for pair in layout.pairs]
    return all(mask.stem.startswith("ADE_") and mask.parts[-3:-1] in places for mask in masks)


def ade20k_files(root: Path, layout: Layout) -> list[Path]:
    """The table of its classes, beside or above the masks, that is nearest to the root; none for another set."""
    if not is_ade20k(layout):
        return []
    places = {root / place for pair in layout.pairs for place in pair.mask.parents}
    ordered = sorted(places, key=lambda p: (len(p.parts), p.as_posix()))
    return [p / name for p in ordered for name in ADE20K_FILES if (p / name).is_file()][:1]


def ade20k_names(file: Path, root: Path) -> dict[int, str]:
    """Value to name: the first column and the last one, of several words for one thing the first unless two classes
    begin with it. Raises DataError naming file and line."""
    name = folder.name(file, root)
    if file.stat().st_size > MOST_BYTES:
        raise DataError(f"{name} is {file.stat().st_size:,} bytes, limit {MOST_BYTES:,}", hint="restore that of ADE20K")
    rows = csv.reader(_lines(file, name), delimiter="," if file.suffix == ".csv" else "\t")
    numbers = {str(value): value for value in range(1, ADE20K + 1)}
    found: dict[int, str] = {}
    try:
        for row in rows:
            cells = [c.strip() for c in row if c.strip()]
            if not cells or (rows.line_num == 1 and not cells[0].isdecimal()):
                continue
            if len(cells) < 2 or cells[0] not in numbers:
                wanted = f"expected the number of a class, 1 to {ADE20K}, and its name"
                raise DataError(f"{name} line {rows.line_num}: {wanted}, got {cells}")
            found[numbers[cells[0]]] = cells[-1]
    except csv.Error as error:
        raise DataError(f"{name} line {rows.line_num}: {error}") from error
    short = {value: re.split("[,;]", text)[0].strip() for value, text in found.items()}
    return short if len(set(short.values())) == len(short) else found


def _lines(file: Path, name: str) -> io.StringIO:
    try:
        return io.StringIO(file.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not UTF-8") from error
