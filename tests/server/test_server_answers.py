"""Boxes and masks by every road: curl's way, the client, the command line, in process."""

import base64
import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

import saccade
from saccade.cli.main import main
from saccade.images.encode import to_png
from saccade.testing import packages

START = "import sys; from saccade.server.serve import serve; serve(sys.argv[2:], port=int(sys.argv[1]), drain_s=0)"


def scene() -> np.ndarray:
    """128 x 64 px, dark, with a red and a green rectangle on pixels that every fourth of them the network sees."""
    picture = np.full((64, 128, 3), 20, np.uint8)
    picture[16:48, 16:64, 0] = 240
    picture[8:24, 96:120, 1] = 160
    return picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("answers")
    packages.masks(folder / "masks", side=64)
    packages.masks(folder / "sure", "sure", side=64, confidence=True)
    (folder / "scene.png").write_bytes(to_png(scene()))
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "SACCADE_HOME": str(folder / "home")}
    command = [sys.executable, "-c", START, str(port), str(folder / "masks"), str(folder / "sure")]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        with saccade.Client(url) as client:
            end = time.monotonic() + 60
            while time.monotonic() < end:
                try:
                    if client.ready():
                        break
                except saccade.SaccadeError:
                    pass
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        assert process.wait(40) == 0


def ask(url: str, query: str, body: bytes, **headers: str) -> tuple[int, dict[str, str], bytes]:
    given = {"content-type": "image/png", **{k.replace("_", "-"): v for k, v in headers.items()}}
    request = urllib.request.Request(f"{url}/api/v1/models/masks/predict{query}", body, given)
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return reply.status, {k.lower(): v for k, v in reply.headers.items()}, reply.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def true_mask() -> np.ndarray:
    picture = scene()
    return (picture[:, :, 0] > 127).astype(np.uint8) + 2 * (picture[:, :, 1] > 127).astype(np.uint8)


def test_a_mask_in_every_form(server: str) -> None:
    body = to_png(scene())
    told: dict[str, Any] = {
        form: json.loads(ask(server, f"?mask={form}", body)[2]) for form in ("png", "rle", "polygons", "none")
    }
    truth = true_mask()
    for answer in told.values():
        assert answer["image"] == {"width": 128, "height": 64}
        assert "predictions" not in answer
        assert {c["label"]: c["pixels"] for c in answer["classes"]} == {
            "none": int((truth == 0).sum()),
            "red": 32 * 48,
            "green": 16 * 24,
        }
    with Image.open(io.BytesIO(base64.b64decode(told["png"]["mask"]["data"]))) as picture:
        np.testing.assert_array_equal(np.asarray(picture), truth)
    rle = told["rle"]["mask"]
    for k, counts in rle["counts"].items():
        assert coco.area({"size": rle["size"], "counts": counts}) == int((truth == int(k)).sum())
        assert (
            coco.toBbox({"size": rle["size"], "counts": counts}).tolist()
            == {
                "0": [0, 0, 128, 64],
                "1": [16, 16, 48, 32],
                "2": [96, 8, 24, 16],
            }[k]
        )
    assert told["polygons"]["mask"]["polygons"]["2"] == [[96, 8, 120, 8, 120, 24, 96, 24]]
    assert len(told["polygons"]["mask"]["holes"]["0"]) == 2
    assert told["none"]["mask"] is None


def test_a_mask_as_the_whole_body(server: str) -> None:
    status, headers, body = ask(server, "", to_png(scene()), accept="image/png")
    assert (status, headers["content-type"], headers["x-model-version"]) == (200, "image/png", "1")
    with Image.open(io.BytesIO(body)) as picture:
        np.testing.assert_array_equal(np.asarray(picture), true_mask())
    both = ask(server, "", to_png(scene()), accept="application/json, image/png")
    assert both[1]["content-type"] == "application/json"
    form = b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\nx\r\n' * 2 + b"--b--\r\n"
    refused = ask(server, "", form, accept="image/png", content_type="multipart/form-data; boundary=b")
    assert refused[0] == 406
    assert json.loads(refused[2])["code"] == "not_acceptable"
    damaged = ask(server, "", b"\x89PNG\r\n\x1a\n", accept="image/png")
    assert damaged[0] == 422
    assert json.loads(damaged[2])["code"] == "image_undecodable"


def test_how_sure_pixels_are_is_told_and_cut(server: str, folder: Path) -> None:
    """By the client, in a PNG and in process: the map, the mean of a class, and what a threshold leaves."""
    picture = scene()
    bright = picture[:, :, :2].max(2)
    cut = np.where(bright < 0.7 * 255, 255, true_mask())

    def alike(found: np.ndarray | None, wanted: np.ndarray) -> bool:
        """But at the edges, which the way to the network's size blurs."""
        return found is not None and found.shape == wanted.shape and bool((found != wanted).mean() < 0.05)

    with saccade.Client(server) as client:
        answer = client.predict("sure", to_png(picture), confidence=True)
        assert alike(answer.confidence_pixels(), bright)
        means = {share["label"]: share["confidence"] for share in answer.classes}
        assert means == pytest.approx({"none": 20 / 255, "red": 240 / 255, "green": 160 / 255}, abs=0.03)
        less = client.predict("sure", to_png(picture), threshold=0.7)
        assert alike(less.mask_pixels(), cut)
        assert [share["label"] for share in less.classes] == ["red"]
        assert "confidence" not in less
        with pytest.raises(saccade.SaccadeError, match="confidence=True"):
            less.confidence_pixels()
        assert "confidence" not in client.predict("masks", to_png(picture), confidence=True), (
            "a model that does not tell"
        )
    address = f"{server}/api/v1/models/sure/predict?threshold=0.7"
    request = urllib.request.Request(address, to_png(picture), {"content-type": "image/png", "accept": "image/png"})
    with urllib.request.urlopen(request, timeout=20) as reply, Image.open(io.BytesIO(reply.read())) as mask:
        assert alike(np.asarray(mask), cut)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(f"{address}&confidence=true", request.data, request.headers))
    assert refused.value.code == 406
    refused.value.close()
    with saccade.load(folder / "sure") as model:
        whole, tiled = model.predict(picture), model.predict(picture, tile=True)
        assert alike(whole.confidence, bright)
        assert alike(tiled.confidence, bright)
        assert set(model.record(whole, confidence=True)) == {"image", "mask", "classes", "confidence"}


def test_a_hostile_mask_is_refused_and_its_png_is_not(server: str) -> None:
    picture = np.zeros((2000, 2000, 3), np.uint8)
    small = (np.indices((64, 64)).sum(0) % 2).astype(bool)
    picture[..., 0] = 255 * np.kron(small, np.ones((32, 32), bool))[:2000, :2000]
    body = to_png(picture)
    with saccade.Client(server) as client:
        assert len(client.predict("masks", body, mask="rle")["mask"]["counts"]) == 2
        answers = client.predict("masks", [body, b"no picture"], mask="polygons")
    assert "polygons" in answers[0]["mask"]
    assert answers[1]["error"]["code"] == "image_format_unsupported"


def test_the_same_mask_by_client_and_in_process(server: str, folder: Path) -> None:
    with saccade.Client(server) as client, saccade.load(folder / "masks") as model:
        theirs = client.predict("masks", scene())
        ours = model.record(model.predict(scene()))
    for field in ("image", "mask", "classes"):
        assert theirs[field] == ours[field]  # type: ignore[literal-required]


def test_the_command_line_draws_what_package_and_server_say(
    server: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = str(folder / "scene.png")
    assert main(["predict", str(folder / "masks"), picture, "--draw", str(tmp_path / "own")]) == 0
    line = f"{picture}: none 76.6 %, red 18.8 %, green 4.7 %\n"
    assert capsys.readouterr().out == line
    asked = ["predict", "--server", server, "--model", "masks", picture]
    assert main([*asked, "--draw", str(tmp_path / "asked")]) == 0
    assert capsys.readouterr().out == line
    drawn = (tmp_path / "own" / "scene.png").read_bytes()
    assert drawn == (tmp_path / "asked" / "scene.png").read_bytes()
    assert main([*asked, "--draw", str(folder)]) == 0
    assert (folder / "scene.png").read_bytes() == to_png(scene()), "what was there stays"
    assert (folder / "scene-2.png").read_bytes() == drawn
    capsys.readouterr()
    assert main([*asked, "--json", "--mask", "rle"]) == 0
    assert json.loads(capsys.readouterr().out)["mask"]["encoding"] == "rle"
    assert main([*asked, "--json", "--mask", "rle", "--draw", str(tmp_path)]) == 2
