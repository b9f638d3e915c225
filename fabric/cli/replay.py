"""The command that plays a kept run again, from its log."""

from __future__ import annotations

__all__ = ["register", "render_difference", "settings_of_project"]

import os
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fabric.cli.flags import ColorChoice, Include, Model, Provider, choose
from fabric.cli.programs import project_settings
from fabric.cli.report import JsonReport, count_of, out, print_error, print_line
from fabric.cli.session_place import BucketUrl, Json, open_sessions
from fabric.cli.starting import Asked, compile_program
from fabric.compiler import check_file, plan_compiled, search_path
from fabric.errors import ConfigError, HistoryUnfit, WorkerFailed
from fabric.plan.plan import Plan
from fabric.plan.replicas import meant
from fabric.runtime.directory import open_run_directory
from fabric.runtime.replaying import Replay, open_replay, relive_run
from fabric.runtime.starting import limits_of, prices_of, settings_of
from fabric.session.divergence import Difference, Left, differences_in
from fabric.session.history import Intended
from fabric.session.settings import Settings
from fabric.settings import ProjectSettings
from fabric.wire.lines import DATA, write_line
from fabric.wire.payload import encode_json

if TYPE_CHECKING:
    from fabric.runtime.asking_again import Asked as Took

DIVERGED = 8
SHOWN_MAX = 12
"""Places at which two messages differ that are shown."""

TEXT_MAX = 2_000
"""Letters of a message that are shown beside them."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(replay)


def replay(
    session: Annotated[str, typer.Argument(help="Id of a run that was kept.")],
    program: Annotated[
        Path | None, typer.Option("--program", help="Play it in this program; else in the file that it was begun with.")
    ] = None,
    bucket: BucketUrl = None,
    live: Annotated[
        str | None,
        typer.Option(
            metavar="WORKER",
            help="Really run this worker on what it took then, with its present prompt and model; compare its answers.",
            show_default=False,
        ),
    ] = None,
    diff: Annotated[bool, typer.Option("--diff", help="Print every difference instead of the outputs.")] = False,
    provider: Provider = None,
    model: Model = None,
    include: Include = None,
    as_json: Json = False,
    color: ColorChoice = "auto",
) -> None:
    """Play a kept run again, from its log: every output once more, byte for byte. No worker is started, no model asked.

    If its program has changed since then, outputs come until the first thing that is not as it was recorded, which is
    shown: a message that a worker took then, or that left the graph. With --diff all of them are shown, on stdout.

    With --live one worker is run and its model asked, alone, on each message that it took then; the first answer that
    is not the recorded one ends that, and is shown. A worker that called tools with effects is not run again. Nothing
    is compared behind the place where somebody changed its memory or its model.

    Examples: fabric replay trip; fabric replay trip --program main.plumb --diff; fabric replay trip --live writer

    Exit codes: 0 all is as it was recorded; 1 the log is damaged, or the bucket does not answer; 2 the session is no
    run, or the program does not check; 7 there is no such session or worker; 8 something is not as it was recorded.
    """
    choose(color)
    sessions = open_sessions(bucket)
    found = open_replay(sessions.bucket.store, sessions.bucket.open(session))
    project = project_settings()
    settings = settings_of_project(project)
    asked = Asked(provider, model, include)
    if live is not None:
        differences = _ask_again(found, live, program, project, asked, all_of_them=diff)
        (out if diff else _print_lines)(_lines(differences, as_json=as_json))
        raise typer.Exit(DIVERGED if differences else 0)
    plan = _plan_now(found, program, project, asked)
    same = found.is_of(plan)
    if same or found.kept is None:
        try:
            outputs, differences = relive_run(found, plan, settings)[0].outputs, list[Difference]()
        except HistoryUnfit as error:
            print_error(str(error), error.code)
            raise typer.Exit(DIVERGED) from None
    else:
        now, _ = relive_run(found, plan, settings, allow_changed=True)
        outputs, differences = now.outputs, found.differences(now, settings)
    if diff:
        out(_lines(differences, as_json=as_json))
    else:
        _write(outputs if not differences else _before(outputs, differences[0].entry), plan)
        if differences:
            sys.stdout.flush()
            _tell(differences, as_json=as_json)
    raise typer.Exit(DIVERGED if differences else 0)


def settings_of_project(project: ProjectSettings) -> Settings:
    """Return the settings by which a run of a project goes on, as far as it matters to what is computed."""
    limits = limits_of(project, None, None, None, None)
    return settings_of(project, None, None, None, limits=limits, refusal_ends=True)


def _plan_now(found: Replay, program: Path | None, project: ProjectSettings, asked: Asked) -> Plan:
    """Return the plan of the program that the run is played in: the one that is named, else the one it was begun with.

    Raises:
        ConfigError: there is none.
    """
    path = program or Path(found.log.manifest.path)
    if program is None and not path.is_file():
        plan = found.plan()
        print_line(f"{path} is not here: {found.log.id} is played in the program that was kept with it")
        return plan
    with open_run_directory(os.environ) as directory:
        return compile_program(path, directory, _as_then(found, asked), project, metered=False)


def _as_then(found: Replay, asked: Asked) -> Asked:
    """Return what flags said then, where they do not say it now."""
    kept = found.kept
    if kept is None:
        return asked
    said = (asked.provider or kept.provider or None, asked.model or kept.model or None)
    folders = asked.include or [Path(folder) for folder in kept.folders]
    return Asked(*said, folders, extra_files=dict.fromkeys(kept.observed, ""))


def _ask_again(
    found: Replay, worker: str, program: Path | None, project: ProjectSettings, asked: Asked, *, all_of_them: bool
) -> list[Difference]:
    """Run one worker on what it took; return which of its answers are not what they were."""
    import trio

    from fabric.runtime.asking_again import ask_again, asked_of, only, steered_at

    callers = {name for entry in found.history if isinstance(entry, Intended) for name in meant(worker, [entry.worker])}
    if callers:
        raise ConfigError(
            f"--live {worker}: it called tools with effects, which would happen again; a fork of the run goes on from"
            f" any entry: fabric session fork -s {found.log.id}"
        )
    settings, path = settings_of_project(project), program or Path(found.log.manifest.path)
    recorded, _ = relive_run(found, found.plan(), settings)
    asked = _as_then(found, asked)
    provider, model = project.choose_model(asked.provider, asked.model)
    compiled = only(check_file(path, search_path(asked.include)), worker)
    with open_run_directory(os.environ) as directory:
        plan = plan_compiled(
            compiled,
            run_directory=directory,
            provider=provider,
            model=model,
            endpoint=os.environ.get("PLUMB_ENDPOINT"),
            detour=os.environ.get("FABRIC_TEST_ENDPOINT"),
            resources=os.environ.get("PLUMB_RESOURCES", ""),
            metered=settings.limits.metered,
        )
        took, said = _comparable(worker, asked_of(worker, found.history, recorded), steered_at(worker, found.history))
        prices, report = prices_of(plan, project, settings.limits), JsonReport("error")
        differences, count, finish = trio.run(
            partial(ask_again, plan, settings, prices, took, report, os.environ, all_of_them=all_of_them)
        )
    if not differences and finish.error is not None:
        raise WorkerFailed(finish.error[1])
    others = count_of(len(differences), "other thing")
    told = f"it was given {count} of {count_of(len(took), 'message')}, and says {others}"
    print_line(f"{worker} was run again: {told}" if differences else f"{worker} says what it said, {count} times")
    if said:
        print_line(said)
    return differences


def _comparable(worker: str, took: list[Took], steered: int | None) -> tuple[list[Took], str]:
    """Return those messages of a worker whose answers can be compared, and in words which ones cannot.

    Args:
        worker: its name.
        took: what it took then.
        steered: the entry from which on it was another one than the program says.

    Raises:
        ConfigError: there are none.
    """
    kept = [one for one in took if steered is None or one.entry < steered]
    rest = len(took) - len(kept)
    said = f"the {count_of(rest, 'message')} behind entry {steered} are not compared: there somebody changed its memory"
    said = f"{said} or its model, which a worker that is started now does not know" if rest else ""
    if not kept:
        raise ConfigError(f"--live {worker}: {said or 'it has answered no message in this run'}")
    return kept, said


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print_line(line.rstrip("\n"))


def _before(outputs: Iterable[Left], entry: int) -> list[Left]:
    return [left for left in outputs if left.entry < entry]


def _write(outputs: Iterable[Left], plan: Plan) -> None:
    """Write outputs as the run has written them."""
    one = len(plan.outputs) == 1
    lines = (write_line(DATA if one else left.output.port, left.output.payload).decode() for left in outputs)
    out(lines)


def _tell(differences: list[Difference], *, as_json: bool) -> None:
    _print_lines(_lines(differences[:1], as_json=as_json))
    if len(differences) > 1:
        print_line(f"{len(differences) - 1} more differences; --diff shows all of them")


def _lines(differences: Iterable[Difference], *, as_json: bool) -> Iterable[str]:
    if as_json:
        return (encode_json({"v": 1, **_fields(difference)}).decode() + "\n" for difference in differences)
    return (line + "\n" for difference in differences for line in render_difference(difference))


def _fields(difference: Difference) -> dict[str, object]:
    fields: dict[str, object] = {"entry": difference.entry, "what": difference.what, "at": difference.at}
    if difference.id:
        fields["id"] = difference.id
    fields |= {"recorded": difference.recorded, "now": difference.now}
    return fields | ({"why": difference.why} if difference.why else {})


def render_difference(difference: Difference) -> list[str]:
    """Return the lines of a difference."""
    said = {
        "consumed": f"worker '{difference.at}' took another message",
        "output": f"another output on '{difference.at}'",
        "unfit": "it has no place in the program",
        "answer": f"worker '{difference.at}' answers otherwise",
    }[difference.what]
    name = f" (message {difference.id})" if difference.id else ""
    lines = [f"entry {difference.entry}: {said}{name}"]
    if difference.why:
        lines.append(f"  {difference.why}")
    if difference.what == "unfit":
        return lines
    for word, text in (("recorded", difference.recorded), ("now", difference.now)):
        lines.append(f"  {word:<8}  {'nothing' if text is None else _short(bytes(text).decode(errors='replace'))}")
    if difference.recorded is not None and difference.now is not None:
        places = list(differences_in(bytes(difference.recorded), bytes(difference.now)))
        lines += [f"    {_short(place)}" for place in places[:SHOWN_MAX]]
        if len(places) > SHOWN_MAX:
            lines.append(f"    and {len(places) - SHOWN_MAX} more places")
    return lines


def _short(text: str) -> str:
    return text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}… ({len(text)} letters)"
