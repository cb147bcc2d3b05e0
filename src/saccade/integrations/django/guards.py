"""Who may ask: decorators for SACCADE["GUARD"]. Any other decorator of views does as well."""

import functools
from collections.abc import Callable
from typing import Any

from saccade.errors import ServerError

View = Callable[..., Any]


def login(view: View) -> View:
    """Users who are logged in; others get 401, not a page."""

    @functools.wraps(view)
    def guarded(request: Any, **parameters: str) -> Any:
        user = getattr(request, "user", None)
        if user is None or not user.is_authenticated or not user.is_active:
            raise ServerError("this needs a user who is logged in", code="unauthenticated")
        return view(request, **parameters)

    return guarded


def anyone(view: View) -> View:
    """Everybody who reaches the project."""
    return view
