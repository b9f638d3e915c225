"""Commands that stop and start one worker of a service while the others work on."""

from __future__ import annotations

__all__ = ["register"]

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import trio
import typer

from fabric.cli.flags import Project, state_directory
from fabric.cli.report import count_of, print_error, print_line
from fabric.cli.service import WORKERS, check_workers, sort_arguments
from fabric.errors import ConfigError
from fabric.plan.replicas import known_names, meant
from fabric.runtime.service_client import listen
from fabric.runtime.service_protocol import Answer, Request
from fabric.runtime.services import Record, find_service
from fabric.session.events import Wish
from fabric.session.startup import start_it

Arguments = Annotated[list[str] | None, WORKERS]
WaitTimeout = Annotated[float | None, typer.Option(help="Seconds to wait at most; it goes on after that.", min=0.0)]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command()(stop)
    app.command()(start)
    app.command()(restart)


def stop(arguments: Arguments = None, project: Project = None, wait_timeout: WaitTimeout = None) -> None:
    """Stop workers: each finishes the messages that it has, and ends; what comes for it waits until it is started.

    Examples: fabric stop critic; fabric stop -p demo critic judge

    Exit codes: 0 stopped, 1 it could not be, or was not in time, 7 no such service is running, or it has no such
    worker, 130 not waited for after Ctrl-C.
    """
    _steer("stop", arguments, project, wait_timeout)


def start(arguments: Arguments = None, project: Project = None, wait_timeout: WaitTimeout = None) -> None:
    """Start workers that were stopped: each gets the messages that have waited for it. An agent's memory starts empty.

    Examples: fabric start critic; fabric start --wait-timeout 10 critic

    One that somebody else starts is waited for from then on, and the command says so at once.

    Exit codes: 0 it runs, or is waited for, 1 it could not be started and stays stopped, or was not ready in time, 7 no
    such service is running, or it has no such worker, 130 not waited for after Ctrl-C.
    """
    _steer("start", arguments, project, wait_timeout)


def restart(arguments: Arguments = None, project: Project = None, wait_timeout: WaitTimeout = None) -> None:
    """Stop workers and start them again: no message is lost. An agent's conversation memory starts empty.

    One that does not come back stays stopped; the service goes on, and what is for it waits. One that somebody else
    starts (runner external) has only ended when the command returns, and is waited for.

    Examples: fabric restart critic; fabric restart main.plumb critic judge

    Exit codes: 0 it runs again, or has ended and is waited for, 1 it did not come back, or not in time, 7 no such
    service is running, or it has no such worker, 130 not waited for after Ctrl-C.
    """
    _steer("restart", arguments, project, wait_timeout)


def _steer(wish: Wish, arguments: list[str] | None, project: str | None, wait_timeout_s: float | None) -> None:
    spec, names = sort_arguments(arguments)
    service = find_service(Path.cwd(), state_directory(), spec=spec, project=project)
    known = known_names(worker.name for worker in service.workers)
    check_workers(names, known)
    if not names:
        raise ConfigError(f"which worker? Those of '{service.project}' are: {', '.join(known) or 'none'}")
    asked = _Asked(wish, names, service)
    try:
        trio.run(asked.wait, service, wait_timeout_s)
    except KeyboardInterrupt:
        print_line(f"not waited for; the {wish} goes on, and fabric ps shows how far it is")
        raise
    raise typer.Exit(asked.exit_code)


class _Asked:
    """What was asked for some workers, and what has come of it.

    Attributes:
        exit_code: of the command.
    """

    def __init__(self, wish: Wish, names: tuple[str, ...], service: Record) -> None:
        self.exit_code = 0
        self._wish = wish
        self._missing = dict(enumerate(names, 1))
        self._known = tuple(worker.name for worker in service.workers)
        self._before: Mapping[str, int] = {
            worker.name: worker.process.pid for worker in service.workers if worker.process is not None
        }

    async def wait(self, service: Record, wait_timeout_s: float | None) -> None:
        """Ask, and wait until it is so, cannot be, or has taken too long."""
        requests = [Request(number, do=self._wish, worker=name) for number, name in self._missing.items()]
        with trio.move_on_after(float("inf") if wait_timeout_s is None else wait_timeout_s) as waiting:
            await listen(service, requests, self._hear)
        if not self._missing:
            return
        self.exit_code = 1
        missing = f"{count_of(len(self._missing), 'worker')} ({', '.join(self._missing.values())})"
        if waiting.cancelled_caught:
            print_error(f"the {self._wish} of {missing} takes more than {wait_timeout_s:g} s; it goes on", "timeout")
        else:
            print_error(f"the service ended before the {self._wish} of {missing} was done", "service_ended")

    def _hear(self, answer: Answer) -> bool:
        """Print what has come of it; return whether there is more to wait for."""
        if answer.error:
            name = self._missing.pop(answer.id)
            self.exit_code = 1
            print_error(answer.error, answer.code, {"worker": name})
        elif answer.worker:
            del self._missing[answer.id]
            print_line(self._done(answer))
        return bool(self._missing)

    def _done(self, answer: Answer) -> str:
        replicas = [worker for worker in meant(answer.worker, self._known) if worker != answer.worker]
        if answer.activity == "starting":
            return self._awaited(answer.worker, replicas or [answer.worker])
        if replicas:
            state = "are stopped" if answer.activity == "stopped" else "are ready"
            return f"all of '{answer.worker}' {state}: {', '.join(replicas)}"
        before = self._before.get(answer.worker)
        if answer.activity == "stopped":
            again = "; fabric start starts it again" if self._wish == "stop" else ""
            was = "" if before is None else f" (its pid was {before})"
            return f"worker '{answer.worker}' is stopped{was}{again}"
        if answer.pid is None:  # a container, or a worker of somebody else
            return f"worker '{answer.worker}' is ready"
        was = f", before {before}" if self._wish == "restart" and before not in (None, answer.pid) else ""
        return f"worker '{answer.worker}' is ready (pid {answer.pid}{was})"

    def _awaited(self, name: str, workers: list[str]) -> str:
        """Say what somebody has to do for workers that we do not start."""
        how = "; ".join(start_it(worker) for worker in workers)
        return f"worker '{name}' {'has ended' if self._wish == 'restart' else 'is waited for'}; {how}"
