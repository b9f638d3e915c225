"""The command that plays a kept run again, from its log."""

from __future__ import annotations

__all__ = ["register", "render_difference", "settings_of_project"]

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from fabric.cli.flags import ColorChoice, Include, Model, Provider, choose
from fabric.cli.programs import project_settings
from fabric.cli.report import out, print_error, print_line
from fabric.cli.session_place import BucketUrl, Json, open_sessions
from fabric.cli.starting import Asked, compile_program
from fabric.errors import HistoryUnfit
from fabric.plan.plan import Plan
from fabric.runtime.directory import open_run_directory
from fabric.runtime.replaying import Replay, open_replay, relive_run
from fabric.runtime.starting import limits_of, settings_of
from fabric.session.divergence import Difference, Left, differences_in
from fabric.session.settings import Settings
from fabric.settings import ProjectSettings
from fabric.wire.lines import DATA, write_line
from fabric.wire.payload import encode_json

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

    Examples: fabric replay trip; fabric replay trip --program main.plumb --diff --json

    Exit codes: 0 all is as it was recorded; 1 the log is damaged, or the bucket does not answer; 2 the session is no
    run, or the program does not check; 7 there is no such session; 8 something is not as it was recorded.
    """
    choose(color)
    sessions = open_sessions(bucket)
    found = open_replay(sessions.bucket.store, sessions.bucket.open(session))
    project = project_settings()
    settings = settings_of_project(project)
    plan = _plan_now(found, program, project, Asked(provider, model, include))
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
    if found.kept is not None:  # what was said then, unless it is said now
        kept = found.kept
        said = (asked.provider or kept.provider or None, asked.model or kept.model or None)
        folders = asked.include or [Path(folder) for folder in kept.folders]
        asked = Asked(*said, folders, extra_files=dict.fromkeys(kept.observed, ""))
    with open_run_directory(os.environ) as directory:
        return compile_program(path, directory, asked, project, metered=False)


def _before(outputs: Iterable[Left], entry: int) -> list[Left]:
    return [left for left in outputs if left.entry < entry]


def _write(outputs: Iterable[Left], plan: Plan) -> None:
    """Write outputs as the run has written them."""
    one = len(plan.outputs) == 1
    lines = (write_line(DATA if one else left.output.port, left.output.payload).decode() for left in outputs)
    out(lines)


def _tell(differences: list[Difference], *, as_json: bool) -> None:
    for line in _lines(differences[:1], as_json=as_json):
        print_line(line.rstrip("\n"))
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
