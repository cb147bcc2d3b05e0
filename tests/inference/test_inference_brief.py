"""Pictures that cost next to nothing are answered by the thread that brings them; no others ever hold it up."""

import io
import itertools
import threading
import time

import numpy as np
import pytest
from PIL import Image

from saccade.errors import ImageError, SaccadeError
from saccade.images.encode import to_png
from saccade.inference import stages
from saccade.inference.brief import BRIEF_S, HICCUP_S, LONE_S, LONGEST_S, PAUSE_S, Brief
from saccade.inference.engine import Engine
from saccade.inference.options import Options
from saccade.inference.request import Request
from saccade.inference.steady import steady
from saccade.testing.graphs import channel_means, endless
from saccade.testing.packages import colors, png


@pytest.fixture
def engine(tmp_path):
    engine = Engine(Options())
    model = engine.load(colors(tmp_path / "package").path, "colors").model
    model._stages._brief = Brief(itertools.count(0.0, 2 * LONGEST_S).__next__)  # no hiccup of this machine lasts
    model._batcher.lone_s = 1e-5
    yield engine
    engine.close()


def ask(engine, image, here_s=BRIEF_S, **how):
    """The answer, and the threads that decoded."""
    seen: list[str] = []
    load = stages.preprocess.load_inspected

    def noted(*given):
        seen.append(threading.current_thread().name)
        return load(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages.preprocess, "load_inspected", noted)
        promise = engine.ask(Request("colors", image if isinstance(image, tuple) else (image,), **how), here_s=here_s)
        done = promise.done()
        return promise.result(10), seen, done


def test_a_small_picture_is_answered_before_ask_returns(engine):
    answer, seen, done = ask(engine, png(255, 0, 51))
    assert done
    assert seen == [threading.current_thread().name]
    assert answer.batch == 1
    assert set(answer.timings) == {"decode", "queue", "infer", "post"}
    assert engine.submit(Request("colors", (png(255, 0, 51),))).result(10).results[0].scores == pytest.approx(
        answer.results[0].scores
    )


def test_not_unless_the_caller_allows_it(engine):
    future = engine.submit(Request("colors", (png(1, 2, 3),)))
    assert future.result(10).results


@pytest.mark.parametrize(
    "image",
    [
        to_png(np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)),  # many bytes
        to_png(np.zeros((1000, 1000, 3), np.uint8)),  # few bytes, many pixels
        (png(1, 1, 1), png(2, 2, 2)),
    ],
    ids=["bytes", "pixels", "several"],
)
def test_what_could_take_long_goes_to_the_pool(engine, image):
    _, seen, _ = ask(engine, image)
    assert all(name.startswith("decode-") for name in seen)


def test_what_took_long_goes_to_the_pool_until_it_is_tried_again(engine):
    brief = engine.find("colors").model._stages._brief
    now = [10.0]
    brief._clock = lambda: now[0]
    brief.took(BRIEF_S, 9.0)
    here = threading.current_thread().name
    assert ask(engine, png(9, 9, 9))[1] != [here]
    now[0] += PAUSE_S
    assert ask(engine, png(9, 9, 9))[1] == [here]


def test_each_bound_learns_by_itself_and_pauses_longer_each_time():
    now = [10.0]
    brief = Brief(lambda: now[0])
    assert brief.expects(BRIEF_S)
    for _ in range(9):
        brief.took(LONE_S, 0.004)
    assert brief.expects(LONE_S)
    assert brief.expects(BRIEF_S), "of which nothing is known"
    brief.took(LONE_S, LONE_S + HICCUP_S)
    assert brief.expects(LONE_S), "one hiccup says nothing"
    brief.took(BRIEF_S, 0.5)
    assert not brief.expects(BRIEF_S)
    assert brief.expects(LONE_S)
    for pause in (PAUSE_S, 2 * PAUSE_S, 4 * PAUSE_S):
        now[0] += pause - 0.01
        assert not brief.expects(BRIEF_S)
        now[0] += 0.01
        assert brief.expects(BRIEF_S)
        brief.took(BRIEF_S, 0.002)
    for _ in range(500):
        now[0] += LONGEST_S
        brief.took(BRIEF_S, 0.0005)
    assert brief.expects(BRIEF_S)
    brief.took(BRIEF_S, 0.5)
    now[0] += PAUSE_S
    assert brief.expects(BRIEF_S), "forgiven"


def test_what_is_small_is_near_while_larger_ones_of_the_same_caller_pause(engine):
    engine.find("colors").model._stages._brief = Brief(lambda: 10.0)
    engine.find("colors").model._stages._brief.took(LONE_S, 9.0)
    assert ask(engine, png(9, 9, 9), here_s=LONE_S)[1] == [threading.current_thread().name]
    assert ask(engine, photo(), here_s=LONE_S)[1] != [threading.current_thread().name]


def test_a_row_that_is_none_leaves_nothing_behind(engine):
    model = engine.find("colors").model
    answer = engine.ask(Request("colors", ({"image": [1, 2]},)), here_s=LONE_S).result(10)
    assert isinstance(answer.results[0], SaccadeError)
    assert model._intake.pending() == 0


def test_nothing_stays_with_who_brings_it_while_another_model_has_work(engine):
    class Others:
        pending = 1

    others = Others()
    engine._intake.join(others)
    assert ask(engine, png(9, 9, 9))[1] != [threading.current_thread().name]
    engine._intake.leave(others)
    assert ask(engine, png(9, 9, 9))[1] == [threading.current_thread().name]


@pytest.mark.parametrize("seconds", [0.0015, 0.009])
def test_what_always_takes_a_little_too_long_is_hardly_tried(seconds):
    now, tried = [10.0], 0
    brief = Brief(lambda: now[0])
    for _ in range(60_000):
        now[0] += 0.01
        if brief.expects(BRIEF_S):
            tried += 1
            brief.took(BRIEF_S, seconds)
    assert tried < 30, "of ten minutes"


def photo(side=400, **how):
    dice = np.random.default_rng(0)
    coarse = Image.fromarray(dice.integers(0, 256, (9, 9, 3), np.uint8)).resize((side, side))
    coarse.save(out := io.BytesIO(), "JPEG", **how)
    return out.getvalue()


@pytest.mark.parametrize(
    ("image", "near"),
    [
        (photo(), True),
        (photo(progressive=True), False),
        (photo(900), False),
        (to_png(np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)), False),
    ],
    ids=["photo", "of many scans", "large", "many bytes"],
)
def test_who_is_alone_may_hold_up_the_thread_for_longer(engine, image, near):
    model = engine.find("colors").model
    for _ in range(2):
        model._batcher.lone_s = 1e-5
        _, seen, _ = ask(engine, image, here_s=LONE_S)
        assert (seen == [threading.current_thread().name]) == near
    assert ask(engine, image)[1] != [threading.current_thread().name]


def test_a_long_graph_never_holds_up_the_caller(engine, monkeypatch):
    model = engine.find("colors").model
    monkeypatch.setattr(model._batcher, "lone_s", 0.1)
    assert ask(engine, png(9, 9, 9))[1] != [threading.current_thread().name]


def test_a_bad_picture_is_its_own_error_either_way(engine):
    answer, _, _ = ask(engine, png(1, 2, 3)[:40])
    assert isinstance(answer.results[0], ImageError)


def test_a_graph_with_loops_is_run_by_runners_alone(tmp_path):
    assert steady(channel_means(tmp_path / "means.onnx"))
    assert not steady(endless(tmp_path / "endless.onnx"))
    (tmp_path / "model.xml").write_text('<layer id="4" name="loop" type="Loop" version="opset5">')
    (tmp_path / "model.pt2").write_bytes(b"of such files nothing can be told")
    assert not steady(tmp_path / "model.xml")
    assert not steady(tmp_path / "model.pt2")
    assert not steady(tmp_path)
    engine = Engine(Options())
    model = engine.load(colors(tmp_path / "package", fault=endless).path, "colors").model
    ran = []
    run = model._batcher._run
    model._batcher._run = lambda *given: ran.append(threading.current_thread().name) or run(*given)
    _, seen, done = ask(engine, png(9, 9, 9))
    assert not done
    assert [name.startswith("decode-") for name in seen] == [True]
    assert [name.startswith("batcher") for name in ran] == [True]
    future = engine.ask(Request("colors", ({"image": np.zeros((32, 32, 3), np.uint8)},)), here_s=BRIEF_S)
    assert future.result(10).results
    assert [name.startswith("batcher") for name in ran] == [True, True]
    engine.close()


@pytest.mark.parametrize(("lone", "asked"), [(True, 8), (True, 60), (False, 60)])
def test_where_sharing_saves_little_a_picture_ends_in_the_thread_that_decoded_it(tmp_path, monkeypatch, lone, asked):
    monkeypatch.setattr(stages, "SOON_S", 10.0)  # a run of 2 ms is a short one on a busy machine too
    engine = Engine(Options(runners=2), decode_threads=2)
    model = engine.load(colors(tmp_path / "package").path, "colors").model
    model._batcher.sizes.lone = lone
    ran, run = [], model._batcher._run

    def slow(*given):
        ran.append(threading.current_thread().name)
        time.sleep(0.002)
        return run(*given)

    model._batcher._run = slow
    futures = [engine.submit(Request("colors", (png(i, 2 * i, 3),))) for i in range(asked)]
    answers = [future.result(10) for future in futures]
    engine.close()
    threads = {name.partition("-")[0] for name in ran}
    if lone and asked <= stages.DEEP * 2:
        assert threads == {"decode"}
        told = {(answer.batch, answer.why) for answer in answers}
        assert (1, "sharing would save little") in told
        assert told <= {(1, "sharing would save little"), (1, "all that waited")}, "of one that met nobody"
    else:
        assert "batcher" in threads, "where many wait, or sharing saves much"
    for i, answer in enumerate(answers):
        assert answer.results[0].scores.max() == pytest.approx(max(i, 2 * i, 3) / 255, abs=0.01)
