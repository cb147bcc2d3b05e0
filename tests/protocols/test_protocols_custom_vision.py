"""Azure Custom Vision's prediction API without a socket: tags, boxes as shares, refusals in its own codes."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from saccade.errors import InferenceError, ServerError
from saccade.inference.engine import Engine
from saccade.protocols.protocol import Reply
from saccade.protocols.shims.custom_vision import BASE, CustomVision
from saccade.testing.packages import boxes, colors, masks, png
from saccade.testing.protocols import refusal


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine, folder = Engine(), tmp_path_factory.mktemp("packages")
    engine.load(colors(folder / "colors").path, "colors", 1)
    engine.load(boxes(folder / "boxes").path, "boxes", 1)
    engine.load(masks(folder / "masks").path, "masks", 1)
    engine.set_aliases("colors", {"stable": 1})
    yield engine
    engine.close()


def ask(engine: Engine, verb: str, name: str, data: bytes, end: str = "image", **headers: str) -> Reply:
    spoken = CustomVision()
    route = next(r for r in spoken.routes(engine) if r.pattern == f"{BASE}/{verb}/iterations/{{name}}/{end}")
    given = {key.replace("_", "-"): value for key, value in headers.items()}
    return refusal(spoken, route, data, given, name=name, project="waste")


def tags(reply: Reply) -> list[dict[str, Any]]:
    assert reply.status == 200, reply.body
    found: list[dict[str, Any]] = json.loads(reply.body)["predictions"]
    return found


@pytest.mark.parametrize("end", ["image", "image/nostore"])
def test_every_tag_comes_best_first(engine: Engine, end: str) -> None:
    reply = ask(engine, "classify", "colors@stable", png(0, 51, 255), end)
    assert [t["tagName"] for t in tags(reply)] == ["blue", "green"]
    assert [t["probability"] for t in tags(reply)] == pytest.approx([1.0, 0.2])
    assert json.loads(reply.body)["project"] == "waste"
    again = ask(engine, "classify", "colors", png(255, 1, 1), end)
    assert {t["tagName"]: t["tagId"] for t in tags(again)}["blue"] == tags(reply)[0]["tagId"]
    assert json.loads(again.body)["iteration"] == json.loads(reply.body)["iteration"]
    assert json.loads(again.body)["id"] != json.loads(reply.body)["id"]


def test_boxes_are_shares_of_the_picture(engine: Engine) -> None:
    (found,) = tags(ask(engine, "detect", "boxes", png(255, 0, 0)))
    assert (found["tagName"], found["probability"]) == ("red", 1.0)
    assert found["boundingBox"] == pytest.approx({"left": 0.0, "top": 0.0, "width": 1.0, "height": 1.0})


def test_a_form_holds_one_picture_as_its_client_names_it(engine: Engine) -> None:
    def form(*names: str) -> Reply:
        parts = "".join(f'--b\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n%s\r\n' for n in names)
        body = parts.encode() % ((png(255, 0, 0),) * len(names)) + b"--b--\r\n"
        return ask(engine, "classify", "colors", body, content_type="multipart/form-data; boundary=b")

    assert tags(form("imageData"))[0]["tagName"] == "red"
    assert form("imageData", "imageData").status == 400
    assert form("image").status == 400


@pytest.mark.parametrize(
    ("verb", "name", "data", "end", "status", "code"),
    [
        ("classify", "none", b"x", "image", 404, "NotFoundIteration"),
        ("classify", "colors@none", b"x", "image", 404, "NotFoundIteration"),
        ("classify", "colors", b"x", "image", 400, "BadRequestImageFormat"),
        ("classify", "colors", png(1, 2, 3)[:60], "image", 400, "BadRequestImageStream"),
        ("classify", "boxes", png(1, 2, 3), "image", 400, "BadRequest"),
        ("detect", "colors", png(1, 2, 3), "image", 400, "BadRequest"),
        ("detect", "masks", png(1, 2, 3), "image/nostore", 400, "BadRequest"),
        ("classify", "masks", png(1, 2, 3), "image", 400, "BadRequest"),
        ("detect", "boxes", b'{"url": "http://x"}', "url", 403, "Forbidden"),
        ("classify", "colors", b'{"url": "http://x"}', "url/nostore", 403, "Forbidden"),
    ],
)
def test_refusals_have_the_codes_of_its_clients(
    engine: Engine, verb: str, name: str, data: bytes, end: str, status: int, code: str
) -> None:
    reply = ask(engine, verb, name, data, end)
    assert (reply.status, json.loads(reply.body)["code"]) == (status, code)
    assert json.loads(reply.body)["message"]


def test_the_houses_refusals_are_in_them_too() -> None:
    for error, status, code in (
        (ServerError("x", code="unauthenticated"), 401, "Forbidden"),
        (ServerError("x", code="payload_too_large"), 400, "BadRequestImageSizeBytes"),
        (InferenceError("x", code="overloaded"), 503, "ErrorPredictionServiceUnavailable"),
        (InferenceError("secret", code="inference_failed"), 500, "ErrorPrediction"),
    ):
        reply = CustomVision().refuse(error, "r")
        assert (reply.status, json.loads(reply.body)["code"]) == (status, code)
        assert b"secret" not in reply.body
