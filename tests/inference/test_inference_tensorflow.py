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

from saccade import tasks
from saccade.errors import InferenceError, PackageError
from saccade.images.preprocess import PreprocessSpec
from saccade.inference import memory, opening, runtimes
from saccade.inference.engine import Engine
from saccade.inference.options import Options
from saccade.inference.request import Request
from saccade.inference.runtimes.tensorflow import process, savedmodel
from saccade.inference.runtimes.tensorflow.aside import aside
from saccade.inference.runtimes.tensorflow.wire import Channel, Ended, Late
from saccade.package.manifest import GraphEntry, Manifest
from saccade.package.reader import Package
from saccade.package.writer import PackageWriter
from saccade.testing import engines
from saccade.testing.graphs import CHANNELS
from saccade.testing.packages import png
from saccade.testing.runtimes import check
from saccade.types import Labels, TensorSpec

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


def deadly(image: Any) -> dict[str, Any]:
    """`means` that ends its process once a picture is all red."""
    scores = means(image)["scores"]

    def end() -> Any:
        with tf.control_dependencies([tf.raw_ops.Abort(error_msg="enough")]):
            return tf.identity(scores)

    red = tf.reduce_any(tf.reduce_min(image[..., 0], [1, 2]) == 255)
    return {"scores": tf.cond(red, end, lambda: scores)}


def sealed(folder: Path) -> Package:
    """A package whose graph is `deadly`."""
    root = saved(folder.with_name("saved_model"), deadly).parent
    writer = PackageWriter(folder)
    for file in root.rglob("*"):
        if file.is_file() and file.name != "fingerprint.pb":
            writer.add(f"saved_model/{file.relative_to(root).as_posix()}", file.read_bytes())
    writer.add_golden("one", png(51, 102, 153), {"scores": np.array([0.2, 0.4, 0.6], np.float32)})
    given, answered = TensorSpec("image", "uint8", (None, 32, 32, 3)), TensorSpec("scores", "float32", (None, 3))
    entry = GraphEntry("saved_model/saved_model.pb", "tensorflow", (given,), (answered,))
    labels, task = Labels(CHANNELS, exclusive=False), tasks.fitting(("classes",))[0]
    return writer.seal(Manifest("colors", task, labels, PreprocessSpec(32, 32), {"default": entry}, golden=("one",)))


def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)


WHITE = {"image": np.full((2, 32, 32, 3), 255, np.uint8)}


def test_weights_are_read_and_runs_wait_for_the_next_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Weighted()
    tf.saved_model.save(made, tmp_path / "m", signatures={"serving_default": made.__call__})
    graph: Any = runtimes.find("tensorflow").open(tmp_path / "m" / "saved_model.pb", "cpu", 1)
    np.testing.assert_allclose(graph.run(WHITE)["scores"], [[1, 2, 3]] * 2, atol=1e-5)
    os.kill(graph.health().processes[0], signal.SIGKILL)
    until(lambda: graph.health().lost == 1)
    assert (graph.health().live, graph.health().trouble, graph.fault()) == (0, "ended by SIGKILL", None)
    assert not graph.wait(0)
    assert code_of(lambda: graph.run_until(WHITE, time.monotonic() + 0.1)) == "deadline_exceeded"
    np.testing.assert_allclose(graph.run(WHITE)["scores"], [[1, 2, 3]] * 2, atol=1e-5)
    # One that cannot come back is told, and comes back once it can.
    with monkeypatch.context() as broken:
        broken.setattr(sys, "executable", "/bin/false")
        os.kill(graph.health().processes[0], signal.SIGKILL)
        until(lambda: graph.fault() is not None)
        assert graph.fault().details["retry_after_s"] >= 1
        assert code_of(lambda: graph.run(WHITE)) == code_of(lambda: graph.wait(1)) == "not_ready"
        assert "ended while it opened" in graph.health().trouble
    np.testing.assert_allclose(_in_time(graph), [[1, 2, 3]] * 2, atol=1e-5)
    graph.close()


def _in_time(graph: Any) -> Any:
    until(lambda: graph.health().live == 1)
    return graph.run(WHITE)["scores"]


def test_closing_waits_for_no_start(tmp_path: Path) -> None:
    graph: Any = runtimes.find("tensorflow").open(saved(tmp_path / "m", means), "cpu", 1)
    os.kill(graph.health().processes[0], signal.SIGKILL)
    until(lambda: graph._coming is not None)
    coming = graph._coming.pid
    began = time.monotonic()
    graph.close()
    assert time.monotonic() - began < 2, "a start takes longer than that"
    assert not Path(f"/proc/{coming}").exists()
    assert code_of(lambda: graph.run(WHITE)) == "not_ready"


@pytest.mark.parametrize("isolation", ["none", "process"])
def test_a_picture_that_ends_the_process_is_lost_alone(tmp_path: Path, isolation: str) -> None:
    engine = Engine(Options(max_wait_s=None, isolation=isolation, tuning=tmp_path / "tuning"))
    package = sealed(tmp_path / "p")
    model: Any = engine.load(package.path, "colors", 1).model
    assert memory.floor(package, "default") > memory.BARE["tensorflow"]
    peak = memory.read(tmp_path / "tuning", package.digest, "default") or 0
    assert 250e6 < peak < 4e9, "what holds the library counts"
    assert model.health().resident > 250e6
    pictures = tuple(png(mark, 0, 0) for mark in (1, 2, 255, 3, 4))
    answer = engine.submit(Request("colors", pictures, deadline_s=60)).result(90)
    assert [engines.red(result) for result in answer.results] == [1, 2, "worker_lost", 3, 4]
    until(lambda: model.health().live == 1)
    assert model.health().lost == 2
    assert engine.versions("colors")[1].state == "ready"
    engine.close()


def test_the_bound_of_a_run_is_the_servers(tmp_path: Path) -> None:
    graph: Any = opening.open_graph(sealed(tmp_path / "p"), "default", Options(hang_s=7.0))
    assert graph.hang_s == 7.0
    graph.close()


def test_a_process_knows_no_secrets_and_ends_with_its_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACCADE_KEY", "secret")
    assert "secret" not in process.environment("cpu").values()
    file = saved(tmp_path / "m", means)
    code = (
        "import os, sys, pathlib; from saccade.inference import runtimes\n"
        f"g = runtimes.find('tensorflow').open(pathlib.Path({str(file)!r}), 'cpu', 1)\n"
        "print(g.health().processes[0], flush=True); os.kill(os.getpid(), 9)"
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


def test_a_pipe_that_nobody_empties_or_fills_is_late() -> None:
    reading, writing = os.pipe()
    channel = Channel(reading, writing)
    large = {"x": np.zeros(4_000_000, np.uint8)}
    # Of what was sent in vain the beginning can be received.
    for act in (lambda until: channel.send({}, large, until), channel.receive):
        began = time.monotonic()
        with pytest.raises(Late):
            act(began + 0.2)
        assert 0.2 <= time.monotonic() - began < 2
    channel.close()


def test_a_talk_with_a_moment_to_end_is_the_same_talk() -> None:
    reading, writing = os.pipe()
    channel, value = Channel(reading, writing), np.arange(3_000_000, dtype=np.int32)
    found: list[Any] = []
    listening = threading.Thread(target=lambda: found.append(channel.receive(time.monotonic() + 20)))
    listening.start()
    channel.send({"a": 1}, {"x": value}, time.monotonic() + 20)
    listening.join()
    assert found[0][0] == {"a": 1}
    np.testing.assert_array_equal(found[0][1]["x"], value)
    channel.close()
