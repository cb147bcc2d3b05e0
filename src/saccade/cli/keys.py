"""saccade keys: make, list and revoke the API keys of a home."""

import argparse
from pathlib import Path

from saccade.errors import UsageError
from saccade.registry.registry import home_folder
from saccade.server.keys import Keys


def keys_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("make", "list", "revoke"))
    parser.add_argument("name", nargs="?", help="who a new key is for, or the id of the one to revoke")
    parser.add_argument("--days", type=float, default=365.0, help="how long a new key lasts")
    parser.add_argument("--scope", choices=("use", "control"), default="use", help="control may also load and unload")
    parser.add_argument("--home", type=Path)


def keys(options: argparse.Namespace) -> int:
    held = Keys(home_folder(options.home))
    if options.action == "list":
        for key in held.list():
            print(key)
        return 0
    if not options.name:
        raise UsageError(f"keys {options.action} needs a name or id", hint=f"saccade keys {options.action} NAME")
    if options.action == "make":
        print(held.make(options.name, options.days, options.scope))
        print("shown once: keep it now")
    else:
        held.revoke(options.name)
        print(f"{options.name} is revoked")
    return 0
