"""Model and engine: golden outputs, own answers for every caller, aliases, swaps, refusals."""

import gc
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from saccade import process
from saccade.errors import ImageError, InferenceError, PackageError, UsageError
from saccade.inference import engine as module
from saccade.inference import opening, tuning
from saccade.inference.engine import Engine
from saccade.inference.model import Model
from saccade.inference.options import Options
from saccade.inference.pressure import Pressure
from saccade.inference.request import Request
from saccade.testing.packages import colors, masks, png


def red(prediction):
    return float(prediction.scores[list(prediction.class_ids).index(0)]) * 255


def test_a_model_answers_files_bytes_and_arrays_alike(tmp_path):
    data = png(10, 200, 30)
    (tmp_path / "a.png").write_bytes(data)
    pixels = np.full((30, 40, 3), (10, 200, 30), np.uint8)
    with Model.open(colors(tmp_path / "p").path) as model:
        answers = [
            model.predict(tmp_path / "a.png"),
            model.predict(str(tmp_path / "a.png")),
            *model.predict([data, pixels]),
        ]
        assert {a.scores.tobytes() for a in answers} == {answers[0].scores.tobytes()}
        assert (answers[0].width, answers[0].height) == (40, 30)
        assert model.outputs([data, data])["scores"].shape == (2, 3)
        assert model.outputs([]) == {}
        with pytest.raises(ImageError):
            model.predict(b"no picture")
        good, bad = model.results([data, b"no picture"])
        assert good.width == 40
        assert isinstance(bad, ImageError)
    with pytest.raises(InferenceError):
        model.predict(data)


def test_golden_outputs_that_do_not_come_out_refuse_the_package(tmp_path):
    package = colors(tmp_path / "p", lie=True)
    with pytest.raises(PackageError) as error:
        Model.open(package.path)
    assert error.value.code == "golden_mismatch"


def test_a_changed_byte_refuses_the_package(tmp_path):
    package = colors(tmp_path / "p")
    file = package.path / "model.onnx"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(PackageError) as error:
        Model.open(package.path)
    assert error.value.code == "digest_mismatch"


def test_marked_images_from_many_threads_each_get_their_own_answer(tmp_path):
    engine = Engine(Options(max_wait_s=None))
    engine.load(colors(tmp_path / "p").path, "colors", 1)

    def ask(mark):
        images = tuple(png(m % 256, 7, 9) for m in range(mark, mark + mark % 3 + 1))
        answer = engine.submit(Request("colors", images)).result(30)
        return [round(red(r)) for r in answer.results] == [m % 256 for m in range(mark, mark + mark % 3 + 1)]

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(300)))
    engine.close()


def test_one_bad_image_fails_alone(tmp_path):
    engine = Engine()
    engine.load(colors(tmp_path / "p").path, "colors", 1)
    answer = engine.submit(Request("colors", (png(1, 0, 0), b"junk", png(2, 0, 0)))).result(10)
    assert [round(red(r)) if not isinstance(r, Exception) else r.code for r in answer.results] == [
        1,
        "image_format_unsupported",
        2,
    ]
    assert set(answer.timings) == {"decode", "queue", "infer", "post"}
    engine.close()


def code(engine, *args, **kwargs):
    with pytest.raises(InferenceError) as error:
        engine.submit(Request(*args, **kwargs)).result(10)
    return error.value.code


def test_names_versions_and_aliases(tmp_path):
    engine = Engine()
    one, two = colors(tmp_path / "one"), colors(tmp_path / "two", reverse=True)
    engine.load(one.path, "colors", 1)
    engine.load(two.path, "colors", 2)
    engine.set_aliases("colors", {"stable": 1, "gone": 9})
    image = (png(255, 0, 0),)

    def asked(model, version=None):
        answer = engine.submit(Request(model, image, version)).result(10)
        return answer.version, answer.digest

    assert asked("colors") == (2, two.digest)
    assert asked("colors@stable") == (1, one.digest)
    assert asked("colors", 1) == (1, one.digest)
    for wrong in ("nobody", "colors@nobody", "../colors", ""):
        assert code(engine, wrong, image) == "not_found"
    assert code(engine, "colors@gone", image) == "not_ready", "the alias is known, its version may come"
    assert code(engine, "colors", image, 7) == "not_found"
    engine.unload("colors", 2)
    assert asked("colors") == (1, one.digest)
    engine.close()
    assert code(engine, "colors", image) == "draining"


@pytest.mark.parametrize("count", [0, 3, 4, 5])
def test_images_of_a_request_are_counted(tmp_path, count):
    engine = Engine(max_images=4)
    engine.load(colors(tmp_path / "p").path, "colors", 1)
    if count in (0, 5):
        assert code(engine, "colors", (png(0, 0, 0),) * count) == "batch_too_large"
    else:
        assert len(engine.submit(Request("colors", (png(0, 0, 0),) * count)).result(10).results) == count
    engine.close()


def test_a_deadline_that_has_passed_is_an_error(tmp_path):
    engine = Engine(Options())
    engine.load(colors(tmp_path / "p").path, "colors", 1)
    answer = engine.submit(Request("colors", (png(0, 0, 0),), deadline_s=0.0)).result(10)
    assert answer.results[0].code == "deadline_exceeded"
    engine.close()


def test_a_wait_that_would_be_too_long_is_refused(tmp_path, monkeypatch):
    engine = Engine(Options(max_wait_s=0.25))
    model = engine.load(colors(tmp_path / "p").path, "colors", 1).model
    monkeypatch.setattr(model, "expected_wait_s", lambda *_: 0.26)
    assert code(engine, "colors", (png(0, 0, 0),)) == "overloaded"
    monkeypatch.setattr(model, "expected_wait_s", lambda *_: 0.24)
    assert engine.submit(Request("colors", (png(0, 0, 0),))).result(10)
    engine.close()


def test_a_failed_load_keeps_what_was_there(tmp_path):
    engine = Engine()
    engine.load(colors(tmp_path / "one").path, "colors", 1)
    with pytest.raises(PackageError):
        engine.load(colors(tmp_path / "two", lie=True).path, "colors", 2)
    assert engine.versions("colors")[2].state == "failed"
    assert engine.submit(Request("colors", (png(0, 0, 0),))).result(10).version == 1
    engine.close()


def test_swapping_under_load_loses_nobody(tmp_path):
    engine = Engine(Options(max_wait_s=None))
    packages = [colors(tmp_path / str(v), reverse=v % 2 == 0) for v in range(1, 5)]
    engine.load(packages[0].path, "colors", 1)
    stop, seen, failures = threading.Event(), [], []

    def ask():
        while not stop.is_set():
            try:
                answer = engine.submit(Request("colors", (png(9, 0, 0),))).result(10)
                assert answer.digest == packages[answer.version - 1].digest
                seen.append(answer.version)
            except InferenceError as error:
                failures.append(error.code)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    [t.start() for t in threads]
    for version in (2, 3, 4):
        time.sleep(0.1)
        engine.load(packages[version - 1].path, "colors", version)
        engine.unload("colors", version - 1)
    time.sleep(0.1)
    stop.set()
    [t.join() for t in threads]
    engine.close()
    assert failures == []
    assert {1, 2, 3, 4} <= set(seen)


def test_scores_that_are_not_finite_do_not_crash(tmp_path):
    engine = Engine()
    engine.load(colors(tmp_path / "p", logarithm=True).path, "colors", 1)
    result = engine.submit(Request("colors", (png(0, 0, 255),))).result(10).results[0]
    assert not np.isfinite(result.scores).all()
    engine.close()


def test_abandoned_requests_do_not_run(tmp_path):
    engine = Engine(Options(max_wait_s=None), decode_threads=1)
    model = engine.load(colors(tmp_path / "p").path, "colors", 1).model
    image = (png(1, 1, 1, 3000, 3000),)
    futures = [engine.submit(Request("colors", image)) for _ in range(30)]
    began = time.monotonic()
    left = sum(f.cancel() for f in futures[1:])
    assert left > 20
    futures[0].result(10)
    while model._stages.pending and time.monotonic() - began < 10:
        time.sleep(0.01)
    assert model._stages.pending == 0
    assert model.counts.rows <= 30 - left + 1, "one may have been at work as its caller left"
    engine.close()


def test_cores_are_shared_among_the_runners(monkeypatch):
    for count, device, runners, threads in ((1, "cpu", 1, 1), (2, "cpu", 2, 1), (16, "cpu", 2, 8), (16, "cuda", 1, 16)):
        monkeypatch.setattr("saccade.inference.options.cores", lambda count=count: count)
        found = Options(device=device).resolved()
        assert (found.runners, found.threads) == (runners, threads)
    assert Options(runners=4, threads=3).resolved() == Options(runners=4, threads=3, max_batch=16)


def test_masks_of_one_request_have_a_limit_together(tmp_path, monkeypatch):
    engine = Engine()
    engine.load(masks(tmp_path / "p").path, "masks", 1)
    engine.load(colors(tmp_path / "c").path, "colors", 1)
    picture = png(1, 2, 3)
    monkeypatch.setattr(module, "ANSWER_LIMITS", replace(module.ANSWER_LIMITS, max_mask_pixels=2 * 40 * 30))
    assert len(engine.submit(Request("masks", (picture, picture))).result(10).results) == 2
    assert len(engine.submit(Request("colors", (picture,) * 9)).result(10).results) == 9
    with pytest.raises(InferenceError, match="in one request") as error:
        engine.submit(Request("masks", (picture,) * 3)).result(10)
    assert error.value.code == "batch_too_large", "which a client halves"
    engine.close()


def test_a_graph_that_never_answers_holds_up_no_unloading(tmp_path, monkeypatch):
    """And closing what is at work, which may wait for it, is nobody's wait either."""
    engine = Engine()
    engine.load(colors(tmp_path / "p").path, "colors", 1)
    model = engine.versions("colors")[1].model
    gate, entered = threading.Event(), threading.Event()

    def hangs(arrays, deadline):
        entered.set()
        gate.wait(60)
        raise InferenceError("late")

    def closes():
        gate.wait(60)

    monkeypatch.setattr(model._batcher, "_run", hangs)
    monkeypatch.setattr(model._graph, "close", closes)
    monkeypatch.setattr("saccade.inference.model.LAST_S", 0.1)
    stuck = engine.submit(Request("colors", (np.zeros((90, 90, 3), np.uint8),)))
    assert entered.wait(10)
    done = threading.Event()
    thread = threading.Thread(target=lambda: (engine.unload("colors", 1, drain_s=0.1), done.set()))
    thread.start()
    assert done.wait(20)
    assert not stuck.done()
    gate.set()
    with pytest.raises(InferenceError):
        raise stuck.result(10).results[0]
    thread.join()
    engine.close()


@pytest.mark.parametrize("count", [1, 3])
def test_nothing_of_a_request_stays_once_its_answer_is_let_go_of(tmp_path, count):
    """Without the collector of circles, which does not know how large a mask is."""
    engine = Engine()
    engine.load(masks(tmp_path / "p", side=64).path, "masks", 1)
    gc.collect()
    gc.disable()
    try:
        for tile in (False, True):
            answer = engine.submit(Request("masks", (png(1, 2, 3, 100, 90),) * count, tile=tile)).result(20)
            held = [weakref.ref(result.mask) for result in answer.results]
            del answer
            end = time.monotonic() + 10
            while any(ref() is not None for ref in held):
                assert time.monotonic() < end, f"tile={tile}: a mask is held"
                time.sleep(0.01)
    finally:
        gc.enable()
        engine.close()


def test_what_was_refused_before_its_pictures_came_is_counted_and_made_up_names_are_not(tmp_path):
    seen = []
    engine = Engine(observer=lambda name, version, what, seconds, caller: seen.append((name, version, what.code)))
    engine.load(colors(tmp_path / "p").path, "colors", 1)
    with pytest.raises(InferenceError):
        engine.admit("made-up", 77)
    with pytest.raises(InferenceError):
        engine.admit("colors", 78)
    engine._pressure = Pressure(bounds=lambda: [(0, 1 << 30)])
    with pytest.raises(InferenceError):
        engine.admit("colors@made-up")
    with pytest.raises(InferenceError):
        engine.admit("colors")
    engine.submit(Request("colors", (png(1, 2, 3),))).exception(10)
    assert seen == [("", "", "not_found")] * 3 + [("colors", "", "overloaded")] * 2
    engine.close()


def test_who_gave_up_because_the_time_was_over_did_not_just_leave(tmp_path, monkeypatch):
    seen, gate = [], threading.Event()
    engine = Engine(observer=lambda name, version, what, seconds, caller: seen.append(what.code))
    model = engine.load(colors(tmp_path / "p").path, "colors", 1).model
    run = model._batcher._run
    monkeypatch.setattr(model._batcher, "_run", lambda arrays, deadline: gate.wait(20) and run(arrays, deadline))
    for deadline_s in (0.2, 30.0):
        gate.clear()
        future = engine.submit(Request("colors", (png(1, 2, 3),), deadline_s=deadline_s))
        while not model._batcher._running:
            time.sleep(0.01)
        time.sleep(0.3)
        assert future.cancel()
        gate.set()
        end = time.monotonic() + 10
        while model._stages.pending:
            assert time.monotonic() < end
            time.sleep(0.01)
    assert seen == ["deadline_exceeded", "cancelled"]
    engine.close()


def test_every_process_has_a_runner_and_no_more_than_lines_can_be_handed_over(monkeypatch):
    monkeypatch.setattr("saccade.inference.options.cores", lambda: 2)
    assert Options(isolation="process", replicas=5).resolved().runners == 5
    assert Options(runners=128, isolation="process", replicas=2).runners == 128
    with pytest.raises(UsageError, match="runners are 1 to 64, got 65"):
        Options(runners=65, isolation="process")
    with pytest.raises(UsageError, match="got 0"):
        Options(runners=0)


def test_what_was_tuned_is_fitted_to_the_processes_there_are(tmp_path):
    for found, replicas, isolation, runners in ((96, 1, "none", 96), (96, 1, "process", 64), (2, 5, "process", 5)):
        tuning.write(tmp_path, tuning.Tuned("d" * 64, process.host(), "default", found, 1, 8))
        options = Options(tuning=tmp_path, isolation=isolation, replicas=replicas)
        assert options.tuned("d" * 64, "default").runners == runners


def test_lines_to_processes_are_enough_for_all_runners(tmp_path, monkeypatch):
    seen = []

    class Kept:
        inputs, outputs = (), ()

        def __init__(self, order, *_, **__):
            seen.append(order.lanes)

    monkeypatch.setattr("saccade.inference.opening.KeptGraph", Kept)
    package = colors(tmp_path / "p")
    for runners, replicas in ((3, 2), (1, 3), (4, 4)):
        opening.open_graph(package, "default", Options(runners=runners, replicas=replicas, isolation="process"))
    assert seen == [2, 1, 1]
