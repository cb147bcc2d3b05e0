"""The native API described: an OpenAPI 3.1 document, and pages that need nothing from elsewhere."""

from html import escape
from typing import Any

from saccade import __version__
from saccade.inference.tiles import TIMES
from saccade.package.manifest import NAME
from saccade.protocols.protocol import STATUSES, TITLES

Record = dict[str, Any]

_NAME = {"type": "string", "pattern": f"^{NAME.pattern}(@{NAME.pattern})?$"}


def document() -> Record:
    predict = "/api/v1/models/{name}/predict"
    version = {
        "name": "version",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "pattern": "^[0-9]{1,9}$"},
    }
    name = {"name": "name", "in": "path", "required": True, "schema": _NAME, "description": "`name` or `name@alias`"}
    plain = {"name": "name", "in": "path", "required": True, "schema": _NAME}
    return {
        "openapi": "3.1.0",
        "info": {"title": "saccade", "version": __version__, "description": "Ask models about images."},
        "security": [{}, {"key": []}],
        "paths": {
            "/api/v1/models": {"get": _get("List the models", "Models", ("unauthenticated", "unknown_field"))},
            "/api/v1/models/{name}": {
                "parameters": [plain],
                "get": _get(
                    "One model: classes, input, metrics", "Model", ("unauthenticated", "not_found", "not_ready")
                ),
            },
            predict: {"parameters": [name], "post": _predict("predict")},
            "/api/v1/models/{name}/versions/{version}/predict": {
                "parameters": [plain, version],
                "post": _predict("predict_version"),
            },
            "/livez": {"get": _probe("The process answers")},
            "/readyz": {"get": _probe("Requests may come")},
            "/startupz": {"get": _probe("The models are loaded")},
            "/metrics": {"get": _probe("Counters and histograms, Prometheus text")},
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": _schemas(),
        },
    }


def _problems(codes: tuple[str, ...]) -> Record:
    by_status: dict[str, list[str]] = {}
    for code in codes:
        by_status.setdefault(str(STATUSES[code]), []).append(code)
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {s: {"description": ", ".join(c), "content": content} for s, c in sorted(by_status.items())}


def _get(summary: str, schema: str, codes: tuple[str, ...]) -> Record:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"summary": summary, "responses": {"200": {"description": "OK", "content": content}, **_problems(codes)}}


def _probe(summary: str) -> Record:
    return {"summary": summary, "responses": {"200": {"description": "yes"}, "503": {"description": "not now"}}}


def _predict(operation: str) -> Record:
    codes = tuple(c for c, s in STATUSES.items() if s in (400, 401, 404, 406, 408, 413, 415, 422, 500, 503, 504))
    binary = {"type": "string", "format": "binary"}
    text = {"type": "string", "contentEncoding": "base64"}
    several = {"type": "array", "items": {"anyOf": [{"$ref": "#/components/schemas/Answer"}, _ref("Failure")]}}
    answers = {
        "anyOf": [_ref("Answer"), {"type": "object", "required": ["results"], "properties": {"results": several}}]
    }
    return {
        "operationId": operation,
        "summary": "Ask about one image, or several",
        "parameters": [
            _query("top_k", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 5}, "best classes to give"),
            _query(
                "threshold",
                {"type": "number", "minimum": 0, "maximum": 1},
                "leave out answers below this score, and pixels of a mask that are less sure, of models that tell; "
                "default: the model's own, by class",
            ),
            _query(
                "mask",
                {"enum": ["png", "rle", "polygons", "none"], "default": "png"},
                "form of a mask; Accept: image/png gives it as the whole body",
            ),
            _query(
                "confidence",
                {"enum": ["true", "false"], "default": "false"},
                "with a mask also how sure each pixel is, of models that tell",
            ),
            _query(
                "tile",
                {
                    "anyOf": [{"enum": ["true", "false"]}, {"type": "number", "minimum": 1, "maximum": TIMES}],
                    "default": "false",
                },
                "ask a picture larger than the network in overlapping tiles, of its size or so many times as large",
            ),
            {
                "name": "x-request-timeout-ms",
                "in": "header",
                "schema": {"type": "integer", "minimum": 1},
                "description": "give up after this time",
            },
        ],
        "requestBody": {
            "required": True,
            "content": {
                "image/*": {"schema": binary},
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["image"],
                        "additionalProperties": False,
                        "properties": {"image": {"type": "array", "items": binary, "minItems": 1, "maxItems": 64}},
                    }
                },
                "application/json": {
                    "schema": {
                        "type": "object",
                        "minProperties": 1,
                        "maxProperties": 1,
                        "additionalProperties": False,
                        "properties": {"image": text, "images": {"type": "array", "items": text, "maxItems": 64}},
                    }
                },
            },
        },
        "responses": {
            "200": {
                "description": "OK",
                "content": {"application/json": {"schema": answers}, "image/png": {"schema": binary}},
            },
            **_problems(codes),
        },
    }


def _ref(name: str) -> Record:
    return {"$ref": f"#/components/schemas/{name}"}


def _query(name: str, schema: Record, text: str) -> Record:
    return {"name": name, "in": "query", "schema": schema, "description": text}


def _form(encoding: str, properties: Record, text: str) -> Record:
    required = ["encoding", *(p for p in properties if p != "holes")]
    fields = {"encoding": {"const": encoding}, **properties}
    return {"type": "object", "description": text, "required": required, "properties": fields}


def _schemas() -> Record:
    number: Record = {"type": ["number", "null"]}
    whole: Record = {"type": "integer"}
    row: Record = {
        "type": "object",
        "required": ["class_id", "label", "score"],
        "properties": {
            "class_id": {"type": "integer"},
            "label": {"type": "string"},
            "score": number,
            "box": {"type": "object", "properties": dict.fromkeys(("x_min", "y_min", "x_max", "y_max"), number)},
        },
    }
    texts, ring = {"type": "object", "additionalProperties": {"type": "string"}}, {"type": "array", "items": whole}
    rings = {"type": "object", "additionalProperties": {"type": "array", "items": ring}}
    masks: list[Record] = [
        _form(
            "png", {"data": {"type": "string", "contentEncoding": "base64"}}, "one channel of class ids, 255 is void"
        ),
        _form("rle", {"size": ring, "counts": texts}, "height and width; compressed COCO counts by class id"),
        _form("polygons", {"polygons": rings, "holes": rings}, "x, y, x, y ... by class id; fill both even-odd"),
        {"type": "null"},
    ]
    share: Record = {
        "type": "object",
        "required": ["class_id", "label", "pixels", "fraction"],
        "properties": {
            "class_id": whole,
            "label": {"type": "string"},
            "pixels": whole,
            "fraction": {"type": "number"},
            "confidence": {"type": "number", "description": "mean of its pixels, 0..1; of models that tell"},
        },
    }
    size = {"type": "object", "properties": {"width": {"type": "integer"}, "height": {"type": "integer"}}}
    words: Record = {"type": "string"}
    version = {"type": "object", "properties": {"version": words, "state": words, "reason": words}}
    model = {
        "type": "object",
        "required": ["name", "versions", "aliases"],
        "properties": {
            "name": words,
            "task": {"type": ["string", "null"]},
            "versions": {"type": "array", "items": version},
            "aliases": {"type": "object", "additionalProperties": words},
        },
    }
    objects = {name: {"type": "object"} for name in ("labels", "input", "variant")}
    more = {**objects, "thresholds": {}, "metrics": {}, "digest": words}
    return {
        "Answer": {
            "type": "object",
            "required": ["model", "version", "task", "prediction_id", "image"],
            "properties": {
                "model": words,
                "version": words,
                "task": words,
                "prediction_id": words,
                "image": size,
                "predictions": {"type": "array", "items": row},
                "nonfinite": {"type": "boolean"},
                "mask": {"anyOf": masks},
                "confidence": {
                    **masks[0],
                    "description": "one channel, how sure each pixel is in 255ths; when asked for",
                },
                "classes": {
                    "type": "array",
                    "items": share,
                    "description": "classes that occur; fraction of all pixels",
                },
            },
        },
        "Failure": {"type": "object", "required": ["error"], "properties": {"error": _ref("Problem")}},
        "Models": {
            "type": "object",
            "required": ["models"],
            "properties": {"models": {"type": "array", "items": model}},
        },
        "Model": {**model, "properties": {**model["properties"], **more}},  # type: ignore[dict-item]
        "Problem": {
            "type": "object",
            "required": ["type", "title", "status", "code", "detail", "request_id"],
            "properties": {
                "type": words,
                "title": words,
                "status": {"type": "integer"},
                "code": {"enum": sorted(STATUSES)},
                "detail": words,
                "request_id": words,
                "retry_after_s": {"type": "integer"},
            },
        },
    }


_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 56rem; margin: 2rem auto; padding: 0 1rem; }
code, pre { font: 0.9em ui-monospace, monospace; }
pre { padding: 0.8rem; overflow-x: auto; border: 1px solid #8886; border-radius: 6px; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: 0.3rem 0.6rem 0.3rem 0; }
tr { border-top: 1px solid #8884; vertical-align: top; } h2 { margin-top: 2.5rem; } b.verb { color: #08c; }
"""

_EXAMPLES = """
<pre>curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' \\
  'http://127.0.0.1:8000/api/v1/models/NAME/predict?top_k=3'

curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' -H 'Accept: image/png' \\
  http://127.0.0.1:8000/api/v1/models/NAME/predict > mask.png

curl -F image=@one.jpg -F image=@two.jpg http://127.0.0.1:8000/api/v1/models/NAME@stable/predict

saccade.Client("http://127.0.0.1:8000").predict("NAME", "photo.jpg")</pre>
"""


def _html(title: str, body: str) -> str:
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    head += f"<style>{_STYLE}</style>"
    return f'<!doctype html><html lang="en"><head>{head}</head><body><main>{body}</main></body></html>'


def page() -> str:
    """The API for people, written from the document."""
    described = document()
    parts = [
        "<h1>saccade API</h1>",
        '<p><a href="/openapi.json">openapi.json</a> · <a href="/docs/errors">errors</a></p>',
    ]
    parts.append(_EXAMPLES)
    for path, operations in described["paths"].items():
        shared = operations.get("parameters", [])
        for verb, operation in operations.items():
            if verb == "parameters":
                continue
            parts.append(f'<h2><b class="verb">{verb.upper()}</b> <code>{escape(path)}</code></h2>')
            parts.append(f"<p>{escape(operation['summary'])}</p>")
            rows = [
                f"<tr><td><code>{p['name']}</code></td><td>{p['in']}</td><td>{escape(p.get('description', ''))}</td>"
                f"<td><code>{escape(_range(p['schema']))}</code></td></tr>"
                for p in [*shared, *operation.get("parameters", [])]
            ]
            if rows:
                parts.append(f"<table><tr><th>name<th>in<th>meaning<th>values</tr>{''.join(rows)}</table>")
            if "requestBody" in operation:
                kinds = ", ".join(f"<code>{escape(k)}</code>" for k in operation["requestBody"]["content"])
                parts.append(f"<p>Body: {kinds}</p>")
            answers = "".join(
                f"<tr><td>{s}</td><td>{escape(r['description'])}</td></tr>" for s, r in operation["responses"].items()
            )
            parts.append(f"<table><tr><th>status<th>meaning</tr>{answers}</table>")
    return _html("saccade API", "".join(parts))


def _range(schema: Record) -> str:
    if "enum" in schema:
        return " | ".join(schema["enum"])
    low, high = schema.get("minimum", ""), schema.get("maximum", "")
    return f"{schema.get('type', '')} {low}..{high}" if low != "" or high != "" else str(schema.get("type", ""))


def errors_page() -> str:
    rows = "".join(
        f'<tr id="{code}"><td><code>{code}</code></td><td>{number}</td><td>{escape(TITLES[code])}</td></tr>'
        for code, number in sorted(STATUSES.items(), key=lambda item: (item[1], item[0]))
    )
    return _html("saccade errors", f"<h1>Errors</h1><table><tr><th>code<th>status<th>meaning</tr>{rows}</table>")
