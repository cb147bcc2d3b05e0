"""What an engine must keep, wherever its graphs run: everybody's own answer, typed errors, swaps that lose nobody."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from saccade.errors import SaccadeError
from saccade.inference.engine import Engine
from saccade.inference.request import Request
from saccade.testing.packages import colors, png
from saccade.types import Prediction


def check(make: Callable[[], Engine], folder: Path) -> None:
    """Raises AssertionError where an engine breaks the contract. folder: empty, for packages."""
    engine = make()
    one = colors(folder / "one")
    engine.load(one.path, "colors", 1)
    _marked(engine)
    _one_bad_in_many(engine)
    _late(engine)
    _abandoned(engine)
    _not_finite(engine, folder)
    _swapped(engine, folder, 4)
    _refused(engine, folder)
    engine.unload("colors", 9)
    engine.unload("colors", 5)
    assert _code(engine, png(0, 0, 0)) == "not_found"
    engine.close()
    assert _code(engine, png(0, 0, 0)) == "draining"


def red(result: Prediction | SaccadeError) -> int | str:
    """The red channel that `colors` found, 0 to 255, or the error's code."""
    if isinstance(result, SaccadeError):
        return result.code
    assert result.scores is not None
    assert result.class_ids is not None
    return round(float(result.scores[list(result.class_ids).index(0)]) * 255)


def _marked(engine: Engine) -> None:
    """Marked pictures of many sizes, some of them none, from many callers: each gets its own answer."""

    def ask(mark: int) -> bool:
        sent, due = [], list[int | str]()
        for i in range(1 + mark % 5):
            value = (mark * 7 + i) % 256
            if (mark + i) % 6 == 5:
                sent.append(b"no picture" * (1 + i))
                due.append("image_format_unsupported")
            else:
                sent.append(png(value, 7, 9, 8 + mark % 90, 120 - mark % 100))
                due.append(value)
        answer = engine.submit(Request("colors", tuple(sent))).result(60)
        return [red(result) for result in answer.results] == due

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(80)))


def _one_bad_in_many(engine: Engine) -> None:
    pictures = [png(mark, 0, 0) for mark in range(64)]
    pictures[13] = pictures[13][:60]
    found = [red(r) for r in engine.submit(Request("colors", tuple(pictures))).result(60).results]
    assert found == [*range(13), "image_undecodable", *range(14, 64)]


def _late(engine: Engine) -> None:
    answer = engine.submit(Request("colors", (png(0, 0, 0),), deadline_s=0.0)).result(10)
    assert red(answer.results[0]) == "deadline_exceeded"


def _abandoned(engine: Engine) -> None:
    large = png(1, 1, 1, 2000, 2000)
    futures = [engine.submit(Request("colors", (large,))) for _ in range(20)]
    for future in futures[1:]:
        future.cancel()
    futures[0].result(30)
    assert red(engine.submit(Request("colors", (png(3, 0, 0),))).result(30).results[0]) == 3


def _not_finite(engine: Engine, folder: Path) -> None:
    engine.load(colors(folder / "logarithm", logarithm=True).path, "logarithm", 1)
    result = engine.submit(Request("logarithm", (png(0, 0, 255),))).result(10).results[0]
    assert isinstance(result, Prediction)
    assert result.scores is not None
    assert not np.isfinite(result.scores).all()
    engine.unload("logarithm", 1)


def _swapped(engine: Engine, folder: Path, swaps: int) -> None:
    """Versions take each other's place under load; every request is answered by one of them, with its own digest."""
    packages = {1: engine.versions("colors")[1].path}
    digests = {1: engine.find("colors").model.digest}  # type: ignore[union-attr]
    for version in range(2, swaps + 2):
        package = colors(folder / f"v{version}", reverse=version % 2 == 0)
        packages[version], digests[version] = package.path, package.digest
    stop, seen, failures = threading.Event(), list[int](), list[str]()

    def ask() -> None:
        while not stop.is_set():
            try:
                answer = engine.submit(Request("colors", (png(9, 0, 0),))).result(30)
            except SaccadeError as error:
                failures.append(error.code)
                continue
            fits = answer.digest == digests[answer.version] and isinstance(answer.results[0], Prediction)
            failures.extend([] if fits else [f"version {answer.version} answered {answer.results[0]!r}"])
            seen.append(answer.version)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for version in range(2, swaps + 2):
        time.sleep(0.05)
        engine.load(packages[version], "colors", version)
        engine.unload("colors", version - 1)
    time.sleep(0.05)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert set(seen) == set(packages)


def _refused(engine: Engine, folder: Path) -> None:
    """A version that lies, and one whose file was changed, leave the one in service as it is."""
    changed = colors(folder / "changed").path
    data = bytearray((changed / "model.onnx").read_bytes())
    data[-1] ^= 1
    (changed / "model.onnx").write_bytes(data)
    for path, code in ((colors(folder / "lie", lie=True).path, "golden_mismatch"), (changed, "digest_mismatch")):
        assert _caught(lambda path=path: engine.load(path, "colors", 9)) == code  # type: ignore[misc]
        assert engine.submit(Request("colors", (png(4, 0, 0),))).result(30).version == 5


def _code(engine: Engine, image: bytes) -> str:
    return _caught(lambda: engine.submit(Request("colors", (image,))).result(10))


def _caught(act: Callable[[], object]) -> str:
    try:
        act()
    except SaccadeError as error:
        return error.code
    return ""
