"""The batcher: each row its own outputs, errors of one row only, deadlines, cancelled work, a bounded queue."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from saccade.errors import InferenceError
from saccade.inference.batcher import Batcher


def row(mark):
    return {"image": np.full((4, 4, 3), mark % 251, np.uint8)}


def double(arrays, deadline=None):
    return {"scores": arrays["image"].reshape(len(arrays["image"]), -1).astype(np.float32) * 2}


def far():
    return time.monotonic() + 60


@pytest.mark.parametrize("runners", [1, 3])
def test_every_caller_gets_its_own_row(runners):
    batches = []

    def run(arrays, deadline):
        batches.append(len(arrays["image"]))
        time.sleep(0.001)
        return double(arrays)

    batcher = Batcher(run, max_batch=8, runners=runners).start()

    def ask(mark):
        ran = batcher.submit(row(mark), far()).result(10)
        return float(ran.outputs["scores"][0]), ran.outputs["scores"].shape

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(600)))
    batcher.close()
    assert answers == [((m % 251) * 2.0, (48,)) for m in range(600)]
    assert max(batches) > 1
    assert max(batches) <= 8


def test_two_runners_run_at_the_same_time_and_a_failing_row_stays_alone():
    both = threading.Barrier(2)

    def run(arrays, deadline):
        both.wait(10)
        if (arrays["image"] == 13).any():
            raise RuntimeError("bad row")
        return double(arrays)

    batcher = Batcher(run, max_batch=1, runners=2).start()
    good, bad = batcher.submit(row(7), far()), batcher.submit(row(13), far())
    assert float(good.result(10).outputs["scores"][0]) == 14
    with pytest.raises(InferenceError) as caught:
        bad.result(10)
    assert caught.value.code == "inference_failed"
    batcher.close()


class Brittle(np.ndarray):
    """Of which a row cannot be copied, as where memory ran out."""

    def __getitem__(self, index):
        raise MemoryError("no room for a copy")


def test_a_runner_that_cannot_copy_its_answers_lives_on():
    brittle = [True]

    def run(arrays, deadline):
        found = double(arrays)
        return {name: value.view(Brittle) for name, value in found.items()} if brittle[0] else found

    batcher = Batcher(run, max_batch=4).start()
    with pytest.raises(InferenceError) as error:
        batcher.submit(row(1), far()).result(10)
    assert error.value.code == "inference_failed"
    brittle[0] = False
    assert int(batcher.submit(row(3), far()).result(10).outputs["scores"][0]) == 6
    batcher.close()


def held():
    """A runner that waits at a gate, so that rows queue behind it."""
    gate, entered, seen = threading.Event(), threading.Event(), []

    def run(arrays, deadline):
        seen.append([int(a[0, 0, 0]) for a in arrays["image"]])
        entered.set()
        assert gate.wait(10)
        return double(arrays)

    return gate, entered, seen, run


def test_a_batch_is_what_queued_meanwhile():
    gate, entered, seen, run = held()
    batcher = Batcher(run, max_batch=4).start()
    first = batcher.submit(row(0), far())
    assert entered.wait(10)
    rest = [batcher.submit(row(m), far()) for m in range(1, 7)]
    gate.set()
    assert [int(f.result(10).outputs["scores"][0]) for f in [first, *rest]] == [0, 2, 4, 6, 8, 10, 12]
    batcher.close()
    assert seen == [[0], [1, 2, 3, 4], [5, 6]]


def test_a_batch_leaves_the_other_runners_their_share():
    gate, _, seen, run = held()
    batcher = Batcher(run, max_batch=16, runners=3).start()
    first = [batcher.submit(row(m), far()) for m in range(3)]
    while len(seen) < 3:
        time.sleep(0.001)
    rest = [batcher.submit(row(m), far()) for m in range(3, 15)]
    gate.set()
    ran = [f.result(10) for f in [*first, *rest]]
    batcher.close()
    assert sorted(m for batch in seen for m in batch) == list(range(15))
    assert len(seen[3]) == 4, "a third of the twelve that waited"
    assert max(map(len, seen)) == 4
    assert ran[3].why == "its share of what waited"


def test_cancelled_and_expired_rows_never_run():
    gate, entered, seen, run = held()
    batcher = Batcher(run, max_batch=8).start()
    first = batcher.submit(row(0), far())
    assert entered.wait(10)
    left, late, kept = (
        batcher.submit(row(1), far()),
        batcher.submit(row(2), time.monotonic()),
        batcher.submit(row(3), far()),
    )
    assert left.cancel()
    gate.set()
    assert first.result(10)
    with pytest.raises(InferenceError) as error:
        late.result(10)
    assert error.value.code == "deadline_exceeded"
    assert kept.result(10).batch == 1
    batcher.close()
    assert seen == [[0], [3]]


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_the_queue_is_bounded(extra):
    gate, entered, _, run = held()
    batcher = Batcher(run, max_queue=5).start()
    batcher.submit(row(0), far())
    assert entered.wait(10)
    wanted, refused = 5 + extra, 0
    for mark in range(wanted):
        try:
            batcher.submit(row(mark), far())
        except InferenceError as error:
            refused += error.code == "overloaded"
    gate.set()
    batcher.close()
    assert refused == max(0, extra)


def test_one_bad_row_in_a_batch_fails_alone():
    def run(arrays, deadline):
        if (arrays["image"][:, 0, 0, 0] == 13).any():
            raise RuntimeError("unlucky")
        return double(arrays)

    batcher = Batcher(run, max_batch=64)
    futures = [batcher.submit(row(m), far()) for m in range(64)]
    batcher.start()
    for mark, future in enumerate(futures):
        if mark == 13:
            with pytest.raises(InferenceError) as error:
                future.result(10)
            assert error.value.code == "inference_failed"
            assert "unlucky" not in str(error.value)
        else:
            assert float(future.result(10).outputs["scores"][0]) == mark * 2
    batcher.close()


def test_after_a_failed_batch_no_row_whose_time_is_over_runs_again():
    now, ran = [100.0], []

    def run(arrays, deadline):
        ran.append(len(arrays["image"]))
        now[0] += 10.0
        if (arrays["image"][:, 0, 0, 0] == 13).any():
            raise RuntimeError("unlucky")
        return double(arrays)

    batcher = Batcher(run, max_batch=4, clock=lambda: now[0])
    futures = [batcher.submit(row(mark), 100.0 + s) for mark, s in ((13, 500), (1, 5), (2, 500), (3, 25))]
    batcher.start()
    assert float(futures[2].result(10).outputs["scores"][0]) == 4
    codes = [futures[i].exception(10).code for i in (0, 1, 3)]
    assert codes == ["inference_failed", "deadline_exceeded", "deadline_exceeded"]
    assert ran == [4, 1, 1], "the bad one, and the one that somebody waits for"
    batcher.close()


def test_rows_of_unlike_shape_never_share_a_batch():
    shapes = []

    def run(arrays, deadline):
        shapes.append(arrays["image"].shape)
        return {"scores": arrays["image"].sum((1, 2, 3))[:, None]}

    batcher = Batcher(run)
    futures = [batcher.submit({"image": np.ones((s, s, 3), np.uint8)}, far()) for s in (2, 2, 4, 2)]
    batcher.start()
    assert [int(f.result(10).outputs["scores"][0]) for f in futures] == [12, 12, 48, 12]
    batcher.close()
    assert shapes == [(2, 2, 2, 3), (1, 4, 4, 3), (1, 2, 2, 3)]


def test_a_graph_that_loses_rows_is_an_error():
    batcher = Batcher(lambda arrays, deadline: {"scores": np.zeros((7, 1))}).start()
    with pytest.raises(InferenceError, match="shape"):
        batcher.submit(row(1), far()).result(10)
    batcher.close()


def test_closing_runs_what_was_accepted_and_refuses_the_rest():
    batcher = Batcher(double)
    futures = [batcher.submit(row(m), far()) for m in range(20)]
    batcher.start()
    batcher.close()
    assert [float(f.result(0).outputs["scores"][0]) for f in futures] == [m * 2.0 for m in range(20)]
    with pytest.raises(InferenceError) as error:
        batcher.submit(row(1), far())
    assert error.value.code == "not_ready"


def queued(submit, **options):
    """Which marks shared a run, when all had queued before the first could end."""
    gate, entered, seen, run = held()
    batcher = Batcher(run, **options).start()
    first = batcher.submit(row(0), far())
    assert entered.wait(10)
    futures = submit(batcher)
    gate.set()
    for mark, future in futures.items():
        assert int(future.result(10).outputs["scores"][0]) == mark * 2
    assert first.result(10)
    batcher.close()
    return seen[1:]


def test_callers_take_turns():
    def submit(batcher):
        many = {m: batcher.submit(row(m), far(), caller="many") for m in range(1, 7)}
        return many | {m: batcher.submit(row(m), far(), caller=m) for m in (11, 12)}

    assert queued(submit, max_batch=4) == [[1, 11, 12, 2], [3, 4, 5, 6]]


def test_urgent_rows_go_first_and_the_others_never_starve():
    def submit(batcher):
        slow = {m: batcher.submit(row(m), far(), urgent=False) for m in range(1, 4)}
        return slow | {m: batcher.submit(row(m), far()) for m in range(11, 31)}

    runs = queued(submit, max_batch=3)
    order = [mark for run in runs for mark in run]
    assert order == [*range(11, 19), 1, *range(19, 27), 2, *range(27, 31), 3]


def test_batches_shrink_to_what_the_objective_leaves_room_for_and_grow_again():
    now, cost = [0.0], [0.010]

    def run(arrays, deadline):
        now[0] += cost[0] * len(arrays["image"])
        return double(arrays)

    # 40 ms for everything leaves 20 ms for a run: two rows of 10 ms each.
    batcher = Batcher(run, max_batch=16, objective_s=0.04, clock=lambda: now[0])
    limits = []

    def serve(rows):
        futures = [batcher.submit(row(m), 1e9) for m in range(rows)]
        while len(batcher):
            batcher._serve(*batcher._take())
            limits.append(batcher.limit)
        assert [int(f.result(0).outputs["scores"][0]) for f in futures] == [m * 2 for m in range(rows)]

    serve(20)
    assert limits[0] == 2
    assert batcher.limit == 2
    cost[0] = 0.001
    serve(40)
    assert batcher.limit == 16
    cost[0] = 1.0
    serve(3)
    assert batcher.limit == 1
    assert Batcher(run, max_batch=16).limit == 16


def test_marked_rows_of_many_callers_come_back_to_them_whatever_goes_wrong():
    """Sizes, errors, deadlines and departures mixed: whoever gets an answer gets his own."""
    dice = np.random.default_rng(5)

    def run(arrays, deadline):
        time.sleep(0.0005)
        if (arrays["image"][:, 0, 0, 0] == 13).any():
            raise RuntimeError("unlucky")
        return {"mark": arrays["image"].astype(np.int64).max((1, 2, 3))}

    batcher = Batcher(run, max_batch=8, runners=2, objective_s=0.005).start()
    kinds = dice.integers(0, 10, 800)

    def ask(i):
        mark, side = i % 251, 2 + i % 3
        late = kinds[i] == 0
        future = batcher.submit(
            {"image": np.full((side, side, 3), mark, np.uint8)},
            time.monotonic() if late else far(),
            caller=i % 7,
            urgent=bool(i % 2),
        )
        if kinds[i] == 1 and future.cancel():
            return "left", mark
        try:
            return int(future.result(20).outputs["mark"]), mark
        except InferenceError as error:
            return error.code, mark

    with ThreadPoolExecutor(24) as pool:
        found = list(pool.map(ask, range(800)))
    batcher.close()
    assert all(said == mark for said, mark in found if isinstance(said, int))
    assert all(mark == 13 for said, mark in found if said == "inference_failed")
    assert sum(isinstance(said, int) for said, _ in found) > 500
    assert {said for said, _ in found if isinstance(said, str)} == {"left", "inference_failed", "deadline_exceeded"}
    assert len(batcher) == 0


def test_closing_does_not_wait_for_a_run_that_never_ends():
    gate, entered, _, run = held()
    batcher = Batcher(run, max_batch=4).start()
    stuck = batcher.submit(row(0), far())
    assert entered.wait(10)
    assert not batcher.close(0.1)
    assert not stuck.done()
    gate.set()
    assert batcher.close(10)


def lost(mark=13):
    """A graph whose process ends over a mark; runs, marks of each, in order; and whether any two ever overlapped a
    second one."""
    seen, lock, beside = [], threading.Lock(), []
    at_work = []

    def run(arrays, deadline):
        marks = [int(a[0, 0, 0]) for a in arrays["image"]]
        with lock:
            again = any(m in run for run in seen for m in marks)
            seen.append(marks)
            beside.extend(at_work if again else [])
            at_work.append(marks)
        time.sleep(0.02)
        with lock:
            at_work.remove(marks)
        if mark in marks:
            raise InferenceError("the process that ran this was lost", code="worker_lost")
        return double(arrays)

    return seen, beside, run


@pytest.mark.parametrize("runners", [1, 2])
def test_rows_of_a_lost_run_run_once_more_each_alone_and_only_one_is_lost(runners):
    seen, beside, run = lost()
    batcher = Batcher(run, max_batch=8, runners=runners)
    futures = {m: batcher.submit(row(m), far()) for m in range(30)}
    batcher.start()
    found = {}
    for mark, future in futures.items():
        try:
            found[mark] = int(future.result(10).outputs["scores"][0])
        except InferenceError as error:
            found[mark] = error.code
    assert batcher.close(10)
    assert found == {m: "worker_lost" if m == 13 else m * 2 for m in range(30)}
    first = next(marks for marks in seen if 13 in marks)
    times = {m: sum(m in marks for marks in seen) for m in range(30)}
    assert times == {m: 2 if m in first else 1 for m in range(30)}
    assert all(len(marks) == 1 for marks in seen if marks is not first and set(marks) & set(first))
    assert beside == [], "nothing runs beside a row that has its second run"


def test_a_row_that_hung_alone_has_no_second_run_and_while_a_process_is_awaited_nothing_is_stuck():
    runs = []

    def run(arrays, deadline):
        runs.append(int(arrays["image"][0, 0, 0, 0]))
        raise InferenceError("it hung", code="worker_lost", details={"hung": runs[-1] == 1})

    there = threading.Event()
    batcher = Batcher(run, ready=lambda seconds: there.is_set() or len(runs) < 2)
    with pytest.raises(InferenceError, match="it hung"):
        batcher.start().submit(row(1), far()).result(10)
    assert runs == [1]
    waiting = batcher.submit(row(2), far())
    while len(runs) < 2:
        time.sleep(0.001)
    time.sleep(0.05)
    assert not batcher.stuck(0.01), "a run that is over lasts no longer, though its row waits for a process"
    there.set()
    with pytest.raises(InferenceError, match="it hung"):
        waiting.result(10)
    assert runs == [1, 2, 2]
    batcher.close()


def test_a_row_that_was_alone_has_its_second_run_too():
    blows = [InferenceError("lost", code="worker_lost")]

    def run(arrays, deadline):
        if blows:
            raise blows.pop()
        return double(arrays)

    batcher = Batcher(run).start()
    ran = batcher.submit(row(4), far()).result(10)
    assert (int(ran.outputs["scores"][0]), ran.why) == (8, "alone after a failure")
    batcher.close()


@pytest.mark.parametrize("outage", [False, True])
def test_a_lost_row_waits_for_another_process_until_its_deadline(outage):
    gone = threading.Event()

    def run(arrays, deadline):
        gone.set()
        raise InferenceError("lost", code="worker_lost")

    def ready(seconds):
        if not gone.is_set():
            return True
        if outage:
            raise InferenceError("down", code="not_ready")
        time.sleep(seconds)
        return False

    batcher = Batcher(run, ready=ready).start()
    began = time.monotonic()
    first = batcher.submit(row(1), began + 0.4)
    assert gone.wait(10)
    behind = batcher.submit(row(2), began + 0.2)
    codes = []
    for future in (behind, first):
        with pytest.raises(InferenceError) as caught:
            future.result(10)
        codes.append(caught.value.code)
    assert codes == ["not_ready" if outage else "deadline_exceeded", "worker_lost"]
    assert 0.4 <= time.monotonic() - began < 5
    assert batcher.close(10)


def test_a_second_run_that_fails_otherwise_has_that_error():
    def run(arrays, deadline):
        if len(arrays["image"]) > 1:
            raise InferenceError("lost", code="worker_lost")
        if (arrays["image"] == 1).all():
            raise RuntimeError("unlucky")
        return double(arrays)

    batcher = Batcher(run)
    futures = [batcher.submit(row(m), far()) for m in range(3)]
    batcher.start()
    assert [int(futures[m].result(10).outputs["scores"][0]) for m in (0, 2)] == [0, 4]
    with pytest.raises(InferenceError) as caught:
        futures[1].result(10)
    assert caught.value.code == "inference_failed"
    batcher.close()
