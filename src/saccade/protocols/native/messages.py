"""Native messages: bodies to requests, answers to JSON. Opens no socket and knows no task by name."""

import json
import math
import os
import re
import secrets
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from saccade.errors import SaccadeError, ServerError
from saccade.images import decode, masks
from saccade.inference.engine import Engine
from saccade.inference.record import FORMS, record, shown
from saccade.inference.request import Answer
from saccade.inference.shelves import Entry
from saccade.inference.tiles import TIMES
from saccade.limits import JSON_LIMITS
from saccade.protocols.protocol import problem, single
from saccade.types import Prediction

MAX_DEPTH, MAX_KEYS = JSON_LIMITS.max_depth, JSON_LIMITS.max_keys
MAX_PARTS = 64
MAX_PART_HEAD = 8192
TOP_K = 5
_chance: deque[str] = deque()
_moment = (0, "")
os.register_at_fork(after_in_child=_chance.clear)
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [one + other for one in _ALPHABET for other in _ALPHABET]
_LETTERS = (_ALPHABET * 8).encode()
"""A letter for each value of a byte, all equally often."""
# A text without an end takes the rest: were it no match, each of its quotes would be tried again to the end.
_MARKS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_DIGITS = bytes.maketrans(b"123456789E", b"000000000e")
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf';\s*({_WORD})\s*=\s*(?:"((?:[^"\\\r\n]|\\.)*)"|({_WORD}))\s*')


def prediction_id() -> str:
    """26 characters: 48 bits of time in ms, then 80 bits of chance; sorts by time, cannot be guessed."""
    global _moment
    now = time.time_ns() // 1_000_000
    moment, prefix = _moment
    if moment != now:
        prefix = "".join([_PAIRS[(now >> shift) & 1023] for shift in (40, 30, 20, 10, 0)])
        _moment = now, prefix
    try:
        return prefix + _chance.popleft()
    except IndexError:
        # Asking the system for each would give up the interpreter's lock, which costs more than the answer.
        block = secrets.token_bytes(4096).translate(_LETTERS).decode("ascii")
        _chance.extend(block[i : i + 16] for i in range(16, 4096, 16))
        return prefix + block[:16]


# Bodies


def strict_json(data: bytes, *, nonfinite: bool = False) -> Any:
    """JSON of at most 32 levels and 10,000 keys, 64-bit integers, no duplicate keys, no half surrogate pairs, no NaN
    unless nonfinite.

    Raises ServerError(malformed_json).
    """
    depth = 0
    for mark in _MARKS.finditer(data):
        sign = data[mark.start()]
        depth += 1 if sign in b"[{" else -1 if sign in b"]}" else 0
        if depth > MAX_DEPTH:
            raise _malformed(f"it is nested deeper than {MAX_DEPTH} levels")
    keys = 0
    # Looking at each number costs more than reading it: a tensor is looked over once, for what could be too wide.
    tensor = data.count(b",") > MAX_KEYS and not _wide(data)

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal keys
        keys += len(items)
        if keys > MAX_KEYS:
            raise _malformed(f"it has more than {MAX_KEYS} keys")
        record = dict(items)
        if len(record) < len(items):
            raise _malformed("a key came twice")
        return record

    try:
        record = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=pairs,
            parse_constant=float if nonfinite else _constant,
            parse_int=None if tensor else _integer,
            parse_float=None if tensor else _real,
        )
        if _SURROGATE.search(data):
            json.dumps(record, ensure_ascii=False).encode()  # a half pair could not be written back
        return record
    except UnicodeDecodeError:
        raise _malformed("it is not UTF-8") from None
    except UnicodeEncodeError:
        raise _malformed("a text has half a surrogate pair") from None
    except (ValueError, RecursionError) as error:
        where = f" at byte {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise _malformed(f"it does not parse{where}") from None


def _wide(data: bytes) -> bool:
    """Whether a number may be beyond 64 bits or beyond all floats: 19 digits in a row, or an exponent."""
    alike = data.translate(_DIGITS)
    return b"0" * 19 in alike or b"0e" in alike


def _malformed(what: str) -> ServerError:
    return ServerError(f"the body is not JSON as allowed here: {what}", code="malformed_json")


def _constant(text: str) -> Any:
    raise _malformed("NaN and Infinity are not JSON")


def _integer(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= (number := int(text)) < 2**64:
        raise _malformed("an integer is wider than 64 bits")
    return number


def _real(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _malformed("a number is out of range")
    return number


def images(content_type: str, data: bytes) -> tuple[list[bytes], bool]:
    """The encoded pictures of a body, and whether several may come back as `results`.

    Raises ServerError: malformed_json, malformed_multipart, unknown_field, image_format_unsupported; ImageError.
    """
    kind, parameters = media_type(content_type)
    if kind == "application/json":
        return _from_json(strict_json(data))
    if kind == "multipart/form-data":
        found = multipart(data, parameters.get("boundary", ""))
        return found, len(found) > 1
    if kind.startswith("image/") or kind == "application/octet-stream":
        return [data], False
    raise ServerError(
        "the content type is none that carries an image",
        hint="send image/jpeg, multipart/form-data with fields `image`, or application/json",
        code="image_format_unsupported",
    )


def media_type(text: str) -> tuple[str, dict[str, str]]:
    """`multipart/form-data; boundary=x` as type and parameters, names in lower case."""
    kind, semicolon, _ = text.partition(";")
    found: dict[str, str] = {}
    rest = text[len(kind) :]
    while rest and semicolon:
        match = _PARAMETER.match(rest)
        if match is None:
            break
        value = match.group(3) if match.group(2) is None else re.sub(r"\\(.)", r"\1", match.group(2))
        found.setdefault(match.group(1).lower(), value)
        rest = rest[match.end() :]
    return kind.strip().lower(), found


def _from_json(record: Any) -> tuple[list[bytes], bool]:
    if not isinstance(record, dict) or len(record) != 1 or not {"image", "images"} & set(record):
        raise ServerError(
            "the JSON body expects exactly one key: image, or images for several",
            hint='{"image": "<base64>"}',
            code="unknown_field",
        )
    several = "images" in record
    texts = record["images"] if several else [record["image"]]
    if not isinstance(texts, list) or not all(isinstance(t, str) for t in texts):
        raise ServerError("an image in JSON is a base64 text", hint='{"image": "<base64>"}', code="malformed_json")
    if len(texts) > MAX_PARTS:
        raise ServerError(f"more than {MAX_PARTS} images came", hint="send fewer", code="batch_too_large")
    return [decode.from_base64(t) for t in texts], several


def multipart(data: bytes, boundary: str, field: str = "image") -> list[bytes]:
    """The parts of a form whose fields all have one name (RFC 7578), in order. No nesting, no encodings.

    Raises ServerError: malformed_multipart, unknown_field, batch_too_large.
    """
    if not re.fullmatch(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]", boundary):
        raise _broken("the boundary is missing or has characters it may not have")
    fence = b"--" + boundary.encode("ascii")
    if not data.startswith(fence):
        raise _broken("it does not begin with its boundary")
    position, found = len(fence), []
    while not data.startswith(b"--", position):
        if not data.startswith(b"\r\n", position):
            raise _broken("a boundary is not followed by a line end")
        end_of_head = data.find(b"\r\n\r\n", position, position + MAX_PART_HEAD)
        if end_of_head < 0:
            raise _broken(f"a part has no end of its head within {MAX_PART_HEAD} bytes")
        _check_part(data[position + 2 : end_of_head], field)
        start = end_of_head + 4
        end = data.find(b"\r\n" + fence, start)
        if end < 0:
            raise _broken("the last boundary is missing")
        found.append(data[start:end])
        if len(found) > MAX_PARTS:
            raise ServerError(f"more than {MAX_PARTS} images came", hint="send fewer", code="batch_too_large")
        position = end + 2 + len(fence)
    if data[position + 2 :] not in (b"", b"\r\n"):
        raise _broken("something follows the last boundary")
    if not found:
        raise ServerError(f"the form has no field `{field}`", code="batch_too_large")
    return found


def _check_part(head: bytes, field: str) -> None:
    headers: dict[str, str] = {}
    for line in head.decode("latin-1").split("\r\n"):
        name, colon, value = line.partition(":")
        if not colon or not re.fullmatch(_WORD, name) or name.lower() in headers:
            raise _broken("a part has a header that is damaged or twice there")
        headers[name.lower()] = value.strip()
    kind, parameters = media_type(headers.get("content-disposition", ""))
    if kind != "form-data" or "name" not in parameters:
        raise _broken("a part has no name")
    if headers.get("content-transfer-encoding", "binary").lower() not in ("binary", "8bit", "7bit"):
        raise _broken("a part is encoded")
    if parameters["name"] != field:
        raise ServerError("the form has a field that is unknown here", hint=f"known: {field}", code="unknown_field")


def _broken(what: str) -> ServerError:
    return ServerError(f"the multipart body is damaged: {what}", code="malformed_multipart")


# Options


class Wish:
    """What the query asks of the answer. top_k 1..1000, threshold 0..1, mask png|rle|polygons|none,
    confidence true|false, tile true|false or how many times as large as the network's input, 1..16."""

    names = ("top_k", "threshold", "mask", "confidence", "tile")

    def __init__(self, query: list[tuple[str, str]]) -> None:
        given = single(query, self.names) if query else {}
        self.top_k = _whole(given["top_k"], "top_k", 1, 1000) if "top_k" in given else TOP_K
        self.threshold = _share(given["threshold"], "threshold") if "threshold" in given else None
        self.mask = given.get("mask", "png")
        if self.mask not in FORMS:
            raise ServerError(f"mask is one of {', '.join(FORMS)}", code="invalid_value")
        self.confidence = _yes(given["confidence"], "confidence") if "confidence" in given else False
        self.tile = _times(given["tile"]) if "tile" in given else 0.0


def _yes(text: str, name: str) -> bool:
    if text not in ("true", "false"):
        raise ServerError(f"{name} is true or false", code="invalid_value")
    return text == "true"


def _times(text: str) -> float:
    """How many times as large as the network's input a tile is; 0 for none."""
    if text in ("true", "false"):
        return float(text == "true")
    if not re.fullmatch(r"[0-9]{1,2}(\.[0-9]{1,6})?", text) or not 1 <= float(text) <= TIMES:
        raise ServerError(f"tile is true, false or a number from 1 to {TIMES}", code="invalid_value")
    return float(text)


def _whole(text: str, name: str, low: int, high: int) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
        raise ServerError(f"{name} is a whole number from {low} to {high}", code="invalid_value")
    return int(text)


def _share(text: str, name: str) -> float:
    if not re.fullmatch(r"[0-9]{0,3}\.?[0-9]{1,20}(e-?[0-9]{1,2})?", text) or not 0 <= float(text) <= 1:
        raise ServerError(f"{name} is a number from 0 to 1", code="invalid_value")
    return float(text)


# Answers


def answer(what: Answer, wish: Wish, several: bool, request_id: str) -> dict[str, Any]:
    """The JSON of an answer. Raises the picture's own error when only one was asked about."""
    found: list[dict[str, Any]] = []
    for result in what.results:
        try:
            if isinstance(result, SaccadeError):
                raise result
            told = prediction(result, what, wish)
        except SaccadeError as error:
            if not several:
                raise
            found.append({"error": problem(error, request_id)})
            continue
        head = {"model": what.model, "version": str(what.version), "task": what.task, "prediction_id": prediction_id()}
        found.append({**head, **told})
    return {"results": found} if several else found[0]


def prediction(result: Prediction, what: Answer, wish: Wish) -> dict[str, Any]:
    """By the fields that are there. Raises ImageError(mask_too_complex)."""
    seen = shown(result, what.labels, what.thresholds, wish.threshold, wish.top_k)
    return record(seen, what.labels, wish.mask, wish.confidence)


def picture(what: Answer, wish: Wish) -> bytes:
    """The mask of an answer about one picture, as a PNG of class ids; pixels less sure than the
    wish's threshold are void.

    Raises the picture's own error; ServerError(not_acceptable) when the answer has no mask.
    """
    (result,) = what.results
    if isinstance(result, SaccadeError):
        raise result
    mask = shown(result, what.labels, what.thresholds, wish.threshold).mask
    if mask is None:
        raise ServerError("this answer has no mask", hint="accept application/json", code="not_acceptable")
    return masks.to_png(mask)


def wants_picture(accept: str) -> bool:
    """Whether the Accept header names image/png and no JSON."""
    if "image/png" not in accept.lower():
        return False
    kinds = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    return "image/png" in kinds and not kinds & {"application/json", "application/*"}


LONG = 2000
"""Classes, boxes and tags in an answer from which writing it takes some ms."""


def heavy(what: Answer, wish: Wish) -> bool:
    """Whether writing the answer takes so long that it must not hold up other callers."""
    entries = 0
    for result in what.results:
        if not isinstance(result, SaccadeError) and result.scores is not None:
            entries += len(result.scores) if result.boxes is not None else min(wish.top_k, len(result.scores))
    return entries > LONG or masked(what)


def masked(what: Answer) -> bool:
    """Whether a picture of it was answered with a mask."""
    return any(not isinstance(r, SaccadeError) and r.mask is not None for r in what.results)


def models(engine: Engine) -> dict[str, Any]:
    return {"models": [entry(engine, name) for name in engine.names()]}


def entry(engine: Engine, name: str) -> dict[str, Any]:
    """A model in the list: its versions and their states, its aliases."""
    versions = engine.versions(name)
    newest = _newest(versions)
    return {
        "name": name,
        "task": newest.model.manifest.task if newest and newest.model else None,
        "versions": [
            {"version": str(v), "state": e.state, **({"reason": e.error.code} if e.error else {})}
            for v, e in versions.items()
        ],
        "aliases": {alias: str(v) for alias, v in engine.aliases(name).items()},
    }


def details(engine: Engine, model: str) -> dict[str, Any]:
    """One model with its class ledger, input, thresholds, metrics, digest and variant. Raises
    InferenceError(not_found)."""
    found = engine.find(model)
    assert found.model is not None
    manifest = found.model.manifest
    spec = manifest.preprocess
    return {
        **entry(engine, found.name),
        "version": str(found.version),
        "labels": manifest.labels.to_json(),
        "input": {"width": spec.width, "height": spec.height, "preprocess": spec.to_json()},
        "thresholds": _plain(manifest.thresholds),
        "metrics": _plain(manifest.metrics),
        "digest": found.model.digest,
        "variant": {
            "name": found.model.choice.variant,
            "reason": found.model.choice.reason,
            "passed": sorted(found.model.choice.passed),
        },
    }


def _newest(versions: Mapping[int, Entry]) -> Entry | None:
    ready = [e for e in versions.values() if e.model is not None]
    return max(ready, key=lambda e: e.version) if ready else None


def _plain(value: Any) -> Any:
    """Anything of a manifest as JSON, non-finite numbers as null."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


_WRITE = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def dumps(record: Any) -> bytes:
    return _WRITE(record).encode()
