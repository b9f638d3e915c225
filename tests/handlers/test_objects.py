"""The object server, as handlers use it: over real sockets."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping
from functools import partial

import pytest
import trio

from fabric.errors import LogDamaged
from fabric.handlers.objects import serve_objects

BODY = bytes(range(256)) * 3


def get(url: str) -> tuple[int, Mapping[str, str], bytes]:
    """Fetch as the SDK does."""
    try:
        with urllib.request.urlopen(url) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def nothing(namespace: str, name: str) -> bytes:
    raise AssertionError((namespace, name))


async def fetched(url: str) -> tuple[int, Mapping[str, str], bytes]:
    return await trio.to_thread.run_sync(get, url)


async def test_a_body_is_given_as_it_is_stored():
    """Its bytes, its length, and nothing about what is in it."""
    async with serve_objects(nothing) as server:
        url = server.offer("9b74", lambda: b"\x1f\x8b" + BODY)
        status, headers, body = await fetched(url)
    assert url.startswith("http://127.0.0.1:")
    assert url.endswith("/o/9b74")
    assert (status, body) == (200, b"\x1f\x8b" + BODY)
    assert headers["content-length"] == str(len(body))
    assert "content-encoding" not in headers


async def test_an_empty_body_is_one():
    """200, and nothing."""
    async with serve_objects(nothing) as server:
        assert (await fetched(server.offer("0", lambda: b"")))[::2] == (200, b"")


async def test_the_path_is_the_secret():
    """Without it there is nothing here, whoever asks and for what."""
    async with serve_objects(nothing) as server:
        url = server.offer("9b74", lambda: BODY)
        root, _, _ = url.rpartition("/o/")
        port, _, token = root.rpartition("/")
        for guess in ("/", "/o/9b74", f"/{token[:-1]}/o/9b74", f"/{token}x/o/9b74", f"/{'A' * len(token)}/o/9b74"):
            assert (await fetched(f"{port}{guess}"))[0] == 404
        assert len(token) >= 32
    async with serve_objects(nothing) as other:
        assert token not in other.offer("9b74", lambda: BODY)


async def test_what_was_not_offered_is_not_there():
    """Whoever knows the path can fetch what the handler can, and no more."""
    async with serve_objects(nothing) as server:
        root = server.offer("9b74", lambda: BODY).removesuffix("9b74")
        for name in ("9b75", "", "../o/9b74", "9b74/"):
            assert (await fetched(f"{root}{name}"))[0] == 404


async def test_objects_are_only_read():
    """A write is refused."""
    async with serve_objects(nothing) as server:
        request = urllib.request.Request(server.offer("9b74", lambda: BODY), data=b"x", method="POST")
        with pytest.raises(urllib.error.HTTPError) as raised:
            await trio.to_thread.run_sync(urllib.request.urlopen, request)
        with raised.value as answer:
            assert answer.code == 405


async def test_a_bucket_that_fails_is_told_of():
    """The handler learns why; the server goes on."""

    def damaged() -> bytes:
        raise LogDamaged("blobs/sha256/9b/74: it is not what was written")

    async with serve_objects(nothing) as server:
        status, _, body = await fetched(server.offer("9b74", damaged))
        assert status == 502
        assert b"not what was written" in body
        assert (await fetched(server.offer("9b75", lambda: BODY)))[0] == 200


async def test_names_of_memory_are_put_behind_its_url():
    """Quoted or not: one SDK does not. What is not there is empty, for a handler opens it to write it."""
    known = {"a b/ü": b"1", "plain": b"2", "what?x=%41": b"3", "50%25": b"4", "50%": b"5"}

    def recall(namespace: str, name: str) -> bytes:
        assert namespace == "agents"
        return known.get(name, b"")

    async with serve_objects(recall) as server:
        root = server.namespace_url("agents/")
        assert root.endswith("/agents/")
        for name, body in {
            "plain": b"2", "a%20b/%C3%BC": b"1", "what?x=%41": b"3", "50%25": b"4", "missing": b"",
        }.items():  # fmt: skip
            assert (await fetched(f"{root}{name}"))[::2] == (200, body)
        assert (await fetched(root.replace("/agents/", "/others/") + "plain"))[0] == 404


async def test_thousands_of_bodies_are_fetched_from_many_threads():
    """A connection each, as the SDK makes them; more at a time than there are places for others."""
    async with serve_objects(nothing) as server:
        urls = [server.offer(str(number), partial(str(number).encode)) for number in range(2000)]
        limiter = trio.CapacityLimiter(100)
        answers: dict[str, bytes] = {}

        async def fetch(url: str) -> None:
            answers[url] = (await trio.to_thread.run_sync(get, url, limiter=limiter))[2]

        async with trio.open_nursery() as nursery:
            for url in urls:
                nursery.start_soon(fetch, url)
    assert answers == {url: str(number).encode() for number, url in enumerate(urls)}
