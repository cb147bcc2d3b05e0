"""Where the server is in its life."""

from saccade.errors import ServerError
from saccade.inference.engine import Engine
from saccade.inference.shelves import Entry


class State:
    """started once what was asked for is loaded, then perhaps draining. engine: whose models are looked at."""

    def __init__(self) -> None:
        self.started = False
        self.draining = False
        self.engine: Engine | None = None

    def check(self) -> None:
        """Raises ServerError: draining; not_ready while models are being loaded; dependency_unavailable when what runs
        them, other servers or processes of their own, is away for every model."""
        if self.draining:
            raise ServerError("the server is shutting down", code="draining")
        if not self.started:
            raise ServerError("models are being loaded", hint="ask again in a moment", code="not_ready")
        loaded = self._loaded()
        if loaded and all(entry.state == "away" for entry in loaded):
            raise ServerError("what runs the models is away", hint="ask again later", code="dependency_unavailable")

    def away(self) -> list[Entry]:
        """Versions that are loaded here, while what runs their graph cannot be asked."""
        return [entry for entry in self._loaded() if entry.state == "away"]

    def _loaded(self) -> list[Entry]:
        if self.engine is None:
            return []
        entries = (e for name in self.engine.names() for e in self.engine.versions(name).values())
        return [entry for entry in entries if entry.loaded]
