"""What a server says of a picture: a record by the fields that are there, which can say, draw and show itself."""

from collections import Counter
from html import escape
from pathlib import Path
from typing import Any, NotRequired, Protocol, TypedDict, TypeGuard

from saccade.errors import SaccadeError
from saccade.types import Array, Image

Picture = Path | str | bytes | Array
"""A file, encoded bytes, or uint8 pixels [H, W] or [H, W, 3], RGB."""


class Readable(Protocol):
    """An open file, or an upload of a web framework."""

    def read(self) -> bytes: ...


def is_open(image: object) -> TypeGuard[Readable]:
    """Whether something can be read. Asked for by name: uploads hand `read` on to the file inside, which `isinstance`
    with a protocol does not see."""
    return callable(getattr(image, "read", None))


SHOWN = 20
"""Rows of a notebook's table."""


class Box(TypedDict):
    """Pixels of the upright original."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float


class Found(TypedDict, total=False):
    """One class or one object. score is None where it is not a finite number; box only where something has a place."""

    class_id: int
    label: str
    score: float | None
    box: Box


class Share(TypedDict):
    """One class of a mask; fraction: of all pixels of the picture; confidence, 0..1: mean of its
    pixels, of models that tell."""

    class_id: int
    label: str
    pixels: int
    fraction: float
    confidence: NotRequired[float]


class Answer(dict[str, Any]):
    """The JSON of an answer: `model version task prediction_id image`, then `predictions`, or `mask` and `classes`.

    `error` alone stands for a picture that cannot be used. mask: by its `encoding`, png {data: base64}, rle {size,
    counts}, polygons {polygons, holes}; None when not wished. picture: what was asked about, as the caller gave it.
    """

    picture: Picture | None = None

    @property
    def predictions(self) -> list[Found]:
        """Classes or objects, best first; empty where the answer has none."""
        found: list[Found] = self.get("predictions") or []
        return found

    @property
    def classes(self) -> list[Share]:
        """Classes of a mask, largest first."""
        return sorted(self.get("classes") or [], key=lambda share: -share["pixels"])

    @property
    def error(self) -> dict[str, Any] | None:
        """Code and detail of a picture that cannot be used."""
        return self.get("error")

    def rows(self) -> list[tuple[str, float | None]]:
        """Label with score, or with share of the picture: what a bar chart shows."""
        rows = [(found["label"], found["score"]) for found in self.predictions]
        return rows + [(share["label"], share["fraction"]) for share in self.classes]

    def summary(self) -> str:
        """One line: classes with scores, objects counted by class, or shares of the picture."""
        if self.error is not None:
            return str(self.error.get("detail", self.error))
        if any("box" in found for found in self.predictions):
            counts = Counter(found["label"] for found in self.predictions)
            told = [f"{n} {label}" for label, n in counts.most_common()]
        else:
            told = [f"{found['label']} {score_text(found['score'])}" for found in self.predictions]
        told += [f"{share['label']} {100 * share['fraction']:.1f} %" for share in self.classes]
        return ", ".join(told) or "nothing found"

    def draw(self, image: Picture | None = None, *, size: int | None = None) -> Image:
        """The picture with boxes, mask or bars on it, uint8 [H, W, 3] RGB; colours as everywhere in the house.

        image: default the picture that was asked about. size: px of the longer side, to which larger pictures are
        reduced first. Raises UsageError when there is nothing to draw or the picture is another one, ImageError.
        """
        from saccade.client import drawing  # OpenCV and Pillow are loaded only for those who draw

        return drawing.draw(self, self.picture if image is None else image, size)

    def data_uri(self, image: Picture | None = None, *, size: int | None = 1024) -> str:
        """The drawn picture as a JPEG for an `<img src>`. Raises as draw does."""
        from saccade.client import drawing

        return drawing.data_uri(self, self.picture if image is None else image, size)

    def mask_pixels(self) -> Array:
        """The mask, uint8 [H, W] of class ids, 255 is void. Raises UsageError when there is none as png or rle."""
        from saccade.client import drawing

        return drawing.mask(self)

    def confidence_pixels(self) -> Array:
        """How sure each pixel of the mask is, uint8 [H, W], 255ths. Raises UsageError when it was not asked for, or the
        model does not tell."""
        from saccade.client import drawing

        return drawing.confidence(self)

    def _repr_html_(self) -> str:
        """What a notebook shows: the picture where it can be drawn, and a table with bars."""
        try:
            picture = f'<img src="{self.data_uri(size=640)}" alt="{escape(self.summary())}" style="max-width: 100%">'
        except SaccadeError:
            picture = ""  # the file has gone, or there is nothing to draw: the table says it
        rows = "".join(_row(label, value) for label, value in self.rows()[:SHOWN])
        more = len(self.rows()) - SHOWN
        rest = f"<p>and {more} more</p>" if more > 0 else ""
        told = f"<table>{rows}</table>{rest}" if rows else f"<p>{escape(self.summary())}</p>"
        head = " ".join(str(self[k]) for k in ("model", "version") if k in self)
        return f"<figure>{picture}<figcaption>{escape(head)}</figcaption>{told}</figure>"


def score_text(value: float | None) -> str:
    return "not a number" if value is None else f"{value:.3f}"


def _row(label: str, value: float | None) -> str:
    share = 0.0 if value is None else max(0.0, min(1.0, value))
    bar = f'<div style="background: #0072b2; height: 0.7em; width: {100 * share:.1f}%"></div>'
    cells = f'<td style="text-align: left">{escape(label)}</td><td style="width: 12em">{bar}</td>'
    return f"<tr>{cells}<td>{score_text(value)}</td></tr>"
