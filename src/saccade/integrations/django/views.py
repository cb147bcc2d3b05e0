"""The native API as views: who may ask, from where, with which upload; then the handlers of the house."""

from collections.abc import Callable
from typing import Any

from django.core.exceptions import (
    BadRequest,
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.middleware.csrf import CsrfViewMiddleware
from django.views.decorators.csrf import csrf_exempt

from saccade.client.messages import Reply
from saccade.errors import SaccadeError, ServerError
from saccade.integrations.django.conf import conf, guard, models
from saccade.integrations.models import OPEN, check_origin, form, shared

IGNORED = ("csrfmiddlewaretoken",)


def view(pattern: str) -> Callable[..., HttpResponseBase]:
    """The view of one address; pattern: as ADDRESSES has it."""

    def answer(request: HttpRequest, **parameters: str) -> HttpResponseBase:
        _check_site(request)
        path, query = pattern.format(**parameters), request.META.get("QUERY_STRING", "")
        return _response(models().reply(request.method or "GET", path, query, _headers(request), _body(request)))

    def guarded(request: HttpRequest, **parameters: str) -> HttpResponseBase:
        allowed = conf().origins if conf().csrf == "origin" else ()
        told = shared(_headers(request), allowed)
        asked = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        # A browser asks before it sends another site's request; that is no request yet, so no guard stands before it.
        preflight = asked and request.headers.get("Origin") in allowed
        response = HttpResponse(status=204) if preflight else refused_or(request, **parameters)
        for header, value in told.items():
            response.headers[header] = f"{response.headers[header]}, {value}" if header in response.headers else value
        return response

    def refused_or(request: HttpRequest, **parameters: str) -> HttpResponseBase:
        try:
            found: HttpResponseBase = (answer if pattern in OPEN else guard()(answer))(request, **parameters)
            return found
        except SaccadeError as error:
            told = error
        except (
            PermissionDenied,
            Http404,
            SuspiciousOperation,
            BadRequest,
            UnreadablePostError,
            MultiPartParserError,
        ) as error:
            told = _own_words(error)
        return _response(models().refuse(told, _headers(request)))

    # The middleware would refuse with a page of its own; _check_site asks it in its place, after the guard.
    exempt: Callable[..., HttpResponseBase] = csrf_exempt(guarded)
    return exempt


def _own_words(error: Exception) -> SaccadeError:
    """What Django refuses, in words of the house."""
    if isinstance(error, RequestDataTooBig):
        return ServerError("the body is larger than this project allows", hint="send less", code="payload_too_large")
    if isinstance(error, TooManyFilesSent):
        return ServerError("more files came than this project allows", hint="send fewer", code="batch_too_large")
    if isinstance(error, TooManyFieldsSent):
        return ServerError("more fields came than this project allows", code="unknown_field")
    if isinstance(error, PermissionDenied):
        return ServerError(str(error) or "this user may not ask", code="forbidden")
    if isinstance(error, MultiPartParserError):
        return ServerError("the multipart body is damaged", code="malformed_multipart")
    if isinstance(error, Http404):
        return ServerError("there is nothing at this address", code="not_found")
    return ServerError("the request cannot be read", code="malformed_http")


class _Csrf(CsrfViewMiddleware):
    """Django's own check, which tells its reason instead of making a page."""

    def _reject(self, request: HttpRequest, reason: str) -> Any:
        return reason


def _check_site(request: HttpRequest) -> None:
    """Raises ServerError(forbidden) for what a browser sends on behalf of another site."""
    if conf().csrf == "origin":
        check_origin(request.method or "GET", _headers(request), request.get_host(), conf().origins)
        return
    check = _Csrf(lambda _: HttpResponse())
    check.process_request(request)
    reason = check.process_view(request, _nothing, (), {})
    if reason is not None:
        raise ServerError(f"this came without the page's token: {reason}", code="forbidden")


def _nothing(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


def _headers(request: HttpRequest) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers.items()}


def _body(request: HttpRequest) -> Callable[[int], tuple[str, bytes]]:
    """The framework takes a form apart, with its upload handlers; JSON obeys DATA_UPLOAD_MAX_MEMORY_SIZE."""

    def read(limit: int) -> tuple[str, bytes]:
        if request.content_type == "multipart/form-data":
            files = [(name, file) for name, several in request.FILES.lists() for file in several]
            return form(files, list(request.POST), IGNORED)
        kind = request.META.get("CONTENT_TYPE", "")
        if request.content_type == "application/json":
            return kind, request.body
        return kind, request.read(limit + 1)

    return read


def _response(reply: Reply) -> HttpResponse:
    return HttpResponse(reply.body, status=reply.status, headers={**reply.headers, "x-content-type-options": "nosniff"})
