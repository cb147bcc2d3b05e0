"""Predictions inside a Flask application: a blueprint that mounts the native API, the house's errors as replies.

models = Models("run/package")                       # or Models(server="http://127.0.0.1:8000", key=...)
app.register_blueprint(blueprint(models, guard=login_required), url_prefix="/saccade")
models.client.predict("photos", request.files["photo"])
"""

from collections.abc import Callable, Sequence
from typing import Any

from werkzeug.exceptions import HTTPException

from flask import Blueprint, Response, request
from saccade.client.messages import Reply
from saccade.errors import SaccadeError
from saccade.integrations.models import ADDRESSES, OPEN, Models, check_origin, form, own_words, shared

View = Callable[..., Any]
IGNORED = ("csrf_token",)
"""The field of Flask-WTF."""
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def anyone(view: View) -> View:
    """The guard of an application that lets everybody in."""
    return view


def blueprint(
    models: Models, *, guard: Callable[[View], View], name: str = "saccade", origins: Sequence[str] = ()
) -> Blueprint:
    """The native API below the blueprint's url_prefix; `saccade.Client("http://host/prefix")` speaks with it.

    guard: a decorator that stands before every address but the probes: Flask-Login's login_required, one of your own,
    or `anyone`. origins: other sites whose pages may ask from a browser and read the answer (CORS), without cookies.
    Bodies obey MAX_CONTENT_LENGTH and the models' max_bytes; errors are problem+json.
    """
    made = Blueprint(name, __name__)

    def mount(endpoint: str, pattern: str, methods: Sequence[str]) -> None:
        def view(**parameters: str) -> Response:
            headers = _headers()
            try:
                check_origin(request.method, headers, request.host, origins)
            except SaccadeError as error:
                return _response(models.refuse(error, headers))
            path, query = pattern.format(**parameters), request.query_string.decode("latin-1")
            return _response(models.reply(request.method, path, query, headers, _body))

        view.__name__ = endpoint
        rule = pattern.replace("{rest}", "{path:rest}").replace("{", "<").replace("}", ">")
        made.add_url_rule(rule, endpoint, view if pattern in OPEN else guard(view), methods=methods)

    for endpoint, (method, pattern) in ADDRESSES.items():
        mount(endpoint, pattern, [method])
    mount("other", "/{rest}", METHODS)  # a wrong address or method is refused in the same words

    @made.before_request
    def preflight() -> Response | None:
        """A browser asks before it sends another site's request; that is no request yet, so no
        guard stands before it."""
        asked = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        return Response(status=204) if asked and request.headers.get("Origin") in origins else None

    @made.after_request
    def tell(response: Response) -> Response:
        told = shared(_headers(), origins)
        if "vary" in told:
            response.vary.add(told.pop("vary"))
        if "Access-Control-Allow-Origin" not in response.headers:  # Flask-CORS may have told already
            response.headers.extend(told)
            response._FLASK_CORS_EVALUATED = True  # type: ignore[attr-defined]
        return response

    @made.errorhandler(SaccadeError)
    def told(error: SaccadeError) -> Response:
        return _response(models.refuse(error, _headers()))

    @made.errorhandler(HTTPException)
    def refused(error: HTTPException) -> Any:
        if error.response is not None or error.code is None or error.code < 400:
            return error  # a redirect to a login page, or a whole response of the guard's own
        answer = _response(models.refuse(own_words(error.code, error.description or error.name), _headers()))
        for header in ("WWW-Authenticate", "Retry-After"):
            if header in error.get_response().headers:
                answer.headers[header] = error.get_response().headers[header]
        return answer

    return made


def _headers() -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers.items()}


def _body(limit: int) -> tuple[str, bytes]:
    """The framework takes a form apart, with its own limits on parts and memory; anything else
    is one picture, or JSON."""
    own = request.max_content_length
    request.max_content_length = limit + 1 if own is None else min(limit + 1, own)
    if request.mimetype == "multipart/form-data":
        return form(request.files.items(multi=True), list(request.form), IGNORED)
    data = request.get_data(cache=False)
    request.stream.read(1)  # a body without a length is cut at the limit; asking for one byte more says so
    return request.headers.get("Content-Type", ""), data


def _response(reply: Reply) -> Response:
    return Response(reply.body, reply.status, {**reply.headers, "x-content-type-options": "nosniff"})
