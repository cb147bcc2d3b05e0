"""What the dialects may ask of the house: is it ready, load this, unload that."""

from collections.abc import Sequence

from saccade.errors import ServerError
from saccade.protocols import protocol
from saccade.server.source import Follower
from saccade.server.state import State


class Control(protocol.Control):
    """follower: who keeps the engine at what is served."""

    def __init__(self, state: State, follower: Follower) -> None:
        self._state = state
        self._follower = follower

    def ready(self) -> None:
        self._state.check()

    def names(self) -> Sequence[str]:
        return self._follower.names()

    def load(self, name: str) -> None:
        self._check_started()
        self._follower.load(name)

    def unload(self, name: str) -> None:
        self._check_started()
        self._follower.unload(name)

    def _check_started(self) -> None:
        if not self._state.started:
            raise ServerError("models are being loaded", hint="ask again in a moment", code="not_ready")


class Together(Control):
    """For one of several servers on a port: a load that only this one saw would leave the others behind."""

    def load(self, name: str) -> None:
        raise self._refusal()

    def unload(self, name: str) -> None:
        raise self._refusal()

    def _refusal(self) -> ServerError:
        return ServerError(
            "models are not loaded by request while several processes share the port",
            hint="push to the home, which all of them follow, or serve with one process",
            code="not_implemented",
        )
