"""What is still to come inside the engine, told to whoever asked for it. A future of the standard library makes a condition for
somebody who might wait, and takes four times as many calls; a picture made three of them (decision 24)."""

import contextlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, InvalidStateError
from typing import Generic, TypeVar, cast

T = TypeVar("T")
log = logging.getLogger("saccade.inference")
_OPEN, _BEGUN, _LEFT, _DONE = range(4)


class Promise(Generic[T]):
    """Its methods are those of concurrent.futures.Future, for one who keeps it. Thread-safe."""

    def __init__(self) -> None:
        self._state = _OPEN
        self._value: T | None = None
        self._error: BaseException | None = None
        self._then: list[Callable[[Promise[T]], object]] = []
        self._lock = threading.Lock()

    def done(self) -> bool:
        return self._state >= _LEFT

    def cancelled(self) -> bool:
        return self._state == _LEFT

    def cancel(self) -> bool:
        """False once it has begun."""
        with self._lock:
            if self._state != _OPEN:
                return self._state == _LEFT
            self._state = _LEFT
            then, self._then = self._then, []
        self._tell(then)
        return True

    def set_running_or_notify_cancel(self) -> bool:
        """From now on it cannot be cancelled; False where it was, or is done."""
        with self._lock:
            if self._state == _OPEN:
                self._state = _BEGUN
            return self._state == _BEGUN

    def set_result(self, value: T) -> None:
        self._end(value, None)

    def set_exception(self, error: BaseException) -> None:
        self._end(None, error)

    def add_done_callback(self, then: "Callable[[Promise[T]], object]") -> None:
        """Called once it is done, by the thread that does it, or here and now, and let go of. What it raises is logged."""
        with self._lock:
            if self._state < _LEFT:
                self._then.append(then)
                return
        self._call(then)

    def result(self, timeout: float | None = None) -> T:
        """Waits for it. Raises TimeoutError, CancelledError, or what it failed with."""
        error = self.exception(timeout)
        if error is None:
            return cast(T, self._value)
        try:
            raise error
        finally:
            del self, error  # or the error would hold this frame, which holds the error

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Waits for it. Raises TimeoutError or CancelledError."""
        if self._state < _LEFT:
            self._wait(timeout)
        if self._state == _LEFT:
            raise CancelledError
        return self._error

    def _wait(self, timeout: float | None) -> None:
        over = threading.Event()

        def end(_: "Promise[T]") -> None:
            over.set()

        self.add_done_callback(end)
        if not over.wait(timeout):
            with self._lock, contextlib.suppress(ValueError):
                self._then.remove(end)
            raise TimeoutError

    def _end(self, value: T | None, error: BaseException | None) -> None:
        with self._lock:
            if self._state >= _LEFT:
                raise InvalidStateError("it was cancelled or is done")
            self._value, self._error = value, error
            self._state = _DONE  # last, for who looks at it holds no lock
            then, self._then = self._then, []
        self._tell(then)

    def _tell(self, then: "list[Callable[[Promise[T]], object]]") -> None:
        for one in then:
            self._call(one)

    def _call(self, then: "Callable[[Promise[T]], object]") -> None:
        try:
            then(self)
        except Exception:
            log.exception("what was to follow an answer failed")
