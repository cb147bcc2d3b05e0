"""One of several servers on one port (siblings.py), which its parent tells what to serve on one line of standard input.

    python -m saccade.server.sibling < {"packages": [...], "settings": {...}, "room": FOLDER, "index": 0}

It ends with its parent: the end of standard input is a SIGTERM.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path

from saccade import process
from saccade.errors import SaccadeError
from saccade.server import serve
from saccade.server.keys import Keys
from saccade.server.settings import Settings
from saccade.server.siblings import Siblings, shared


def main() -> int:
    told = json.loads(sys.stdin.readline())
    threading.Thread(target=_until_orphaned, name="parent", daemon=True).start()
    process.tune_memory(process.SERVING)
    settings = shared(Settings.gather(told["settings"], environ={}))
    packages = [Path(p) if Path(p).is_dir() else p for p in told["packages"]]
    try:
        source = serve.source_of(packages, settings.home)
        return serve.run(settings, source, Keys(settings.home), others=Siblings(Path(told["room"]), told["index"]))
    except SaccadeError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the standard error of whoever started the parent
        return 1


def _until_orphaned() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
