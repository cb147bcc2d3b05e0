"""The image entries of COCO files that have their picture, each with the annotations that are its own."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from saccade.data.dataset import Fault, Ignored
from saccade.data.folder import KEEP_FIRST
from saccade.data.formats.coco.fields import is_id, is_posed, number
from saccade.data.formats.coco.pages import Page, categories, read_pages
from saccade.data.frames import Frame, frames
from saccade.data.pictures import Pictures

NOT_LISTED = "picture that no file lists"


@dataclass(frozen=True)
class Picture:
    """An image entry that has its file. shapes: its annotations, each with the key that errors name."""

    page: Page
    key: str
    where: str
    stated: tuple[float, float]
    shapes: tuple[tuple[str, Mapping[str, Any]], ...]


@dataclass(frozen=True)
class Listing:
    """What the files of a dataset list. names: original id to name, in ledger order; ids: original id to ledger id;
    found: entries with their picture, and sizes of these. faults, notes, unheld: what was told so far, to be added to.
    """

    pages: list[Page]
    pictures: Pictures
    names: dict[int, str]
    ids: dict[int, int]
    found: list[Picture]
    sizes: list[Frame | None]
    faults: list[Fault]
    notes: list[str]
    unheld: list[str]


def listed(root: Path, images: Path | None) -> Listing:
    """images: where the pictures are, if not beside the files. Raises DataError naming file and line or key."""
    faults: list[Fault] = []
    notes: list[str] = []
    unheld: list[str] = []
    pages = read_pages(root)
    pictures = Pictures(images or (root.parent if root.is_file() else root))
    names, ids = categories(pages, notes)
    found = entries(pages, pictures, faults, unheld)
    sizes = frames([pictures.paths[p.key] for p in found])
    if posed := sum(is_posed(shape) for p in found for _, shape in p.shapes):
        unheld.append(f"the keypoints of {posed:,} objects are not read")
    return Listing(pages, pictures, names, ids, found, sizes, faults, notes, unheld)


def entries(pages: Sequence[Page], pictures: Pictures, faults: list[Fault], unheld: list[str]) -> list[Picture]:
    """Images that have their file, with the annotations that are theirs, in the order of the files.

    One that stands in two files stays where it is measured on. unheld: gets a sentence on the annotations so left out.
    """
    found: list[Picture] = []
    seen: dict[str, str] = {}
    spare = 0
    for page in sorted(pages, key=lambda p: KEEP_FIRST.index(p.split)):
        shapes: dict[int, list[tuple[str, Mapping[str, Any]]]] = defaultdict(list)
        taken: set[Any] = set()
        known = {int(e["id"]) for e in page.images if isinstance(e, Mapping) and is_id(e.get("id"))}
        for i, shape in enumerate(page.annotations):
            where = f"{page.key} annotations[{i}]"
            if not isinstance(shape, Mapping) or not is_id(shape.get("image_id")):
                faults.append(Fault("bad_box", where, "expected an object with a whole number image_id"))
                continue
            if int(shape["image_id"]) not in known:
                faults.append(Fault("missing_image", where, f"image_id {shape['image_id']} is no image"))
                continue
            if is_id(shape.get("id")) and shape["id"] in taken:
                faults.append(Fault("same_id", where, f"id {shape['id']} was given before"))
            taken.add(shape.get("id") if is_id(shape.get("id")) else None)
            shapes[int(shape["image_id"])].append((where, shape))
        ids: set[int] = set()
        for i, entry in enumerate(page.images):
            where = f"{page.key} images[{i}]"
            if (
                not isinstance(entry, Mapping)
                or not is_id(entry.get("id"))
                or not isinstance(entry.get("file_name"), str)
            ):
                faults.append(Fault("bad_annotation", where, "expected a whole number id and a file_name"))
                continue
            if int(entry["id"]) in ids:
                faults.append(Fault("same_id", where, f"id {entry['id']} was given before, and this image is left out"))
                continue
            ids.add(int(entry["id"]))
            near = PurePosixPath(page.key).parent.as_posix() if page.split == "all" else _near(page)
            try:
                key = pictures.find(entry["file_name"], near)
            except LookupError as error:
                text = str(error)
                faults.append(Fault("path_outside" if "leads out" in text else "missing_image", where, text))
                continue
            if key in seen:
                left = len(shapes[int(entry["id"])])
                spare += left
                told = f"{key} is in {seen[key]} as well, and stays there; its {left:,} annotations here are left out"
                faults.append(Fault("in_two_splits", where, told))
                continue
            seen[key] = page.key
            stated = (number(entry.get("width")), number(entry.get("height")))
            found.append(Picture(page, key, where, stated, tuple(shapes[int(entry["id"])])))
    if spare:
        unheld.append(f"{spare:,} annotations of pictures that stand in two files are left out, those of the second")
    order = {page.key: i for i, page in enumerate(pages)}
    return sorted(found, key=lambda p: order[p.page.key])


def _near(page: Page) -> str:
    """Where the pictures of a file most likely are: its own folder, or that of the split it names
    (instances_val2017)."""
    parent = PurePosixPath(page.key).parent
    if parent.name == "annotations":
        return (parent.parent / PurePosixPath(page.key).stem.removeprefix("instances_")).as_posix()
    return parent.as_posix()


def unlisted(
    pictures: Pictures, found: Sequence[Picture], pages: Sequence[Page], faults: list[Fault], root: Path
) -> list[Ignored]:
    """What lies in the folder and in no file; listed pictures that were left out for a fault were told already."""
    used = {p.key for p in found}
    listed = {
        PurePosixPath(e["file_name"]).name
        for p in pages for e in p.images if isinstance(e, Mapping) and isinstance(e.get("file_name"), str)
    }  # fmt: skip
    left = [k for k in pictures.paths if k not in used]
    faults += [Fault("missing_annotation", k, NOT_LISTED) for k in left if PurePosixPath(k).name not in listed]
    read = {p.key for p in pages}
    return [*(i for i in pictures.ignored if i.path not in read), *(Ignored(k, NOT_LISTED) for k in left)]
