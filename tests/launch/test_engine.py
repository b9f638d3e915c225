"""The client of an engine's API, against literal answers: what a real engine cannot be brought to say."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
from http_bytes import Cut, Scripted, answer, scripted_server

from fabric.errors import ConfigError, EngineFailed
from fabric.launch.engine import Container, Engine, HostConfig, Mount, open_engine
from fabric.launch.engine_address import check_private, engine_address

VERSION = b'{"ApiVersion":"1.41","MinAPIVersion":"1.12"}'
CONTAINER = Container("image:1", ("run",), "5:6", (), {}, HostConfig("host"))


@asynccontextmanager
async def opened(
    path: Path, *answers: bytes | None, version: bytes = VERSION
) -> AsyncIterator[tuple[Engine, Scripted]]:
    """Give an engine that answers so, behind its version."""
    socket = path / "e.sock"
    async with (
        scripted_server(socket, [answer(version), *answers]) as server,
        open_engine(f"unix://{socket}", {}) as engine,
    ):
        yield engine, server


@pytest.mark.parametrize(
    ("version", "spoken"),
    [
        (b'{"ApiVersion":"1.41","MinAPIVersion":"1.12"}', "1.41"),
        (b'{"ApiVersion":"1.52","MinAPIVersion":"1.44"}', "1.44"),
        (b'{"ApiVersion":"1.41"}', "1.41"),
    ],
)
async def test_the_version_that_both_know_is_spoken(tmp_path: Path, version: bytes, spoken: str) -> None:
    """It is 1.41, or the oldest that a newer engine still knows."""
    async with opened(tmp_path, answer(b"[]"), version=version) as (engine, server):
        assert await engine.find({"a": "b"}) == []
    assert server.asked[0] == "GET /version HTTP/1.1"
    assert server.asked[1].startswith(f"GET /v{spoken}/containers/json?all=1&filters=")


async def test_an_engine_that_is_too_old_is_refused(tmp_path: Path) -> None:
    """It says which version it has and which is needed."""
    said = r"speaks API 1\.39; expected 1\.41 or later, as of Docker 20\.10"
    with pytest.RaisesGroup(pytest.RaisesExc(EngineFailed, match=said)):
        async with opened(tmp_path, version=b'{"ApiVersion":"1.39"}'):
            pytest.fail("it is too old")


async def test_what_is_no_engine_is_said(tmp_path: Path) -> None:
    """Another server on its socket is not taken for one."""
    with pytest.RaisesGroup(pytest.RaisesExc(EngineFailed, match="what answers at unix://.* is no Docker Engine")):
        async with opened(tmp_path, version=b"<html>"):
            pytest.fail("it is none")


async def test_one_that_is_not_there_is_said_with_a_hint(tmp_path: Path) -> None:
    """No file, or a file that nobody listens at: how to start it, and how to say where it is."""
    (tmp_path / "file").touch()
    for name in ("nothing", "file"):
        with pytest.raises(EngineFailed, match=r"there is no Docker Engine at unix://.*DOCKER_HOST") as raised:
            async with open_engine(f"unix://{tmp_path}/{name}", {}):
                pytest.fail("there is none")
        assert raised.value.exit_code == 4


@pytest.mark.parametrize("address", ["ssh://host", "unix://", "tcp://", "/var/run/docker.sock"])
def test_an_address_that_cannot_be_one_is_refused(address: str) -> None:
    """Only sockets and TCP are spoken; of others it is said how to get there."""
    with pytest.raises(ConfigError, match="expected unix://PATH or tcp://HOST:PORT"):
        engine_address(address, {})


def test_where_an_engine_is() -> None:
    """What is said wins over DOCKER_HOST, and that over the usual place."""
    environment = {"DOCKER_HOST": "unix:///b"}
    assert engine_address("tcp://a:1", environment) == "tcp://a:1"
    assert engine_address("", environment) == "unix:///b"
    assert engine_address("", {}) == "unix:///var/run/docker.sock"


@pytest.mark.parametrize(
    "address",
    ["unix:///x", "tcp://127.0.0.1:2375", "tcp://127.8.9.1:1", "tcp://[::1]:2375", "tcp://localhost:2375"],
)
def test_an_engine_of_this_host_may_be_told_what_is_secret(address: str) -> None:
    """A socket, or the near end of a tunnel."""
    check_private(address, "w")


@pytest.mark.parametrize(
    "address",
    [
        "tcp://10.0.0.1:2375",
        "tcp://0.0.0.0:2375",
        "tcp://[fd00::2]:2376",
        "tcp://[fd00::2:2376",
        "tcp://builder",
        "tcp://localhost.example:2375",
        "tcp://127.0.0.1@10.0.0.1:2375",
    ],
)
def test_an_engine_elsewhere_is_told_nothing_in_the_clear(address: str) -> None:
    """It is said why, and the two ways out."""
    with pytest.raises(ConfigError, match=r"worker 'w': .* in the clear; expected unix://PATH.* ssh .*--insecure"):
        check_private(address, "w")


async def test_a_refusal_has_the_engines_words_and_its_status(tmp_path: Path) -> None:
    """So does one without words."""
    refusals = answer(b'{"message":"Conflict. The name is in use"}', "409 Conflict"), answer(b"", "500 Oh")
    async with opened(tmp_path, *refusals) as (engine, _):
        with pytest.raises(EngineFailed, match=r"Conflict\. The name is in use") as conflict:
            await engine.create("name", CONTAINER)
        assert conflict.value.status == 409
        with pytest.raises(EngineFailed, match="HTTP status 500"):
            await engine.inspect("x")


async def test_a_connection_that_the_engine_gave_up_is_made_anew(tmp_path: Path) -> None:
    """An engine that was started again has closed the connection that we had kept. Nobody has to know."""
    async with opened(tmp_path, None, answer(b'{"Id":"1","State":{"Running":true}}')) as (engine, server):
        assert (await engine.inspect("1")).running
    assert server.connections == 2


async def test_a_container_is_never_made_twice(tmp_path: Path) -> None:
    """If the engine is gone before it answers, nobody knows whether it was made: the caller decides."""
    async with opened(tmp_path, None, answer(b'{"Id":"1"}', "201 Created")) as (engine, server):
        with pytest.raises(EngineFailed, match="cannot be reached"):
            await engine.create("name", CONTAINER)
    assert [line.split()[0] for line in server.asked] == ["GET", "POST"]


async def test_what_is_gone_need_not_be_removed(tmp_path: Path) -> None:
    """Not there, and being removed already: both are what was wanted; a failure is not."""
    answers = answer(b"{}", "404 Not Found"), answer(b"{}", "409 Conflict"), answer(b"{}", "500 No")
    async with opened(tmp_path, *answers) as (engine, _):
        await engine.remove("1")
        await engine.remove("1")
        with pytest.raises(EngineFailed):
            await engine.remove("1")


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_following_ends_with_the_container(tmp_path: Path) -> None:
    """Lines are handed over as they come, also one that was never ended."""
    body = b"e\r\n\x01\0\0\0\0\0\0\x06a\nb\ncd\r\n0\r\n\r\n"
    lines: list[str] = []

    async def take(line: str) -> None:
        lines.append(line)

    async with opened(tmp_path, CHUNKED + body) as (engine, _):
        await engine.follow_logs("1", take)
    assert lines == ["a", "b", "cd"]


async def test_a_last_line_that_was_not_ended_is_asked_for_again(tmp_path: Path) -> None:
    """Docker 20.10 loses it now and then to who follows. What was ended is not handed over twice."""
    lines: list[str] = []

    async def take(line: str) -> None:
        lines.append(line)

    followed, last = b"\x01\0\0\0\0\0\0\x02a\n", b"\x01\0\0\0\0\0\0\x02a\n\x02\0\0\0\0\0\0\x01b"
    async with opened(tmp_path, answer(followed), answer(last)) as (engine, server):
        await engine.follow_logs("1", take)
    assert lines == ["a", "b"]
    assert ["follow=1" in line for line in server.asked[1:]] == [True, False]


async def test_following_that_is_cancelled_leaves_no_connection(tmp_path: Path) -> None:
    """The connection is closed: the engine is not left writing to somebody who does not read."""
    async with opened(tmp_path, CHUNKED + b"a\r\n\x01\0\0\0\0\0\0\x02a\n\r\n") as (engine, server):
        with trio.CancelScope() as scope:

            async def take(line: str) -> None:
                scope.cancel()

            await engine.follow_logs("1", take)
        assert scope.cancelled_caught
        server.closed = trio.Event()
        if server.open:
            await server.closed.wait()
        assert server.open == 0


async def test_following_is_cancelled_while_nobody_takes_the_lines(tmp_path: Path) -> None:
    """That leaves no generator behind that nobody cleans up, wherever the stream is."""
    line = b"a\r\n\x01\0\0\0\0\0\0\x02a\n\r\n"
    for rest in (b"", line, line + b"0\r\n\r\n"):
        async with opened(tmp_path, CHUNKED + line + rest) as (engine, _):
            with trio.CancelScope() as scope:

                async def take(_: str, scope: trio.CancelScope = scope) -> None:
                    scope.cancel()
                    await trio.sleep_forever()

                await engine.follow_logs("1", take)
            assert scope.cancelled_caught
        (tmp_path / "e.sock").unlink()


async def test_a_stream_that_is_none_ends_with_what_is_wrong(tmp_path: Path) -> None:
    """And leaves no connection behind either, nor a generator that nobody cleans up."""
    async with opened(tmp_path, CHUNKED + b"b\r\nhello world\r\n") as (engine, server):
        with pytest.raises(EngineFailed, match="expected the header of a piece"):
            await engine.follow_logs("1", _ignore)
        assert server.connections == 1


async def test_an_engine_that_dies_in_the_middle_is_said(tmp_path: Path) -> None:
    """What came until then was handed over."""
    lines: list[str] = []

    async def take(line: str) -> None:
        lines.append(line)

    half = Cut(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n\x01\0\0\0\0\0\0\x02a\n")
    async with opened(tmp_path, half) as (engine, _):
        with pytest.raises(EngineFailed, match="cannot be reached"):
            await engine.follow_logs("1", take)
    assert lines == ["a"]


async def _ignore(line: str) -> None:
    pass


def test_a_container_is_written_as_the_api_has_it() -> None:
    """The names of the API, and what every container of ours is denied."""
    host = HostConfig("host", memory=1, tmpfs={"/tmp": "rw"}, mounts=(Mount("bind", "/app", "/x", read_only=True),))
    made = Container("image:1", ("run",), "5:6", ("A=b",), {"l": "1"}, host)
    assert msgspec.json.decode(msgspec.json.encode(made)) == {
        "Image": "image:1",
        "Cmd": ["run"],
        "Entrypoint": [],
        "User": "5:6",
        "Env": ["A=b"],
        "Labels": {"l": "1"},
        "WorkingDir": "/",
        "HostConfig": {
            "NetworkMode": "host",
            "Memory": 1,
            "MemorySwap": 0,
            "NanoCpus": 0,
            "PidsLimit": None,
            "Init": True,
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "RestartPolicy": {"Name": "no"},
            "Tmpfs": {"/tmp": "rw"},
            "Mounts": [{"Type": "bind", "Target": "/app", "Source": "/x", "ReadOnly": True}],
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "16m", "max-file": "2"}},
        },
    }
