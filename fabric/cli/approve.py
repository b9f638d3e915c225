"""The command that lists the calls that wait for approval, and decides about them."""

from __future__ import annotations

__all__ = ["register", "render_approvals"]

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import trio
import typer

from fabric.cli.flags import Project, state_directory
from fabric.cli.listing import align, clip, duration
from fabric.cli.report import out, print_error, print_line
from fabric.cli.service import sort_arguments
from fabric.errors import ConfigError, UnknownName
from fabric.runtime.service_client import ask, listen
from fabric.runtime.service_protocol import Answer, PendingApproval, Request
from fabric.runtime.services import Record, find_service
from fabric.wire.payload import encode_json, to_plain


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(approve)


def approve(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SPEC] [ID]...",
            help="The program of the service (*.plumb); approvals. None: list what waits.",
            show_default=False,
        ),
    ] = None,
    project: Project = None,
    deny: Annotated[bool, typer.Option("--deny", help="Refuse instead of granting.")] = False,
    reason: Annotated[str, typer.Option(help="Why it is refused; the one who called reads it.")] = "",
    always: Annotated[
        bool, typer.Option("--always", help="Also all further calls of this tool by this worker, in this session.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="All that waits now.")] = False,
    output: Annotated[str, typer.Option("--format", help="Of the list: table or json.")] = "table",
) -> None:
    """Decide about calls of tools with effects, which wait until somebody approves them; without an ID, list them.

    A decision is for exactly one call: its worker, its tool, its arguments. What nobody decides in time is refused.
    Of an ID its number is enough. TOOL (again?): a run that was killed may have run it already.

    Examples: fabric approve; fabric approve 3-9f2c1a; fabric approve 3-9f2c1a --deny --reason "not that file"

    Exit codes: 0, 1 one was answered already, 2 the options do not go together, 7 no such service is running, or
    nothing with this ID was ever asked.
    """
    spec, ids = sort_arguments(arguments)
    if output not in ("table", "json"):
        raise ConfigError(f"--format {output}: expected table or json")
    if everything and ids:
        raise ConfigError("--all is all that waits: give no ID beside it")
    if reason and not deny:
        raise ConfigError("--reason is why a call is refused: it goes with --deny")
    if (deny or always) and not (ids or everything):
        raise ConfigError("which call? Give the ID of an approval, or --all; fabric approve lists what waits")
    service = find_service(Path.cwd(), state_directory(), spec=spec, project=project)
    if any(id_.isdecimal() for id_ in ids):
        ids = _whole(ids, trio.run(_pending, service))
    if not ids:
        found = trio.run(_pending, service)
        if not everything:
            _list(found, output)
            return
        ids = tuple(approval.id for approval in found)
        if not ids:
            print_line("nothing waits for approval")
    decided = _Decided(ids, "deny" if deny else "approve")
    requests = [
        Request(number, do="deny" if deny else "approve", approval=id_, always=always, reason=reason)
        for number, id_ in enumerate(ids, 1)
    ]
    if requests:
        trio.run(listen, service, requests, decided.hear)
        decided.hung_up()
    raise typer.Exit(decided.exit_code)


def _whole(ids: Iterable[str], approvals: tuple[PendingApproval, ...]) -> tuple[str, ...]:
    """Return the ids as they are, for those of which only the number is given: it is unique within a session."""
    known = {approval.id.partition("-")[0]: approval.id for approval in approvals}
    return tuple(known.get(id_, id_) for id_ in ids)


async def _pending(service: Record) -> tuple[PendingApproval, ...]:
    answer = await ask(service, Request(1, do="approvals"))
    return answer.approvals if isinstance(answer.approvals, tuple) else ()


def _list(approvals: tuple[PendingApproval, ...], output: str) -> None:
    if output == "json":
        out([encode_json({"v": 1, "approvals": to_plain(approvals)}).decode(), "\n"])
    elif approvals:
        columns = shutil.get_terminal_size().columns if os.isatty(1) else None
        out(line + "\n" for line in render_approvals(approvals, columns))
        print_line("fabric approve ID grants one, with --deny it is refused; --format json has the whole digests")
    else:
        print_line("nothing waits for approval")


_COLUMNS = ("ID", "WORKER", "TOOL", "FOR", "LEFT", "BYTES", "ARGUMENTS")


def render_approvals(approvals: Iterable[PendingApproval], columns: int | None) -> list[str]:
    """Return one line an approval, below a line of headings; cut to so many columns, if that matters."""
    return [clip(line, columns) for line in align([_COLUMNS, *map(_cells, approvals)])]


def _cells(approval: PendingApproval) -> tuple[str, ...]:
    return (
        approval.id,
        approval.worker,
        f"{approval.tool} (again?)" if approval.in_doubt else approval.tool,
        duration(approval.age_s),
        duration(approval.expires_in_s),
        str(approval.size_bytes),
        approval.arguments,
    )


class _Decided:
    """What was decided, and whether it counts.

    Attributes:
        exit_code: of the command: that of what went most wrong.
    """

    def __init__(self, ids: tuple[str, ...], do: str) -> None:
        self.exit_code = 0
        self._missing = set(ids)
        self._done = "approved" if do == "approve" else "denied"

    def hear(self, answer: Answer) -> bool:
        """Print what came of one; return whether there is more to wait for."""
        if answer.error:
            print_error(answer.error, answer.code, {"approval": answer.approval})
            unknown = answer.code == "unknown_approval"
            self.exit_code = max(self.exit_code, UnknownName.exit_code if unknown else 1)
        elif answer.approval:
            print_line(f"{answer.approval} {self._done}")
        self._missing.discard(answer.approval)
        return bool(self._missing)

    def hung_up(self) -> None:
        """The service has ended; say what of it was not answered."""
        if self._missing:
            self.exit_code = max(self.exit_code, 1)
            print_error("the service ended before it had answered all of it", "service_ended")
