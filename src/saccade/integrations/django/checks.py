"""What `manage.py check` says of the setting SACCADE."""

from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.utils.module_loading import import_string

from saccade.errors import UsageError
from saccade.integrations.django import conf


@register(Tags.security)
def check(**_: Any) -> list[CheckMessage]:
    """saccade.E001 the setting, E002 the guard, E003 a folder; W001 everybody may ask, W002 a key in clear text."""
    try:
        read = conf.read(getattr(settings, "SACCADE", None))
    except UsageError as error:
        return [Error(error.message, hint=error.hint or None, id="saccade.E001")]
    found: list[CheckMessage] = []
    try:
        import_string(read.guard)
    except ImportError as error:
        found.append(
            Error(f"SACCADE['GUARD'] cannot be imported: {error}", hint=f"such as {conf.LOGIN}", id="saccade.E002")
        )
    for package in read.packages:
        folder = isinstance(package, Path) or "/" in package
        if folder and not (Path(package) / "manifest.json").is_file():
            found.append(
                Error(f"no package at {package}", hint="give the folder that holds manifest.json", id="saccade.E003")
            )
    if read.guard.endswith(".anyone"):
        found.append(
            Warning(
                "Everybody who reaches this project may ask its models.",
                hint="Set SACCADE['GUARD'], or silence saccade.W001 where that is meant.",
                id="saccade.W001",
            )
        )
    if read.server is not None and read.key and read.server.startswith("http://") and not _near(read.server):
        found.append(
            Warning(
                "The key of the models' server travels in clear text.",
                hint="Give its address with https.",
                id="saccade.W002",
            )
        )
    return found


def _near(server: str) -> bool:
    """Whether it is this machine."""
    try:
        host = urlsplit(server).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
