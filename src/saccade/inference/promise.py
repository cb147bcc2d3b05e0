"""What is still to come inside the engine, told to whoever asked for it. As a future of the standard library, which makes a
condition for somebody who might wait and takes four times as many calls: of those a picture made two (decision 24)."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, InvalidStateError
from typing import Generic, TypeVar, cast

T = TypeVar("T")
log = logging.getLogger("saccade.inference")
_OPEN, _BEGUN, _LEFT, _DONE = range(4)


class Promise(Generic[T]):
    """Its methods do what those of concurrent.futures.Future do. Thread-safe."""

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
        self._tell()
        return True

    def set_running_or_notify_cancel(self) -> bool:
        """From now on it cannot be cancelled; False where it was."""
        with self._lock:
            if self._state == _OPEN:
                self._state = _BEGUN
            return self._state == _BEGUN

    def set_result(self, value: T) -> None:
        with self._lock:
            if self._state >= _LEFT:
                raise InvalidStateError
            self._value = value
            self._state = _DONE  # last: who looks at it holds no lock
        self._tell()

    def set_exception(self, error: BaseException) -> None:
        with self._lock:
            if self._state >= _LEFT:
                raise InvalidStateError
            self._error = error
            self._state = _DONE
        self._tell()

    def add_done_callback(self, then: "Callable[[Promise[T]], object]") -> None:
        """Called once it is done, by the thread that does it, or here and now."""
        with self._lock:
            if self._state < _LEFT:
                self._then.append(then)
                return
        then(self)

    def result(self, timeout: float | None = None) -> T:
        """Waits for it. Raises TimeoutError, CancelledError, or what it failed with."""
        error = self.exception(timeout)
        if error is not None:
            raise error
        return cast(T, self._value)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Waits for it. Raises TimeoutError or CancelledError."""
        if self._state < _LEFT:
            over = threading.Event()
            self.add_done_callback(lambda _: over.set())
            if not over.wait(timeout):
                raise TimeoutError
        if self._state == _LEFT:
            raise CancelledError
        return self._error

    def _tell(self) -> None:
        then, self._then = self._then, []
        for one in then:
            try:
                one(self)
            except Exception:
                log.exception("what was to follow an answer failed")
