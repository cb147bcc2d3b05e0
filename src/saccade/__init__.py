"""Model-as-a-Service for images: from a folder of labelled photos to a served, proven model.

The face looks each name up only when it is touched, so that importing saccade costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saccade.client.client import AsyncClient, Client
    from saccade.errors import SaccadeError
    from saccade.server.serve import serve
    from saccade.verbs.ask import load
    from saccade.verbs.data import check
    from saccade.verbs.home import alias, models, pull, push
    from saccade.verbs.imports import import_model
    from saccade.verbs.judge import evaluate
    from saccade.verbs.train import train

__version__ = "0.1.0"

_HOMES = {
    "AsyncClient": "saccade.client.client",
    "Client": "saccade.client.client",
    "SaccadeError": "saccade.errors",
    "alias": "saccade.verbs.home",
    "check": "saccade.verbs.data",
    "evaluate": "saccade.verbs.judge",
    "import_model": "saccade.verbs.imports",
    "load": "saccade.verbs.ask",
    "models": "saccade.verbs.home",
    "pull": "saccade.verbs.home",
    "push": "saccade.verbs.home",
    "serve": "saccade.server.serve",
    "train": "saccade.verbs.train",
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
