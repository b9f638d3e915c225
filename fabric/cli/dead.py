"""Commands about the dead letters of a service: what there is, one more try, away with them."""

from __future__ import annotations

__all__ = ["register"]

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import trio
import typer

from fabric.cli.flags import Project, state_directory
from fabric.cli.letter_table import render_letter, render_letters, without_content
from fabric.cli.report import AnswerPrinter, count_of, out, print_error, print_line
from fabric.cli.service import SERVICE, sort_arguments
from fabric.errors import ConfigError, NotRunning, UnknownName
from fabric.runtime.dead_letters import DeadLetters, Head, Letter, Letters, dead_directory
from fabric.runtime.service_client import listen
from fabric.runtime.service_protocol import Answer, Request
from fabric.runtime.services import Record, find_record, project_name, state_directories
from fabric.wire.payload import encode_json

IDS = typer.Argument(
    metavar="[SPEC] [ID]...", help="The program of the service (*.plumb); letters.", show_default=False
)
ONE = typer.Argument(metavar="[SPEC] ID", help="The program of the service (*.plumb); the letter.", show_default=False)
Ids = Annotated[list[str] | None, IDS]
All = Annotated[bool, typer.Option("--all", "-a", help="All letters.")]
Worker = Annotated[str | None, typer.Option("--worker", "-w", help="Only those that were for this worker.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say which letters would be meant.")]

RETRIES_AT_ONCE = 100
"""Letters that are sent to a service before the first of them has settled: what it does not take waits with us."""


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(
        name="dead",
        no_args_is_help=True,
        help="Dead letters: messages that a worker of a service was not given, or did not survive.",
    )
    group.command("list")(list_)
    group.command()(show)
    group.command()(retry)
    group.command()(drop)
    app.add_typer(group)


class _Kept(NamedTuple):
    """The dead letters of one service; ``record`` is ``None`` if nothing else is known of it."""

    project: str
    record: Record | None
    letters: DeadLetters


def _find(spec: Path | None, project: str | None) -> _Kept:
    """Return the dead letters that are meant; they stay when their service has ended.

    Raises:
        NotRunning: nothing is known of such a service, or several are meant and none was named.
    """
    here = Path.cwd()
    try:
        state, record = find_record(here, state_directory(), spec=spec, project=project)
        return _Kept(record.project, record, DeadLetters(dead_directory(state, record.project)))
    except NotRunning:
        name = project or (project_name(spec) if spec else None)
        for state in state_directories(here, state_directory()):
            found = [path for path in (state / "dead").glob("*") if name in (None, path.name)]
            if len(found) == 1:
                return _Kept(found[0].name, None, DeadLetters(found[0]))
        raise


def _chosen(kept: _Kept, letters: Letters, names: Iterable[str], everything: bool, worker: str | None) -> list[Head]:
    """Return the letters that are meant.

    Raises:
        ConfigError: none is named, or what is named is no number.
        UnknownName: one that is named is not there.
    """
    ids = list(dict.fromkeys(map(_number, names)))
    if everything is bool(ids):
        how = "name letters or say --all, not both" if ids else "which letters? Name them, or say --all"
        raise ConfigError(f"{how}; fabric dead list shows them")
    missing = [id_ for id_ in ids if id_ not in letters.heads]
    if missing:
        known = f"'{kept.project}' has {_span(letters)}"
        raise UnknownName(f"there is no dead letter {', '.join(map(str, missing))}; {known}")
    heads = [letters.heads[id_] for id_ in ids] if ids else list(letters.heads.values())
    return [head for head in heads if worker in (None, head.worker)]


def _number(name: str) -> int:
    if not (name.isascii() and name.isdecimal()):
        raise ConfigError(f"{name!r} is no number of a dead letter; fabric dead list shows them")
    return int(name)


def _span(letters: Letters) -> str:
    ids = list(letters.heads)
    if len(ids) < 2:
        return f"only {ids[0]}" if ids else "none"
    return f"{len(ids)}, from {ids[0]} to {ids[-1]}"


# --- what there is ----------------------------------------------------------------------------------------------------


def list_(
    program: Annotated[Path | None, SERVICE] = None,
    project: Project = None,
    worker: Worker = None,
    output: Annotated[str, typer.Option("--format", help="table, json or jsonl.")] = "table",
) -> None:
    """List the dead letters of a service, the oldest first, without what is in them. Also after its end.

    Examples: fabric dead list; fabric dead list -w judge --format jsonl

    Exit codes: 0 also if there is none, 2 the letters cannot be read, 7 nothing is known of such a service.
    """
    if output not in ("table", "json", "jsonl"):
        raise ConfigError(f"--format {output}: expected table, json or jsonl")
    kept = _find(program, project)
    with kept.letters.open() as letters:
        heads = [head for head in letters.heads.values() if worker in (None, head.worker)]
        rows = map(letters.read, heads)
        if output == "jsonl":
            out(encode_json({"v": 1, **without_content(row)}).decode() + "\n" for row in rows)
        elif output == "json":
            shown = {"v": 1, "project": kept.project, "letters": list(map(without_content, rows))}
            out([encode_json(shown).decode(), "\n"])
        elif heads:
            columns = shutil.get_terminal_size().columns if os.isatty(1) else None
            out(line + "\n" for line in render_letters(rows, columns))
        else:
            print_line(f"'{kept.project}' has no dead letters" + (f" for worker '{worker}'" if worker else ""))
        _tell_damaged(letters)


def show(
    arguments: Annotated[list[str], ONE],
    project: Project = None,
    output: Annotated[str, typer.Option("--format", help="text or json.")] = "text",
) -> None:
    """Print one dead letter: why it is one, what its worker said last, and the message itself. Also after its end.

    Examples: fabric dead show 17; fabric dead show --format json 17 | jq .payload

    Exit codes: 0, 2 no such number can be, 7 there is no such letter, or nothing is known of such a service.
    """
    if output not in ("text", "json"):
        raise ConfigError(f"--format {output}: expected text or json")
    spec, names = sort_arguments(arguments)
    if len(names) != 1:
        raise ConfigError("one letter at a time; fabric dead list shows them")
    kept = _find(spec, project)
    with kept.letters.open() as letters:
        (head,) = _chosen(kept, letters, names, False, None)
        letter = letters.read(head)
    if output == "json":
        out([encode_json({"v": 1, "project": kept.project, **_fields(letter)}).decode(), "\n"])
    else:
        out(line + "\n" for line in render_letter(letter, kept.project))


def _fields(letter: Letter) -> dict[str, object]:
    fields = msgspec.structs.asdict(letter)
    return {name: value for name, value in fields.items() if value is not msgspec.UNSET}


def _tell_damaged(letters: Letters) -> None:
    if letters.damaged:
        lines = count_of(letters.damaged, "line")
        print_error(f"{lines} of the log cannot be read: a kill has cut them, or somebody has edited it", "damaged")


# --- away with them ---------------------------------------------------------------------------------------------------


def drop(
    arguments: Ids = None,
    project: Project = None,
    everything: All = False,
    worker: Worker = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Drop dead letters for good: from the list, and from the disk. Also after the end of their service.

    Examples: fabric dead drop 17 18; fabric dead drop --all -w judge --yes

    Exit codes: 0, 1 not dropped after all, 2 nobody can be asked (say --yes), or the disk does not let go of them, 7
    there is no such letter, or nothing is known of such a service.
    """
    spec, names = sort_arguments(arguments)
    kept = _find(spec, project)
    with kept.letters.open() as letters:
        heads = _chosen(kept, letters, names, everything, worker)
    what = f"{count_of(len(heads), 'dead letter')} of '{kept.project}'"
    if dry_run or not heads:
        print_line(
            f"would drop {what}{_listed(heads)}" if heads else f"there are no such dead letters of '{kept.project}'"
        )
        return
    if not yes:
        if not os.isatty(0):
            raise ConfigError(f"to drop {what} for good, say --yes: nobody can be asked here")
        if not typer.confirm(f"drop {what} for good?", err=True):
            raise typer.Exit(1)
    wanted = {head.id for head in heads}
    try:
        dropped = kept.letters.drop(lambda head: head.id in wanted)
    except OSError as error:
        raise ConfigError(f"cannot write {error.filename or kept.letters.directory}: {error.strerror}") from None
    print_line(f"dropped {count_of(len(dropped), 'dead letter')} of '{kept.project}'")


def _listed(heads: list[Head]) -> str:
    return ": " + ", ".join(str(head.id) for head in heads)


# --- one more try -----------------------------------------------------------------------------------------------------


def retry(
    arguments: Ids = None,
    project: Project = None,
    everything: All = False,
    worker: Worker = None,
    wait_timeout: Annotated[
        float | None, typer.Option(help="Seconds to wait at most; what is under way goes on.", min=0.0)
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Give dead letters to their workers once more, and print what comes of them, as `send` does.

    One that its worker is done with leaves the list; one that is a dead letter again stays, under its number. If the
    service is killed meanwhile, one may have been done and be in the list all the same.

    Examples: fabric dead retry 17; fabric dead retry --all --worker judge

    Exit codes: 0 all are done, 1 one is a dead letter again, was refused or was not done in time, 2 no letter is named,
    7 no such service is running, or it has no such letter, 130 not waited for after Ctrl-C.
    """
    spec, names = sort_arguments(arguments)
    kept = _find(spec, project)
    with kept.letters.open() as letters:
        heads = _chosen(kept, letters, names, everything, worker)
        if dry_run or not heads:
            said = f"would try {count_of(len(heads), 'dead letter')} of '{kept.project}' again{_listed(heads)}"
            print_line(said if heads else f"there are no such dead letters of '{kept.project}'")
            return
        if kept.record is None or not kept.record.alive:
            raise NotRunning(f"'{kept.project}' does not run: fabric up starts it, and then its letters can be retried")
        retrying = _Retrying(letters, heads)
        try:
            trio.run(retrying.run, kept.record, wait_timeout)
        except KeyboardInterrupt:
            print_line("not waited for; what is under way goes on, and fabric dead list shows what is left")
            raise
    raise typer.Exit(retrying.exit_code)


class _Retrying:
    """Letters that are tried again, some at a time, and what comes of each.

    Attributes:
        exit_code: of the command.
    """

    def __init__(self, letters: Letters, heads: list[Head]) -> None:
        self.exit_code = 0
        self._letters = letters
        self._heads = heads
        self._missing: dict[int, int] = {}
        self._outputs: dict[int, int] = {}
        self._printer = AnswerPrinter()
        self._done = 0

    async def run(self, service: Record, wait_timeout_s: float | None) -> None:
        """Ask, and wait until all have settled or it has taken too long."""
        with trio.move_on_after(float("inf") if wait_timeout_s is None else wait_timeout_s) as waiting:
            for start in range(0, len(self._heads), RETRIES_AT_ONCE):
                await listen(service, self._requests(self._heads[start : start + RETRIES_AT_ONCE]), self._hear)
                if self._missing:
                    break
        left = len(self._heads) - self._done
        if waiting.cancelled_caught:
            self._fail(
                f"{count_of(left, 'letter')} not done after {wait_timeout_s:g} s; see fabric dead list", "timeout"
            )
        elif left:
            self._fail(f"the service ended before {count_of(left, 'letter')} had settled; they stay", "service_ended")

    def _requests(self, heads: list[Head]) -> Iterator[Request]:
        self._missing = {head.id: head.id for head in heads}
        for head in heads:
            letter = self._letters.read(head)
            yield Request(head.id, letter.payload, do="retry", worker=letter.worker, letter=head.id)

    def _hear(self, answer: Answer) -> bool:
        """Print what has come of a letter; return whether there is more to wait for."""
        if isinstance(answer.output, msgspec.Raw):
            self._outputs[answer.id] = self._outputs.get(answer.id, 0) + 1
            self._printer.output(bytes(answer.output))
        elif answer.error:
            self._fail(answer.error, answer.code, letter=answer.id, node=answer.node)
            if answer.code in ("not_done", UnknownName.code):
                self._settled(answer.id)
        elif answer.settled:
            print_line(f"dead letter {answer.id}: {self._came_of(answer)}")
            self.exit_code = self.exit_code if answer.came_of_it == "done" else 1
            self._settled(answer.id)
        return bool(self._missing)

    def _came_of(self, answer: Answer) -> str:
        if answer.came_of_it == "dead":
            return f"it is one again; fabric dead show {answer.id} tells why"
        if answer.came_of_it == "refused":
            return "what came of it was refused; it stays in the list"
        outputs = self._outputs.pop(answer.id, 0)
        return f"done, {count_of(outputs, 'output')}; it is none any more"

    def _settled(self, id_: int) -> None:
        del self._missing[id_]
        self._done += 1

    def _fail(self, message: str, code: str, **fields: object) -> None:
        self.exit_code = 1
        print_error(message, code, {name: value for name, value in fields.items() if value})
