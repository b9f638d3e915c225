"""Zygotes that several sessions share. Real processes; each wait is for an exit or the end of a pipe."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
import trio

from fabric.launch.process import Workplace, open_launcher
from fabric.launch.zygotes import open_zygotes
from fabric.plan.make import MODULE
from fabric.plan.plan import WorkerPlan
from fabric.wire.payload import STRING
from fabric.wire.spec import WorkerSpec

pytestmark = pytest.mark.processes

ENVIRONMENT = {"PATH": os.environ["PATH"]}

STAYS = "print('started', flush=True)\nimport time\ntime.sleep(600)\n"


def plan(text: str, folder: Path, name: str, provider: str = "") -> WorkerPlan:
    """Return the plan of a Python worker that runs a text while it imports its function."""
    (folder / f"{name}.py").write_text(text)
    config = {"call": f"{name}:f"} | ({"provider": provider} if provider else {})
    spec = WorkerSpec(name, "python", STRING, STRING, config=config, directory=str(folder))
    return WorkerPlan(name, spec, (sys.executable, *MODULE, "fabric.worker"), ours=True)


async def test_a_launcher_ends_its_own_workers_alone(tmp_path: Path):
    """Those of another, forked by the same zygote, go on."""
    with trio.fail_after(50):
        async with open_zygotes() as zygotes:
            worker = plan(STAYS, tmp_path, "stays")
            with zygotes.use([worker]) as forker:
                async with open_launcher(ENVIRONMENT, workplace=Workplace(forker)) as one:
                    first = await one.launch(worker)
                    async with open_launcher(ENVIRONMENT, workplace=Workplace(forker)) as other:
                        second = await other.launch(worker)
                        assert second.pid is not None
                    assert await second.wait() == -signal.SIGKILL
                    with trio.move_on_after(0.05) as waiting:
                        await first.wait()
                    assert waiting.cancelled_caught
                assert await first.wait() == -signal.SIGKILL


async def test_workers_are_where_their_session_is(tmp_path: Path):
    """Forked or spawned; a place that is not there is told by the worker."""
    here = tmp_path / "here"
    here.mkdir()
    worker = plan("import os\nprint(os.getcwd(), flush=True)\nos._exit(0)\n", tmp_path, "where")
    with trio.fail_after(50):
        async with open_zygotes() as zygotes:
            with zygotes.use([worker]) as forker:
                for workplace in (Workplace(forker, str(here)), Workplace(None, str(here))):
                    async with open_launcher(ENVIRONMENT, workplace=workplace) as launcher:
                        launched = await launcher.launch(worker)
                        assert [line async for line in launched.stderr_lines()] == [str(here)]
                        await launched.wait()
                async with open_launcher(ENVIRONMENT, workplace=Workplace(forker, str(tmp_path / "no"))) as launcher:
                    launched = await launcher.launch(worker)
                    said = [line async for line in launched.stderr_lines()]
                    assert "FileNotFoundError" in said[-1]
                    assert await launched.wait() == 1


async def test_who_needs_more_gets_another_and_the_first_ends_with_its_last_worker(tmp_path: Path):
    """The new one has what both need, so that the next session of either kind is at home there."""
    few, more = plan(STAYS, tmp_path, "few"), plan(STAYS, tmp_path, "more", provider="eliza")
    with trio.fail_after(50):
        async with open_zygotes() as zygotes:
            with zygotes.use([few]) as forker:
                before = zygotes.pid
                async with open_launcher(ENVIRONMENT, workplace=Workplace(forker)) as launcher:
                    launched = await launcher.launch(few)
                    with zygotes.use([more]):
                        after = zygotes.pid
                    assert after != before
                    with zygotes.use([few]):
                        assert zygotes.pid == after
                    assert before is not None
                    os.kill(before, 0)
                await launched.wait()
            while Path(f"/proc/{before}").exists():  # it is reaped by the loop
                await trio.lowlevel.checkpoint()


async def test_one_that_has_died_is_replaced(tmp_path: Path):
    """Who had it spawns what it still has to start."""
    worker = plan("import os\nprint('here', flush=True)\nos._exit(0)\n", tmp_path, "here")
    with trio.fail_after(50):
        async with open_zygotes() as zygotes:
            with zygotes.use([worker]) as forker:
                assert forker is not None
                before = zygotes.pid
                assert before is not None
                os.kill(before, signal.SIGKILL)
                while forker.obituary is None:
                    await trio.lowlevel.checkpoint()
                async with open_launcher(ENVIRONMENT, workplace=Workplace(forker)) as launcher:
                    launched = await launcher.launch(worker)
                    assert [line async for line in launched.stderr_lines()] == ["here"]
                    await launched.wait()
            with zygotes.use([worker]):
                assert zygotes.pid not in (None, before)
