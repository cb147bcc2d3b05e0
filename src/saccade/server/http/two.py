"""A connection that speaks HTTP/2 (RFC 9113): requests side by side, each a stream with windows of its own."""

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING

from h2.config import H2Configuration
from h2.connection import ConnectionInputs, ConnectionState, H2Connection, H2ConnectionStateMachine
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PingReceived,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import H2Error, ProtocolError, StreamClosedError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame

from saccade.server.http.exchange import Exchange, Headers
from saccade.server.http.one import IDLE_S, LINGER_S, WRITE_S, request_scope

if TYPE_CHECKING:
    from saccade.server.http.listener import Listener

STREAMS = 100
HEADER_LIST = 64 * 1024
WINDOW = 1024 * 1024
CALLS = 4 * WINDOW
"""Bytes of all bodies together that a caller may send ahead."""
STALLED_S = 120.0
"""An answer of which the caller takes nothing for so long, though he takes others, is given up."""
RESETS, WITHIN_S = 100, 10.0
"""More streams than this opened and torn down, or pings and settings sent, in so many seconds is an attack
(CVE-2023-44487, CVE-2019-9512, CVE-2019-9515)."""


class _Lasting(H2ConnectionStateMachine):
    """A goodbye ends no stream (RFC 9113 section 6.8): what was asked before is answered, and the room for it is heard.

    Hazard: h2 itself takes the connection for closed, and all that comes behind a goodbye for a fault; its table of
    states is not part of its public interface.
    """

    _transitions = {  # noqa: RUF012 - as the class it follows has it
        **H2ConnectionStateMachine._transitions,
        (ConnectionState.SERVER_OPEN, ConnectionInputs.RECV_GOAWAY): (None, ConnectionState.SERVER_OPEN),
    }


class Two(asyncio.Protocol):
    """`h2` keeps the state of the protocol; here its events become exchanges and answers its frames."""

    def __init__(self, listener: "Listener", transport: asyncio.Transport) -> None:
        self._listener = listener
        self.transport = transport
        self._state = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self._state.state_machine = _Lasting()
        self._state.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS,
                SettingCodes.MAX_HEADER_LIST_SIZE: HEADER_LIST,
                SettingCodes.INITIAL_WINDOW_SIZE: WINDOW,
            },
        )
        self._exchanges: dict[int, Exchange] = {}
        self._credit: dict[int, int] = {}
        """Bytes of each stream that came and are not yet given back to its window."""
        self._unsent: dict[int, memoryview] = {}
        self._moved: dict[int, float] = {}
        """Of each of those, when something of it last went out, or it was answered."""
        self._shaken: deque[float] = deque(maxlen=RESETS)
        self._since = self._sent = listener.now()
        """When a request last began or ended; when something of an answer last went out."""
        self._stuck = self._lingers = self._parting = 0.0
        self._last = 0
        """The highest stream that a request came on."""
        self._going = self._left = False
        """No further request is taken; the caller said so himself."""
        self._state.initiate_connection()
        self._state.increment_flow_control_window(CALLS)
        self._flush()

    # The connection

    def data_received(self, data: bytes) -> None:
        if self._lingers:
            return
        try:
            for event in self._state.receive_data(data):
                self._hear(event)
        except ProtocolError:
            self._flush()  # h2 has written why
            self._linger()
            return
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        self._listener.part(self)
        for exchange in self._exchanges.values():
            exchange.lose()

    def pause_writing(self) -> None:
        self._stuck = self._listener.now()

    def resume_writing(self) -> None:
        self._stuck = 0.0
        self._push()
        self._flush()

    def look(self, now: float) -> None:
        """Ends what has lasted too long."""
        if self.transport.is_closing():  # what was written last waits for a caller who may never read it
            self._parting = self._parting or now
            if now > self._parting + WRITE_S:
                self.transport.abort()
        elif self._lingers:
            # A caller who reads slowly still gets the end of what was written.
            more = WRITE_S if self.transport.get_write_buffer_size() else 0.0
            if now > self._lingers + more:
                self.transport.abort()
        elif (self._stuck and now > self._stuck + WRITE_S) or (self._unsent and now > self._sent + WRITE_S):
            self.transport.abort()
        elif stalled := [stream for stream in self._unsent if now > self._moved[stream] + STALLED_S]:
            for stream in stalled:
                self._state.reset_stream(stream, ErrorCodes.CANCEL)
                self._drop(stream)
            self._flush()
        elif not self._exchanges and (self._listener.closing or self._going or now > self._since + IDLE_S):
            self._close(ErrorCodes.NO_ERROR)
        elif self._listener.closing and not self._going:
            self._going = True
            self._flush()
            # Said by hand: h2 would say nothing more on the streams that are still to be answered.
            self.transport.write(GoAwayFrame(0, last_stream_id=self._last).serialize())

    def _close(self, why: ErrorCodes) -> None:
        with contextlib.suppress(H2Error):  # it may be closed already
            self._state.close_connection(why)
        self._flush()
        # A caller who said goodbye still tells what he has read of the last answer: to hang up on that would cost him
        # its end.
        if why is ErrorCodes.NO_ERROR and not self._left:
            self.transport.close()
        else:
            self._linger()

    def _linger(self) -> None:
        """Hanging up while more is on its way would cost the caller the reason."""
        for exchange in self._exchanges.values():
            exchange.lose()
        if self.transport.is_closing():
            return
        self._lingers = self._listener.now() + LINGER_S
        if self.transport.can_write_eof():
            self.transport.write_eof()

    @property
    def _over(self) -> bool:
        """Nothing is said any more."""
        return bool(self._lingers) or self.transport.is_closing()

    def _flush(self) -> None:
        data = self._state.data_to_send()
        if data and not self._over:
            self.transport.write(data)

    def _calm(self) -> None:
        """Another stream was torn down, another ping came: too many, and the connection ends."""
        now = self._listener.now()
        if len(self._shaken) == RESETS and now < self._shaken[0] + WITHIN_S:
            self._close(ErrorCodes.ENHANCE_YOUR_CALM)
        self._shaken.append(now)

    # The protocol

    def _hear(self, event: Event) -> None:
        if self._over:
            return
        match event:
            case RequestReceived():
                self._open(event)
            case DataReceived():
                self._feed(event)
            case StreamEnded():
                if event.stream_id in self._exchanges:
                    self._exchanges[event.stream_id].end()
            case StreamReset():
                self._drop(event.stream_id)
                self._calm()
            case WindowUpdated() | RemoteSettingsChanged():
                if isinstance(event, RemoteSettingsChanged):
                    self._calm()
                self._push()
            case PingReceived():
                self._calm()
            case ConnectionTerminated():
                self._leave(event)
            case _:
                pass

    def _leave(self, event: ConnectionTerminated) -> None:
        """The caller asks for nothing more. What he asked before is answered, unless he ends with an error."""
        self._going = self._left = True
        if event.error_code:
            self.transport.close()
        elif not self._exchanges:
            self._close(ErrorCodes.NO_ERROR)

    def _open(self, event: RequestReceived) -> None:
        assert event.stream_id is not None
        if self._going:
            self._state.reset_stream(event.stream_id, ErrorCodes.REFUSED_STREAM)
            return
        self._last = max(self._last, event.stream_id)
        self._since = self._listener.now()
        pseudo: dict[bytes, bytes] = {}
        headers = Headers()
        for name, value in event.headers or ():
            if name.startswith(b":"):
                pseudo[name] = value
            else:
                headers.append((name, value))
        if b":authority" in pseudo and not any(name == b"host" for name, _ in headers):
            headers.append((b"host", pseudo[b":authority"]))
        method, path = pseudo.get(b":method", b"").decode("latin-1"), pseudo.get(b":path", b"/")
        scheme = "https" if self._listener.secure else "http"
        stream = event.stream_id
        exchange = Exchange(
            request_scope(method, path, headers, "2", scheme),
            lambda _, status, told, body: self._answer(stream, status, told, body),
            lambda _, count: self._took(stream),
        )
        self._exchanges[stream] = exchange
        self._listener.run(exchange, lambda _: self._finished(stream))

    def _feed(self, event: DataReceived) -> None:
        assert event.stream_id is not None
        stream, exchange = event.stream_id, self._exchanges.get(event.stream_id)
        if exchange is None:  # answered already: what still comes is let go
            self._state.acknowledge_received_data(event.flow_controlled_length or 0, stream)
            return
        self._credit[stream] = self._credit.get(stream, 0) + (event.flow_controlled_length or 0)
        exchange.feed(event.data or b"")

    def _took(self, stream: int) -> None:
        credit = self._credit.pop(stream, 0)
        if credit and not self._over:
            self._state.acknowledge_received_data(credit, stream)
            self._flush()

    def _answer(self, stream: int, status: int, headers: Headers, body: bytes) -> None:
        exchange = self._exchanges.get(stream)
        if self._over or exchange is None or exchange.lost:
            return
        told = [(b":status", str(status).encode()), (b"date", self._listener.date())]
        told += [(name, value) for name, value in headers if name != b"connection"]
        self._state.send_headers(stream, told, end_stream=not body)
        if body:
            self._unsent[stream] = memoryview(body)
            self._moved[stream] = self._listener.now()
            self._sent = self._sent if len(self._unsent) > 1 else self._listener.now()
            self._push()
        self._flush()

    def _push(self) -> None:
        """As much of the bodies as the caller's windows hold, a frame of each in turn: none starves another."""
        going = True
        while going:
            going = False
            for stream in list(self._unsent):
                if self._stuck or self._over:
                    return
                if stream not in self._unsent:
                    continue
                try:
                    going = self._frame(stream) or going
                except StreamClosedError:  # torn down in the same breath: its own event comes behind
                    self._drop(stream)

    def _frame(self, stream: int) -> bool:
        """The next part of a body, if there is room for any; the others are before it from then on."""
        rest = self._unsent[stream]
        room = min(self._state.local_flow_control_window(stream), self._state.max_outbound_frame_size)
        if room <= 0:
            return False
        part, rest = rest[:room], rest[room:]
        self._state.send_data(stream, bytes(part), end_stream=not rest)
        self._sent = self._moved[stream] = self._listener.now()
        del self._unsent[stream]
        if rest:
            self._unsent[stream] = rest
        else:
            del self._moved[stream]
            self._settle(stream)
        self._flush()  # so that a caller who does not read is felt before all of it is written
        return True

    def _finished(self, stream: int) -> None:
        """The application is done with it; the rest of a body that nobody wants is refused."""
        exchange = self._exchanges.get(stream)
        if exchange is None or self._over:
            return
        if not exchange.answered:
            self._state.reset_stream(stream, ErrorCodes.INTERNAL_ERROR)
            self._drop(stream)
        elif stream not in self._unsent:
            self._settle(stream)
        self._flush()

    def _settle(self, stream: int) -> None:
        exchange = self._exchanges.get(stream)
        if exchange is None or not exchange.done:
            return
        if not exchange.whole:
            self._state.reset_stream(stream, ErrorCodes.NO_ERROR)
        self._drop(stream)
        self._since = self._listener.now()
        if self._shaken:
            self._shaken.popleft()  # who is answered may cancel as often
        if self._going and not self._exchanges:
            self._close(ErrorCodes.NO_ERROR)

    def _drop(self, stream: int) -> None:
        exchange = self._exchanges.pop(stream, None)
        self._unsent.pop(stream, None)
        self._moved.pop(stream, None)
        self._took(stream)
        if exchange is not None and not exchange.done:
            exchange.lose()
