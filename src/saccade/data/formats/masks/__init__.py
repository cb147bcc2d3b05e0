"""Masks: one PNG a picture, of indices, palette, colours or 0 and 255; beside the picture or in a parallel folder.

Layouts: NAME.jpg with NAME_mask.png (Roboflow), images/ with masks/ and its many names, VOC's SegmentationClass,
CamVid's train/ with trainannot/, Cityscapes, and any two parallel trees of equal stems.
"""

from pathlib import Path

from saccade.data import folder
from saccade.data.dataset import Dataset, Fault, Ignored
from saccade.data.format import Evidence, Format
from saccade.data.formats.masks.classes import class_files, find_classes
from saccade.data.formats.masks.known import ade20k_files
from saccade.data.formats.masks.layout import Layout, find_layout, split_lists
from saccade.data.formats.masks.styles import NUMBERED, STYLES, write
from saccade.data.frames import frames
from saccade.data.masks import MaskFile
from saccade.data.masks import values as read_values
from saccade.errors import DataError
from saccade.types import Sample

NO_MASK = "picture without a mask"
NO_PICTURE = "mask without a picture"
NO_PAIR = "in no pair of picture and mask"
NO_SPLIT = "in no list of a split"
LOOKED_AT, FEW = 8, 40
"""Of so many pictures that may be masks the values are looked at; masks hold fewer than this, grey photos many more."""


class Masks(Format):
    name = "masks"
    holds = ("mask",)
    styles = STYLES

    def __init__(self, style: str = STYLES[0]) -> None:
        self.style = style
        self.keeps = frozenset({"originals"} if style in NUMBERED else ())

    def styled(self, style: str) -> Format:
        return Masks(style) if style in self.styles else super().styled(style)

    def recognises(self, root: Path) -> Evidence | None:
        if not root.is_dir():
            return None
        found = find_layout(root, [])
        if found is None:
            return None
        files = [folder.name(f, root) for f in class_files(root, found)]
        facts = [found.fact, *([f"classes from {files[0]}"] if files else [])]
        named = bool(files) or found.kind != "any"
        # Two folders of equal names may be two classes of numbered photos as well, which hold more values than masks do.
        return Evidence(self.name, tuple(facts), 2 if named else 3 if _few_values(root, found) else 4)

    def read(self, root: Path, images: Path | None = None) -> Dataset:
        if images is not None:
            raise DataError("--images goes with a table; masks lie beside their pictures", hint="leave --images away")
        if not root.is_dir():
            raise DataError(f"{root} is no folder", hint="name the folder that holds pictures and masks")
        ignored: list[Ignored] = []
        layout = find_layout(root, ignored)
        if layout is None:
            raise DataError(
                f"{root} holds no masks beside pictures: expected NAME_mask.png beside NAME.jpg, or masks/ beside images/"
            )
        faults: list[Fault] = []
        classes = find_classes(root, layout, faults)
        table = classes.table()
        lists, told = split_lists(root, layout, faults)
        pairs: list[tuple[str, Sample]] = []
        sizes = frames([root / p.picture for p in layout.pairs])
        for pair, size in zip(layout.pairs, sizes, strict=True):
            key = pair.picture.as_posix()
            split = lists.get(pair.picture.stem, "") if lists else folder.split_of(pair.picture)
            if not split:
                ignored.append(Ignored(key, NO_SPLIT))
                continue
            # A mask of other sides than its picture is lying, or refused; equal sides say nothing.
            if size is not None and size.fits_both((size.width, size.height)):
                doubt = f"EXIF orientation {size.orientation}: the mask is taken as drawn on the upright picture"
                faults.append(Fault("orientation_unsure", pair.mask.as_posix(), doubt))
            record = MaskFile(root / pair.mask, pair.mask.as_posix(), root / pair.picture, table)
            pairs.append((split, Sample(key, root / pair.picture, record)))
        for path in layout.alone:
            ignored.append(Ignored(path.as_posix(), NO_MASK))
            # VOC has many pictures without masks, and lists of those that have one.
            if not lists or path.stem in lists:
                faults.append(Fault("missing_annotation", path.as_posix(), NO_MASK))
        ignored += [Ignored(p.as_posix(), NO_PICTURE) for p in layout.orphans]
        ignored += [Ignored(p.as_posix(), NO_PAIR) for p in layout.spare]
        faults += [Fault("missing_image", p.as_posix(), NO_PICTURE) for p in layout.orphans]
        read = {folder.name(f, root) for f in class_files(root, layout) or ade20k_files(root, layout)}
        ignored = [i for i in ignored if i.path not in read]
        notes = [*classes.notes, *told]
        splits = folder.by_split(pairs, notes)
        if not splits:
            raise DataError(f"{root}: no pair of picture and mask is in a list of a split", hint="see ImageSets/")
        return Dataset(self.name, root, classes.labels(), splits, tuple(ignored), tuple(notes), None, tuple(faults))

    def write(self, dataset: Dataset, root: Path) -> None:
        """In the style of this keeper. Classes keep the values they had where it holds values;
        without any, ledger ids."""
        write(dataset, root, self.style)


def _few_values(root: Path, layout: Layout) -> bool:
    step = max(1, len(layout.pairs) // LOOKED_AT)
    some = [(root / p.mask, p.mask.as_posix()) for p in layout.pairs[::step][:LOOKED_AT]]
    values, errors = read_values(some, False)
    if errors:
        values, errors = read_values(some, True)
    return not errors and len(values) <= FEW


FORMAT = Masks()
