"""Exporters, one file or folder each, found by looking; a keeper `tf_serving.py` is
`tf-serving` on the command line."""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules

from saccade.errors import UsageError
from saccade.export.exporter import Exporter


@cache
def keepers() -> dict[str, Exporter]:
    """Every exporter beside this file, by name."""
    found = [import_module(f"{__name__}.{m.name}").EXPORTER for m in iter_modules(__path__)]
    return {e.name: e for e in found}


def find(name: str) -> Exporter:
    """Raises UsageError for one that is unknown or lacks its library."""
    if name not in keepers():
        raise UsageError(f"nothing exports to {name!r}", hint=f"there are {', '.join(keepers())}")
    exporter = keepers()[name]
    for library, extra in exporter.needs.items():
        if not find_spec(library):
            raise UsageError(f"{name} needs {library}, which is not installed", hint=f"pip install 'saccade[{extra}]'")
    return exporter


def settled(exporter: Exporter, given: Mapping[str, str]) -> dict[str, str]:
    """A value for each of its settings. Raises UsageError for one it does not have."""
    strange = sorted(set(given) - set(exporter.settings))
    if strange:
        known = ", ".join(exporter.settings) or "none"
        raise UsageError(f"{exporter.name} has no setting {strange[0]!r}", hint=f"its settings: {known}")
    return {**{key: default for key, (default, _) in exporter.settings.items()}, **given}
