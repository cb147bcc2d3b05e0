"""saccade push, pull, models, alias, fsck: the registry in the home folder."""

import argparse
import json
from pathlib import Path

from saccade.cli.text import table
from saccade.verbs import home


def _home(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--home", type=Path, help="default: $SACCADE_HOME, else ~/.saccade")


def push_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("package", metavar="PACKAGE", type=Path)
    parser.add_argument("--name", help="default: the name in the package")
    parser.add_argument("--alias", help="point this alias at the new version")
    _home(parser)


def push(options: argparse.Namespace) -> int:
    name, version = home.push(options.package, name=options.name, alias=options.alias, home=options.home)
    print(f"{name} version {version}" + (f", {name}@{options.alias}" if options.alias else ""))
    return 0


def pull_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="NAME[@ALIAS]")
    parser.add_argument("out", metavar="DIR", type=Path, help="a new folder")
    _home(parser)


def pull(options: argparse.Namespace) -> int:
    print(home.pull(options.model, options.out, home=options.home))
    return 0


def models_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME")
    parser.add_argument("--json", action="store_true")
    _home(parser)


def models(options: argparse.Namespace) -> int:
    entries = home.models(options.name, home=options.home)
    if options.json:
        print(json.dumps(entries, indent=2, ensure_ascii=False))
        return 0
    if not entries:
        print("no models yet; saccade push PACKAGE puts one here")
        return 0
    rows = []
    for entry in entries:
        for version in entry["versions"]:
            pointing = [a for a, v in entry["aliases"].items() if int(v) == int(version["version"])]
            rows.append(
                (
                    entry["name"],
                    str(version["version"]),
                    entry["task"],
                    version["metric"],
                    version["created"],
                    version["digest"][:12],
                    " ".join(f"@{a}" for a in pointing),
                )
            )
    print(table(("model", "version", "task", "metric", "created", "digest", "aliases"), rows))
    return 0


def alias_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("alias", metavar="ALIAS")
    parser.add_argument("version", metavar="VERSION", type=int)
    _home(parser)


def alias(options: argparse.Namespace) -> int:
    home.alias(options.name, options.alias, options.version, home=options.home)
    print(f"{options.name}@{options.alias} is version {options.version}")
    return 0


def fsck_options(parser: argparse.ArgumentParser) -> None:
    _home(parser)


def fsck(options: argparse.Namespace) -> int:
    faults = home.fsck(home=options.home)
    for fault in faults:
        print(fault)
    if not faults:
        print("every digest holds")
    return 1 if faults else 0
