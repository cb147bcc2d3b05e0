"""Native messages: strict JSON and multipart, options, answers by the fields that are there."""

import base64
import json
import random

import numpy as np
import pytest

from saccade.errors import ImageError, SaccadeError, ServerError, StorageError
from saccade.inference.request import Answer
from saccade.protocols import protocol
from saccade.protocols.native import messages, openapi
from saccade.types import Labels, Prediction


def code(call, *args):
    with pytest.raises(SaccadeError) as error:
        call(*args)
    return error.value.code


@pytest.mark.parametrize(
    "text",
    [
        "NaN",
        "[Infinity]",
        '{"a":1,"a":2}',
        "[1",
        "",
        "18446744073709551616",
        "-9223372036854775809",
        "1e999",
        '"\ud800',
    ],
)
def test_json_refuses(text):
    assert code(messages.strict_json, text.encode("utf-8", "surrogatepass")) == "malformed_json"


@pytest.mark.parametrize(("depth", "fine"), [(31, True), (32, True), (33, False), (100_000, False)])
def test_json_depth(depth, fine):
    data = b"[" * depth + b"]" * depth
    if fine:
        messages.strict_json(data)
    else:
        assert code(messages.strict_json, data) == "malformed_json"
    messages.strict_json(json.dumps("[" * depth + '\\"[').encode())


@pytest.mark.parametrize(("keys", "fine"), [(9_999, True), (10_000, True), (10_001, False)])
def test_json_keys(keys, fine):
    data = json.dumps({str(i): i for i in range(keys)}).encode()
    if fine:
        assert len(messages.strict_json(data)) == keys
    else:
        assert code(messages.strict_json, data) == "malformed_json"


@pytest.mark.parametrize("last", ["18446744073709551616", "1e999", "-1E999", "9" * 400 + ".5", "NaN"])
def test_one_number_too_wide_among_many(last):
    many = "1,-0.5," * 10_000
    assert len(messages.strict_json(f"[{many}9]".encode())) == 20_001
    assert messages.strict_json(f"[{many}18446744073709551615]".encode())[-1] == 2**64 - 1
    assert code(messages.strict_json, f"[{many}{last}]".encode()) == "malformed_json"


def test_json_bodies():
    text = base64.b64encode(b"abc").decode()
    kind = "application/json; charset=utf-8"
    assert messages.images(kind, json.dumps({"image": text}).encode()) == ([b"abc"], False)
    assert messages.images(kind, json.dumps({"images": [text, text]}).encode()) == ([b"abc", b"abc"], True)
    for body in ({}, {"image": text, "x": 1}, {"img": text}, [], 1, {"image": text, "images": []}):
        assert code(messages.images, kind, json.dumps(body).encode()) == "unknown_field"
    for body in ({"image": 1}, {"images": text}, {"images": [None]}):
        assert code(messages.images, kind, json.dumps(body).encode()) == "malformed_json"
    with pytest.raises(ImageError):
        messages.images(kind, b'{"image": "!!"}')


def form(*parts, boundary="b"):
    body = b"".join(b"--" + boundary.encode() + b"\r\n" + head + b"\r\n\r\n" + data + b"\r\n" for head, data in parts)
    return body + b"--" + boundary.encode() + b"--\r\n"


HEAD = b'Content-Disposition: form-data; name="image"; filename="a.jpg"\r\nContent-Type: image/jpeg'


def test_as_many_pictures_in_json_as_in_a_form():
    def body(count):
        return json.dumps({"images": ["eA=="] * count}).encode()

    assert len(messages.images("application/json", body(messages.MAX_PARTS))[0]) == messages.MAX_PARTS
    assert code(messages.images, "application/json", body(messages.MAX_PARTS + 1)) == "batch_too_large"


def test_multipart_gives_the_parts_in_order():
    data = form((HEAD, b"one"), (HEAD, b"\r\n--two\r\n--"), (HEAD, b""))
    assert messages.images('multipart/form-data; boundary="b"', data) == ([b"one", b"\r\n--two\r\n--", b""], True)
    assert messages.images("multipart/form-data;boundary=b", form((HEAD, b"one"))) == ([b"one"], False)


@pytest.mark.parametrize(
    ("parts", "wanted"), [(63, None), (64, None), (65, "batch_too_large"), (0, "malformed_multipart")]
)
def test_multipart_counts(parts, wanted):
    data = form(*[(HEAD, b"x")] * parts)
    if wanted:
        assert code(messages.multipart, data, "b") in (wanted, "batch_too_large")
    else:
        assert len(messages.multipart(data, "b")) == parts


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (form((b'Content-Disposition: form-data; name="file"', b"x")), "unknown_field"),
        (form((b"Content-Type: image/jpeg", b"x")), "malformed_multipart"),
        (form((HEAD + b"\r\nContent-Transfer-Encoding: base64", b"x")), "malformed_multipart"),
        (form((HEAD + b"\r\n" + HEAD, b"x")), "malformed_multipart"),
        (form((HEAD + b"\r\nX: " + b"y" * 9000, b"x")), "malformed_multipart"),
        (form((HEAD, b"x"))[:-5], "malformed_multipart"),
        (form((HEAD, b"x")) + b"junk", "malformed_multipart"),
        (b"preamble\r\n" + form((HEAD, b"x")), "malformed_multipart"),
        (b"", "malformed_multipart"),
    ],
)
def test_multipart_refuses(data, wanted):
    assert code(messages.multipart, data, "b") == wanted


def test_multipart_boundaries():
    for boundary in ("", " ", "a\r", "é", "x" * 71, "a "):
        assert code(messages.multipart, b"--" + boundary.encode(), boundary) == "malformed_multipart"


def test_random_bodies_are_typed_refusals():
    dice = random.Random(7)
    good = form((HEAD, b"one"), (HEAD, b"two"))
    statuses = {400}
    for _ in range(3000):
        data = bytearray(good)
        for _ in range(dice.randint(1, 6)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        kind = dice.choice(["multipart/form-data; boundary=b", "application/json"])
        try:
            messages.images(kind, bytes(data))
        except SaccadeError as error:
            statuses.add(protocol.status(error.code))
    assert statuses <= {400, 413, 415, 422}


def test_content_types():
    assert messages.images("image/jpeg", b"x") == ([b"x"], False)
    assert code(messages.images, "application/x-www-form-urlencoded", b"x") == "image_format_unsupported"
    assert code(messages.images, "", b"x") == "image_format_unsupported"


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ([("top_k", "1")], None),
        ([("top_k", "1000")], None),
        ([("top_k", "0")], "invalid_value"),
        ([("top_k", "1001")], "invalid_value"),
        ([("top_k", "-1")], "invalid_value"),
        ([("top_k", "٣")], "invalid_value"),
        ([("threshold", "0")], None),
        ([("threshold", "1.0")], None),
        ([("threshold", "1.01")], "invalid_value"),
        ([("threshold", "nan")], "invalid_value"),
        ([("mask", "gif")], "invalid_value"),
        ([("topk", "3")], "unknown_field"),
        ([("top_k", "3"), ("top_k", "4")], "unknown_field"),
    ],
)
def test_options(query, wanted):
    if wanted:
        assert code(messages.Wish, query) == wanted
    else:
        messages.Wish(query)


LABELS = Labels(("cat", "dog", "fish"))


def answer_of(*results):
    return Answer("pets", 3, "d" * 64, "any", LABELS, results)


def test_an_answer_by_its_fields():
    scores = np.array([0.7, 0.2, 0.1], np.float32)
    result = Prediction(640, 480, np.array([1, 0, 2]), scores)
    body = messages.answer(answer_of(result), messages.Wish([("top_k", "2")]), False, "r")
    assert body["version"] == "3"
    assert body["image"] == {"width": 640, "height": 480}
    assert body["predictions"] == [
        {"class_id": 1, "label": "dog", "score": 0.7},
        {"class_id": 0, "label": "cat", "score": 0.2},
    ]
    boxed = Prediction(9, 9, np.array([2, 2]), scores[:2], np.array([[0, 1, 2, 3.5], [0, 0, 1, 1]], np.float32))
    rows = messages.prediction(boxed, answer_of(boxed), messages.Wish([("threshold", "0.5")]))["predictions"]
    assert rows == [
        {"class_id": 2, "label": "fish", "score": 0.7, "box": {"x_min": 0.0, "y_min": 1.0, "x_max": 2.0, "y_max": 3.5}}
    ]


def test_numbers_that_are_not_finite_are_null_and_flagged():
    result = Prediction(1, 1, np.array([0, 1]), np.array([np.nan, np.inf], np.float32))
    body = messages.prediction(result, answer_of(result), messages.Wish([]))
    assert body["nonfinite"] is True
    assert [p["score"] for p in body["predictions"]] == [None, None]
    messages.dumps(body)


def test_errors_stay_in_their_place():
    good = Prediction(1, 1, np.array([0]), np.array([1.0], np.float32))
    bad = ImageError("damaged")
    several = messages.answer(answer_of(good, bad), messages.Wish([]), True, "r1")["results"]
    assert several[0]["predictions"][0]["label"] == "cat"
    assert several[1]["error"]["code"] == "image_undecodable"
    assert several[1]["error"]["request_id"] == "r1"
    assert code(messages.answer, answer_of(bad), messages.Wish([]), False, "r") == "image_undecodable"


def test_what_takes_long_to_write_is_heavy():
    scores = np.linspace(1, 0, messages.LONG, dtype=np.float32)
    ids = np.arange(len(scores))
    few, whole = messages.Wish([("top_k", "5")]), messages.Wish([("top_k", "1000")])
    classes = Prediction(1, 1, ids, scores)
    boxes = Prediction(1, 1, ids, scores, np.zeros((len(scores), 4), np.float32))
    mask = Prediction(1, 1, mask=np.zeros((1, 1), np.uint8))
    assert not messages.heavy(answer_of(classes, classes, classes), few)
    assert messages.heavy(answer_of(classes, classes, classes), whole)
    assert not messages.heavy(answer_of(classes, ImageError("damaged")), whole)
    assert messages.heavy(answer_of(boxes, classes), few)
    assert messages.heavy(answer_of(mask), few)


def test_prediction_ids_sort_by_time_and_differ(monkeypatch):
    first = {messages.prediction_id() for _ in range(1000)}
    assert len(first) == 1000
    monkeypatch.setattr(messages.time, "time_ns", lambda: 2**62)
    assert all(i < messages.prediction_id() and len(i) == 26 for i in first)


def test_problems_tell_strangers_nothing_of_the_inside():
    body = protocol.problem(ServerError("/etc/secret broke", code="internal"), "r")
    assert body["status"] == 500
    assert "secret" not in json.dumps(body)
    assert 1 <= protocol.problem(ServerError("x", code="overloaded"), "r")["retry_after_s"] <= 5
    assert protocol.problem(ServerError("x", code="never_heard"), "r")["code"] == "internal"
    disk = StorageError("the home /var/lib/secret cannot be made: no room", hint="make room")
    assert "secret" not in json.dumps(protocol.problem(disk, "r"))
    assert protocol.problem(disk, "r")["status"] == 507
    assert set(protocol.TITLES) == set(protocol.STATUSES)


def test_pages_and_document_need_nothing_from_elsewhere():
    document = openapi.document()
    json.dumps(document)
    for page in (openapi.page(), openapi.errors_page()):
        assert "<script" not in page
        assert 'src="' not in page
        assert "@import" not in page
    assert all(f'id="{c}"' in openapi.errors_page() for c in protocol.STATUSES)


def test_the_document_lists_every_wish() -> None:
    paths = openapi.document()["paths"]
    listed = [
        {p["name"] for p in operation.get("parameters", []) if p.get("in") == "query"}
        for path in paths.values()
        for operation in path.values()
        if isinstance(operation, dict) and operation.get("operationId", "").startswith("predict")
    ]
    assert listed
    assert all(names == set(messages.Wish.names) for names in listed)
    with pytest.raises(ServerError, match="confidence is true or false"):
        messages.Wish([("confidence", "yes")])
