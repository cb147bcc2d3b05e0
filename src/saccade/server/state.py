"""Where the server is in its life."""

from saccade.errors import ServerError


class State:
    """started once what was asked for is loaded, then perhaps draining."""

    def __init__(self) -> None:
        self.started = False
        self.draining = False

    def check(self) -> None:
        """Raises ServerError: draining, or not_ready while models are being loaded."""
        if self.draining:
            raise ServerError("the server is shutting down", code="draining")
        if not self.started:
            raise ServerError("models are being loaded", hint="ask again in a moment", code="not_ready")
