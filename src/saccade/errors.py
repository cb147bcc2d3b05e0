"""One family of exceptions, each with a stable code and a hint that holds the cure. Knows no HTTP.

SaccadeError
├── UsageError            the caller asked for something that cannot be (exit code 2)
├── DataError             a dataset or one of its files is not what it should be
├── ImageError            a picture cannot be used: format, size, damage
├── TrainingError         a run cannot go on
├── PackageError          a sealed package is not what it says
├── RegistryError         a name, version or alias is missing or taken
├── StorageError          a disk or database refused
├── InferenceError        a request cannot be answered
└── ServerError           a transport, limit, key or setting refuses
"""

import errno
from collections.abc import Mapping
from typing import Any


class SaccadeError(Exception):
    """A failure in domain words.

    code: snake_case and stable, listed in LIMITS; message: expected and received in one sentence; hint: the cure;
    details: numbers a machine may use (limit, max_bytes, retry_after_s). Neither detail nor message of an error
    that reaches a stranger holds paths, SQL or other callers' names.
    """

    code = "internal"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        code: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code or type(self).code
        self.details = dict(details or {})

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(SaccadeError):
    code = "usage"


class DataError(SaccadeError):
    code = "data_invalid"


class ImageError(SaccadeError):
    """Codes: image_format_unsupported, image_too_many_pixels, image_too_complex, image_decode_timeout,
    image_undecodable."""

    code = "image_undecodable"


class TrainingError(SaccadeError):
    code = "training_failed"


class PackageError(SaccadeError):
    """Codes: package_invalid, digest_mismatch, golden_mismatch, onnx_invalid, package_format_forbidden."""

    code = "package_invalid"


class RegistryError(SaccadeError):
    """Codes: not_found, name_invalid, already_exists."""

    code = "not_found"


class StorageError(SaccadeError):
    """Codes: storage_full, dependency_unavailable, already_exists."""

    code = "storage_full"

    @classmethod
    def of(cls, error: OSError, what: str, *, room: str, hint: str = "see who may write there") -> "StorageError":
        """What a system refused, in our words: storage_full and the cure `room` when space, quota or the size of a file
        ran out, else dependency_unavailable and `hint`. what: the start of a sentence that ends in the cause."""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        said = f"{what}: {'the disk is full' if full else error.strerror or error}"
        full = full or error.errno == errno.EFBIG
        return cls(said, hint=room if full else hint, code="storage_full" if full else "dependency_unavailable")


class InferenceError(SaccadeError):
    """Codes: inference_failed, overloaded, deadline_exceeded, not_ready, draining, not_found, batch_too_large."""

    code = "inference_failed"


class ServerError(SaccadeError):
    """Codes of LIMITS section 1 that belong to transport, identity and settings."""

    code = "internal"


def first_line(error: BaseException, most: int = 160) -> str:
    """What an error of another hand says first, in at most so many letters; its kind where it says nothing."""
    lines = str(error).splitlines()
    return lines[0][:most] if lines else type(error).__name__
