"""The command that tells one worker of a service something on its control channel."""

from __future__ import annotations

__all__ = ["control_message", "register"]

import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import trio
import typer

from fabric.cli.flags import Project, state_directory
from fabric.cli.report import out, print_error, print_line
from fabric.cli.service import check_workers, sort_arguments
from fabric.errors import ConfigError, ValueRejected
from fabric.plan.replicas import known_names
from fabric.runtime.service_client import listen
from fabric.runtime.service_protocol import Answer, Request
from fabric.runtime.services import Record, find_service
from fabric.wire.payload import decode_json, encode_json

WORDS = {
    "pause": {"pause": True},
    "resume": {"resume": True},
    "memory": {"get_memory": True},
}
"""What may be said in one word."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(ctl)


def ctl(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="[SPEC] WORKER MESSAGE",
            help="The program (*.plumb); the worker; pause, resume, memory, set_memory FILE, or a JSON object.",
            show_default=False,
        ),
    ],
    project: Project = None,
    wait_timeout: Annotated[
        float | None, typer.Option(help="Seconds to wait at most for the reply; it may come later.", min=0.0)
    ] = None,
) -> None:
    """Send a control message to a worker of a running service, and print its reply, if it asks for one.

    pause: it takes no messages until resume. memory: its conversation; set_memory FILE replaces that by what memory has
    printed, or by a list of messages (-: stdin). A reply may have to wait for the message that the worker is at.

    Examples: fabric ctl critic pause; fabric ctl critic '{"set_temp": 0.2}'; fabric ctl critic memory > m.json

    Exit codes: 0, 1 it could not be told, or did not reply in time, 2 the message is no JSON object, 7 no such service
    is running, or it has no such worker, 130 not waited for after Ctrl-C.
    """
    spec, worker, words = _sort(arguments)
    message = control_message(words, _read)
    service = find_service(Path.cwd(), state_directory(), spec=spec, project=project)
    check_workers([worker], known_names(known.name for known in service.workers))
    told = _Told(worker)
    trio.run(told.wait, service, encode_json(message), wait_timeout)
    raise typer.Exit(told.exit_code)


def _sort(arguments: list[str]) -> tuple[Path | None, str, list[str]]:
    """Tell program, worker and message apart."""
    given = list(arguments)
    spec = sort_arguments([given.pop(0)])[0] if given[0].endswith(".plumb") else None
    if len(given) < 2:
        raise ConfigError(f"expected a worker and a message: {', '.join(WORDS)}, set_memory FILE, or a JSON object")
    return spec, given[0], given[1:]


def control_message(words: list[str], read: Any) -> dict[str, Any]:
    """Return the message that is meant.

    Args:
        words: behind the worker's name.
        read: returns what is in a file.

    Raises:
        ConfigError: it is none.
    """
    said, *more = words
    if said == "set_memory":
        if len(more) != 1:
            raise ConfigError("expected set_memory FILE, with what memory has printed; -: stdin")
        return {"set_memory": _messages(read(more[0]), more[0])}
    if more:
        raise ConfigError(f"one message at a time: quote it if it has spaces; got {' '.join(words)!r}")
    if said in WORDS:
        return dict(WORDS[said])
    what = f'expected {", ".join(WORDS)}, set_memory FILE, or a JSON object such as {{"set_temp": 0.2}}'
    try:
        message = decode_json(said)
    except ValueRejected as error:
        raise ConfigError(f"{what}; got {said!r} ({error.got})") from None
    if not isinstance(message, dict):
        raise ConfigError(f"{what}; got {said!r}")
    return message


def _messages(text: bytes, name: str) -> list[Any]:
    """Return the conversation that a file has: as a list, or in the reply to ``get_memory``."""
    try:
        found = decode_json(text)
    except ValueRejected as error:
        raise ConfigError(f"{name}: {error}") from None
    messages = found.get("messages") if isinstance(found, dict) else found
    if not isinstance(messages, list):
        raise ConfigError(f'{name}: expected a list of messages, or {{"kind": "memory", "messages": [...]}}')
    return messages


def _read(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {name}: {error.strerror}") from None


class _Told:
    """What one worker was told, and its reply.

    Attributes:
        exit_code: of the command.
    """

    def __init__(self, worker: str) -> None:
        self.exit_code = 1
        self._worker = worker
        self._over = False

    async def wait(self, service: Record, message: bytes, wait_timeout_s: float | None) -> None:
        """Tell it, and wait until it has replied, cannot, or has taken too long."""
        request = Request(1, msgspec.Raw(message), do="tell", worker=self._worker)
        with trio.move_on_after(float("inf") if wait_timeout_s is None else wait_timeout_s) as waiting:
            await listen(service, [request], self._hear)
        if waiting.cancelled_caught:
            text = f"worker '{self._worker}' was told, and did not reply within {wait_timeout_s:g} s; it still may"
            print_error(text, "timeout", {"worker": self._worker})
        elif not self._over:
            print_error(f"the service ended before worker '{self._worker}' replied", "service_ended")

    def _hear(self, answer: Answer) -> bool:
        """Print what came of it; return whether there is more to wait for."""
        self._over = bool(answer.error or answer.worker)
        if answer.error:
            print_error(answer.error, answer.code, {"worker": self._worker})
        elif isinstance(answer.reply, msgspec.Raw):
            self.exit_code = 0
            out([bytes(answer.reply).decode(), "\n"])
        elif answer.worker:
            self.exit_code = 0
            print_line(f"worker '{self._worker}' was told; it replies nothing to that")
        return not self._over
