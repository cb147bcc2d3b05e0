"""API keys of a home: `sac_live_<id12>_<43 base62>_<crc6>`. Only an HMAC of the secret is kept; a key is shown once."""

import contextlib
import hashlib
import hmac
import json
import os
import re
import secrets
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from saccade.errors import ServerError, StorageError, UsageError
from saccade.storage.blobs import refused

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SHAPE = re.compile(r"sac_live_([0-9A-Za-z]{12})_([0-9A-Za-z]{43})_([0-9A-Za-z]{6})")
DAYS = 365
FRESH_S = 2.0
"""A revoked key stops within this time in every server of the home."""


@dataclass(frozen=True)
class Key:
    """What is kept of a key. created, expires: seconds since the epoch; digest: HMAC-SHA256, hex.

    scope: "use", or "control" for one that may also load and unload models.
    """

    id: str
    name: str
    digest: str
    created: float
    expires: float
    revoked: bool = False
    scope: str = "use"

    def allows(self, scope: str) -> bool:
        return scope in ("open", "use", self.scope)


class Keys:
    """The keys of one home folder: `keys.json` and the pepper beside it, both readable by their owner only.

    Safe from several threads and processes at once, the latter where the system has flock(2).
    """

    def __init__(self, home: Path, clock: Callable[[], float] = time.time) -> None:
        self._file = home / "keys.json"
        self._lock_file = home / "keys.lock"
        self._pepper_file = home / "pepper"
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[str, Key] = {}
        self._looked = -FRESH_S
        self._peppered = -FRESH_S, b""
        self._stamp: tuple[int, int] | None = None

    def make(self, name: str, days: float = DAYS, scope: str = "use") -> str:
        """A new key, the only time it is seen in full. scope: "use" or "control"."""
        if scope not in ("use", "control"):
            raise UsageError(f"a key's scope is use or control, got {scope!r}")
        if not re.fullmatch(r"[\w .@-]{1,64}", name) or days <= 0:
            raise UsageError("a key has a name of 1 to 64 letters and a life of more than 0 days")
        secret = "".join(secrets.choice(_ALPHABET) for _ in range(43))
        now = self._clock()
        key = Key(
            "".join(secrets.choice(_ALPHABET) for _ in range(12)),
            name,
            self._hash(secret, self._pepper()),
            now,
            now + days * 86400,
            scope=scope,
        )
        with self._alone():
            self._write({**self._read(), key.id: key})
        body = f"sac_live_{key.id}_{secret}"
        return f"{body}_{_crc(body)}"

    def list(self) -> list[Key]:
        with self._lock:
            return sorted(self._read().values(), key=lambda k: k.created)

    def revoke(self, id: str) -> None:
        """Raises UsageError when there is no such key."""
        with self._alone():
            held = self._read()
            if id not in held:
                raise UsageError(f"no key has the id {id!r}", hint="saccade keys list")
            self._write({**held, id: replace(held[id], revoked=True)})

    def any(self) -> bool:
        """True when a key was ever made here, revoked ones too: revoking the last key must not open the door."""
        return bool(self._current())

    def admit(self, authorization: str, scope: str) -> Key:
        """The key of an `Authorization: Bearer` header. Raises ServerError: unauthenticated, or forbidden by scope."""
        scheme, _, token = authorization.partition(" ")
        key = self.check(token.strip() if scheme.lower() == "bearer" else "")
        if not key.allows(scope):
            raise ServerError(
                f"this needs a key of scope {scope}", hint="saccade keys make NAME --scope control", code="forbidden"
            )
        return key

    def check(self, text: str) -> Key:
        """The key behind a text. Raises ServerError(unauthenticated), the same for every cause."""
        match = _SHAPE.fullmatch(text)
        if match is not None and hmac.compare_digest(_crc(text[: match.start(3) - 1]), match.group(3)):
            key = self._current().get(match.group(1))
            # An unknown id costs the same hash as a known one, so time tells nothing.
            digest = self._hash(match.group(2), self._pepper())
            same = hmac.compare_digest(digest, key.digest if key else "0" * 64)
            if same and key is not None and not key.revoked and self._clock() < key.expires:
                return key
        raise ServerError(
            "this server needs a valid API key", hint="send Authorization: Bearer <key>", code="unauthenticated"
        )

    def _current(self) -> dict[str, Key]:
        now = time.monotonic()
        with self._lock:
            if now - self._looked >= FRESH_S:
                try:
                    stat = self._file.stat()
                    stamp = (stat.st_mtime_ns, stat.st_ino)
                except (FileNotFoundError, NotADirectoryError):
                    stamp = None
                except OSError as error:
                    raise _unreadable(error) from error
                if stamp != self._stamp:
                    self._held, self._stamp = self._read(), stamp
                self._looked = now  # only now: while keys cannot be read nobody comes in on what was read before
            return self._held

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """From the look to the change nobody else changes keys, or a key that was revoked meanwhile would be back.

        flock(2) ends with its file or its process. Raises StorageError.
        """
        with self._lock, contextlib.ExitStack() as held:
            if sys.platform != "win32":
                import fcntl  # not on every system that opens this room

                try:
                    handle = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o600)
                    held.callback(os.close, handle)
                    fcntl.flock(handle, fcntl.LOCK_EX)
                except (FileNotFoundError, NotADirectoryError):
                    pass  # a home that is not there has no keys to lose
                except OSError as error:
                    raise refused(error) from error
            yield

    def _read(self) -> dict[str, Key]:
        try:
            records = json.loads(self._file.read_text("utf-8"))
            return {record["id"]: Key(**record) for record in records}
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, ValueError, TypeError, KeyError) as error:
            # Never "there are no keys": that would let everyone in.
            raise _unreadable(error) from error

    def _write(self, held: dict[str, Key]) -> None:
        try:
            _write(self._file, json.dumps([asdict(k) for k in held.values()], indent=1).encode())
        except OSError as error:
            raise refused(error) from error
        self._looked = -FRESH_S

    def _pepper(self) -> bytes:
        """Read anew after FRESH_S, as the keys are: not for each request, while files may be short."""
        now = time.monotonic()
        read, pepper = self._peppered
        if now - read >= FRESH_S:
            try:
                try:
                    pepper = self._pepper_file.read_bytes()
                except FileNotFoundError:
                    _write(self._pepper_file, secrets.token_bytes(32), new=True)
                    pepper = self._pepper_file.read_bytes()
            except OSError as error:
                raise _unreadable(error) from error
            self._peppered = now, pepper
        return pepper

    @staticmethod
    def _hash(secret: str, pepper: bytes) -> str:
        return hmac.new(pepper, secret.encode(), hashlib.sha256).hexdigest()


def _unreadable(error: Exception) -> StorageError:
    reason = error.strerror if isinstance(error, OSError) else "it is damaged"
    return StorageError(
        f"the keys of this home cannot be used: {reason}",
        hint="see that the home is a folder its owner can read and write",
        code="dependency_unavailable",
    )


def _write(file: Path, data: bytes, new: bool = False) -> None:
    """Durably and at once, mode 0600. With new, a file that is already there wins."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=file.name)  # mkstemp gives 0600
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        if new:
            try:
                os.link(name, file)
            except FileExistsError:
                return
        else:
            Path(name).replace(file)
    finally:
        Path(name).unlink(missing_ok=True)


def _crc(text: str) -> str:
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = _ALPHABET[digit] + digits
    return digits
