"""Pascal VOC: one XML a picture, below Annotations/ or beside it; splits from ImageSets/Main or from split folders.

The devkit counts pixels from 1 and means its corners inclusively: x_min = xmin - 1, x_max = xmax. Some tools count from
0; coordinates of 0 show that, and the dataset says which was found.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from xml.sax.saxutils import escape

from saccade.data import boxes, folder, markup, scale
from saccade.data.boxes import Box
from saccade.data.dataset import Dataset, Fault, Ignored
from saccade.data.folder import KEEP_FIRST, SPLITS
from saccade.data.format import Evidence, Format
from saccade.data.frames import Frame, frame, frames
from saccade.data.scale import Stated
from saccade.errors import DataError
from saccade.types import Labels, Sample

MOST_BOXES = 10_000
"""Of one picture."""
FOLDERS = ("Annotations", "annotations", "xmls", "labels")
NO_XML = "picture without an XML file"
NO_SPLIT = "in no list of ImageSets/Main"
CORNERS = ("xmin", "ymin", "xmax", "ymax")
BEYOND = ("truncated", "occluded", "pose")
"""What files say of an object, and no annotation holds."""
SILENT = frozenset({"", "0", "false", "no", "none", "unspecified", "unknown"})
"""Words by which tools say nothing there."""


@dataclass(frozen=True)
class Page:
    """One XML file: the size it states (0 when none), and its boxes as written, classes by name.

    below: its path below the folder of XML files, without its ending. beyond: of `BEYOND`, how many objects say it.
    """

    file: Path
    name: str
    below: str
    picture: str
    width: float
    height: float
    found: tuple[tuple[str, Box], ...]
    beyond: Mapping[str, int]


class Voc(Format):
    name = "voc"
    holds = ("boxes", "box_classes", "box_difficult")

    def recognises(self, root: Path) -> Evidence | None:
        if not root.is_dir():
            return None
        places = [p for p in _places(root) if _speaks(p, root)]
        if not places:
            return None
        count = sum(1 for p in places for _ in _files(p, root))
        facts = [f"{folder.name(places[0], root) if places[0] != root else '.'}/*.xml ({count})"]
        lists = sorted(p.stem for p in (root / "ImageSets" / "Main").glob("*.txt") if p.stem in SPLITS)
        if lists:
            facts.append(f"ImageSets/Main ({', '.join(lists)})")
        return Evidence(self.name, tuple(facts), 2)

    def read(self, root: Path, images: Path | None = None) -> Dataset:
        if not root.is_dir():
            raise DataError(f"{root} is no folder", hint="name the folder that holds Annotations/")
        ignored: list[Ignored] = []
        faults: list[Fault] = []
        notes: list[str] = []
        base = images or root
        pictures = list(folder.walk(base, [], base))
        pages = _pages(root, faults)
        if not pages and not faults:
            raise DataError(f"{root} holds no XML file of Pascal VOC", hint="expected Annotations/*.xml")
        pairs = _pairs(pages, pictures, base, faults)
        lists = _lists(root, {page.below for page in pages}, faults)
        one_based = _counted_from_one(pages, notes)
        names = sorted({name for page in pages for name, _ in page.found}, key=str.encode)
        ids = {name: k for k, name in enumerate(names)}
        if not names:
            raise DataError(f"{root} holds {len(pages)} XML files and not one object", hint="label something first")
        sizes = frames([picture for _, picture in pairs])
        stated = [Stated(p.name, (p.width, p.height), size) for (p, _), size in zip(pairs, sizes, strict=True)]
        faults += scale.scaled(stated)
        difficult = any(b.difficult for page in pages for _, b in page.found)
        made: list[tuple[str, Sample]] = []
        told: set[str] = set()
        for (page, picture), size in zip(pairs, sizes, strict=True):
            key = folder.name(picture, base)
            told.add(key)
            split = lists.get(page.below) or lists.get(page.file.stem, "")
            split = split if lists else folder.split_of(PurePosixPath(key))
            if not split:
                ignored.append(Ignored(key, NO_SPLIT))
                continue
            raw = [replace(b, class_id=ids[n]) for n, b in page.found]
            placed = _placed(page, raw, size, one_based, faults)
            record = boxes.annotation(placed, size, faults, ["box_difficult"] if difficult else [])
            made.append((split, Sample(key, picture, record)))
        # A picture whose XML is bad was told already.
        bad = {PurePosixPath(f.where).stem for f in faults if f.id == "bad_annotation"}
        without = [k for p in pictures if (k := folder.name(p, base)) not in told and p.stem not in bad]
        faults += [Fault("missing_annotation", key, NO_XML) for key in without]
        ignored += [Ignored(key, NO_XML) for key in without]
        if lists:
            known = {name for page, _ in pairs for name in (page.below, page.file.stem)}
            faults += [
                Fault("missing_image", f"ImageSets/Main/{split}.txt", f"{name} has no picture or no XML file")
                for name, split in lists.items()
                if name not in known
            ]
        splits = folder.by_split(made, notes)
        if not splits:
            raise DataError(
                f"{root} holds no picture with a readable XML file", hint="see the layout in docs/02-data.md"
            )
        said = {name: sum(page.beyond.get(name, 0) for page, _ in pairs) for name in BEYOND}
        return Dataset(
            self.name,
            root,
            Labels(tuple(names), exclusive=False),
            splits,
            tuple(ignored),
            tuple(notes),
            None,
            tuple(faults),
            tuple(f"<{name}> of {count:,} objects is not read" for name, count in said.items() if count),
        )

    def write(self, dataset: Dataset, root: Path) -> None:
        folder.new(root)
        (root / "Annotations").mkdir()
        lists: dict[str, list[str]] = defaultdict(list)
        taken: set[str] = set()
        for split, samples in dataset.splits.items():
            for sample in samples:
                target = folder.put(sample, root / "JPEGImages", folder.free(folder.tail(sample.key), taken))
                stem = target.stem
                text = _text(sample, target.name, dataset.labels, frame(target))
                (root / "Annotations" / f"{stem}.xml").write_text(text, encoding="utf-8")
                lists[split].append(stem)
        if set(lists) != {"all"}:
            (root / "ImageSets" / "Main").mkdir(parents=True)
            for split, stems in lists.items():
                (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(stems) + "\n", encoding="utf-8")


def _places(root: Path) -> list[Path]:
    """Folders that may hold the XML files: the known names, else the root, its split folders and theirs."""
    named = [root / n for n in FOLDERS if (root / n).is_dir()]
    splits = [f for f in folder.folders(root) if f.name.lower() in SPLITS]
    below = [f / n for f in splits for n in FOLDERS if (f / n).is_dir()]
    return [*named, root, *splits, *below]


def _files(place: Path, root: Path) -> Iterator[Path]:
    """XML files of a folder, byte order; of one below the root with a known name those in folders below it too, as
    tools write them for pictures in folders."""
    if place != root and place.name in FOLDERS:
        yield from folder.walk(place, [], place, lambda name: name.endswith(".xml"))
    else:
        yield from sorted(place.glob("*.xml"), key=lambda p: p.name.encode("utf-8", "backslashreplace"))


def _speaks(place: Path, root: Path) -> bool:
    """True when the first XML file of a folder begins as an annotation, or begins with nothing of sense."""
    file = next(_files(place, root), None)
    if file is None:
        return False
    with file.open("rb") as stream:
        return b"<annotation" in stream.read(4096) or place.name == "Annotations"


def _pages(root: Path, faults: list[Fault]) -> list[Page]:
    pages = []
    for place in dict.fromkeys(_places(root)):
        for file in _files(place, root):
            name = folder.name(file, root)
            below = PurePosixPath(folder.name(file, place)).with_suffix("").as_posix()
            try:
                pages.append(_page(file, name, below, faults))
            except DataError as error:
                faults.append(Fault("bad_annotation", name, error.message))
    return pages


def _page(file: Path, name: str, below: str, faults: list[Fault]) -> Page:
    """Raises DataError when the file as a whole cannot be used; a single object that cannot is a fault."""
    top = markup.parse(file, name)
    if top.name != "annotation":
        raise DataError(f"{name} line {top.line}: expected <annotation>, got <{top.name}>")
    objects = top.all("object")
    if len(objects) > MOST_BOXES:
        raise DataError(f"{name} holds {len(objects):,} objects, limit {MOST_BOXES:,}")
    size = top.one("size") or markup.Node("size", top.line)
    found = []
    beyond: Counter[str] = Counter()
    for node in objects:
        where = f"{name} line {node.line}"
        label = " ".join(node.words("name").split())
        try:
            corners = _corners(node)
        except ValueError as error:
            faults.append(Fault("bad_box", where, str(error)))
            continue
        if not label:
            faults.append(Fault("bad_box", where, "an object without a <name>"))
            continue
        found.append((label, Box(corners, 0, where, difficult=node.words("difficult") == "1")))
        beyond.update(name for name in BEYOND if node.words(name).lower() not in SILENT)
    picture = PurePosixPath(top.words("filename").replace("\\", "/")).name
    width, height = _number(size.words("width")), _number(size.words("height"))
    return Page(file, name, below, picture, width, height, tuple(found), beyond)


def _corners(node: markup.Node) -> tuple[float, float, float, float]:
    box = node.one("bndbox")
    if box is None:
        raise ValueError("an object without a <bndbox>")
    values = []
    for side in CORNERS:
        text = box.words(side)
        try:
            values.append(float(text))
        except ValueError:
            raise ValueError(f"<{side}> is {text[:40]!r}, expected a number") from None
    return values[0], values[1], values[2], values[3]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _counted_from_one(pages: Sequence[Page], notes: list[str]) -> bool:
    """From the data: files that count from 0 have many boxes that begin there, files that count from 1 have none."""
    starts = Counter(v for page in pages for _, box in page.found for v in box.corners[:2] if v in (0.0, 1.0))
    zeros, ones = starts[0.0], starts[1.0]
    one_based = zeros == 0 or zeros * 10 < ones
    seen = f"{zeros:,} coordinates are 0 and {ones:,} are 1"
    notes.append(f"boxes count pixels from {1 if one_based else 0} ({seen})")
    return one_based


def _placed(page: Page, raw: list[Box], size: Frame | None, one_based: bool, faults: list[Fault]) -> list[Box]:
    """Boxes in px of the upright picture, 0-based and half-open."""
    lying = boxes.framed((page.width, page.height), size, page.name, faults)
    placed = []
    for box in raw:
        left, top, right, bottom = box.corners
        # A single point is a slip of the hand, in either way of counting.
        if one_based and not (left == right and top == bottom):
            left, top = left - 1, top - 1
        corners = (left, top, right, bottom)
        placed.append(replace(box, corners=boxes.upright(corners, size) if lying and size else corners))
    return placed


def _pairs(pages: Sequence[Page], pictures: Sequence[Path], base: Path, faults: list[Fault]) -> list[tuple[Page, Path]]:
    """Each page with its picture: of the same stem, of these those in folders of the same names, of these the one it
    names, of these the one that lies nearest; without one of its stem, the one it names."""
    stems: dict[str, list[Path]] = defaultdict(list)
    names: dict[str, list[Path]] = defaultdict(list)
    for path in pictures:
        stems[path.stem].append(path)
        names[path.name].append(path)
    pairs = []
    used: dict[Path, Page] = {}
    for page in pages:
        fits = stems.get(page.file.stem) or names.get(page.picture) or []
        folders = PurePosixPath(page.below).parent.parts
        fits = [p for p in fits if folders and p.parent.relative_to(base).parts[-len(folders) :] == folders] or fits
        # The devkit's masks are PNGs of the same stem, as near as the JPEG that <filename> names.
        fits = [p for p in fits if p.name == page.picture] or fits
        if not fits:
            faults.append(Fault("missing_image", page.name, f"there is no picture {page.file.stem}.*"))
            continue
        picture = _nearest(page, fits)
        if picture is None:
            faults.append(
                Fault(
                    "missing_image", page.name, f"{len(fits)} pictures are called {page.file.stem}, none lies nearest"
                )
            )
        elif picture in used:
            faults.append(Fault("bad_annotation", page.name, f"speaks of the picture of {used[picture].name}"))
        else:
            used[picture] = page
            pairs.append((page, picture))
    return pairs


def _nearest(page: Page, fits: Sequence[Path]) -> Path | None:
    """The only one, or the one that shares most folders with the file; None when two are as near."""
    above = page.file.parent
    shared = [sum(a == b for a, b in zip(above.parts, p.parent.parts, strict=False)) for p in fits]
    best = [p for p, n in zip(fits, shared, strict=True) if n == max(shared)]
    tails = [p for p in best if p.parent.name == above.name] if len(best) > 1 else best
    if len(tails) != 1:
        tails = [p for p in best if _mirrors(page, p)]
    return tails[0] if len(tails) == 1 else None


def _mirrors(page: Page, picture: Path) -> bool:
    """True when a picture lies below a folder beside that of the XML files, or below the one that holds both, as its
    file lies below its own."""
    folders = PurePosixPath(page.below).parent.parts
    top = page.file.parent.parts[: -len(folders) - 1]
    rest = picture.parent.parts[len(top) :]
    return picture.parent.parts[: len(top)] == top and folders in (rest, rest[1:])


def _lists(root: Path, known: Collection[str], faults: list[Fault]) -> dict[str, str]:
    """What a line names to its split, from ImageSets/Main: one of the `known` paths of XML files, else a stem.

    A picture in two lists stays where it is measured on, and is told.
    """
    found: dict[str, str] = {}
    place = root / "ImageSets" / "Main"
    files = [p for p in sorted(place.glob("*.txt")) if p.stem in (*SPLITS, "trainval")]
    if any(p.stem == "train" for p in files):
        files = [p for p in files if p.stem != "trainval"]
    for file in sorted(files, key=lambda p: KEEP_FIRST.index(SPLITS.get(p.stem, "train"))):
        split = SPLITS.get(file.stem, "train")
        for number, line in enumerate(_lines(file), 1):
            path = PurePosixPath(line.strip())
            path = path.with_suffix("") if folder.is_image(path.name) else path
            name = path.as_posix() if path.as_posix() in known else path.name
            if name and found.setdefault(name, split) != split:
                where = f"ImageSets/Main/{file.name} line {number}"
                faults.append(Fault("in_two_splits", where, f"{name} is in {found[name]} already, and stays there"))
    return found


def _lines(file: Path) -> Iterable[str]:
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file.name} cannot be read as UTF-8 text: {error}") from error


def _text(sample: Sample, picture: str, labels: Labels, size: Frame | None) -> str:
    """The annotation as XML, counting from 1."""
    lines = ["<annotation>", f"  <filename>{escape(picture)}</filename>"]
    if size is not None:
        lines.append(
            f"  <size><width>{size.width}</width><height>{size.height}</height><depth>3</depth></size>",
        )
    difficult = boxes.flags(sample.annotation, "box_difficult")
    for (corners, class_id), hard in zip(boxes.each(sample.annotation), difficult, strict=True):
        left, top, right, bottom = corners
        sides = zip(CORNERS, (left + 1, top + 1, right, bottom), strict=True)
        lines.append(
            f"  <object><name>{escape(labels.names[class_id])}</name><difficult>{int(hard)}</difficult><bndbox>"
            + "".join(f"<{side}>{value:.17g}</{side}>" for side, value in sides)
            + "</bndbox></object>"
        )
    return "\n".join([*lines, "</annotation>", ""])


FORMAT = Voc()
