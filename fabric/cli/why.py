"""The command that shows what is behind an output of a kept run."""

from __future__ import annotations

__all__ = ["register", "render_ancestry"]

import shutil
from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec
import typer

from fabric.cli.programs import project_settings
from fabric.cli.replay import settings_of_project
from fabric.cli.report import count_of, out
from fabric.cli.session_place import BucketUrl, Json, SessionId, open_sessions
from fabric.errors import UnknownName
from fabric.plan.plan import Plan
from fabric.runtime.prices import Prices
from fabric.runtime.replaying import open_replay, relive_run
from fabric.session.ancestry import Ancestry, ModelCall, Step, trace_back
from fabric.session.money import show_usd

KNOWN_MAX = 10
"""Outputs that are listed where one is unknown: the last ones."""

LINE_MIN = 40
"""Letters of a message that are shown, however narrow the terminal is."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(context_settings={"ignore_unknown_options": True})(why)  # -1 is no option


def why(
    message: Annotated[
        str, typer.Argument(help="An output: its number, from 1, or the beginning of its id; negative: from the last.")
    ],
    bucket: BucketUrl = None,
    session: SessionId = None,
    as_json: Json = False,
) -> None:
    """Show what is behind an output of a kept run: the inputs, the workers that took part, what they called, the cost.

    Nothing is started for it. An answer comes of the message that its worker took; what else the worker remembered is
    told as the number of its turns before. What several steps came of is shown once, and then named by its entry.

    Examples: fabric why 1 -s trip; fabric why -1 -s trip --json | jq .usd; fabric why 5f3a -s trip

    Exit codes: 0; 1 the log is damaged, or the bucket does not answer; 2 no session is meant, or it is no run; 7 there
    is no such session or output.
    """
    sessions = open_sessions(bucket)
    found = open_replay(sessions.bucket.store, sessions.bucket.open(sessions.meant(session)))
    project = project_settings()
    plan = found.plan()
    prices = Prices(project.prices)
    replayed, witness = relive_run(found, plan, settings_of_project(project), rate_of=prices.rate_of)
    number = find_output(message, [left.output.span_id.hex() for left in replayed.outputs])
    left = replayed.outputs[number - 1].output
    behind = trace_back(witness, left.span_id, number, left.port, found.history, prices.rate_of, _asked(plan))
    if as_json:
        out([msgspec.json.encode({"v": 1, "session": found.log.id, **_fields(behind)}).decode(), "\n"])
        return
    columns = shutil.get_terminal_size((120, 24)).columns
    out(line + "\n" for line in render_ancestry(behind, columns))


def _asked(plan: Plan) -> dict[str, tuple[str, str]]:
    configs = {worker.name: worker.spec.config for worker in plan.workers}
    return {name: (str(config.get("provider", "")), str(config.get("model", ""))) for name, config in configs.items()}


def _fields(behind: Ancestry) -> dict[str, object]:
    return {name: getattr(behind, name) for name in behind.__struct_fields__}


def find_output(said: str, ids: Sequence[str]) -> int:
    """Return the number of the output that is meant, from 1.

    Args:
        said: its number, or the beginning of its id.
        ids: of all outputs.

    Raises:
        UnknownName: there is none, or several.
    """
    if said.removeprefix("-").isdecimal() and len(said) < len(ids[0] if ids else said) and said.isascii():
        number = int(said) if not said.startswith("-") else len(ids) + 1 + int(said)
        if 1 <= number <= len(ids):
            return number
    meant = [number for number, id_ in enumerate(ids, 1) if said and id_.startswith(said.lower())]
    if len(meant) == 1:
        return meant[0]
    if not ids:
        raise UnknownName(f"there is no output '{said}': nothing has left the graph yet")
    listed = meant or range(1, len(ids) + 1)
    known = ", ".join(f"{number} ({ids[number - 1]})" for number in listed[-KNOWN_MAX:])
    more = f"the last {KNOWN_MAX} of {len(listed)} are" if len(listed) > KNOWN_MAX else "there are"
    trouble = f"'{said}' begins the ids of {len(meant)} outputs" if meant else f"there is no output '{said}'"
    raise UnknownName(f"{trouble}; {more}: {known}")


def render_ancestry(behind: Ancestry, columns: int) -> list[str]:
    """Return the lines of a tree: an output, and under each step what it came of.

    What came of one step alone stands right above it, so that a thousand rounds of a loop are a list, not a slope.
    """
    lines = [_cut(f"output {behind.number} on '{behind.port}'  {behind.id}  {_text(behind.payload)}", columns)]
    shown: set[int] = set()
    waiting = _branches(behind.of, "")
    while waiting:
        place, first, below = waiting.pop()
        step = behind.steps[place]
        if place in shown:
            lines.append(_cut(f"{first}entry {step.entry}, {_name(step)}: as above", columns))
            continue
        shown.add(place)
        lines.append(_cut(f"{first}entry {step.entry}  {_name(step)}  {_text(step.payload)}", columns))
        bar = f"{below}│   " if len(step.of) > 1 else f"{below}    "
        lines += [_cut(bar + detail, columns) for detail in _details(step)]
        waiting += _branches(step.of, below)
    tokens = f"{behind.prompt_tokens} + {behind.completion_tokens} tokens"
    price = "the price of a model is not known" if behind.usd is None else show_usd(behind.usd)
    lines.append(f"{count_of(len(behind.steps), 'step')}, {count_of(behind.calls, 'model call')}, {tokens}, {price}")
    return lines


def _branches(of: Sequence[int], indent: str) -> list[tuple[int, str, str]]:
    """Return the steps that something came of, the last first: each with what stands before it, and below it."""
    if len(of) < 2:
        return [(place, indent, indent) for place in of]
    ends = [(place, f"{indent}├─ ", f"{indent}│  ") for place in of[:-1]]
    return [(of[-1], f"{indent}└─ ", f"{indent}   "), *reversed(ends)]


def _name(step: Step) -> str:
    if step.event == "input":
        return f"input on '{step.at}'"
    words = {
        "turn": "said by",
        "early": "said early by",
        "said": "said unasked by",
        "retry": "a dead letter, again for",
    }
    again = f", its turn {step.before + 1}" if step.before else ""
    return f"{words[step.event]} {step.worker or step.at}{again}"


def _details(step: Step) -> Iterator[str]:
    for call in step.models:
        yield _say_call(call)
    for tool in step.tools:
        response = "nobody knows what came of it" if tool.response is None else _text(tool.response)
        yield f"tool {tool.tool} {_text(tool.arguments)}: {response}"


def _say_call(call: ModelCall) -> str:
    price = "" if call.usd is None else f", {show_usd(call.usd)}"
    return f"model {call.model or 'that is not named'}: {call.prompt_tokens} + {call.completion_tokens} tokens{price}"


def _text(raw: msgspec.Raw) -> str:
    return bytes(raw).decode(errors="replace")


def _cut(line: str, columns: int) -> str:
    columns = max(columns, LINE_MIN)
    return line if len(line) <= columns else line[: columns - 1] + "…"
