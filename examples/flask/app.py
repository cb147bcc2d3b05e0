"""A page that takes a photo and shows what a model sees in it; and the API of the same models, for programs.

PACKAGES names the packages, parted by commas; or SACCADE_SERVER the address of a saccade server, SACCADE_KEY its key.
"""

import json
import logging
import os

from werkzeug.exceptions import RequestEntityTooLarge

from flask import Flask, Response, render_template, request
from saccade import SaccadeError
from saccade.integrations.flask import anyone, blueprint
from saccade.integrations.models import Models

logging.basicConfig(level=logging.INFO, format="%(message)s")

server = os.environ.get("SACCADE_SERVER")
packages = os.environ.get("PACKAGES", "run/package").split(",")
models = Models(server=server, key=os.environ.get("SACCADE_KEY")) if server else Models(*packages)

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 16 * 1024 * 1024
# Everybody may ask: an application with accounts gives its own decorator, such as Flask-Login's login_required.
app.register_blueprint(blueprint(models, guard=anyone), url_prefix="/saccade")


@app.get("/")
def page() -> str:
    return render_template("page.html", names=names())


@app.post("/")
def ask() -> str | tuple[str, int]:
    name, photo = request.form.get("model", ""), request.files.get("photo")
    if not photo:
        return wrong("Choose a photo first.", 400)
    answer = models.client.predict(name, photo, top_k=5)
    return render_template("page.html", names=names(), chosen=name, answer=answer, picture=answer.data_uri())


@app.errorhandler(SaccadeError)
def cannot(error: SaccadeError) -> tuple[str, int]:
    """The page says what the API would: its words, its status; of a failure of our own nothing but that."""
    problem = json.loads(models.refuse(error, {}).body)
    return wrong(problem["detail"], problem["status"])


@app.errorhandler(RequestEntityTooLarge)
def too_large(error: RequestEntityTooLarge) -> tuple[str, int]:
    return wrong("This photo is larger than 16 MB; send a smaller one.", 413)


def wrong(words: str, status: int) -> tuple[str, int]:
    return render_template("page.html", names=[], problem=words), status


def names() -> list[str]:
    return [model["name"] for model in models.client.models()]


@app.after_request
def strict(response: Response) -> Response:
    response.headers.setdefault(
        "Content-Security-Policy",
        "default-src 'none'; style-src 'self'; img-src data: 'self'; form-action 'self'; base-uri 'none'",
    )
    return response
