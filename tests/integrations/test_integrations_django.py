"""The app in a Django project: the native API, its refusals, users, tokens, uploads, checks and commands."""

import asyncio
import io
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.decorators import permission_required
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.test import AsyncClient, Client, override_settings
from django.urls import include, path, reverse

import django
from saccade.errors import SaccadeError, UsageError
from saccade.integrations.django import conf
from saccade.integrations.inside import Settings
from saccade.integrations.models import ADDRESSES
from saccade.testing.packages import colors, masks, png

GUARDS = "saccade.integrations.django.guards"
may_ask = permission_required("auth.view_group", raise_exception=True)


def page(request: HttpRequest) -> HttpResponse:
    if request.method == "POST":
        return HttpResponse(conf.models().client.predict("colors", request.FILES["photo"]).summary())
    return HttpResponse(get_token(request))


urlpatterns = [path("page", page), path("saccade/", include("saccade.integrations.django.urls"))]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("packages")
    return [str(colors(folder / "colors").path), str(masks(folder / "masks").path)]


@pytest.fixture(scope="module", autouse=True)
def project(packages: list[str]) -> Iterator[None]:
    if not settings.configured:
        settings.configure(
            SECRET_KEY="a test has no secrets",
            ROOT_URLCONF=__name__,
            ALLOWED_HOSTS=["testserver"],
            INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "saccade.integrations.django"],
            MIDDLEWARE=[
                "django.contrib.sessions.middleware.SessionMiddleware",
                "django.middleware.csrf.CsrfViewMiddleware",
                "django.contrib.auth.middleware.AuthenticationMiddleware",
            ],
            SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
            DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
            PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
            SACCADE={},
        )
        django.setup()
    call_command("migrate", verbosity=0)
    with override_settings(SACCADE={"PACKAGES": packages, "MAX_BYTES": 200_000}):
        yield
    connection.close()


def open_to_all(packages: list[str], **more: Any) -> Any:
    own = {"PACKAGES": packages, "GUARD": f"{GUARDS}.anyone", "CSRF": "origin", "MAX_BYTES": 200_000}
    return override_settings(SACCADE=own | more)


@pytest.fixture
def web(packages: list[str]) -> Iterator[Client]:
    with open_to_all(packages):
        yield Client(enforce_csrf_checks=True)


PREDICT = "/saccade/api/v1/models/colors/predict"
PNG = "image/png"


def test_the_native_api_is_there(web: Client) -> None:
    assert [m["name"] for m in web.get("/saccade/api/v1/models").json()["models"]] == ["colors", "masks"]
    assert web.get("/saccade/api/v1/models/colors").json()["labels"]["classes"][0]["name"] == "red"
    raw = web.post(PREDICT + "?top_k=2", png(200, 100, 50), PNG)
    assert [p["label"] for p in raw.json()["predictions"]] == ["red", "green"]
    assert raw["x-model-version"] == "1"
    assert "decode;dur=" in raw["server-timing"]
    form = web.post(PREDICT, {"image": [SimpleUploadedFile("a.png", png(9, 9, n)) for n in (200, 3)]})
    assert [r["predictions"][0]["label"] for r in form.json()["results"]] == ["blue", "red"]
    assert web.post(reverse("saccade:predict_version", args=["colors", 1]), png(1, 2, 3), PNG).json()["version"] == "1"
    mask = web.post("/saccade/api/v1/models/masks/predict", png(255, 0, 0), PNG, headers={"accept": PNG})
    assert mask.content.startswith(b"\x89PNG")
    assert web.get("/saccade/readyz").content == b"ready\n"
    assert {
        reverse(f"saccade:{name}", args=["n", "1"][: pattern.count("{")]) for name, (_, pattern) in ADDRESSES.items()
    }


@pytest.mark.parametrize(
    ("method", "path", "sent", "status", "code"),
    [
        ("get", "/saccade/api/v1/models/none", {}, 404, "not_found"),
        ("get", "/saccade/metrics", {}, 404, "not_found"),
        ("get", PREDICT, {}, 405, "method_not_allowed"),
        ("delete", "/saccade/api/v1/models", {}, 405, "method_not_allowed"),
        ("post", PREDICT, {"data": b"", "content_type": PNG}, 422, "image_undecodable"),
        ("post", PREDICT, {"data": b"no picture", "content_type": PNG}, 415, "image_format_unsupported"),
        ("post", PREDICT, {"data": b"x", "content_type": "text/plain"}, 415, "image_format_unsupported"),
        ("post", PREDICT, {"data": b"{", "content_type": "application/json"}, 400, "malformed_json"),
        ("post", PREDICT, {"data": b"x", "content_type": "multipart/form-data; boundary=é"}, 400, "malformed_multipart"),
        ("post", PREDICT, {"data": {"picture": io.BytesIO(b"x")}}, 400, "unknown_field"),
        ("post", PREDICT, {"data": {"image": io.BytesIO(b"x"), "n": "1"}}, 400, "unknown_field"),
        ("post", PREDICT, {"data": {"n": "1"}}, 400, "unknown_field"),
        ("post", PREDICT + "?top_k=0", {"data": png(1, 2, 3), "content_type": PNG}, 400, "invalid_value"),
        ("post", PREDICT, {"data": bytes(200_001), "content_type": PNG}, 413, "payload_too_large"),
        ("post", PREDICT, {"data": {"image": io.BytesIO(bytes(300_000))}}, 413, "payload_too_large"),
        ("post", PREDICT, {"data": b"x", "headers": {"content-encoding": "gzip"}, "content_type": PNG}, 415, "content_encoding_unsupported"),
        ("post", PREDICT, {"data": png(1, 2, 3), "headers": {"sec-fetch-site": "cross-site"}, "content_type": PNG}, 403, "forbidden"),
    ],
)  # fmt: skip
def test_refusals_are_problems(web: Client, method: str, path: str, sent: Any, status: int, code: str) -> None:
    answer = getattr(web, method)(path, **sent)
    assert (answer.status_code, answer["content-type"]) == (status, "application/problem+json")
    assert answer.json()["code"] == code
    assert answer["x-request-id"] == answer.json()["request_id"]


@pytest.mark.parametrize(
    ("setting", "value", "sent", "code"),
    [
        ("DATA_UPLOAD_MAX_MEMORY_SIZE", 1000, {"data": b" " * 1001, "content_type": "application/json"}, "payload_too_large"),
        ("DATA_UPLOAD_MAX_NUMBER_FILES", 1, {"data": {"image": [io.BytesIO(b"a"), io.BytesIO(b"b")]}}, "batch_too_large"),
        ("DATA_UPLOAD_MAX_NUMBER_FIELDS", 1, {"data": {"a": "1", "b": "2", "c": "3"}}, "unknown_field"),
    ],
)  # fmt: skip
def test_the_projects_own_limits_count(web: Client, setting: str, value: int, sent: Any, code: str) -> None:
    with override_settings(**{setting: value}):
        assert web.post(PREDICT, **sent).json()["code"] == code
    if setting == "DATA_UPLOAD_MAX_MEMORY_SIZE":
        with override_settings(**{setting: value}):
            assert web.post(PREDICT, png(1, 2, 3) + bytes(2000), PNG).status_code == 200  # a picture is an upload


def test_an_upload_handler_of_the_project_sees_every_file(web: Client, tmp_path: Path) -> None:
    handlers = ["django.core.files.uploadhandler.TemporaryFileUploadHandler"]
    with override_settings(FILE_UPLOAD_HANDLERS=handlers, FILE_UPLOAD_TEMP_DIR=str(tmp_path)):
        answer = web.post(PREDICT, {"image": SimpleUploadedFile("a.png", png(255, 0, 0))})
    assert answer.json()["predictions"][0]["label"] == "red"
    assert list(tmp_path.iterdir()) == []


def user(name: str, **more: Any) -> Any:
    from django.contrib.auth.models import User

    return User.objects.filter(username=name).first() or User.objects.create_user(name, password="x", **more)


def test_it_answers_under_asgi_too(packages: list[str]) -> None:
    async def main() -> list[Any]:
        web = AsyncClient()
        raw = await web.post(PREDICT, png(255, 0, 0), PNG)
        form = await web.post(PREDICT, {"image": SimpleUploadedFile("a.png", png(0, 255, 0))})
        return [raw.json()["predictions"][0]["label"], form.json()["predictions"][0]["label"]]

    with open_to_all(packages):
        assert asyncio.run(main()) == ["red", "green"]


def test_only_users_may_ask_unless_the_project_says_otherwise() -> None:
    web = Client()
    for method, where in (("get", "/saccade/api/v1/models"), ("post", PREDICT), ("get", "/saccade/other")):
        answer = getattr(web, method)(where)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert web.get("/saccade/readyz").status_code == 200
    web.force_login(user("ann"))
    assert web.post(PREDICT, png(255, 0, 0), PNG).status_code == 200


def test_a_permission_of_django_may_be_the_guard(packages: list[str]) -> None:
    with override_settings(SACCADE={"PACKAGES": packages, "GUARD": f"{__name__}.may_ask"}):
        web = Client()
        web.force_login(user("ann"))
        assert web.get("/saccade/api/v1/models").json()["code"] == "forbidden"
        web.force_login(user("root", is_superuser=True))
        assert web.get("/saccade/api/v1/models").status_code == 200


def test_a_users_browser_needs_the_token() -> None:
    web = Client(enforce_csrf_checks=True)
    web.force_login(user("ann"))
    refused = web.post(PREDICT, {"image": SimpleUploadedFile("a.png", png(255, 0, 0))})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    token = web.get("/page").content.decode()
    form = {"image": SimpleUploadedFile("a.png", png(255, 0, 0)), "csrfmiddlewaretoken": token}
    assert web.post(PREDICT, form).status_code == 200
    assert web.post(PREDICT, png(255, 0, 0), PNG, headers={"x-csrftoken": token}).status_code == 200
    assert web.get("/saccade/api/v1/models").status_code == 200


def test_a_page_of_a_friend_may_read_the_answer_and_no_other(packages: list[str]) -> None:
    web = Client(enforce_csrf_checks=True)
    wish = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    friend, stranger = {"origin": "https://friend.example"}, {"origin": "https://evil.example"}
    given = {"PACKAGES": packages, "CSRF": "origin", "ORIGINS": ["https://friend.example"]}
    with override_settings(SACCADE=given):
        told = web.options(PREDICT, headers={**friend, **wish})
        assert (told.status_code, told["access-control-allow-origin"]) == (204, "https://friend.example")
        assert "access-control-allow-origin" not in web.options(PREDICT, headers={**stranger, **wish})
    with override_settings(SACCADE={**given, "GUARD": f"{GUARDS}.anyone"}):
        answer = web.post(PREDICT, png(255, 0, 0), PNG, headers=friend)
        assert (answer.status_code, answer["access-control-allow-origin"]) == (200, "https://friend.example")
        assert "origin" in answer["vary"]
        assert web.post(PREDICT, png(255, 0, 0), PNG, headers=stranger).status_code == 403


def test_a_view_asks_with_the_frameworks_upload() -> None:
    photo = SimpleUploadedFile("a.png", png(255, 0, 51))
    assert Client().post("/page", {"photo": photo}).content == b"red 1.000, blue 0.200, green 0.000"


# Setting, checks, commands


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "SACCADE is a dictionary"),
        ({}, "either PACKAGES or a SERVER"),
        ({"PACKAGES": ["a"], "SERVER": "http://x"}, "either PACKAGES or a SERVER"),
        ({"PACKAGES": "run/package"}, "is a list"),
        ({"PACKAGE": ["a"]}, "has the key 'PACKAGE'"),
        ({"PACKAGES": ["a"], "CSRF": False}, "'CSRF'"),
    ],
)
def test_a_setting_that_cannot_be_is_told(given: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        conf.read(given)


def test_every_key_and_setting_is_on_the_page() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "08-web-applications.md").read_text(encoding="utf-8")
    told = {word for row in re.findall(r"^\| (`[^|]*`) \|", text, re.MULTILINE) for word in re.findall(r"`(\w+)`", row)}
    keys = {field.name for field in fields(conf.Conf)}
    own = {field.name for field in fields(Settings)}
    assert told == {key.upper() for key in keys} | own
    assert own <= keys


def test_checks_say_what_is_wrong(packages: list[str]) -> None:
    from saccade.integrations.django.checks import check

    def found(**given: Any) -> list[str]:
        with override_settings(SACCADE=given):
            return [str(message.id) for message in check()]

    assert found() == ["saccade.E001"]
    assert found(PACKAGES=packages) == []
    assert found(PACKAGES=["waste@stable"]) == []
    assert found(PACKAGES=["run/none"]) == ["saccade.E003"]
    assert found(PACKAGES=packages, GUARD="no.such.guard") == ["saccade.E002"]
    assert found(PACKAGES=packages, GUARD=f"{GUARDS}.anyone") == ["saccade.W001"]
    assert found(SERVER="http://models.example", KEY="k") == ["saccade.W002"]
    for far in ("http://[2001:db8::1]:8000", "http://[::]:8000", "http://127.0.0.1.example"):
        assert found(SERVER=far, KEY="k") == ["saccade.W002"]
    for near in ("http://[::1]:8000", "http://localhost:8000", "http://127.9.0.1"):
        assert found(SERVER=near, KEY="k") == []
    assert found(SERVER="http://127.0.0.1:8000", KEY="k") == found(SERVER="https://models.example", KEY="k") == []


def test_commands(packages: list[str], tmp_path: Path) -> None:
    out = io.StringIO()
    call_command("saccade_models", stdout=out)
    assert re.fullmatch(r"colors: \w+, version 1 ready\nmasks: \w+, version 1 ready\n", out.getvalue())
    (tmp_path / "a.png").write_bytes(png(255, 0, 51))
    (tmp_path / "b.png").write_bytes(b"no picture")
    out = io.StringIO()
    call_command("saccade_predict", "colors", str(tmp_path / "a.png"), stdout=out)
    assert out.getvalue() == f"{tmp_path}/a.png: red 1.000, blue 0.200, green 0.000\n"
    out = io.StringIO()
    call_command("saccade_predict", "colors", str(tmp_path / "a.png"), "--json", "--top-k", "1", stdout=out)
    assert [p["label"] for p in json.loads(out.getvalue())["predictions"]] == ["red"]
    with pytest.raises(CommandError, match="cannot be used"):
        call_command("saccade_predict", "colors", str(tmp_path / "b.png"), stdout=io.StringIO())
    with pytest.raises(CommandError, match="no such model"):
        call_command("saccade_predict", "other", str(tmp_path / "a.png"))
    with override_settings(SACCADE={"SERVER": "http://127.0.0.1:9"}), pytest.raises(CommandError, match="reached"):
        call_command("saccade_models")


def test_a_package_that_cannot_be_opened_is_the_servers_fault(tmp_path: Path) -> None:
    with override_settings(SACCADE={"PACKAGES": [str(tmp_path / "none")], "GUARD": f"{GUARDS}.anyone"}):
        answer = Client().get("/saccade/api/v1/models")
        assert (answer.status_code, answer.json()["code"]) == (500, "internal")
        assert str(tmp_path) not in answer.content.decode()
        with pytest.raises(SaccadeError, match="no package"):
            conf.models().open()
