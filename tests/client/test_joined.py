"""Services that are joined. A real service; both kinds of event loops."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import called
import pytest
from called import BACKENDS, run, write
from three_ways import fabric as command

import fabric

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which a service runs."""
    folder = tmp_path_factory.mktemp("service")
    write(folder, called.function("more"), "adder")
    assert command("up", "-d", "adder.plumb", cwd=folder).returncode == 0
    yield folder
    assert command("down", cwd=folder).returncode == 0


@pytest.fixture
def here(service: Path, warm: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The same, with this process in it; nothing of a test is left afterwards."""
    monkeypatch.chdir(service)
    before = called.descriptors()
    yield service
    with tempfile.TemporaryDirectory() as nowhere:  # the service has its directory as long as it runs
        monkeypatch.setenv("XDG_RUNTIME_DIR", nowhere)
        called.wait_clean(before)


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_is_talked_to_as_any_program(backend: str, here: Path):
    """Each gets what comes of its own messages."""

    async def talk() -> list[Any]:
        async with await fabric.connect() as one, await fabric.connect("adder") as other:
            await one.send(1)
            await other.send(10)
            found = [await one.recv(), await other.recv(), await one.call(2)]
            await one.close_input()
            return [*found, await one.recv(), await other.shutdown()]

    assert run(backend, talk) == [2, 11, [3], None, 0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_message_that_it_refuses_is_told_and_it_goes_on(backend: str, here: Path):
    """To who calls, or else to who reads, in its place."""

    async def talk() -> list[Any]:
        async with await fabric.connect() as pipeline:
            with pytest.raises(fabric.PipelineError, match="expected int, got string"):
                await pipeline.call("x")
            await pipeline.send("x")
            with pytest.raises(fabric.PipelineError, match="expected int, got string") as caught:
                await pipeline.recv()
            await pipeline.send(3)
            return [caught.value.code, caught.value.returncode, await pipeline.recv()]

    assert run(backend, talk) == ["input_type_mismatch", 0, 4]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_refusal_that_nobody_has_read_is_told_at_the_end(backend: str, here: Path, caplog: pytest.LogCaptureFixture):
    """Raised where nothing else is, or as an exit code, and logged; it is still there to be read."""

    async def leave() -> None:
        async with await fabric.connect() as pipeline:
            await pipeline.send("x")
            await pipeline.send(1)

    async def shut_down() -> list[Any]:
        async with await fabric.connect() as pipeline:
            await pipeline.send("x")
            code = await pipeline.shutdown()
            with pytest.raises(fabric.PipelineError, match="expected int, got string"):
                await pipeline.recv()
            return [code, await pipeline.shutdown()]

    with pytest.raises(fabric.PipelineError, match="expected int, got string") as caught:
        run(backend, leave)
    assert caught.value.code == "input_type_mismatch"
    assert [record.getMessage().split(";")[0] for record in caplog.records if record.levelname == "WARNING"] == [
        "pipeline.refused: 1, and nobody has read of it"
    ]
    assert run(backend, shut_down) == [1, 0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_who_leaves_does_not_end_it(backend: str, here: Path):
    """In order, by an error, or cancelled."""

    async def leave() -> None:
        with anyio.move_on_after(0.2):
            async with await fabric.connect() as pipeline:
                await pipeline.recv()

    async def talk() -> Any:
        await leave()
        async with await fabric.connect() as pipeline:
            return await pipeline.call(1)

    assert run(backend, talk) == [2]


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_gives_no_telemetry(backend: str, here: Path):
    """And says so."""

    async def talk() -> str:
        async with await fabric.connect() as pipeline:
            with pytest.raises(fabric.PipelineError, match="a service, which gives none") as caught:
                await pipeline.recv_telemetry()
            return caught.value.code

    assert run(backend, talk) == "no_telemetry"


def test_its_end_is_told(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It finishes what it has; then there is nothing more."""
    write(tmp_path, called.function("more"), "short")
    monkeypatch.chdir(tmp_path)
    assert command("up", "-d", "short.plumb", cwd=tmp_path).returncode == 0

    async def talk() -> list[Any]:
        async with await fabric.connect() as pipeline:
            found = [await pipeline.call(1)]
            await anyio.to_thread.run_sync(lambda: command("down", cwd=tmp_path))
            found.append(await pipeline.recv())
            with pytest.raises(fabric.PipelineError, match="the program has ended"):
                await pipeline.send(1)
            return found

    assert run("asyncio", talk) == [[2], None]


def test_where_nothing_runs_there_is_nothing_to_join(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """By name, and without."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(fabric.RunError, match="no service 'x' runs") as caught:
        run("trio", fabric.connect, "x")
    assert caught.value.returncode == 7
