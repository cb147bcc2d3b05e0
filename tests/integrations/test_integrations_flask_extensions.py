"""The blueprint beside the extensions that Flask applications have: Flask-Login's users, Flask-WTF's tokens."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from flask_login import LoginManager, UserMixin, login_required, login_user
from flask_wtf import CSRFProtect
from flask_wtf.csrf import generate_csrf

from flask import Flask
from saccade.integrations.flask import blueprint
from saccade.integrations.models import Models
from saccade.testing.packages import colors, png

PREDICT = "/saccade/api/v1/models/colors/predict"


class User(UserMixin):
    def __init__(self, id: str) -> None:
        self.id = id


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colors(tmp_path_factory.mktemp("packages") / "colors").path


@pytest.fixture
def web(package: Path) -> Iterator[FlaskClient]:
    models = Models(package)
    app = Flask("photos")
    app.config.update(TESTING=True, SECRET_KEY="a test has no secrets")
    users = LoginManager(app)
    users.user_loader(User)
    CSRFProtect(app)
    app.register_blueprint(blueprint(models, guard=login_required), url_prefix="/saccade")

    @app.get("/login")
    def login() -> str:
        login_user(User("ann"))
        return generate_csrf()

    yield app.test_client()
    models.close()


def upload() -> tuple[io.BytesIO, str]:
    return io.BytesIO(png(255, 0, 0)), "a.png"


def test_a_user_with_the_pages_token_may_ask_and_nobody_else(web: FlaskClient) -> None:
    nobody = web.get("/saccade/api/v1/models")
    assert (nobody.status_code, nobody.json["code"]) == (401, "unauthenticated")
    token = web.get("/login").text
    assert web.get("/saccade/api/v1/models").status_code == 200
    without = web.post(PREDICT, data={"image": upload()})
    assert (without.status_code, without.mimetype) == (400, "application/problem+json")
    assert "CSRF" in without.json["detail"]
    # The extension has read the form before the blueprint does; its own field is passed over.
    form = web.post(PREDICT, data={"image": upload(), "csrf_token": token})
    assert form.json["predictions"][0]["label"] == "red"
    raw = web.post(PREDICT, data=png(255, 0, 0), content_type="image/png", headers={"x-csrftoken": token})
    assert raw.json["predictions"][0]["label"] == "red"
