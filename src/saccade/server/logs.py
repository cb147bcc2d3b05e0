"""What the server says on standard error: a line an event, as text or as JSON; no outsider's bytes can forge a line."""

import json
import logging
import sys
import time
from typing import TextIO

MAX_CHARS = 2048
"""Of a field; a trace, which is ours, is kept whole."""


def _plain(text: str) -> str:
    """Control characters and line separators escaped, cut to MAX_CHARS."""
    text = text if len(text) <= MAX_CHARS else text[:MAX_CHARS] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class Text(logging.Formatter):
    """`2026-01-31 12:00:00,123 INFO words`, then the trace of an exception, indented."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{self.formatTime(record)} {record.levelname} {_plain(record.getMessage())}"
        if record.exc_info:
            line += "".join(f"\n  {_plain(row)}" for row in self.formatException(record.exc_info).splitlines())
        return line


class Json(logging.Formatter):
    """One JSON object a line: time (UTC), level, name, message, and trace where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "name": record.name,
            "message": _plain(record.getMessage()),
        }
        if record.exc_info:
            fields["trace"] = self.formatException(record.exc_info)
        return json.dumps(fields)


def begin(form: str, stream: TextIO | None = None) -> None:
    """Sends the root logger to the stream (standard error) as `text` or `json`, unless someone has set it up before."""
    if logging.getLogger().handlers:
        return
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Json() if form == "json" else Text())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
