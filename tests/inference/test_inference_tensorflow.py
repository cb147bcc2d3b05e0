"""SavedModels in a process of their own: the contract, what is refused unopened, and crashes that stay there."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from saccade.errors import InferenceError, PackageError
from saccade.inference import runtimes
from saccade.inference.runtimes import tensorflow as room
from saccade.inference.runtimes.tensorflow import process, savedmodel
from saccade.inference.runtimes.tensorflow.aside import aside
from saccade.inference.runtimes.tensorflow.wire import Channel, Ended
from saccade.testing.runtimes import check

PICTURE = [tf.TensorSpec([None, 32, 32, 3], tf.uint8, name="image")]


def saved(folder: Path, answer: Callable[[Any], dict[str, Any]], signature: list[Any] = PICTURE, **more: Any) -> Path:
    """A SavedModel whose serving_default is this function; more: further signatures."""
    module = tf.Module()
    made = {"serving_default": tf.function(answer, input_signature=signature).get_concrete_function()}
    made |= {k: tf.function(v, input_signature=signature).get_concrete_function() for k, v in more.items()}
    tf.saved_model.save(module, folder, signatures=made)
    return folder / "saved_model.pb"


def means(image: Any) -> dict[str, Any]:
    return {"scores": tf.reduce_mean(tf.cast(image, tf.float32), [1, 2]) / 255}


def test_contract(tmp_path: Path) -> None:
    check(runtimes.find("tensorflow"), tmp_path, lambda file: saved(file.with_suffix(""), means))


def code_of(act: Callable[[], object]) -> str:
    with pytest.raises((InferenceError, PackageError)) as caught:
        act()
    return caught.value.code


class Weighted(tf.Module):
    def __init__(self) -> None:
        self.weight = tf.Variable([1.0, 2.0, 3.0])

    @tf.function(input_signature=PICTURE)
    def __call__(self, image: Any) -> dict[str, Any]:
        return {"scores": means(image)["scores"] * self.weight}


def test_weights_are_read_and_a_crash_stays_in_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "PAUSE_S", 0.0)
    made = Weighted()
    tf.saved_model.save(made, tmp_path / "m", signatures={"serving_default": made.__call__})
    graph: Any = runtimes.find("tensorflow").open(tmp_path / "m" / "saved_model.pb", "cpu", 1)
    white = {"image": np.full((2, 32, 32, 3), 255, np.uint8)}
    np.testing.assert_allclose(graph.run(white)["scores"], [[1, 2, 3]] * 2, atol=1e-5)
    # While it answers: the one call fails with a typed error, the next is answered by a new process.
    os.kill(graph._process._child.pid, signal.SIGSTOP)
    found: list[str] = []
    asking = threading.Thread(target=lambda: found.append(code_of(lambda: graph.run(white))))
    asking.start()
    os.kill(graph._process._child.pid, signal.SIGKILL)
    asking.join()
    assert found == ["inference_failed"]
    np.testing.assert_allclose(graph.run(white)["scores"], [[1, 2, 3]] * 2, atol=1e-5)
    monkeypatch.setattr(room, "PAUSE_S", 1e9)
    os.kill(graph._process._child.pid, signal.SIGKILL)
    graph._process._child.wait()
    assert code_of(lambda: graph.run(white)) == "not_ready"
    graph.close()


def test_a_process_knows_no_secrets_and_ends_with_its_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACCADE_KEY", "secret")
    assert "secret" not in process.environment("cpu").values()
    file = saved(tmp_path / "m", means)
    code = (
        "import os, sys, pathlib; from saccade.inference import runtimes\n"
        f"g = runtimes.find('tensorflow').open(pathlib.Path({str(file)!r}), 'cpu', 1)\n"
        "print(g._process._child.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    pid = int(done.stdout)
    for _ in range(300):
        if not Path(f"/proc/{pid}").exists():
            break
        time.sleep(0.1)
    assert not Path(f"/proc/{pid}").exists()


def outside(image: Any) -> dict[str, Any]:
    text = tf.io.read_file("/etc/hostname")
    return {"scores": tf.cast(tf.strings.length(text), tf.float32) + means(image)["scores"]}


def python(image: Any) -> dict[str, Any]:
    return {"scores": tf.reshape(tf.numpy_function(lambda x: x, [means(image)["scores"]], tf.float32), [-1, 3])}


def hidden(image: Any) -> dict[str, Any]:
    """The reading stands in a branch of a loop inside another function."""
    inner = tf.function(lambda x: tf.while_loop(lambda i, a: i < 1, lambda i, a: (i + 1, a + outside(image)["scores"]),
                                                [0, x])[1])  # fmt: skip
    return {"scores": inner(means(image)["scores"])}


@pytest.mark.parametrize(("answer", "words"), [(outside, "ReadFile"), (hidden, "ReadFile"), (python, "PyFunc")])
def test_a_graph_that_reaches_outside_is_refused_before_it_runs(tmp_path: Path, answer: Any, words: str) -> None:
    saved(tmp_path / "m", answer)
    graph = savedmodel.read(tmp_path / "m")
    with pytest.raises(savedmodel.Refused, match=words) as caught:
        savedmodel.refuse_outside(graph, savedmodel.chosen(graph))
    assert caught.value.code == "package_format_forbidden"


def test_what_the_process_refuses_comes_as_a_typed_error(tmp_path: Path) -> None:
    file = saved(tmp_path / "m", outside)
    with pytest.raises(PackageError, match="ReadFile") as caught:
        runtimes.find("tensorflow").open(file)
    assert caught.value.code == "package_format_forbidden"
    with pytest.raises(PackageError, match="a folder with a saved_model"):
        runtimes.find("tensorflow").open(file.with_name("other.pb"))


def test_damaged_and_strange_models_are_refused_in_a_sentence(tmp_path: Path) -> None:
    file = saved(tmp_path / "m", means)
    whole = file.read_bytes()
    for content, words in ((whole[: len(whole) // 2], "no SavedModel"), (b"", "0 graphs")):
        file.write_bytes(content)
        with pytest.raises(savedmodel.Refused, match=words):
            savedmodel.read(tmp_path / "m")
    saved(tmp_path / "t", lambda x: {"y": tf.strings.length(x)}, [tf.TensorSpec([None], tf.string)])
    with pytest.raises(savedmodel.Refused, match="is string, expected numbers"):
        savedmodel.specs(savedmodel.chosen(savedmodel.read(tmp_path / "t")).inputs)
    saved(tmp_path / "two", means, other=means)
    graph = savedmodel.read(tmp_path / "two")
    assert list(savedmodel.signatures(graph)) == ["other", "serving_default"]
    graph.signature_def["third"].CopyFrom(graph.signature_def.pop("serving_default"))
    with pytest.raises(savedmodel.Refused, match="no signature 'serving_default' but other, third"):
        savedmodel.chosen(graph)


def test_the_operator_behind_an_output_is_found(tmp_path: Path) -> None:
    saved(tmp_path / "m", lambda image: {"scores": tf.identity(tf.nn.softmax(means(image)["scores"]))})
    graph = savedmodel.read(tmp_path / "m")
    assert savedmodel.makers(graph, savedmodel.chosen(graph)) == {"scores": "Softmax"}


def test_a_process_that_cannot_start_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "run", full)
    with pytest.raises(PackageError, match="could not be started: Resource temporarily unavailable"):
        aside("saccade.nobody", [])


# The pipe


@given(data=st.binary(max_size=200))
def test_what_the_other_side_cannot_mean_ends_the_talk(data: bytes) -> None:
    reading, writing = os.pipe()
    other = os.pipe()
    channel = Channel(reading, other[1])
    os.write(writing, data)
    os.close(writing)
    with pytest.raises(Ended):
        channel.receive()
    channel.close()
    os.close(other[0])


@given(shape=st.lists(st.integers(0, 5), max_size=4), kind=st.sampled_from(["uint8", "float16", "int64", "bool"]))
def test_arrays_come_as_they_went(shape: list[int], kind: str) -> None:
    reading, writing = os.pipe()
    channel = Channel(reading, writing)
    value = np.random.default_rng(1).integers(0, 2, shape).astype(kind)
    channel.send({"a": 1}, {"x": value, "y": value.T})
    record, arrays = channel.receive()
    channel.close()
    assert record == {"a": 1}
    for name, sent in (("x", value), ("y", value.T)):
        assert arrays[name].dtype == sent.dtype
        np.testing.assert_array_equal(arrays[name], sent)
