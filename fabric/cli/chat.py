"""`fabric chat`: talk to a program, line by line."""

from __future__ import annotations

__all__ = ["register"]

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from fabric.cli.chat_lines import Telling, printable
from fabric.cli.flags import (
    ApprovalTimeout,
    AutoApprove,
    ColorChoice,
    Docroot,
    Grace,
    Include,
    LogLevel,
    Model,
    Provider,
    ReadyTimeout,
    Restarts,
    check_level,
    choose,
)
from fabric.cli.limits import BudgetCalls, BudgetTokens, BudgetUsd, MaxTime, print_spent
from fabric.cli.programs import PROGRAM, find_program, project_settings
from fabric.cli.report import count_of, print_error, print_line, print_losses, use_color
from fabric.cli.starting import Asked, compile_program, zygote_of
from fabric.cli.terminal import LineInterrupted, Lines, Signals, history_file, open_lines
from fabric.errors import ConfigError, OutputClosed, ValueRejected
from fabric.graph.ir import End
from fabric.plan.plan import Plan, sinks_of
from fabric.runtime.directory import open_run_directory
from fabric.runtime.starting import limits_of, prices_of, settings_of
from fabric.session.approvals import ANSWERS
from fabric.session.events import Approval, DeadLetter, Heard, Note, Output, Refuse
from fabric.wire.payload import STRING, decode_json, resolve, show_stream

if TYPE_CHECKING:
    from fabric.runtime.chat import Chat, ChatEvent, Done, Over, Ready

PROMPT = "> "

CHOICES = "[y]es/[n]o/[a]lways"

LATE_S = 0.05
"""How long after an answer a terminal's prompt waits for what is told of the work: that has no order with answers."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(chat)


def chat(
    program: Annotated[Path | None, PROGRAM] = None,
    thinking: Annotated[bool, typer.Option("--thinking", help="Show what agents think.")] = False,
    provider: Provider = None,
    model: Model = None,
    include: Include = None,
    ready_timeout: ReadyTimeout = None,
    grace: Grace = None,
    restarts: Restarts = None,
    docroot: Docroot = None,
    auto_approve: AutoApprove = False,
    budget_usd: BudgetUsd = None,
    budget_tokens: BudgetTokens = None,
    budget_calls: BudgetCalls = None,
    max_time: MaxTime = None,
    approval_timeout: ApprovalTimeout = None,
    color: ColorChoice = "auto",
    log_level: LogLevel = "error",
) -> None:
    """Talk to a program whose main process is !string -> !string: each line is a message, answers are text.

    Answers are on stdout; what agents do, and what they say to each other, is on stderr. On a terminal lines can be
    edited, and those of before come back; Ctrl-D ends. Ctrl-C clears the line; a second one ends. While an answer is
    awaited, the first Ctrl-C makes it the last one and the second ends the work on it. Every line is sent as it is,
    but an empty one. A message that an agent cannot answer is left out of the conversation, which goes on. Calls of
    tools with effects are asked for at the terminal; without one they are refused.

    Examples: fabric chat main.plumb; printf 'I feel sad\\nMy mother hates me\\n' | fabric chat main.plumb

    Exit codes: 0 ended, 1 a line or a worker failed, 2 the program or the configuration is wrong, 3 the budget is used
    up or the time is over, 4 a worker did not start, 5 not every message was answered, 130 or 143 ended by a second
    signal.
    """
    choose(color)
    level = check_level(log_level)
    project = project_settings()
    limits = limits_of(project, budget_usd, budget_tokens, budget_calls, max_time)
    settings = settings_of(
        project,
        ready_timeout,
        grace,
        restarts,
        limits=limits,
        refusal_ends=False,
        auto_approve=auto_approve,
        approval_timeout_s=approval_timeout,
    )
    if settings.approval == "ask" and not os.isatty(0):
        settings = msgspec.structs.replace(settings, approval="refuse")
    asked = Asked(provider, model, include, docroot, {"telemetry": ""})
    with open_run_directory(os.environ) as directory:
        plan = compile_program(find_program(program, project), directory, asked, project, metered=limits.metered)
        _refuse_other_types(plan)
        prices = prices_of(plan, project, limits)
        telling = Telling(color=use_color(), thinking=thinking, answering=_answering(plan), level=level)
        with zygote_of(plan, project) as zygote:
            from fabric.runtime.chat import Chat

            signals = Signals()
            talking = Chat(plan, settings, os.environ, prices, zygote, signals.wake)
            with signals.obeyed(talking.interrupt), talking:
                lines = open_lines(history_file(os.environ))
                code = _Conversation(talking, telling, lines, signals).run()
    raise typer.Exit(code)


def _refuse_other_types(plan: Plan) -> None:
    """Raise ConfigError if the main process does not take text and give text."""
    nodes = plan.graph.nodes
    inputs = [nodes[node].outputs[0].type for node in plan.inputs.values()]
    outputs = [nodes[node].inputs[0].type for node in plan.outputs]
    if [resolve(type_) for type_ in (*inputs, *outputs)] != [STRING, STRING] or len(inputs) != 1:
        sides = [", ".join(map(show_stream, types)) for types in (inputs, outputs)]
        sides = [f"({side})" if len(types) != 1 else side for side, types in zip(sides, (inputs, outputs), strict=True)]
        raise ConfigError(
            f"{plan.path}: a chat needs a main process of type !string -> !string; this one is {' -> '.join(sides)}."
            " fabric run talks to any program, in JSON lines"
        )


def _answering(plan: Plan) -> frozenset[str]:
    """Return the workers whose outputs all leave the program: what they say is printed as its answer."""
    routes = {route.source: route.steps for route in plan.routes}
    ways = {worker.node: list(sinks_of(routes.get(End(worker.node, "output"), ()))) for worker in plan.workers}
    return frozenset(
        name for name, sinks in ways.items() if sinks and all(plan.sinks[sink].kind == "output" for sink in sinks)
    )


class _Conversation:
    """The read loop.

    Args:
        chat: the session.
        telling: how its work is told.
        lines: what is said.
        signals: obeyed already.
    """

    def __init__(self, chat: Chat, telling: Telling, lines: Lines, signals: Signals) -> None:
        self._chat = chat
        self._telling = telling
        self._lines = lines
        self._signals = signals
        self._watched = os.isatty(2)
        self._escaped = os.isatty(1)
        self._over: Over | None = None
        self._any_refused = self._ending = False

    def run(self) -> int:
        """Talk until there is nothing more to say, or nobody to say it to; return the exit code."""
        from fabric.runtime.chat import Done, Over, Ready

        self._show(Ready)
        while self._over is None and not self._signals.count:
            line = self._next()
            if line is None:
                break
            self._chat.send(line)
            self._show(Done)
            self._show_late()
        self._chat.close()
        if self._over is None:
            self._show(Over)
        assert self._over is not None
        return self._ended(self._over)

    # --- what is said ---

    def _next(self) -> str | None:
        """Return the next line that says something; ``None``: there is none, or nobody any more who hears it."""
        cleared = False
        while True:
            try:
                with self._signals.raised():
                    if self._chat.over is not None:
                        return None
                    line = self._lines.read(PROMPT)
            except LineInterrupted as interrupted:
                self._end_prompt()
                if cleared or not self._lines.typed or interrupted.number != signal.SIGINT:
                    self._ending = True
                    self._chat.interrupt(interrupted.number)
                    return None
                if self._chat.over is None:
                    print_line("Ctrl-C once more, or Ctrl-D, ends the conversation")
                cleared = True
            except ValueRejected as error:
                self._any_refused = True
                self._tell(self._telling.failed(str(error)))
            else:
                cleared = False
                if line is None:
                    self._end_prompt()
                if line is None or line.strip():
                    return line

    def _end_prompt(self) -> None:
        if self._lines.typed:
            print_line("")

    # --- what comes of it ---

    def _show(self, kind: type[Ready | Done | Over]) -> None:
        """Show what happens, up to this event or the end."""
        for event in self._chat.until(kind):
            self._show_one(event)

    def _show_late(self) -> None:
        """Show what is still told of the work behind an answer. What is later than that comes behind the next line."""
        late_s = time.monotonic() + LATE_S
        with suppress(Empty):
            while self._watched and self._over is None:
                self._show_one(self._chat.events.get(timeout=max(0.0, late_s - time.monotonic())))

    def _show_one(self, event: ChatEvent) -> None:
        from fabric.runtime.chat import Interrupted, Over, Undecided, Wrote

        match event:
            case Output(payload=payload):
                self._print(decode_json(payload))
            case Heard():
                self._tell(self._telling.heard(event))
            case Note():
                self._tell(self._telling.noted(event))
            case Wrote(worker, line):
                self._tell(self._telling.wrote(worker, line))
            case DeadLetter():
                self._tell(self._telling.buried(event))
            case Refuse():
                self._tell(self._telling.refused(event))
            case Undecided(approval):
                self._ask(approval)
            case Interrupted() if self._lines.typed and not self._ending:
                self._ending = True
                self._tell(["finishing the answer; Ctrl-C once more ends at once"])
            case Over():
                self._over = event

    def _ask(self, approval: Approval) -> None:
        """Ask whether a call may be run. Ctrl-C, Ctrl-D and the end of the session say no."""
        question = f"[{approval.worker}] allow {approval.tool}({approval.arguments})? {CHOICES} "
        granted, always = False, False
        with self._chat.asking(approval):
            while True:
                try:
                    with self._signals.raised():  # from here on it is told when nobody waits for it any more
                        if approval.id in self._chat.outcomes or self._chat.over is not None:
                            break
                        said = self._lines.answer(question)
                except LineInterrupted as interrupted:
                    self._end_prompt()
                    if interrupted.number != signal.SIGINT:
                        self._chat.interrupt(interrupted.number)
                    break
                except ValueRejected:
                    continue
                if said is None or said.strip().lower() in ANSWERS:
                    granted, always = ANSWERS["n" if said is None else said.strip().lower()]
                    break
        if approval.id in self._chat.outcomes:
            self._tell([f"not asked any more: {self._chat.outcomes[approval.id]}"])
        self._chat.decide(approval, granted=granted, always=always)

    def _print(self, text: str) -> None:
        """Print an answer. Raises OutputClosed: nobody reads it."""
        from fabric.runtime.gateway import write_all

        data = (printable(text) if self._escaped else text).encode(errors="backslashreplace") + b"\n"
        try:
            write_all(1, data)
        except OSError as error:
            raise OutputClosed(f"cannot write the answer: {error.strerror}") from None

    def _tell(self, lines: Iterable[str]) -> None:
        for line in lines:
            print_line(line)

    def _ended(self, over: Over) -> int:
        """Say how it ended; return the exit code."""
        if over.error is not None:
            raise over.error
        finish = over.finish
        assert finish is not None
        if not self._watched:
            if finish.error is not None:
                print_error(finish.error[1], finish.error[0])
            print_losses(finish.losses)
        else:
            if finish.error is not None:
                self._tell(self._telling.failed(finish.error[1]))
            unanswered = finish.losses.lost + finish.losses.dead_lettered
            if unanswered:
                self._tell([f"{count_of(unanswered, 'message')} went unanswered"])
        print_spent(finish.usage, finish.budget)
        return finish.exit_code or int(self._any_refused)
