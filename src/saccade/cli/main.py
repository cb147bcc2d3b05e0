"""The command line: one file a command, opened only when it is asked for.

Exit codes: 0 fine; 1 failed or found wanting; 2 wrong usage.
"""

import argparse
import difflib
import keyword
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from saccade import __version__
from saccade.errors import SaccadeError, UsageError

COMMANDS = {
    "check": ("data", "say what is wrong with a dataset or a package"),
    "convert": ("convert", "write a dataset in another format, and say what it cannot hold"),
    "train": ("train", "train, evaluate and seal a model from labelled images"),
    "import": ("imports", "seal a model from elsewhere as a package"),
    "evaluate": ("evaluate", "measure a sealed package on a dataset and write a report"),
    "compare": ("evaluate", "measure two packages on the same images and say whether they differ"),
    "optimize": ("optimize", "add faster graphs to a package, each certified on this host"),
    "export": ("export", "write a package in the form that another server loads"),
    "predict": ("predict", "ask a package or a server about images"),
    "push": ("model", "put a package into the home registry as a new version"),
    "pull": ("model", "copy a version out of the home registry"),
    "models": ("model", "list models, versions and aliases"),
    "alias": ("model", "point a movable name at a version"),
    "fsck": ("model", "verify every digest of the home registry"),
    "serve": ("serve", "answer requests over HTTP"),
    "bench": ("bench", "load a package or a server, and say how fast it is"),
    "keys": ("keys", "make, list and revoke API keys"),
    "demo": ("demo", "train on the sample photos, serve the model and ask it"),
}
"""Command: the file under saccade.cli that holds it, and its one line of help."""


class Parser(argparse.ArgumentParser):
    """Argparse that suggests what was probably meant, and always exits with 2 on wrong usage."""

    def error(self, message: str) -> NoReturn:
        words = [w for w in message.replace("=", " ").split() if w.startswith("--")]
        known = [o for action in self._actions for o in action.option_strings if o.startswith("--")]
        close = [c for w in words for c in difflib.get_close_matches(w, known, n=1)]
        hint = f"; did you mean {close[0]}?" if close and close[0] not in words else ""
        print(f"{self.prog}: {message}{hint}", file=sys.stderr)
        raise SystemExit(2)


def overview() -> str:
    lines = [
        "saccade: from a folder of labelled photos to a served, proven model",
        "",
        "usage: saccade COMMAND [options]        saccade COMMAND --help",
        "",
    ]
    lines += [f"  {name:<10} {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Returns the exit code; errors are one sentence on standard error."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help", "help"):
        print(overview())
        return 0 if given else 2
    if given[0] in ("-V", "--version"):
        print(f"saccade {__version__}")
        return 0
    name = given[0]
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "see saccade --help"
        print(f"saccade: no command {name!r}; {hint}", file=sys.stderr)
        return 2
    module = import_module(f"saccade.cli.{COMMANDS[name][0]}")
    parser = Parser(prog=f"saccade {name}", description=COMMANDS[name][1], allow_abbrev=False)
    getattr(module, f"{name}_options")(parser)
    try:
        options = parser.parse_args(given[1:])
        # `import` cannot name a function, so its own is called import_.
        code: int = getattr(module, f"{name}_" if keyword.iskeyword(name) else name)(options)
        return code
    except SystemExit as stop:
        return int(stop.code or 0)
    except UsageError as error:
        print(f"saccade {name}: {error}", file=sys.stderr)
        return 2
    except SaccadeError as error:
        print(f"saccade {name}: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        extra = {
            "torch": "torch",
            "onnx": "import",
            "safetensors": "torch",
            "timm": "timm",
            "httptools": "server",
            "uvloop": "server",
            "h2": "server",
        }.get((error.name or "").split(".")[0])
        if extra is None:
            raise
        print(
            f"saccade {name}: this needs {error.name}, which is not installed; pip install 'saccade[{extra}]'",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print(f"saccade {name}: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1
    except OSError as error:  # a file that was named and cannot be read or written: a sentence, not a trace
        about = f"{error.filename}: " if error.filename else ""
        print(
            f"saccade {name}: {about}{error.strerror or error}; check the path, its permissions and the space",
            file=sys.stderr,
        )
        return 1


if __name__ == "__main__":
    sys.exit(main())
