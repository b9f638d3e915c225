"""The functions by which a program is called.

They do what ``fabric run`` does in the same directory: ``fabric.toml``, ``PLUMB_…`` and ``FABRIC_…`` variables count.
``binary`` is there for programs that were written for other implementations of the language, and is not used.
"""

from __future__ import annotations

__all__ = ["call", "call_sync", "connect", "run"]

import os
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from fabric.client.approving import Approve, Approver
from fabric.client.arguments import labels_of
from fabric.client.engine import Engine, engine
from fabric.client.exchange import Exchange
from fabric.client.pipeline import Pipeline, values
from fabric.client.preparing import Program, asked, read_input, run_error
from fabric.client.results import Spec
from fabric.client.session import ProgramSession
from fabric.client.waiting import start_and_wait, wait_gone_sync
from fabric.errors import ConfigError, NotRunning, PipelineError, RunError
from fabric.graph.ir import Graph


async def call(
    spec: Spec,
    input: Any,  # noqa: A002
    auto_approve: bool = False,
    search_path: Iterable[str | Path] | None = None,
    binary: str | None = None,
    env: Mapping[str, str] | None = None,
    *,
    port: str | None = None,
    approve: Approve | None = None,
) -> list[Any]:
    """Run a program on one message and return all outputs. Cancelled, it leaves nothing behind.

    Any number of calls may be made at once: as many run as the machine bears, the others wait for their turn.

    Args:
        spec: the program.
        input: of the type of its input: plain values, a dataclass, a pydantic model; ``None`` for a unit input.
        auto_approve: let tools write, run programs, notify and call servers without asking.
        search_path: where to look for the files that it uses, before the folders of ``PLUMB_PATH``.
        binary: not used.
        env: variables that are different for this call and its workers.
        port: the input, where there are several; or ``{"__port": NAME, "msg": VALUE}`` as ``input``.
        approve: asked for each call of a tool that needs approval, and answers ``True`` or ``False``: an async function
            in the caller's event loop, a plain one in a thread of its own. What it denies is no failure of the program.
            What it raises denies, and is the cause of the PipelineError that the program ends with. Without it such
            calls are refused, which is a failure.

    Returns:
        values, in the order in which they left the program; :class:`Output` where it has several outputs.

    Raises:
        CheckError: the program does not check.
        RunError: it could not be started.
        PipelineError: the input is not of the program's type (nothing was started), the program failed, or not
            everything came out.
    """
    approver = None if approve is None else Approver(approve, in_loop=True)
    calling = _Calling(spec, input, port, auto_approve, search_path, env, approver)
    runs, exchange, session = _engine(), calling.exchange, calling.session
    await start_and_wait(exchange, exchange.look_for_end, partial(runs.start, session), partial(runs.stop, session))
    return calling.result()


def call_sync(
    spec: Spec,
    input: Any,  # noqa: A002
    auto_approve: bool = False,
    search_path: Iterable[str | Path] | None = None,
    binary: str | None = None,
    env: Mapping[str, str] | None = None,
    *,
    port: str | None = None,
    approve: Approve | None = None,
) -> list[Any]:
    """Do as :func:`call`, and wait for it: anywhere, also where an event loop runs. Ctrl-C ends the program.

    An async ``approve`` runs under trio.
    """
    approver = None if approve is None else Approver(approve, in_loop=False)
    calling = _Calling(spec, input, port, auto_approve, search_path, env, approver)
    runs, exchange = _engine(), calling.exchange
    try:
        runs.start(calling.session)
        exchange.bell.wait_sync(exchange.look_for_end)
    except BaseException:
        runs.stop(calling.session)
        wait_gone_sync(exchange)
        raise
    return calling.result()


class _Calling:
    """One call."""

    def __init__(
        self,
        spec: Spec,
        value: Any,
        port: str | None,
        auto_approve: bool,
        search_path: Iterable[str | Path] | None,
        env: Mapping[str, str] | None,
        approver: Approver | None,
    ) -> None:
        self.exchange = Exchange(bounded=False)
        self._value = value
        self._port = port
        self.session = ProgramSession(
            asked(spec, auto_approve=auto_approve, search_path=search_path, env=env, approves=approver is not None),
            self.exchange,
            approver,
            is_call=True,
            begin=self._begin,
        )

    def _begin(self, program: Program) -> None:
        """Send the message, before anything is started."""
        exchange = self.exchange
        message = None
        if program.inputs or self._value is not None:
            try:
                message = read_input(program.inputs, self._value, self._port)
            except PipelineError as error:
                raise PipelineError(error.detail, 1, code=error.code) from None
        with exchange.bell.lock:
            if message is not None:
                exchange.send(*message)
            exchange.close_input()

    def result(self) -> list[Any]:
        program = self.session.program
        outputs = values(self.exchange.take_all(), program.outputs if program is not None else ())
        try:
            self.exchange.raise_failure()
        except PipelineError as error:
            error.outputs = outputs
            raise
        return outputs


def _engine() -> Engine:
    found = engine()
    if found.is_here:
        raise RunError("a program cannot be called from the thread that runs programs")
    return found


async def run(
    spec: Spec,
    auto_approve: bool = False,
    verbose: bool = True,
    search_path: Iterable[str | Path] | None = None,
    binary: str | None = None,
    env: Mapping[str, str] | None = None,
    *,
    extra: Iterable[str] = (),
    approve: Approve | None = None,
) -> Pipeline:
    """Start a program and return it, ready to be sent messages.

    Args:
        spec, auto_approve, search_path, binary, env, approve: as of :func:`call`.
        verbose: whether there is telemetry.
        extra: ports that nobody in the program reads, ``telemetry`` or ``ctrl_out``, to be had with
            :meth:`Pipeline.extra`.

    Raises:
        CheckError: the program does not check.
        RunError: it could not be started.
    """
    labels = labels_of(extra)
    approver = None if approve is None else Approver(approve, in_loop=True)
    exchange = Exchange(bounded=True, telemetry=verbose, extra=labels)
    session = ProgramSession(
        asked(
            spec,
            auto_approve=auto_approve,
            search_path=search_path,
            env=env,
            approves=approver is not None,
            verbose=verbose,
            extra=labels,
        ),
        exchange,
        approver,
        is_call=False,
    )
    runs = _engine()
    await start_and_wait(exchange, exchange.look_for_start, partial(runs.start, session), partial(runs.stop, session))
    if not exchange.opened:
        exchange.raise_failure()
    return Pipeline(exchange, _ProgramLink(runs, session))


class _ProgramLink:
    """A program of ours, behind a pipeline."""

    def __init__(self, runs: Engine, session: ProgramSession) -> None:
        assert session.program is not None
        self._engine = runs
        self._session = session
        self._program = session.program

    @property
    def name(self) -> str:
        return self._program.compiled.module.source.path

    @property
    def outputs(self) -> tuple[str, ...]:
        return self._program.outputs

    @property
    def graph(self) -> Graph:
        return self._program.graph

    def read(self, message: Any, port: str | None) -> tuple[str, bytes]:
        return read_input(self._program.inputs, message, port)

    def force(self) -> None:
        if not self._engine.soon(self._session.force):
            self._engine.stop(self._session)

    def stop(self) -> None:
        self._engine.stop(self._session)


async def connect(project: str | None = None) -> Pipeline:
    """Join a service that was started with ``fabric up``, as ``fabric send`` does.

    What comes of its messages is given to whoever sent them. There is no telemetry. The service checks messages: one
    that it refuses is told of by a :class:`fabric.PipelineError` to whoever reads, or else at the end of the pipeline,
    and it goes on. The end of the pipeline leaves the service; it runs on.

    Args:
        project: its name; left out: ``FABRIC_PROJECT``, or the only one that runs from this directory or above.

    Raises:
        RunError: there is none, several are meant, or it does not answer.
    """
    from fabric.client.joined import ServiceSession
    from fabric.runtime.services import find_service
    from fabric.settings import with_dotenv

    try:
        environment = with_dotenv(Path.cwd(), os.environ)
        state = environment.get("FABRIC_STATE_DIR")
        record = find_service(
            Path.cwd(),
            Path(state) if state else None,
            spec=None,
            project=project or environment.get("FABRIC_PROJECT") or None,
        )
    except (NotRunning, ConfigError) as error:
        raise run_error(error) from None
    exchange = Exchange(bounded=True)
    session = ServiceSession(record, exchange)
    runs = _engine()
    await start_and_wait(exchange, exchange.look_for_start, partial(session.start, runs), partial(runs.stop, session))
    if not exchange.opened:
        exchange.raise_failure()
    return Pipeline(exchange, session)
