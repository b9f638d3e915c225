"""The HTTP server, literally: what is sent, and what comes back."""

from __future__ import annotations

import json

import pytest
import trio
from http_client import Offered, connect, echo, read_all, refuse, say, served
from trio.testing import MockClock, memory_stream_pair

from fabric.runtime.http_server import BODY_BYTES_MAX, CONNECTIONS_MAX, HEAD_BYTES_MAX, HttpServer

GET = b"GET /a HTTP/1.1\r\nHost: here\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"


def status(raw: bytes) -> int:
    assert raw.startswith(b"HTTP/1.1 "), raw[:200]
    return int(raw.split(b" ", 2)[1])


def bodies(raw: bytes) -> list[bytes]:
    """Return the bodies of answers that stand one behind the other."""
    found = []
    while raw:
        head, _, raw = raw.partition(b"\r\n\r\n")
        (length,) = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")]
        found.append(raw[:length])
        raw = raw[length:]
    return found


async def test_a_request_is_answered():
    """With its length, and with headers that keep it out of caches and pages."""
    async with served() as listener:
        raw = await say(listener, LAST)
    head, _, body = raw.partition(b"\r\n\r\n")
    assert body == b"GET /last "
    assert {b"content-length: 10", b"cache-control: no-store", b"x-content-type-options: nosniff"} <= set(
        head.lower().split(b"\r\n")
    )


async def test_requests_that_are_sent_at_once_are_answered_in_their_order():
    """Pipelined, with bodies between them."""
    post = b"POST /b HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\n\r\nabc"
    chunked = b"POST /c HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n"
    async with served() as listener:
        raw = await say(listener, GET + post + chunked + LAST)
    assert bodies(raw) == [b"GET /a ", b"POST /b abc", b"POST /c de", b"GET /last "]


async def test_a_client_that_ends_its_side_still_gets_its_answer():
    """Half-closed right behind the request, which did not ask for an end."""
    async with served() as listener:
        assert bodies(await say(listener, GET)) == [b"GET /a "]


async def test_a_request_that_comes_byte_by_byte_is_one():
    """However slowly, as long as it is there in time."""
    async with served() as listener, await connect(listener) as stream:
        for byte in LAST:
            await stream.send_all(bytes([byte]))
        assert bodies(await read_all(stream)) == [b"GET /last "]


async def test_head_has_no_body():
    """But its length."""
    async with served() as listener:
        raw = await say(listener, b"HEAD /a HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
    assert b"content-length: 8" in raw
    assert raw.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET /a HTTP/1.1\r\n\r\n", 400),
        (b"GET /a HTTP/1.1\r\nHost: here\r\nHost: there\r\n\r\n", 400),
        (b"GET /a HTTP/1.1\r\nHost: here\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET /a HTTP/1.1\r\nHost: here\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET /a HTTP/1.1\r\nHost: here\r\nbad header\r\n\r\n", 400),
        (b"POST /a HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n", 400),
        (b"POST /a HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET /" + b"a" * (HEAD_BYTES_MAX + 1), 431),
        (b"GET /a HTTP/1.1\r\nHost: here\r\nX: " + b"a" * (2 * HEAD_BYTES_MAX), 431),
        (b"POST /a HTTP/1.1\r\nHost: here\r\nContent-Length: 9999999\r\n\r\n" + bytes(BODY_BYTES_MAX + 1), 413),
        (b"GET /refused HTTP/1.1\r\nHost: here\r\n\r\n", 403),
        (b"POST /refused HTTP/1.1\r\nHost: here\r\nContent-Length: 9999999\r\n\r\n", 403),
    ],
)
async def test_what_is_no_request_of_ours_is_refused_in_words(raw: bytes, code: int):
    """As an object with an error and a code; the connection ends, and the next one is served."""
    async with served() as listener:
        answer = await say(listener, raw, end=False)
        assert status(answer) == code
        said = json.loads(answer.partition(b"\r\n\r\n")[2])
        assert said.keys() == {"error", "code"}
        assert bodies(await say(listener, LAST)) == [b"GET /last "]


HALF = b"POST /a HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\n\r\nab"


@pytest.mark.parametrize("raw", [b"", b"GET", b"GET /a HTTP/1.1\r\nHost: he", HALF])
async def test_a_client_that_leaves_in_the_middle_is_forgotten(raw: bytes):
    """With nothing, half a line, half a head, half a body."""
    async with served() as listener:
        async with await connect(listener) as stream:
            await stream.send_all(raw)
        assert bodies(await say(listener, LAST)) == [b"GET /last "]


async def test_a_bug_is_told_and_the_server_goes_on():
    """With 500; who watches must not end what is watched."""
    broke: list[Exception] = []
    async with served(broke.append) as listener:
        answer = await say(listener, b"GET /break HTTP/1.1\r\nHost: here\r\n\r\n")
        assert status(answer) == 500
        assert bodies(await say(listener, LAST)) == [b"GET /last "]
    assert [str(error) for error in broke] == ["as it was wanted"]


@pytest.mark.parametrize("raw", [b"", b"GET /a HT", GET, HALF])
async def test_who_says_nothing_more_is_left(raw: bytes, autojump_clock: MockClock):
    """Before its first request, within one, after one: the server ends the connection by itself."""
    client, server = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(HttpServer(refuse, echo, lambda _: None).serve, Offered(server))
        await client.send_all(raw)
        answered = await read_all(client)
        nursery.cancel_scope.cancel()
    assert answered.startswith(b"HTTP/1.1 200") is (raw == GET)


async def test_a_flood_of_connections_leaves_room_for_who_asks():
    """Those that say nothing give way, the oldest first; the one that asks is answered."""
    async with served() as listener:
        idle = [await connect(listener) for _ in range(3 * CONNECTIONS_MAX)]
        assert bodies(await say(listener, LAST)) == [b"GET /last "]
        assert await read_all(idle[0]) == b""
        for stream in idle:
            await stream.aclose()
