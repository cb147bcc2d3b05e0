"""A package's graph as a SavedModel with two signatures, opened as TensorFlow Serving opens it and
run on the golden samples.

python -m saccade.export.exporters.tf_serving.tensorflow.write RESULT PACKAGE OUT NAME ANSWERS
"""

import keyword
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from saccade.export.exporters.tf_serving.tensorflow import picture, warmup
from saccade.export.exporters.tf_serving.tensorflow.graph import Told
from saccade.images import preprocess
from saccade.images.fill import LUMA, Filling, fill
from saccade.inference.runtimes.tensorflow.aside import tell
from saccade.package import reader
from saccade.package.manifest import Manifest
from saccade.package.reader import Package

TENSORS, PICTURES = "serving_default", "serving_bytes"
ENCODED = "image_bytes"
"""TensorFlow Serving's REST asks for names that end in _bytes where values are base64."""


def write(package: Package, out: Path, name: str, answers: Path) -> dict[str, Any]:
    """out: the folder of the version. answers: an .npz to write, PART/OUTPUT or PART/pixels for each golden sample."""
    manifest = package.manifest
    spec = manifest.graphs["default"]
    told = Told(package.graph_path())
    called = short([given.name for given in spec.inputs])
    module = tf.Module()
    whole = {called[t.name]: tf.TensorSpec(t.shape, t.dtype, name=called[t.name]) for t in spec.inputs}

    @tf.function(autograph=False)
    def tensors(**given: Any) -> dict[str, Any]:
        return told({real: given[short] for real, short in called.items()})

    core = tensors.get_concrete_function(**whole)
    signatures = {TENSORS: core}
    if takes_pictures(manifest):

        @tf.function(autograph=False)
        def pictures(image_bytes: Any) -> dict[str, Any]:
            pixels = picture.pixels(image_bytes, manifest.preprocess)
            found: dict[str, Any] = core(**{called[spec.inputs[0].name]: _filled(pixels, manifest)})
            return found

        rows = spec.inputs[0].shape[0]
        signatures[PICTURES] = pictures.get_concrete_function(tf.TensorSpec([rows], tf.string, name=ENCODED))
    tf.saved_model.save(module, out, signatures=signatures)
    for empty in ("assets", "fingerprint.pb"):
        path = out / empty
        if path.is_file():
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    asked = _asked(package)
    tried = _tried(out, package, asked, called)
    np.savez(answers, **tried)
    warm = [(TENSORS, {called[k]: v for k, v in one["arrays"].items()}) for one in asked[:1]]
    if takes_pictures(manifest):
        warm += [(PICTURES, {ENCODED: [one["image"]] * (spec.inputs[0].shape[0] or 1)}) for one in asked[:1]]
    if warm:
        warmup.write(out, name, warm)
    renamed = [f"input {a!r} is called {b!r} there" for a, b in called.items() if a != b]
    return {"notes": renamed, "version": tf.__version__, "samples": len(asked)}


def short(names: Sequence[str]) -> dict[str, str]:
    """What an argument of a function may be called, for each input: no two alike."""
    made: dict[str, str] = {}
    for name in names:
        told = re.sub(r"\W", "_", name)
        told = told if told.isidentifier() and not keyword.iskeyword(told) else f"x_{told}"
        while told in made.values():
            told += "_"
        made[name] = told
    return made


def takes_pictures(manifest: Manifest) -> bool:
    return manifest.adapter is None or bool(manifest.adapter.outputs)


def _filled(pixels: Any, manifest: Manifest) -> Any:
    """uint8 [N, H, W, 3] as the graph's input wants it: images/fill.py in TensorFlow's operators."""
    if manifest.adapter is None:
        return pixels
    how: Filling = manifest.adapter.filling
    value = tf.cast(pixels, tf.float32)
    if how.color == "gray":
        value = tf.tensordot(value, LUMA, 1)[..., None]
    elif how.color == "bgr":
        value = value[..., ::-1]
    value = (value * np.float32(how.scale) - np.array(how.mean, np.float32)) / np.array(how.std, np.float32)
    value = tf.transpose(value, [0, 3, 1, 2]) if how.layout == "NCHW" else value
    if not how.dtype.startswith("float"):
        bounds = np.iinfo(how.dtype)
        value = tf.clip_by_value(tf.round(value), float(bounds.min), float(bounds.max))
    return tf.cast(value, how.dtype)


def _asked(package: Package) -> list[dict[str, Any]]:
    """The golden samples: what each signature is asked, in as many rows as the graph takes."""
    manifest = package.manifest
    found: list[dict[str, Any]] = []
    [rows] = {spec.shape[0] or 1 for spec in manifest.graphs["default"].inputs}
    for golden in package.golden():
        if not takes_pictures(manifest):
            arrays = {k: np.repeat(v[None], rows, 0) for k, v in golden.arrays.items()}
            found.append({"name": golden.name, "arrays": arrays})
            continue
        pixels = preprocess.load(golden.image_bytes, manifest.preprocess)[0]
        adapter, name = manifest.adapter, manifest.graphs["default"].inputs[0].name
        one = pixels[None] if adapter is None else fill(pixels[None], adapter.filling)
        found.append({"name": golden.name, "arrays": {name: np.repeat(one, rows, 0)}, "pixels": pixels,
                      "image": golden.image_bytes})  # fmt: skip
    return found


def _tried(out: Path, package: Package, asked: list[dict[str, Any]], called: Mapping[str, str]) -> dict[str, Any]:
    """Both signatures run in a session on the saved folder, which is how TensorFlow Serving runs them."""
    found: dict[str, Any] = {}
    spec = package.manifest.preprocess
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], str(out))

        def run(signature: str, given: Mapping[str, Any]) -> dict[str, Any]:
            told = meta.signature_def[signature]
            feeds = {told.inputs[k].name: v for k, v in given.items()}
            answers: dict[str, Any] = session.run({k: v.name for k, v in told.outputs.items()}, feeds)
            return answers

        for one in asked:
            for name, value in one["arrays"].items():
                found[f"asked/{one['name']}/{name}"] = value
            answers = run(TENSORS, {called[k]: v for k, v in one["arrays"].items()})
            found |= {f"tensors/{one['name']}/{k}": v for k, v in answers.items()}
            if "image" in one:
                rows = len(next(iter(one["arrays"].values())))
                answers = run(PICTURES, {ENCODED: np.array([one["image"]] * rows, object)})
                found |= {f"pictures/{one['name']}/{k}": v for k, v in answers.items()}
    for one in asked:
        if "image" in one:
            own = picture.pixels(tf.constant([one["image"]]), spec).numpy()[0]
            found[f"apart/{one['name']}/pixels"] = np.abs(own.astype(np.int16) - one["pixels"])
    return found


if __name__ == "__main__":
    result, package, out, name, answers = sys.argv[1:]
    tell(Path(result), lambda: write(reader.open_package(package), Path(out), name, Path(answers)))
