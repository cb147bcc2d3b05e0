"""Class ids with holes, a group among the categories, a background and an order of its own, from the file to the answer
over HTTP."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as pillow

import saccade

KINDS = {90: ("lorry", 0), 3: ("car", 1), 17: ("bike", 2)}
"""Original id: name and the channel that shines; neither ids nor names stand in order."""
SIDE = 64


def scene(random: np.random.Generator, original: int) -> tuple[np.ndarray, list[int]]:
    """A bright square on noise, and its box x, y, width, height."""
    pixels = (random.random((SIDE, SIDE, 3)) * 60).astype(np.uint8)
    x, y = (int(v) for v in random.integers(2, SIDE - 30, 2))
    pixels[y : y + 26, x : x + 26, KINDS[original][1]] += 180
    return pixels, [x, y, 26, 26]


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """COCO as a labelling site writes it: a group with id 0 above the classes, which is none itself."""
    root, random = tmp_path_factory.mktemp("boxes"), np.random.default_rng(0)
    for part, count in (("train", 36), ("valid", 9), ("test", 9)):
        (root / part).mkdir()
        record: dict[str, Any] = {
            "images": [],
            "annotations": [],
            "categories": [{"id": 0, "name": "traffic", "supercategory": "none"}],
        }
        record["categories"] += [{"id": k, "name": name, "supercategory": "traffic"} for k, (name, _) in KINDS.items()]
        for i in range(count):
            original = list(KINDS)[i % 3]
            pixels, box = scene(random, original)
            pillow.fromarray(pixels).save(root / part / f"{i}.png")
            record["images"].append({"id": i + 5, "file_name": f"{i}.png", "width": SIDE, "height": SIDE})
            record["annotations"].append(
                {"id": i, "image_id": i + 5, "category_id": original, "bbox": box, "area": 676, "iscrowd": 0}
            )
        (root / part / "_annotations.coco.json").write_text(json.dumps(record))
    return root


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Mask files whose values have holes, and a class file that names them, background first."""
    root, random = tmp_path_factory.mktemp("masks"), np.random.default_rng(1)
    for part, count in (("train", 24), ("val", 6), ("test", 6)):
        for kind in ("images", "masks"):
            (root / kind / part).mkdir(parents=True)
        for i in range(count):
            original = list(KINDS)[i % 3]
            pixels, (x, y, w, h) = scene(random, original)
            mask = np.zeros((SIDE, SIDE), np.uint8)
            mask[y : y + h, x : x + w] = original
            pillow.fromarray(pixels).save(root / "images" / part / f"{i}.png")
            pillow.fromarray(mask).save(root / "masks" / part / f"{i}.png")
    rows = ["Pixel Value, Class", "0, ground", *(f"{k}, {name}" for k, (name, _) in KINDS.items())]
    (root / "_classes.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture(scope="module")
def client(boxes: Path, masks: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[saccade.Client]:
    """A server of a detector and a segmenter that learned them for some seconds."""
    out = tmp_path_factory.mktemp("out")
    plan: dict[str, Any] = {
        "size": SIDE,
        "batch": 8,
        "threads": 1,
        "cache": "none",
        "start_size": 1,
        "rate": 0.005,
        "mosaic": 0,
    }
    packages = [
        saccade.train(
            boxes, out=out / "boxes", model="boxes", network="residual-64", finest=8, epochs=14, **plan
        ).package,
        saccade.train(masks, out=out / "masks", model="masks", epochs=20, **plan).package,
    ]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "saccade", "serve", *map(str, packages), "--port", str(port)]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert any("ready at" in line for line in iter(server.stderr.readline, "")), "the server did not start"  # type: ignore[union-attr]
        with saccade.Client(f"http://127.0.0.1:{port}") as asking:
            yield asking
    finally:
        server.terminate()
        server.communicate(timeout=45)


def ledger(client: saccade.Client, model: str) -> dict[str, int]:
    """Class name to the id that the data had for it, as the server tells it."""
    return {row["name"]: row["original"] for row in client.model(model)["labels"]["classes"]}


def test_boxes_are_answered_with_the_names_of_the_file(client: saccade.Client, boxes: Path) -> None:
    assert ledger(client, "boxes") == {name: k for k, (name, _) in KINDS.items()}
    names = [row["name"] for row in client.model("boxes")["labels"]["classes"]]
    right = 0
    for i in range(9):
        best = client.predict("boxes", boxes / "test" / f"{i}.png", threshold=0.0)["predictions"][0]
        assert names[best["class_id"]] == best["label"]
        right += best["label"] == KINDS[list(KINDS)[i % 3]][0]
    assert right >= 8, "a ledger that is turned anywhere on the way gets none right"


def test_masks_are_answered_with_the_names_of_the_file(client: saccade.Client, masks: Path) -> None:
    assert ledger(client, "masks") == {"ground": 0, **{name: k for k, (name, _) in KINDS.items()}}
    names = [row["name"] for row in client.model("masks")["labels"]["classes"]]
    right = 0
    for i in range(6):
        shares = client.predict("masks", masks / "images" / "test" / f"{i}.png")["classes"]
        assert all(names[row["class_id"]] == row["label"] for row in shares)
        thing = max((row for row in shares if row["label"] != "ground"), key=lambda row: row["pixels"])
        right += thing["label"] == KINDS[list(KINDS)[i % 3]][0]
    assert right >= 5
