"""The listener over an application of a few lines: what HTTP/1.1 and HTTP/2 promise, and how long anybody may take."""

import asyncio
import contextlib
import gc
import re
import shutil
import ssl
import subprocess
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop
from h2.config import H2Configuration
from h2.connection import ConnectionState, H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset
from h2.exceptions import H2Error
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame

from saccade.errors import SaccadeError
from saccade.server.http import listener as listening
from saccade.server.http import one, two
from saccade.server.http.exchange import EXCHANGE
from saccade.server.http.listener import Listener
from saccade.server.settings import Settings

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop, uvloop.new_event_loop]
GET = b"GET /echo?a=b%20c HTTP/1.1\r\nHost: here\r\n\r\n"


class Echo:
    """/echo answers the body, or method and address; /large so many bytes; /slow waits; /refuse answers on the head."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []
        self.under_way = 0
        self.left = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        path, body, status = scope["path"], b"", 200
        if path == "/refuse":
            status = 415
        elif path == "/slow":
            self.under_way += 1
            waiting = asyncio.ensure_future(self._gone(receive))
            await asyncio.wait([waiting], timeout=0.3)
            waiting.cancel()
        else:
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    self.left += 1
                    return
                body += message["body"]
                more = message["more_body"]
        if path.startswith("/large/"):
            body = b"x" * int(path[7:])
        await self.answer(send, status, body or f"{scope['method']} {path}".encode())

    async def _gone(self, receive: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.left += 1

    async def answer(self, send: Any, status: int, body: bytes) -> None:
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def refusal(self, error: SaccadeError) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        status = {"request_timeout": 408, "overloaded": 503, "headers_too_large": 431}.get(error.code, 400)
        return status, [(b"content-length", b"0"), (b"connection", b"close")], b""


@contextlib.asynccontextmanager
async def served(app: Echo, **settings: Any) -> AsyncIterator[int]:
    """A port at which the application answers."""
    listener = Listener(app, Settings(port=0, **settings))  # type: ignore[arg-type]
    await listener.start()
    try:
        yield listener.port
    finally:
        await listener.stop()


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    def run(story: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(asyncio.wait_for(story, 30))

    return run


async def said(port: int, *parts: bytes, pause_s: float = 0.0, patience_s: float = 5.0) -> bytes:
    """Everything that the server says to these bytes until it closes, or is silent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    out = b""
    with contextlib.suppress(ConnectionError, RuntimeError):  # closed already; uvloop says it in its own way
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause_s)
        with contextlib.suppress(TimeoutError):
            while part := await asyncio.wait_for(reader.read(65536), patience_s):
                out += part
    writer.close()
    return out


def statuses(out: bytes) -> list[int]:
    return [int(s) for s in re.findall(rb"HTTP/1\.1 (\d{3})", out)]


def test_requests_sent_ahead_are_answered_in_order(run):
    async def story():
        app = Echo()
        async with served(app) as port:
            sent = [f"POST /{i} HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na{i:02}".encode() for i in range(50)]
            out = await said(port, b"".join(sent), patience_s=0.5)
            assert [int(n) for n in re.findall(rb"\r\n\r\na(\d\d)", out)] == list(range(50))
            assert len({id(s) for s in app.scopes}) == 50

    run(story())


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_a_request_in_small_pieces_is_the_same_request(run, cut):
    async def story():
        whole = (
            b"POST /echo HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
            b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
        )
        async with served(Echo()) as port:
            out = await said(port, *(whole[i : i + cut] for i in range(0, len(whole), cut)), pause_s=0.001)
            assert statuses(out) == [200]
            assert out.endswith(b"\r\n\r\nabcdefg")

    run(story())


def test_the_scope_is_what_asgi_says(run):
    async def story():
        app = Echo()
        async with served(app) as port:
            await said(port, GET.replace(b"/echo", b"http://elsewhere/%C3%A9/x"), patience_s=0.2)
        (scope,) = app.scopes
        assert scope["path"] == "/é/x"
        assert (scope["raw_path"], scope["query_string"]) == (b"/%C3%A9/x", b"a=b%20c")
        assert (scope["method"], scope["http_version"], scope["scheme"]) == ("GET", "1.1", "http")
        assert scope["headers"] == [(b"host", b"here")]

    run(story())


@pytest.mark.parametrize(
    ("head", "closes"),
    [
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n", True),
    ],
)
def test_a_connection_ends_when_its_caller_says_so(run, head, closes):
    async def story():
        async with served(Echo()) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head)
            answer = await reader.readuntil(b"GET /")
            assert statuses(answer) == [200]
            assert (b"connection: close" in answer) is closes
            if closes:
                assert await reader.read() == b""
            writer.close()

    run(story())


def test_whoever_asks_first_is_told_to_go_on_once_his_body_is_wanted(run):
    async def story():
        async with served(Echo()) as port:
            for path, body, want in (("/echo", b"abc", [100, 200]), ("/refuse", b"", [415])):
                head = f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n".encode()
                out = await said(port, head, body, pause_s=0.2, patience_s=0.5)
                assert statuses(out) == want

    run(story())


def test_an_answer_to_half_a_body_arrives_though_the_rest_is_still_sent(run):
    async def story():
        async with served(Echo()) as port:
            head = b"POST /refuse HTTP/1.1\r\nHost: h\r\nContent-Length: 50000000\r\n\r\n"
            out = await said(port, head, *[bytes(100_000)] * 20, pause_s=0.005)
            assert statuses(out) == [415]

    run(story())


def test_heads_and_silence_have_their_time(run, monkeypatch):
    monkeypatch.setattr(listening, "LOOK_S", 0.05)
    monkeypatch.setattr(one, "IDLE_S", 0.6)

    async def story():
        async with served(Echo(), head_s=0.3) as port:
            assert statuses(await said(port, GET[:20])) == [408]
            assert await said(port) == b"", "who never said a word is not answered"
            drops = await said(port, *(GET[i : i + 1] for i in range(20)), pause_s=0.04)
            assert statuses(drops) == [408], "a byte now and then does not extend it"
            assert statuses(await said(port, GET, GET, pause_s=0.1)) == [200, 200], "then silence, then closed"
            # A first byte that another protocol could begin with begins the head all the same.
            post = b"POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\n\r\n"
            slow = await said(port, post[:1], post[1:20], post[20:], pause_s=0.2)
            assert statuses(slow) == [408], "it was whole 0.4 s after its first byte"
            ends = [b"\r\n"] * 40
            assert await said(port, *ends, GET, pause_s=0.04) == b"", "line ends before a request hold no connection"
            large = b"GET / HTTP/1.1\r\nHost: h\r\n" + b"".join(b"x-%d: %s\r\n" % (i, b"a" * 900) for i in range(40))
            assert statuses(await said(port, *(large[i : i + 4096] for i in range(0, len(large), 4096)))) == [431]

    run(story())


def test_who_asks_for_more_than_he_reads_is_answered_no_further(run):
    async def story():
        app = Echo()
        async with served(app) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
            for _ in range(40):
                writer.write(b"GET /large/2000000 HTTP/1.1\r\nHost: h\r\n\r\n" * 50)
            await asyncio.sleep(0.5)
            assert len(app.scopes) < 10, "4 GB would be written otherwise"
            got = 0
            while got < 20_000_000:
                got += len(await reader.read(65536))
            assert len(app.scopes) >= 10, "and as he reads, it goes on"
            writer.close()

    run(story())


@pytest.mark.parametrize("upgrade", [b"Connection: Upgrade\r\nUpgrade: h2c\r\n", b""])
@pytest.mark.parametrize("body", [b"", b"Content-Length: 3\r\n\r\nabc"])
def test_a_wish_for_another_protocol_changes_nothing(run, upgrade, body):
    async def story():
        async with served(Echo()) as port:
            first = b"POST /echo HTTP/1.1\r\nHost: h\r\n" + upgrade + (body or b"\r\n")
            assert statuses(await said(port, first + GET, GET, pause_s=0.1, patience_s=0.3)) == [200, 200, 200]

    run(story())


def test_what_stands_behind_a_body_is_no_header_and_not_without_end(run):
    head = b"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"

    async def story():
        app = Echo()
        async with served(app) as port:
            out = await said(port, head + b"Authorization: Bearer x\r\n\r\n" + GET, patience_s=0.3)
            assert statuses(out) == [200, 200]
            assert b"authorization" not in dict(app.scopes[0]["headers"])
            flood = [head, *[b"a: b\r\n" * 2000] * 10]
            assert 200 not in statuses(await said(port, *flood, pause_s=0.02))
            small = [
                b"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
                *[b"1;x=aaaaaaaaaaaaaaaaaaaaaaaaa\r\na\r\n" * 4000] * 4,
            ]
            assert 200 not in statuses(await said(port, *small, b"0\r\n\r\n", pause_s=0.02, patience_s=0.3))

    run(story())


def test_http_1_0_is_told_that_its_connection_stays(run):
    async def story():
        async with served(Echo()) as port:
            out = await said(port, b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", patience_s=0.2)
            assert b"connection: keep-alive" in out

    run(story())


def test_the_preface_of_http2_may_come_in_pieces(run):
    async def story():
        async with served(Echo()) as port:
            settings = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
            out = await said(
                port, one.PREFACE[:5], one.PREFACE[5:20], one.PREFACE[20:] + settings, pause_s=0.05, patience_s=0.3
            )
            assert out[3:4] == b"\x04", "settings of its own"

    run(story())


def test_an_answer_that_nobody_reads_ends_the_connection(run, monkeypatch):
    monkeypatch.setattr(listening, "LOOK_S", 0.05)
    monkeypatch.setattr(one, "WRITE_S", 0.3)

    async def story():
        app = Echo()
        async with served(app) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
            writer.write(b"GET /large/50000000 HTTP/1.1\r\nHost: h\r\n\r\n")
            await asyncio.sleep(1.0)
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(50_000_000)
            writer.close()

    run(story())


class Closing:
    """A transport that was closed while its caller read nothing: what was written last is never gone."""

    aborted = 0

    def is_closing(self) -> bool:
        return True

    def write(self, data: bytes) -> None:
        pass

    def abort(self) -> None:
        self.aborted += 1


@pytest.mark.parametrize("kind", [one.One, two.Two])
def test_a_rest_that_nobody_reads_does_not_hold_its_connection_for_ever(kind):
    async def story():
        transport, listener = Closing(), Listener(Echo(), Settings(port=0))
        connection = kind(listener, transport) if kind is two.Two else kind(listener)
        connection.transport = transport
        connection.look(100.0)
        connection.look(100.0 + one.WRITE_S - 1)
        assert transport.aborted == 0
        connection.look(100.0 + one.WRITE_S + 1)
        assert transport.aborted == 1

    asyncio.run(story())


def test_one_connection_too_many_is_refused(run):
    async def story():
        async with served(Echo(), connections=2) as port:
            kept = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            assert statuses(await said(port, GET)) == [503]
            for _, writer in kept:
                writer.close()
            await asyncio.sleep(0.1)
            assert statuses(await said(port, GET, patience_s=0.2)) == [200]

    run(story())


def test_the_application_hears_who_left_and_stopping_waits_for_who_did_not(run):
    async def story():
        app = Echo()
        async with served(app) as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(GET.replace(b"/echo", b"/slow"))
            while not app.under_way:
                await asyncio.sleep(0.01)
            writer.close()
            while not app.left:
                await asyncio.sleep(0.01)
            waiting = asyncio.ensure_future(said(port, GET.replace(b"/echo", b"/slow")))
            idle = asyncio.ensure_future(said(port))
            while app.under_way < 2:
                await asyncio.sleep(0.01)
        out = await waiting
        assert statuses(out) == [200]
        assert b"connection: close" in out
        assert await idle == b""

    run(story())


class Watching(Echo):
    """/watch is answered once its caller has left, which nobody hears; seen: what became of each."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != "/watch":
            await super().__call__(scope, receive, send)
            return
        await receive()
        gone = asyncio.Event()
        stay = scope[EXCHANGE].watch(gone.set)
        self.seen.append("asked")
        await gone.wait()
        stay()
        late = asyncio.Event()
        scope[EXCHANGE].watch(late.set)
        self.seen.append("left" if late.is_set() else "still there")


def test_who_leaves_is_told_of_to_whoever_watches(run):
    async def story():
        app = Watching()
        async with served(app) as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST /watch HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n\r\nab")
            while app.seen != ["asked"]:
                await asyncio.sleep(0.01)
            writer.close()
            while app.seen != ["asked", "left"]:
                await asyncio.sleep(0.01)
            caller = await Caller.to(port)
            stream = caller.ask("/watch", b"ab")
            await caller.flush()
            while app.seen != ["asked", "left", "asked"]:
                await asyncio.sleep(0.01)
            caller.state.reset_stream(stream)
            await caller.flush()
            while app.seen[3:] != ["left"]:
                await asyncio.sleep(0.01)
            caller.close()

    run(story())


def test_nothing_of_an_exchange_stays_once_it_is_over(run):
    """Without the collector of circles, which does not know how large an answer is."""
    held = []

    class Kept(Echo):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            held.append(weakref.ref(scope[EXCHANGE]))
            await super().__call__(scope, receive, send)

    async def story():
        async with served(Kept()) as port:
            assert statuses(await said(port, GET, GET, patience_s=0.3)) == [200, 200]
            caller = await Caller.to(port)
            streams = {caller.ask("/large/3000"), caller.ask("/echo", b"body")}
            await caller.hear(lambda: streams <= caller.ended)
            caller.close()
            end = asyncio.get_running_loop().time() + 10
            while [ref for ref in held if ref() is not None]:
                assert asyncio.get_running_loop().time() < end
                await asyncio.sleep(0.01)

    gc.collect()
    gc.disable()
    try:
        run(story())
    finally:
        gc.enable()
    assert len(held) == 4


class Caller:
    """An HTTP/2 client: what it was told, by stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.state = H2Connection(H2Configuration(client_side=True))
        self.statuses: dict[int, int] = {}
        self.bodies: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.reset: set[int] = set()
        self.why: int | None = None
        self._reader, self._writer = reader, writer
        self.state.initiate_connection()

    @classmethod
    async def to(cls, port: int, context: ssl.SSLContext | None = None) -> "Caller":
        name = "localhost" if context else None
        return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name))

    def ask(self, path: str, body: bytes = b"", *, ends: bool = True) -> int:
        stream: int = self.state.get_next_available_stream_id()
        method = "POST" if body or not ends else "GET"
        head = [(":method", method), (":path", path), (":scheme", "http"), (":authority", "here")]
        self.state.send_headers(stream, head, end_stream=not body and ends)
        if body:
            self.state.send_data(stream, body, end_stream=ends)
        return stream

    async def hear(self, until: Callable[[], bool]) -> None:
        await self.flush()
        while not until() and (data := await asyncio.wait_for(self._reader.read(65536), 10)):
            for event in self.state.receive_data(data):
                match event:
                    case ResponseReceived():
                        self.statuses[event.stream_id] = int(dict(event.headers)[b":status"])
                    case DataReceived():
                        self.bodies[event.stream_id] = self.bodies.get(event.stream_id, b"") + event.data
                        with contextlib.suppress(H2Error):
                            self.state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    case StreamEnded():
                        self.ended.add(event.stream_id)
                    case StreamReset():
                        self.reset.add(event.stream_id)
                    case ConnectionTerminated():
                        self.why = event.error_code
                        if not event.error_code:  # h2 takes it for the end of all streams
                            self.state.state_machine.state = ConnectionState.CLIENT_OPEN
            await self.flush()

    async def flush(self) -> None:
        with contextlib.suppress(ConnectionError, RuntimeError):  # closed already; uvloop says it in its own way
            self._writer.write(self.state.data_to_send())
            await self._writer.drain()

    def close(self) -> None:
        self._writer.close()


def test_http2_by_prior_knowledge_carries_requests_side_by_side(run):
    async def story():
        app = Echo()
        async with served(app) as port:
            caller = await Caller.to(port)
            slow = caller.ask("/slow")
            quick = [caller.ask("/echo", f"body {i}".encode()) for i in range(40)]
            large = caller.ask("/large/3000000")
            await caller.hear(lambda: {*quick, large} <= caller.ended)
            assert [caller.bodies[s] for s in quick] == [f"body {i}".encode() for i in range(40)]
            assert caller.bodies[large] == b"x" * 3_000_000, "more than every window at first"
            await caller.hear(lambda: slow in caller.ended)
            assert set(caller.statuses.values()) == {200}
            assert app.scopes[0]["http_version"] == "2"
            assert (b"host", b"here") in app.scopes[0]["headers"]
            caller.close()

    run(story())


def test_http2_large_answers_go_out_side_by_side(run):
    """None waits for another's end: with room for a part of each, each has a part."""

    async def story():
        async with served(Echo()) as port:
            caller = await Caller.to(port)
            streams = [caller.ask("/large/3000000") for _ in range(8)]
            await caller.hear(lambda: len(caller.bodies) == 8)
            assert not caller.ended, "all have begun before one has ended"
            await caller.hear(lambda: set(streams) <= caller.ended)
            assert all(caller.bodies[stream] == b"x" * 3_000_000 for stream in streams)
            caller.close()

    run(story())


def test_http2_an_answer_of_which_nothing_is_taken_is_given_up_though_others_are(run, monkeypatch):
    async def story():
        monkeypatch.setattr(two, "STALLED_S", 0.5)
        monkeypatch.setattr(listening, "LOOK_S", 0.1)
        async with served(Echo()) as port:
            caller = await Caller.to(port)
            caller.state.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
            large = caller.ask("/large/3000000")
            await caller.hear(lambda: large in caller.statuses)
            while large not in caller.reset:
                small = caller.ask("/echo")
                caller.state.increment_flow_control_window(100, small)
                await caller.hear(lambda small=small: small in caller.ended)
                await asyncio.sleep(0.05)
            assert caller.why is None, "the others go on"
            small = caller.ask("/echo")
            caller.state.increment_flow_control_window(100, small)
            await caller.hear(lambda: small in caller.ended)
            caller.close()

    run(story())


def test_http2_bodies_larger_than_the_window_come_whole(run):
    async def story():
        async with served(Echo()) as port:
            caller = await Caller.to(port)
            body = bytes(range(256)) * 20_000
            stream = caller.ask("/echo", b"", ends=False)
            sent = 0
            while sent < len(body):
                await caller.hear(lambda: caller.state.local_flow_control_window(stream) > 0)
                size = min(caller.state.local_flow_control_window(stream), caller.state.max_outbound_frame_size)
                caller.state.send_data(stream, body[sent : sent + size], end_stream=sent + size >= len(body))
                sent += size
                await caller.flush()
            await caller.hear(lambda: stream in caller.ended)
            assert caller.bodies[stream] == body
            caller.close()

    run(story())


def test_http2_refused_on_the_head_is_answered_and_its_body_is_not_wanted(run):
    async def story():
        async with served(Echo()) as port:
            caller = await Caller.to(port)
            stream = caller.ask("/refuse", bytes(10_000), ends=False)
            await caller.hear(lambda: stream in caller.ended | caller.reset)
            assert caller.statuses[stream] == 415
            again = caller.ask("/echo", b"still here")
            await caller.hear(lambda: again in caller.ended)
            assert caller.bodies[again] == b"still here"
            caller.close()

    run(story())


def _torn(caller: Caller) -> None:
    caller.state.reset_stream(caller.ask("/slow"), ErrorCodes.CANCEL)


def _pinged(caller: Caller) -> None:
    caller.state.ping(b"12345678")


def _set(caller: Caller) -> None:
    caller.state.update_settings({4: 65_535 + len(caller.statuses)})


@pytest.mark.parametrize("shake", [_torn, _pinged, _set])
def test_http2_floods_end_the_connection(run, shake):
    """CVE-2023-44487 and its kin: the connection is told to calm down, and the next one is served."""

    async def story():
        async with served(Echo()) as port:
            caller = await Caller.to(port)
            await caller.flush()
            with contextlib.suppress(ConnectionError):
                for _ in range(3 * two.RESETS):
                    shake(caller)
                    await caller.flush()
                await caller.hear(lambda: caller.why is not None)
            assert caller.why == ErrorCodes.ENHANCE_YOUR_CALM
            caller.close()
            other = await Caller.to(port)
            stream = other.ask("/echo", b"fine")
            await other.hear(lambda: stream in other.ended)
            assert other.bodies[stream] == b"fine"
            other.close()

    run(story())


def test_http2_goes_away_once_what_is_under_way_is_answered(run):
    async def story():
        app = Echo()
        async with served(app) as port:
            caller = await Caller.to(port)
            slow = caller.ask("/slow")
            await caller.flush()
            while not app.under_way:
                await asyncio.sleep(0.01)
            hearing = asyncio.ensure_future(caller.hear(lambda: slow in caller.ended))
        await hearing
        assert caller.statuses == {slow: 200}
        caller.close()

    run(story())


def test_http2_of_a_caller_who_goes_is_answered(run):
    async def story():
        async with served(Echo()) as port:
            caller = await Caller.to(port)
            slow = caller.ask("/slow")
            await caller.flush()
            caller._writer.write(GoAwayFrame(0, last_stream_id=0).serialize())
            await caller.hear(lambda: slow in caller.ended)
            assert caller.statuses == {slow: 200}
            caller.close()

    run(story())


def test_http2_streams_that_are_cancelled_leave_no_trace(run, caplog):
    async def story():
        app = Echo()
        async with served(app) as port:
            caller = await Caller.to(port)
            for _ in range(20):
                stream = caller.ask("/slow")
                await caller.flush()
                caller.state.reset_stream(stream, ErrorCodes.CANCEL)
            await caller.flush()
            while app.left < 20:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.4)
            caller.close()

    run(story())
    assert caplog.records == []


def test_http2_a_window_and_a_reset_in_one_breath_cost_no_other_stream(run):
    """As browsers and curl do when they give up a download: h2 has seen the reset before we push what the window
    allows."""

    async def story():
        async with served(Echo()) as port:
            caller = await Caller.to(port)
            large, slow = caller.ask("/large/3000000"), caller.ask("/slow")
            await caller.flush()
            await asyncio.sleep(0.1)  # its body waits for room
            caller.state.increment_flow_control_window(1_000_000)
            caller.state.increment_flow_control_window(1_000_000, large)
            caller.state.reset_stream(large, ErrorCodes.CANCEL)
            await caller.hear(lambda: slow in caller.ended)
            assert caller.statuses[slow] == 200
            again = caller.ask("/echo", b"still here")
            await caller.hear(lambda: again in caller.ended)
            assert caller.bodies[again] == b"still here"
            caller.close()

    run(story())


@pytest.mark.parametrize("first", ["room", "goodbye"])
def test_http2_room_and_a_goodbye_in_one_breath_are_answered(run, first):
    async def story():
        async with served(Echo()) as port:
            caller = await Caller.to(port)
            large = caller.ask("/large/3000000")
            await caller.flush()
            await asyncio.sleep(0.1)
            caller.state.increment_flow_control_window(4_000_000)
            caller.state.increment_flow_control_window(4_000_000, large)
            words = [caller.state.data_to_send(), GoAwayFrame(0, last_stream_id=0).serialize()]
            caller._writer.write(b"".join(words if first == "room" else reversed(words)))
            await caller.hear(lambda: large in caller.ended)
            assert len(caller.bodies[large]) == 3_000_000
            caller.close()

    run(story())


def test_http2_that_breaks_the_rules_is_told_and_ends(run):
    async def story():
        async with served(Echo()) as port:
            out = await said(port, one.PREFACE + bytes(64))
            assert b"HTTP/1.1" not in out
            assert len(out) > 9

    run(story())


OPENSSL = shutil.which("openssl")


def certificate(folder: Path, name: str) -> None:
    make = (
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -addext subjectAltName=DNS:localhost"
    )
    files = ["-keyout", str(folder / "new.key"), "-out", str(folder / "new.pem"), "-subj", f"/CN={name}"]
    subprocess.run([str(OPENSSL), *make.split(), *files], check=True, capture_output=True)
    (folder / "new.key").chmod(0o600)
    (folder / "new.key").replace(folder / "key.pem")
    (folder / "new.pem").replace(folder / "cert.pem")


@pytest.mark.skipif(not OPENSSL, reason="openssl is not installed")
def test_a_renewed_certificate_counts_for_the_next_connection_and_a_broken_one_does_not(run, tmp_path, monkeypatch):
    monkeypatch.setattr(listening, "LOOK_S", 0.05)
    certificate(tmp_path, "first")

    async def shown(port: int) -> str:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        caller = await Caller.to(port, context)
        stream = caller.ask("/echo", b"over TLS")
        await caller.hear(lambda: stream in caller.ended)
        assert caller.bodies[stream] == b"over TLS"
        data = caller._writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        caller.close()
        return "first" if b"first" in data else "second"

    async def story():
        async with served(Echo(), **pem_of(tmp_path)) as port:
            assert await shown(port) == "first"
            certificate(tmp_path, "second")
            await asyncio.sleep(0.3)
            assert await shown(port) == "second"
            (tmp_path / "cert.pem").write_text("no certificate")
            await asyncio.sleep(0.3)
            assert await shown(port) == "second"
            certificate(tmp_path, "first")
            right = (tmp_path / "key.pem").read_bytes()
            certificate(tmp_path, "second")
            other = (tmp_path / "key.pem").read_bytes()
            (tmp_path / "key.pem").write_bytes(right)
            await asyncio.sleep(0.3)
            assert await shown(port) in ("first", "second"), "a pair that does not fit spoils nothing"
            (tmp_path / "key.pem").write_bytes(other)
            await asyncio.sleep(0.3)
            assert await shown(port) == "second"

    run(story())
    (tmp_path / "cert.pem").write_text("no certificate")

    async def begin():
        with pytest.raises(SaccadeError, match="no certificate and its key"):
            await Listener(Echo(), Settings(port=0, **pem_of(tmp_path))).start()

    run(begin())


def pem_of(folder: Path) -> dict[str, Any]:
    return {"tls_cert": folder / "cert.pem", "tls_key": folder / "key.pem"}
