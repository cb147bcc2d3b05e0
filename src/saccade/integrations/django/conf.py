"""The setting SACCADE, read when it is first asked for, and the models it names."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from saccade.errors import UsageError
from saccade.integrations import inside
from saccade.integrations.models import Models

LOGIN = "saccade.integrations.django.guards.login"
CSRF = ("token", "origin")


@dataclass(frozen=True)
class Conf:
    """What SACCADE may hold, in capitals there.

    packages: opened in this process when first asked, or server: the address of one, with its key. guard: dotted path
    of a decorator of views, before every address but the probes. csrf: "token" is Django's own protection, "origin"
    refuses browsers that come from another site and lets programs pass. origins: other sites that may ask. timeout_s:
    for an answer. The others are settings of packages in this process.
    """

    packages: tuple[str | Path, ...] = ()
    server: str | None = None
    key: str | None = None
    timeout_s: float = 10.0
    guard: str = LOGIN
    csrf: str = "token"
    origins: tuple[str, ...] = ()
    home: Path | None = None
    threads: int | None = inside.Settings.threads
    variant: str | None = None
    max_bytes: int = inside.Settings.max_bytes
    max_images: int = inside.Settings.max_images
    max_wait_s: float = inside.Settings.max_wait_s

    def models(self) -> Models:
        """Raises UsageError when there are neither packages nor a server, or both."""
        own = inside.Settings(self.home, self.threads, self.variant, self.max_bytes, self.max_images, self.max_wait_s)
        return Models(*self.packages, server=self.server, key=self.key, timeout_s=self.timeout_s, settings=own)


def read(given: Any) -> Conf:
    """Raises UsageError, which names the key that is unknown or has a wrong value."""
    if not isinstance(given, Mapping):
        raise UsageError(f"SACCADE is a dictionary, got {type(given).__name__}", hint='{"PACKAGES": ["run/package"]}')
    known = {f.name.upper(): f.name for f in fields(Conf)}
    strange = [str(name) for name in given if name not in known]
    if strange:
        raise UsageError(f"SACCADE has the key {strange[0]!r}", hint=f"known: {', '.join(known)}")
    values = {known[name]: value for name, value in given.items()}
    for name in ("packages", "origins"):
        if isinstance(values.get(name), str | Path):
            raise UsageError(f"SACCADE[{name.upper()!r}] is a list, one text came", hint="put it in brackets")
        values[name] = tuple(values.get(name, ()))
    made = Conf(**values)
    if made.csrf not in CSRF:
        raise UsageError(f"SACCADE['CSRF'] is {' or '.join(CSRF)}, got {made.csrf!r}")
    if bool(made.packages) == (made.server is not None):
        raise UsageError("SACCADE names either PACKAGES or a SERVER", hint='{"PACKAGES": ["run/package"]}')
    return made


class _Held:
    conf: Conf | None = None
    models: Models | None = None
    guard: Callable[..., Any] | None = None
    lock = threading.Lock()


def conf() -> Conf:
    """The setting as it is now."""
    if _Held.conf is None:
        _Held.conf = read(getattr(settings, "SACCADE", None))
    return _Held.conf


def models() -> Models:
    """The models of this project, the same ones for every caller."""
    with _Held.lock:
        if _Held.models is None:
            _Held.models = conf().models()
        return _Held.models


def guard() -> Callable[..., Any]:
    """The decorator that the setting names. Raises ImportError."""
    if _Held.guard is None:
        _Held.guard = import_string(conf().guard)
    return _Held.guard


def forget(*, setting: str = "SACCADE", **_: Any) -> None:
    """Reads the setting anew when it is next asked for: a test has changed it."""
    if setting == "SACCADE":
        with _Held.lock:
            held, _Held.conf, _Held.models, _Held.guard = _Held.models, None, None, None
        if held is not None:
            held.close()


setting_changed.connect(forget)
