"""From the head of an HTTP request to the route that answers it, for whatever carries HTTP."""

import functools
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from urllib.parse import parse_qsl, urlsplit

from saccade.errors import ServerError
from saccade.protocols.protocol import SCOPES, TIMEOUT, Route

PATHS = 256
"""Of requests that were routed before, and are not routed again."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_QUERY = re.compile(rb"[!-~]*")


class Table:
    """Routes by their segments; several methods may share a pattern. Raises ServerError for an unknown scope."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.find = functools.lru_cache(maxsize=PATHS)(self._find)
        """The route and the parameters of a path; HEAD is answered by GET. Raises ServerError: not_found,
        method_not_allowed."""
        self._exact: dict[str, dict[str, Route]] = {}
        self._patterns: list[tuple[re.Pattern[str], str]] = []
        for route in routes:
            if route.needs not in SCOPES:
                raise ServerError(f"{route.method} {route.pattern} says {route.needs!r}, one of {SCOPES} was expected")
            if route.pattern not in self._exact:
                self._exact[route.pattern] = {}
                if "{" in route.pattern:
                    self._patterns.append((_pattern(route.pattern, route.any_case), route.pattern))
            self._exact[route.pattern][route.method] = route

    def _find(self, path: str, method: str) -> tuple[Route, Mapping[str, str]]:
        methods = self._exact.get(path)
        parameters: Mapping[str, str] = MappingProxyType({})
        if methods is None or "{" in path:
            methods = None
            for expression, pattern in self._patterns:
                match = expression.fullmatch(path)
                if match is not None:
                    methods, parameters = self._exact[pattern], MappingProxyType(match.groupdict())
                    break
        if methods is None:
            raise ServerError("there is nothing at this address", hint="see /docs", code="not_found")
        route = methods.get("GET" if method == "HEAD" else method)
        if route is None:
            allowed = sorted({*methods, *(["HEAD"] if "GET" in methods else [])})
            raise ServerError(
                f"this address takes {', '.join(allowed)}",
                code="method_not_allowed",
                details={"allow": ", ".join(allowed)},
            )
        return route, parameters


def _pattern(text: str, any_case: bool = False) -> re.Pattern[str]:
    quoted = re.escape(text).replace(r"\{", "{").replace(r"\}", "}")
    expression = re.sub(r"\{(\w+)(:path)?\}", lambda m: f"(?P<{m[1]}>{'.+' if m[2] else '[^/]+'})", quoted)
    return re.compile(expression, re.IGNORECASE if any_case else 0)


def query(raw: bytes) -> list[tuple[str, str]]:
    """Names and values in the order sent. Raises ServerError(malformed_http)."""
    if not raw:
        return []
    if not _QUERY.fullmatch(raw):
        raise ServerError("the query has bytes that no address has", hint="write them as %XX", code="malformed_http")
    try:
        return parse_qsl(
            raw.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=64
        )
    except ValueError:
        raise ServerError("the query is not name=value pairs", code="malformed_http") from None


def deadline_s(headers: Mapping[str, str], usual: float, most: float) -> float:
    """Seconds that a caller gives, by X-Request-Timeout-Ms. Raises ServerError(invalid_value)."""
    text = headers.get(TIMEOUT)
    if text is None:
        return usual
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) == 0:
        raise ServerError("x-request-timeout-ms is a whole number of milliseconds", code="invalid_value")
    return min(int(text) / 1e3, most)


def urgent(headers: Mapping[str, str]) -> bool | None:
    """What X-Priority asks for, None without it. Raises ServerError(invalid_value)."""
    word = headers.get("x-priority")
    if word not in (None, "interactive", "batch"):
        raise ServerError("x-priority is interactive or batch", code="invalid_value")
    return None if word is None else word == "interactive"


def check_encoding(headers: Mapping[str, str]) -> None:
    """Raises ServerError(content_encoding_unsupported) for a compressed body."""
    if "content-encoding" in headers and headers["content-encoding"].strip().lower() not in ("", "identity"):
        raise ServerError(
            "compressed bodies are refused", hint="send the image as it is", code="content_encoding_unsupported"
        )


def too_large(limit: int) -> ServerError:
    """The refusal of a body."""
    return ServerError(
        f"the body is larger than {limit} bytes",
        hint="send less",
        code="payload_too_large",
        details={"max_bytes": limit},
    )


def foreign(method: str, headers: Mapping[str, str], host: str | None = None) -> bool:
    """Whether a browser sends this on behalf of another site. host: this server's, with its port;
    None is that of the head.

    Follows the advice of Fetch Metadata: `Sec-Fetch-Site` where there is one, else `Origin`. Programs name no site.
    """
    if method in ("GET", "HEAD", "OPTIONS"):
        return False
    site, origin = headers.get("sec-fetch-site"), headers.get("origin", "")
    if site is not None:
        return site not in ("same-origin", "none")
    return (
        bool(origin) and urlsplit(origin).netloc.lower() != (headers.get("host", "") if host is None else host).lower()
    )


def request_id(headers: Mapping[str, str], fresh: str) -> str:
    """The caller's own id where it is one, else a fresh one."""
    given = headers.get("x-request-id")
    return given if given and _REQUEST_ID.fullmatch(given) else fresh
