"""How a graph from elsewhere wants to be spoken to: read off it where it can be, asked for by name where it cannot."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from saccade.errors import PackageError, UsageError
from saccade.images.norms import MEAN, STD
from saccade.images.preprocess import INTERPOLATIONS, MODES, PreprocessSpec
from saccade.inference import specimens
from saccade.inference.runtime import OpenGraph
from saccade.package.adapter import WORDS, Adapter, BoxRule
from saccade.types import Array, Labels, TensorSpec

PRESETS: dict[str, dict[str, Any]] = {
    "imagenet": {
        "color": "rgb",
        "scale": 1 / 255,
        "mean": list(MEAN),
        "std": list(STD),
        "mode": "center_crop",
        "crop_ratio": 256 / 224,
    },
    "unit": {"color": "rgb", "scale": 1 / 255, "mode": "stretch"},
    "symmetric": {"color": "rgb", "scale": 1 / 127.5, "mean": [1.0, 1.0, 1.0], "mode": "stretch"},
}
"""Usual ways of filling an input: 0 to 1 with ImageNet's mean and deviation, 0 to 1, -1 to 1."""
GEOMETRY = ("width", "height", "mode", "interpolation", "antialias", "crop_ratio", "fill")
KEYS = (*GEOMETRY, "preset", "layout", "color", "scale", "mean", "std", "tail", "outputs", "boxes")
"""What a description may say."""
MIN_SCORE, OVERLAP = 0.05, 0.5
"""Unless the table boxes says otherwise."""
TENSORS = "or import it without a task: it then answers tensors as they are"


@dataclass(frozen=True)
class Guest:
    """labels: the ledger without a background that the scores had. notes: what was found out, in sentences."""

    preprocess: PreprocessSpec
    adapter: Adapter
    labels: Labels
    notes: tuple[str, ...] = ()


def labels(file: Path) -> Labels:
    """Names from a text file, one a line, or from a JSON list. Raises UsageError, DataError."""
    try:
        text = file.read_text("utf-8-sig")
        names = json.loads(text) if file.suffix == ".json" else [line.strip() for line in text.splitlines()]
    except (OSError, ValueError) as error:
        raise UsageError(f"the labels {file} cannot be read: {error}", hint="one name a line, UTF-8") from error
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise UsageError(f"the labels {file} hold no list of names", hint='one name a line, or JSON ["a", "b"]')
    while names and not names[-1]:
        names.pop()
    if not names:
        raise UsageError(f"the labels {file} are empty", hint="one name a line, in the order of the graph's outputs")
    return Labels(tuple(names))


def description(given: str | Path | None) -> dict[str, Any]:
    """A preset's name, or a TOML or JSON file with KEYS. Raises UsageError."""
    if given is None:
        return {}
    if str(given) in PRESETS:
        return dict(PRESETS[str(given)])
    file = Path(given)
    try:
        text = file.read_text("utf-8")
        record = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--preprocess {given} is no preset and no file that can be read: {error}",
            hint=f"{', '.join(PRESETS)}, or a TOML or JSON file",
        ) from error
    if not isinstance(record, dict) or set(record) - set(KEYS):
        strange = sorted(set(record) - set(KEYS)) if isinstance(record, dict) else "no table"
        raise UsageError(f"{file} has {strange}", hint=f"it may say {', '.join(KEYS)}")
    preset = record.pop("preset", None)
    if preset is not None and preset not in PRESETS:
        raise UsageError(f"{file}: preset is one of {', '.join(PRESETS)}, got {preset!r}")
    return {**PRESETS.get(preset, {}), **record}


def understand(
    graph: OpenGraph, last: Mapping[str, str], wanted: tuple[str, ...], ledger: Labels, wish: Mapping[str, Any]
) -> Guest:
    """Everything that is needed to fill the input and read the outputs.

    last: by output, the operator that makes it. wanted: names of the task's sealed outputs. wish: of KEYS, what the
    caller said. Raises UsageError naming what must be said, PackageError for a graph that no description helps.
    """
    spec, layout, channels, size = _input(graph, wish)
    batch = spec.shape[0] or 0
    for key in ("color", "scale", "mode"):
        if key not in wish:
            raise UsageError(
                f"{key}, how a picture fills the input {spec.name!r}, is written nowhere in the graph",
                hint=f"say --preprocess {', '.join(PRESETS)}, or a FILE with {key} = ...",
            )
    color = "gray" if channels == 1 else wish["color"]
    try:
        adapter = Adapter(
            input=spec.name,
            layout=layout,
            dtype=spec.dtype,
            color=color,
            scale=float(wish["scale"]),
            mean=_numbers(wish.get("mean", 0.0), channels),
            std=_numbers(wish.get("std", 1.0), channels),
            batch=batch,
            tail=wish.get("tail", "none"),
        )
        # Others' networks have seen what PIL and torchvision make of a picture: nothing coarser unless it is asked for.
        preprocess = PreprocessSpec(*size, **{"interpolation": "bilinear", "dct_margin": 2.0, **_geometry(wish)})
    except (PackageError, TypeError, ValueError) as error:
        raise UsageError(f"the description of the input does not fit: {error}") from error
    notes = [f"the graph takes {batch} row(s) at a time; more are run one after the other"] if batch else []
    if not batch and not specimens.rows_are_free(graph, spec, size, channels, layout):
        adapter = replace(adapter, batch=1)
        notes.append("the graph declares any number of rows and answers only one: rows are run one by one")
    answers = specimens.answers(graph, spec, size, channels, layout, max(1, batch))
    if "boxes" in wanted:
        return _with_boxes(Guest(preprocess, adapter, ledger, tuple(notes)), answers, last, wish)
    if wanted == ("mask",):
        return _with_mask(Guest(preprocess, adapter, ledger, tuple(notes)), answers, last, wish)
    if wanted == ("scores",):
        return _with_scores(Guest(preprocess, adapter, ledger, tuple(notes)), answers, last, wish)
    raise UsageError(f"models that answer {', '.join(wanted)} cannot be imported", hint=TENSORS)


def tensors_only(graph: OpenGraph) -> Guest:
    """A graph whose inputs and outputs stay as they are. Raises PackageError when it has no rows."""
    sizes = {spec.shape[0] or 0 for spec in graph.inputs if spec.shape}
    if len(sizes) != 1 or any(not spec.shape for spec in graph.inputs):
        told = ", ".join(f"{i.name!r} {_written(i.shape)}" for i in graph.inputs)
        raise PackageError(f"the inputs of the graph have no common batch axis: {told}", code="onnx_invalid")
    [batch] = sizes
    notes = ["without a task it answers tensors only"]
    if batch:
        notes.append(f"the graph takes {batch} row(s) at a time; more are run one after the other")
    return Guest(PreprocessSpec(1, 1), Adapter(batch=batch), Labels(()), tuple(notes))


# The input


def _input(graph: OpenGraph, wish: Mapping[str, Any]) -> tuple[TensorSpec, str, int, tuple[int, int]]:
    """The picture's input, its layout, channels, and width and height."""
    if len(graph.inputs) != 1:
        names = ", ".join(repr(i.name) for i in graph.inputs)
        raise PackageError(f"the graph takes {len(graph.inputs)} inputs ({names}), expected one picture", hint=TENSORS)
    spec = graph.inputs[0]
    shape = spec.shape
    told = f"input {spec.name!r} {spec.dtype} {_written(shape)}"
    if len(shape) != 4 or spec.dtype not in WORDS["dtype"]:
        raise PackageError(f"{told} takes no pictures, expected four axes [N, C, H, W] or [N, H, W, C]", hint=TENSORS)
    layout = wish.get("layout")
    if layout is None:
        first, final = shape[1] in (1, 3), shape[3] in (1, 3)
        if first == final:
            raise UsageError(f"layout of {told} is open", hint="say layout = NCHW or NHWC in --preprocess FILE")
        layout = "NCHW" if first else "NHWC"
    if layout not in WORDS["layout"]:
        raise UsageError(f"layout is NCHW or NHWC, got {layout!r}")
    channels, height, width = shape[1:] if layout == "NCHW" else (shape[3], shape[1], shape[2])
    if channels is None:
        channels = 1 if wish.get("color") == "gray" else 3
    if channels not in (1, 3):
        raise PackageError(f"{told} takes {channels} channels, a picture has 1 or 3", hint=TENSORS)
    return spec, layout, channels, (_side("width", width, wish, told), _side("height", height, wish, told))


def _side(name: str, declared: int | None, wish: Mapping[str, Any], told: str) -> int:
    asked = wish.get(name)
    if asked is None and declared is None:
        raise UsageError(f"{name} of {told} is open", hint=f"say {name} = ... (px) in --preprocess FILE")
    if asked is not None and (type(asked) is not int or asked < 1 or declared not in (None, asked)):
        raise UsageError(f"{name} of {told} is {declared or 'a whole number from 1'}, {asked!r} was asked for")
    return int(asked or declared or 0)


def _geometry(wish: Mapping[str, Any]) -> dict[str, Any]:
    given = {key: wish[key] for key in GEOMETRY[2:] if key in wish}
    for key, words in (("mode", MODES), ("interpolation", INTERPOLATIONS), ("antialias", (True, False))):
        if key in given and given[key] not in words:
            raise UsageError(f"{key} is one of {', '.join(map(str, words))}, got {given[key]!r}")
    for key, low, high in (("crop_ratio", 1, 16), ("fill", 0, 255)):
        if key in given and not (type(given[key]) in (int, float) and low <= given[key] <= high):
            raise UsageError(f"{key} is a number from {low} to {high}, got {given[key]!r}")
    return given


def _numbers(value: Any, channels: int) -> tuple[float, ...]:
    """One number for every channel, or one for all."""
    many = [value] * channels if isinstance(value, int | float) else list(value)
    many = many[:1] if channels == 1 and len(set(many)) == 1 else many
    return tuple(float(v) for v in many)


# The outputs


def _with_scores(guest: Guest, answers: Mapping[str, Array], last: Mapping[str, str], wish: Mapping[str, Any]) -> Guest:
    classes = len(guest.labels)
    fit = [n for n, v in answers.items() if v[0].size == classes]
    name = _chosen("scores", fit, answers, wish, f"{classes} scores, one for each label")
    tail = _told_tail(name, last, wish)
    several = "sigmoid" in (tail, last.get(name, "").lower())
    ledger = Labels(guest.labels.names, exclusive=not several)
    return replace(guest, labels=ledger, adapter=replace(guest.adapter, outputs={"scores": name}, tail=tail))


def _with_mask(guest: Guest, answers: Mapping[str, Array], last: Mapping[str, str], wish: Mapping[str, Any]) -> Guest:
    classes = len(guest.labels)
    planes = (classes, 1) if classes == 2 else (classes,)
    ways: dict[str, set[str]] = {}
    for name, value in answers.items():
        whole = np.issubdtype(value.dtype, np.integer)
        found = set()
        if value.ndim == 4 and not whole:
            found |= {"NCHW"} if value.shape[1] in planes else set()
            found |= {"NHWC"} if value.shape[3] in planes else set()
        if whole and (value.ndim == 3 or (value.ndim == 4 and 1 in (value.shape[1], value.shape[3]))):
            found.add("NHW")
        if found:
            ways[name] = found
    name = _chosen("mask", list(ways), answers, wish, f"a mask of {classes} classes")
    if len(ways.get(name, ())) != 1:
        raise UsageError(
            f"output {name!r} {_written(answers[name].shape)} holds no mask of {classes} classes that could be told apart",
            hint=TENSORS,
        )
    [way] = ways[name]
    single = way != "NHW" and answers[name].shape[1 if way == "NCHW" else 3] == 1
    tail = _told_tail(name, last, wish) if single else "none"
    return replace(guest, adapter=replace(guest.adapter, outputs={"mask": name}, mask=way, tail=tail))


def _with_boxes(guest: Guest, answers: Mapping[str, Array], last: Mapping[str, str], wish: Mapping[str, Any]) -> Guest:
    classes, told = len(guest.labels), wish.get("boxes")
    sealed = ("boxes", "scores", "class_ids")
    if told is None and all(n in answers for n in sealed) and [answers[n].ndim for n in sealed] == [3, 2, 2]:
        rule = BoxRule(most=min(1000, answers["boxes"].shape[1]))
        return replace(guest, adapter=replace(guest.adapter, outputs={n: n for n in sealed}, boxes=rule))
    joined = {n: w for n, v in answers.items() if (w := _joined(v, classes))}
    apart = [n for n, v in answers.items() if v.ndim == 3 and v.shape[2] == 4]
    name = _chosen("boxes", [*apart, *(n for n in joined if n not in apart)], answers, wish, "boxes [N, K, 4]")
    given = _rule(told, name)
    names = {"boxes": name}
    if name in joined and name not in apart:
        columns, objectness = joined[name]
        given |= {"columns": columns, "objectness": objectness}
        scores = name
    else:
        many = answers[name].shape[1]
        wide = (classes, classes + 1)
        fit = [n for n, v in answers.items() if n != name and v.ndim in (2, 3) and v.shape[1] == many
               and (v.ndim == 2 or v.shape[2] in wide) and np.issubdtype(v.dtype, np.floating)]  # fmt: skip
        scores = _chosen("scores", fit, answers, wish, f"scores [N, {many}] or [N, {many}, {classes}]")
        names["scores"] = scores
        if "class_ids" in wish.get("outputs", {}):
            names["class_ids"] = _chosen("class_ids", [], answers, wish, "class ids")
        elif answers[scores].ndim == 2 and classes > 1:
            raise UsageError(
                f"which output names the class of {scores!r} is written nowhere", hint="say outputs.class_ids = ..."
            )
    guest = _without_background(guest, given, answers[scores], joined=scores == name, ids="class_ids" in names)
    try:
        rule = BoxRule(**{"min_score": MIN_SCORE, "overlap": OVERLAP, **given})
    except (PackageError, TypeError) as error:
        raise UsageError(f"the table boxes does not fit: {error}") from error
    tail = _told_tail(scores, last, wish)
    return replace(guest, adapter=replace(guest.adapter, outputs=names, boxes=rule, tail=tail))


def _rule(told: Any, name: str) -> dict[str, Any]:
    known = [f.name for f in fields(BoxRule)]
    given = dict(told) if isinstance(told, Mapping) else {}
    if set(given) - set(known):
        raise UsageError(
            f"the table boxes has {sorted(set(given) - set(known))}", hint=f"it may say {', '.join(known)}"
        )
    for key in ("form", "unit"):
        if key not in given:
            raise UsageError(
                f"{key} of the boxes in {name!r} is written nowhere in the graph",
                hint=f"say [boxes] {key} = {' or '.join(WORDS[key])} in --preprocess FILE",
            )
    return given


def _without_background(guest: Guest, given: dict[str, Any], scores: Array, *, joined: bool, ids: bool) -> Guest:
    """The ledger without the class that stands for nothing. Raises UsageError when there is one column too many."""
    names, background = guest.labels.names, given.get("background", -1)
    if joined or ids or scores.ndim == 2:
        return guest
    columns = scores.shape[2]
    if background == -1:
        if columns != len(names):
            raise UsageError(
                f"the scores have {columns} columns for {len(names)} labels",
                hint="say [boxes] background = the column that means nothing is there",
            )
        return guest
    if type(background) is not int or not 0 <= background < columns:
        raise UsageError(f"background is a column of the scores, 0 to {columns - 1}, got {background!r}")
    if columns != len(names):
        return guest
    left = (*names[:background], *names[background + 1 :])
    note = f"label {names[background]!r} is the background and left the ledger"
    return replace(guest, labels=Labels(left), notes=(*guest.notes, note))


def _joined(value: Array, classes: int) -> tuple[str, bool] | None:
    """For boxes and scores in one tensor: where its columns lie, and whether one says that something is there."""
    if value.ndim != 3:
        return None
    found = [
        (columns, extra == 5)
        for columns, axis in (("last", 2), ("first", 1))
        for extra in (4, 5)
        if value.shape[axis] == extra + classes
    ]
    return found[0] if len(found) == 1 else None


def _told_tail(name: str, last: Mapping[str, str], wish: Mapping[str, Any]) -> str:
    if "tail" in wish:
        return str(wish["tail"])
    if last.get(name) in ("Softmax", "Sigmoid"):
        return "none"
    raise UsageError(
        f"whether {name!r} gives probabilities is written nowhere in the graph (it ends in {last.get(name) or 'an input'})",
        hint="say --tail softmax (one class wins), sigmoid (each for itself) or none (they are probabilities)",
    )


def _chosen(what: str, fit: list[str], answers: Mapping[str, Array], wish: Mapping[str, Any], expected: str) -> str:
    asked = wish.get("outputs", {}).get(what)
    if asked is not None:
        if asked not in answers:
            raise UsageError(f"the graph has no output {asked!r} with a row for each picture", hint=_list(answers))
        return str(asked)
    if len(fit) == 1:
        return fit[0]
    if not fit:
        raise UsageError(f"no output of the graph looks like {expected}; outputs are {_list(answers)}", hint=TENSORS)
    raise UsageError(
        f"{len(fit)} outputs look like {expected}: {', '.join(fit)}",
        hint=f"say outputs.{what} = ... in --preprocess FILE",
    )


def _list(answers: Mapping[str, Array]) -> str:
    return ", ".join(f"{n!r} {v.dtype} {_written(v.shape)}" for n, v in answers.items()) or "none with a row a picture"


def _written(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("?" if side is None else str(side) for side in shape) + "]"
