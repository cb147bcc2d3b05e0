"""The blueprint in a Flask application: the native API, its refusals, guards, uploads and limits; no socket is
opened."""

import functools
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from flask import Flask, abort, redirect, request
from saccade.client.client import Client
from saccade.client.messages import Reply, Request
from saccade.errors import InferenceError, ServerError
from saccade.integrations.flask import anyone, blueprint
from saccade.integrations.inside import Settings
from saccade.integrations.models import Models
from saccade.testing.packages import colors, masks, png


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("packages")
    return [colors(folder / "colors").path, masks(folder / "masks").path]


@pytest.fixture(scope="module")
def models(packages: list[Path]) -> Iterator[Models]:
    models = Models(*packages, settings=Settings(max_bytes=200_000))
    yield models
    models.close()


def client(models: Models, guard: Callable[[Any], Any] = anyone, **config: Any) -> FlaskClient:
    app = Flask("photos")
    app.config.update(TESTING=True, **config)
    app.register_blueprint(blueprint(models, guard=guard, origins=["https://friend.example"]), url_prefix="/saccade")
    return app.test_client()


PREDICT = "/saccade/api/v1/models/colors/predict"


def test_the_native_api_is_there(models: Models) -> None:
    web = client(models)
    assert [m["name"] for m in web.get("/saccade/api/v1/models").json["models"]] == ["colors", "masks"]
    assert web.get("/saccade/api/v1/models/colors").json["labels"]["classes"][0]["name"] == "red"
    raw = web.post(PREDICT + "?top_k=2", data=png(200, 100, 50), content_type="image/png")
    assert [p["label"] for p in raw.json["predictions"]] == ["red", "green"]
    assert raw.headers["x-model-version"] == "1"
    assert "decode;dur=" in raw.headers["server-timing"]
    form = web.post(PREDICT, data={"image": [(io.BytesIO(png(9, 9, n)), "a.png") for n in (200, 3)]})
    assert [r["predictions"][0]["label"] for r in form.json["results"]] == ["blue", "red"]
    version = web.post("/saccade/api/v1/models/colors/versions/1/predict", data=png(1, 2, 3), content_type="image/png")
    assert version.json["version"] == "1"
    mask = web.post(
        "/saccade/api/v1/models/masks/predict",
        data=png(255, 0, 0),
        content_type="image/png",
        headers={"accept": "image/png"},
    )
    assert mask.data.startswith(b"\x89PNG")
    assert web.get("/saccade/readyz").data == b"ready\n"
    assert web.head("/saccade/api/v1/models").status_code == 200


def test_an_application_asks_with_the_frameworks_upload(models: Models) -> None:
    app = Flask("photos")

    @app.post("/ask")
    def ask() -> str:
        return str(models.client.predict("colors", request.files["photo"]).summary())

    said = app.test_client().post("/ask", data={"photo": (io.BytesIO(png(255, 0, 51)), "a.png")}).text
    assert said == "red 1.000, blue 0.200, green 0.000"


@pytest.mark.parametrize(
    ("method", "path", "sent", "status", "code"),
    [
        ("get", "/saccade/api/v1/models/none", {}, 404, "not_found"),
        ("get", "/saccade/metrics", {}, 404, "not_found"),
        ("get", "/saccade/v2/models", {}, 404, "not_found"),
        ("get", PREDICT, {}, 405, "method_not_allowed"),
        ("delete", "/saccade/api/v1/models", {}, 405, "method_not_allowed"),
        ("post", PREDICT, {"data": b"", "content_type": "image/png"}, 422, "image_undecodable"),
        ("post", PREDICT, {"data": b"no picture", "content_type": "image/png"}, 415, "image_format_unsupported"),
        ("post", PREDICT, {"data": b"x", "content_type": "text/plain"}, 415, "image_format_unsupported"),
        ("post", PREDICT, {"data": b"{", "content_type": "application/json"}, 400, "malformed_json"),
        ("post", PREDICT, {"data": {"picture": (io.BytesIO(b"x"), "a")}}, 400, "unknown_field"),
        ("post", PREDICT, {"data": {"image": (io.BytesIO(b"x"), "a"), "n": "1"}}, 400, "unknown_field"),
        ("post", PREDICT + "?top_k=0", {"data": png(1, 2, 3), "content_type": "image/png"}, 400, "invalid_value"),
        ("post", PREDICT, {"data": bytes(200_001), "content_type": "image/png"}, 413, "payload_too_large"),
        ("post", PREDICT, {"data": {"image": (io.BytesIO(bytes(300_000)), "a")}}, 413, "payload_too_large"),
        ("post", PREDICT, {"data": b"x", "headers": {"content-encoding": "gzip"}}, 415, "content_encoding_unsupported"),
        ("post", PREDICT, {"data": png(1, 2, 3), "headers": {"sec-fetch-site": "cross-site"}}, 403, "forbidden"),
        ("post", PREDICT, {"data": png(1, 2, 3), "headers": {"origin": "https://evil.example"}}, 403, "forbidden"),
    ],
)
def test_refusals_are_problems(models: Models, method: str, path: str, sent: Any, status: int, code: str) -> None:
    answer = getattr(client(models), method)(path, **sent)
    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")
    assert answer.json["code"] == code
    assert answer.headers["x-request-id"] == answer.json["request_id"]


def test_a_body_without_a_length_is_read_no_further_than_the_limit(models: Models) -> None:
    class Endless(io.RawIOBase):
        read_so_far = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            self.read_so_far += len(buffer)
            assert self.read_so_far < 2_000_000
            return len(buffer)

    for config in ({}, {"MAX_CONTENT_LENGTH": 1000}):
        environ = {"wsgi.input": Endless(), "wsgi.input_terminated": True}
        answer = client(models, **config).post(PREDICT, environ_overrides=environ, content_type="image/png")
        assert answer.json["code"] == "payload_too_large"


@pytest.mark.parametrize(("size", "status"), [(199_999, 200), (200_000, 200), (200_001, 413)])
def test_a_body_of_just_the_limit(models: Models, size: int, status: int) -> None:
    data = png(1, 2, 3).ljust(size, b"\0")
    assert client(models).post(PREDICT, data=data, content_type="image/png").status_code == status
    environ = {"wsgi.input": io.BytesIO(data), "wsgi.input_terminated": True}
    chunked = client(models).post(PREDICT, environ_overrides=environ, content_type="image/png")
    assert chunked.status_code == status


def test_the_applications_own_limit_counts_too(models: Models) -> None:
    answer = client(models, MAX_CONTENT_LENGTH=1000).post(PREDICT, data=bytes(1001), content_type="image/png")
    assert (answer.status_code, answer.json["code"]) == (413, "payload_too_large")


def test_a_page_of_ours_and_of_a_friend_may_ask(models: Models) -> None:
    for headers in (
        {"sec-fetch-site": "same-origin", "origin": "http://localhost"},
        {"origin": "http://localhost"},
        {"sec-fetch-site": "cross-site", "origin": "https://friend.example"},
    ):
        answer = client(models).post(PREDICT, data=png(1, 2, 3), content_type="image/png", headers=headers)
        assert answer.status_code == 200


def test_a_page_of_a_friend_may_read_the_answer_and_no_other(models: Models) -> None:
    def refuse(view: Any) -> Any:
        return lambda **_: abort(401)

    friend, stranger = {"origin": "https://friend.example"}, {"origin": "https://evil.example"}
    wish = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    told = client(models, refuse).options(PREDICT, headers={**friend, **wish})
    assert told.status_code == 204, "a browser asks without cookies, before the request: no guard"
    assert told.headers["access-control-allow-origin"] == "https://friend.example"
    assert "content-type" in told.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in told.headers
    answer = client(models).post(PREDICT, data=png(1, 2, 3), content_type="image/png", headers=friend)
    assert answer.headers["access-control-allow-origin"] == "https://friend.example"
    assert "origin" in ", ".join(answer.headers.getlist("vary")).lower()
    for method in ("options", "post"):
        other = getattr(client(models), method)(PREDICT, data=png(1, 2, 3), headers={**stranger, **wish})
        assert "access-control-allow-origin" not in other.headers
        assert "origin" in ", ".join(other.headers.getlist("vary")).lower()


def test_an_application_that_tells_browsers_by_itself_is_not_told_twice(models: Models) -> None:
    def tells(view: Any) -> Any:
        @functools.wraps(view)
        def told(**parameters: str) -> Any:
            response = view(**parameters)
            response.headers.add("Access-Control-Allow-Origin", "https://friend.example")
            return response

        return told

    headers = {"origin": "https://friend.example"}
    answer = client(models, tells).post(PREDICT, data=png(1, 2, 3), content_type="image/png", headers=headers)
    assert answer.headers.getlist("Access-Control-Allow-Origin") == ["https://friend.example"]


def test_a_guard_stands_before_all_but_the_probes(models: Models) -> None:
    def member(view: Any) -> Any:
        @functools.wraps(view)
        def guarded(**parameters: str) -> Any:
            who = request.headers.get("authorization")
            if who == "nobody":
                return redirect("/login")
            if who == "busy":
                abort(429, "slowly")
            if who == "broken":
                raise ServerError("not you", code="forbidden")
            if who != "me":
                abort(401)
            return view(**parameters)

        return guarded

    web = client(models, member)
    for path, method in (("/saccade/api/v1/models", "get"), (PREDICT, "post"), ("/saccade/nothing", "get")):
        answer = getattr(web, method)(path)
        assert (answer.status_code, answer.json["code"]) == (401, "unauthenticated")
        assert getattr(web, method)(path, headers={"authorization": "me"}).status_code in (200, 422, 404)
        assert getattr(web, method)(path, headers={"authorization": "nobody"}).status_code == 302
        assert getattr(web, method)(path, headers={"authorization": "broken"}).json["code"] == "forbidden"
        slow = getattr(web, method)(path, headers={"authorization": "busy"})
        assert (slow.json["code"], slow.json["detail"]) == ("rate_limited", "slowly")
    assert web.get("/saccade/readyz").status_code == 200
    assert web.get("/saccade/livez").status_code == 200


def test_a_client_of_the_house_speaks_with_it(models: Models) -> None:
    web = client(models)

    class Wire:
        def send(self, asked: Request, timeout_s: float) -> Reply:
            answer = web.open(
                "/saccade" + asked.target, method=asked.method, data=asked.body, headers=dict(asked.headers)
            )
            return Reply(answer.status_code, {k.lower(): v for k, v in answer.headers.items()}, answer.data)

        def close(self) -> None: ...

    with Client(transport=Wire()) as house:
        assert house.ready()
        here, there = (c.predict("colors", png(255, 0, 51)) for c in (models.client, house))
        assert here["predictions"] == there["predictions"]
        with pytest.raises(InferenceError, match="no such model"):
            house.predict("none", png(1, 2, 3))
