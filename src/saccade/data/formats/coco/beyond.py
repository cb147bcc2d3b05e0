"""What COCO files say beside boxes, outlines and classes, which no annotation holds and so no copy has."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from saccade.data.formats.coco.fields import is_id
from saccade.data.formats.coco.pages import Page
from saccade.types import names_text

OBJECT = frozenset({
    "id", "image_id", "category_id", "bbox", "segmentation", "area", "iscrowd", "keypoints", "num_keypoints",
})  # fmt: skip
IMAGE = frozenset({"id", "file_name", "width", "height", "license"})
CATEGORY = frozenset({"id", "name", "supercategory", "keypoints", "skeleton"})
"""Fields that are read, or told by themselves."""


def beyond(pages: Sequence[Page], names: Mapping[int, str]) -> list[str]:
    """Sentences with counts; what is empty, false or 0 says nothing. names: original id to name of the classes."""
    images = [e for p in pages for e in p.images if isinstance(e, Mapping)]
    objects = [e for p in pages for e in p.annotations if isinstance(e, Mapping)]
    classes = [e for p in pages for e in p.categories if isinstance(e, Mapping)]
    grouped = {int(e["id"]) for e in classes if is_id(e.get("id")) and _group(e)} & set(names)
    licensed = sum(_licensed(page) for page in pages)
    numbered = sum(_numbered(page) for page in pages)
    told = [
        f"the supercategories of {len(grouped):,} categories are not read" if grouped else "",
        f"the licences of {licensed:,} images are not read" if licensed else "",
        f"the ids of {numbered:,} images are not kept" if numbered else "",
        _fields("images", images, IMAGE),
        _fields("objects", objects, OBJECT),
        _fields("categories", classes, CATEGORY),
    ]
    return [sentence for sentence in told if sentence]


def _group(entry: Mapping[str, Any]) -> bool:
    """True where a category has a group other than itself; "none" is how Roboflow writes that it has none."""
    group = entry.get("supercategory")
    return isinstance(group, str) and group.strip().lower() not in ("", "none", str(entry.get("name")).strip().lower())


def _licensed(page: Page) -> int:
    """Images whose licence has a name or an address in the list of the file."""
    listed = page.licenses if isinstance(page.licenses, list) else []
    named = [e for e in listed if isinstance(e, Mapping) and (e.get("name") or e.get("url"))]
    known = {int(e["id"]) for e in named if is_id(e.get("id"))}
    return sum(isinstance(e, Mapping) and is_id(e.get("license")) and e["license"] in known for e in page.images)


def _numbered(page: Page) -> int:
    """Images of a file whose ids are more than their places in it, which a copy counts anew."""
    ids = [int(e["id"]) for e in page.images if isinstance(e, Mapping) and is_id(e.get("id"))]
    return 0 if any(ids == list(range(first, first + len(ids))) for first in (0, 1)) else len(ids)


def _fields(what: str, entries: Sequence[Mapping[str, Any]], known: Collection[str]) -> str:
    """How many entries say something in fields of their own, and which; empty where none does."""
    counted = 0
    seen: set[str] = set()
    for entry in entries:
        if entry.keys() - known:
            spare = set(_spare(entry, known))
            counted += bool(spare)
            seen.update(spare)
    return f"{counted:,} {what} have fields that are not read: {names_text(sorted(seen), 8)}" if counted else ""


def _spare(entry: Mapping[str, Any], known: Collection[str]) -> Iterator[str]:
    """Names of the other fields that say something, cut to 40 letters; of `attributes` the names inside."""
    for name, value in entry.items():
        if name == "attributes" and isinstance(value, Mapping):
            yield from (inner[:40] for inner, said in value.items() if said)
        elif name not in known and value:
            yield name[:40]
