"""Model-as-a-Service for images: from a folder of labelled photos to a served, proven model.

The face looks each name up only when it is touched, so that importing saccade costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saccade.client.client import AsyncClient, Client
    from saccade.errors import SaccadeError
    from saccade.server.serve import serve
    from saccade.verbs import alias, check, evaluate, import_model, load, models, pull, push, train

__version__ = "0.1.0"

_HOMES = {
    "AsyncClient": "saccade.client.client",
    "Client": "saccade.client.client",
    "SaccadeError": "saccade.errors",
    "alias": "saccade.verbs",
    "check": "saccade.verbs",
    "evaluate": "saccade.verbs",
    "import_model": "saccade.verbs",
    "load": "saccade.verbs",
    "models": "saccade.verbs",
    "pull": "saccade.verbs",
    "push": "saccade.verbs",
    "serve": "saccade.server.serve",
    "train": "saccade.verbs",
}

__all__ = [
    "AsyncClient",
    "Client",
    "SaccadeError",
    "alias",
    "check",
    "evaluate",
    "import_model",
    "load",
    "models",
    "pull",
    "push",
    "serve",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'saccade' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
