"""Miniatures that mean harm, or are merely broken: each ends in one clear sentence, from `check` and from `train`."""

import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import saccade
from saccade.cli.main import main
from saccade.errors import SaccadeError
from saccade.testing.formats import picture

BOMB = (
    '<!DOCTYPE a [<!ENTITY a "ha">' + "".join(f'<!ENTITY {c} "{f"&{p};" * 10}">' for p, c in zip("abcdefg", "bcdefgh", strict=True))
    + "]><annotation><object><name>&h;</name></object></annotation>"
)  # fmt: skip


def voc(root: Path, text: str) -> None:
    for i in range(4):
        (root / f"p{i}.png").write_bytes(picture(i))
        box = "<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
        (root / f"p{i}.xml").write_text(f"<annotation><object><name>cat</name>{box}</object></annotation>")
    (root / "p0.xml").write_text(text)


def coco(root: Path, **changes: object) -> None:
    for i in range(4):
        (root / f"p{i}.png").write_bytes(picture(i))
    record = {
        "images": [{"id": i, "file_name": f"p{i}.png"} for i in range(4)],
        "annotations": [{"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 1, 5, 5]}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (root / "_annotations.coco.json").write_text(json.dumps(record | changes))


def masks(root: Path, spoil: Callable[[Path], object], classes: str | None = None) -> None:
    for i in range(4):
        (root / f"p{i}.jpg").write_bytes(picture(i))
        Image.fromarray(np.random.default_rng(i).integers(0, 3, (16, 24)).astype(np.uint8)).save(
            root / f"p{i}_mask.png"
        )
    if classes:
        (root / "_classes.csv").write_text(classes)
    spoil(root / "p0_mask.png")


def table(
    root: Path, *rows: str, head: str = "image,label,xmin,ymin,xmax,ymax", first: str = "p1.png,cat,1,1,5,5"
) -> None:
    for i in range(4):
        (root / f"p{i}.png").write_bytes(picture(i))
    (root / "boxes.csv").write_text("\n".join([head, first, *rows]))


def yolo(root: Path, line: str | bytes, plan: str = "train: images\nnames: [cat]\n") -> None:
    for folder in ("images", "labels"):
        (root / folder).mkdir()
    for i in range(4):
        (root / "images" / f"p{i}.png").write_bytes(picture(i))
        (root / "labels" / f"p{i}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    (root / "labels" / "p0.txt").write_bytes(line.encode() if isinstance(line, str) else line)
    (root / "data.yaml").write_text(plan)


def vast(root: Path, side: int, spoil: bytes | None = None) -> None:
    """Run lengths without a box, of a picture as large as the file says."""
    runs = {"size": [side, side], "counts": [0, side * side]}
    shape = {"id": 1, "image_id": 0, "category_id": 1, "segmentation": runs}
    coco(root, images=[{"id": 0, "file_name": "p0.png", "width": side, "height": side}], annotations=[shape])
    if spoil is not None:
        (root / "p0.png").write_bytes(spoil)


def huge_png(file: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10_000))) + chunk(b"IEND", b"")
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def image(values: np.ndarray) -> Callable[[Path], object]:
    return lambda file: Image.fromarray(values).save(file)


ATTACKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "entity bomb": (lambda r: voc(r, BOMB), "p0.xml line 1 declares a document type"),
    "outside entity": (
        lambda r: voc(r, '<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>'),
        "p0.xml line 1 declares a document type",
    ),
    "deep xml": (lambda r: voc(r, "<annotation>" + "<a>" * 10_000), "nested deeper than 32"),
    "wide xml": (lambda r: voc(r, "<annotation>" + "<object/>" * 20_000 + "</annotation>"), "objects, limit 10,000"),
    "xml of nul": (lambda r: voc(r, "<annotation>\x00</annotation>"), "p0.xml line 1 is no XML"),
    "huge corner": (lambda r: coco(r, annotations=[box([1e30, 1, 5, 5])]), "annotations[0]: 1e+30"),
    "not a number": (lambda r: coco(r, annotations=[box([float("nan"), 1, 5, 5])]), "annotations[0]: nan"),
    "infinite": (lambda r: coco(r, annotations=[box([1, 1, float("inf"), 5])]), "annotations[0]: 1, 1, inf"),
    "class beyond": (lambda r: coco(r, annotations=[box([1, 1, 5, 5], 10**30)]), "is no category"),
    "climbing path": (lambda r: coco(r, images=[{"id": 0, "file_name": "../../p0.png"}]), "leads out of the folder"),
    "absolute path": (lambda r: coco(r, images=[{"id": 0, "file_name": "/etc/passwd"}]), "leads out of the folder"),
    "vast run lengths": (lambda r: vast(r, 999_999_999), "annotations[0]: an RLE of size [999999999, 999999999]"),
    "vast run lengths of no picture": (
        lambda r: vast(r, 999_999_999, b"no picture"),
        "annotations[0]: the runs are of 999,999,999 x 999,999,999 px, limit 50,000,000",
    ),
    "two categories of one name": (
        lambda r: coco(r, categories=[{"id": 1, "name": "cat"}, {"id": 2, "name": "cat"}]),
        "categories[1]: id 2 is 'cat', and so is id 1",
    ),
    "climbing path in a table": (lambda r: table(r, "../../p0.png,cat,1,1,5,5"), "line 3: '../../p0.png' leads out"),
    "absolute path in a table": (lambda r: table(r, "/etc/passwd,cat,1,1,5,5"), "line 3: '/etc/passwd' leads out"),
    "path of Windows in a table": (lambda r: table(r, "C:\\p0.png,cat,1,1,5,5"), "boxes.csv line 3: 'C:"),
    "address in a table": (lambda r: table(r, "http://x.org/p0.png,cat,1,1,5,5"), "line 3: 'http://x.org/p0.png' leads"),
    "climbing path with a label": (
        lambda r: table(r, "p0.png,dog", "../p2.png,cat", head="image,label", first="p1.png,cat"),
        "boxes.csv line 4: '../p2.png' leads out of the folder",
    ),
    "no number in a table": (lambda r: table(r, "p0.png,cat,nan,1,5,5"), "boxes.csv line 3: nan, 1, 5, 5"),
    "huge corner in a table": (lambda r: table(r, "p0.png,cat,1,1,1e30,5"), "boxes.csv line 3: 1, 1, 1e+30, 5"),
    "name without end": (
        lambda r: table(r, "x" * 5000 + ",cat", head="image,label", first="p1.png,dog"),
        "boxes.csv names 1 of 2 pictures that are not there: line 3: xxx",
    ),
    "number without end": (
        lambda r: table(r, "9" * 5000 + ",7", head="image,label", first="p1.png," + "8" * 5000),
        "boxes.csv names 1 of 2 pictures that are not there: line 3: 999",
    ),
    "head without end": (lambda r: table(r, head="image,label," + "x" * 200_000), "no known layout"),
    "climbing path in a data.yaml": (
        lambda r: yolo(r, "", "train: images\nval: ../../etc\nnames: [cat]\n"),
        "data.yaml: ../../etc: no such path below the folder of the data",
    ),
    "absolute path in a data.yaml": (
        lambda r: yolo(r, "", "train: images\nval: /etc\nnames: [cat]\n"),
        "data.yaml: /etc: no such path below the folder of the data",
    ),
    "anchors in a data.yaml": (
        lambda r: yolo(r, "", "train: images\nnames: &a [cat]\nmore: [*a, *a]\n"),
        "data.yaml line 3 refers to an anchor",
    ),
    "no number in a line": (lambda r: yolo(r, "0 nan 0.5 0.5 0.2"), "labels/p0.txt line 1: nan"),
    "infinite in a line": (lambda r: yolo(r, "0 inf 0.5 0.5 0.2"), "labels/p0.txt line 1: inf"),
    "class beyond in a line": (lambda r: yolo(r, f"{10**30} 0.5 0.5 0.5 0.2"), "labels/p0.txt line 1: class 1000"),
    "lines of bytes": (lambda r: yolo(r, b"\xff\xfe\x00" * 50), "labels/p0.txt is not UTF-8 text"),
    "lines without end": (lambda r: yolo(r, "0 .5 .5 .5 .2\n" * 100_000), "labels/p0.txt is 1,400,000 bytes, limit"),
    "deep json": (
        lambda r: (coco(r), (r / "_annotations.coco.json").write_text('"images" "annotations" "categories"' + "[" * 10**6)),
        "is no JSON",
    ),
    "jpeg mask": (lambda r: masks(r, lambda f: Image.new("L", (24, 16)).save(f, "JPEG")), "p0_mask.png is JPEG"),
    "wide mask": (lambda r: masks(r, image(np.full((16, 24), 999, np.uint16))), "p0_mask.png is a 16-bit PNG"),
    "mask of another size": (lambda r: masks(r, image(np.zeros((17, 24), np.uint8))), "p0_mask.png has 24 x 17 px"),
    "mask beyond the ledger": (
        lambda r: masks(r, image(np.full((16, 24), 77, np.uint8)), "Pixel Value,Class\n0,a\n1,b\n2,c\n"),
        "p0_mask.png holds 1 values that are no class: 77",
    ),
    "mask bomb": (lambda r: masks(r, huge_png), "p0_mask.png cannot be read"),
    "mask of bytes": (lambda r: masks(r, lambda f: f.write_bytes(os.urandom(500))), "p0_mask.png cannot be read"),
}  # fmt: skip


def box(corners: list[float], category: int = 1) -> dict[str, object]:
    return {"id": 1, "image_id": 0, "category_id": category, "bbox": corners}


@pytest.mark.parametrize("name", ATTACKS)
def test_check_tells_and_train_refuses(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil, sentence = ATTACKS[name]
    root = tmp_path / "d"
    root.mkdir()
    spoil(root)
    before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}
    assert main(["check", str(root)]) == 1
    told = capsys.readouterr()
    assert sentence in told.out + told.err
    assert "Traceback" not in told.out + told.err
    with pytest.raises(SaccadeError):
        saccade.train(root, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert {p: p.read_bytes() for p in root.rglob("*") if p.is_file()} == before


def test_links_in_a_circle_and_out_of_the_data(tmp_path: Path) -> None:
    root = tmp_path / "d"
    root.mkdir()
    coco(root)
    (root / "round").symlink_to(root)
    (root / "nowhere.png").symlink_to(tmp_path / "gone.png")
    health = saccade.check(root)
    assert len(health.dataset) == 4
    found = {f.id: f for f in health.findings}
    assert found["link_loop"].count == 1
    assert any("nowhere.png" in f for f in found["ignored_file"].files)
