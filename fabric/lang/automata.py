"""A protocol's text, with its types and names known, to states and messages.

``loop`` leads back to the start of the declaration it stands in. A name goes on as another protocol; since a name
stands only at an end, nothing comes back from there, and the states of a protocol are put in once however often it is
named: an automaton is as large as the text.

A branch of a choice is taken by what the chooser sends: the message that the branch begins with, if the branch
begins with one of the chooser's, else ``{"label": name}``. So the first messages of the branches have to be disjoint.
"""

from __future__ import annotations

__all__ = ["LABEL", "PROTOCOL_STATES_MAX", "Automaton", "Declaration", "Declared", "Said"]

from collections import deque
from collections.abc import Collection

import msgspec

from fabric.lang import syntax
from fabric.lang.diagnostic import Report
from fabric.lang.source import Span
from fabric.lang.typed import Choice, Done, Exchange, Protocol, State, Way
from fabric.lang.types import is_disjoint
from fabric.wire.payload import STRING, Field, Record, Type, show

PROTOCOL_STATES_MAX = 400
"""States of a protocol with all that it names. One that a person wrote has ten; the bound keeps a file of ten thousand
protocols in a row, each going on as the next, from becoming fifty million states."""

LABEL = Record((Field("label", STRING),))
"""What is said to choose a branch that does not begin with a message of the chooser."""


class Said(msgspec.Struct, frozen=True):
    """A message that a protocol admits somewhere: which way it goes, its type, and where the program says so."""

    way: Way
    type: Type
    span: Span


class Declared(msgspec.Struct, frozen=True):
    """A protocol that can be used, where it is declared, and all that may be said in it."""

    protocol: Protocol
    span: Span
    messages: tuple[Said, ...]


class Declaration:
    """A protocol's text with its types and names resolved.

    Attributes:
        types: of its messages, by the span of the step.
        names: the protocols that it names, by the span of the name; one that cannot be had is missing.
        sound: whether it, and all that it names, is right as far as known.
        meant: for one that is only a name for another: that one, or what it is a name for.
    """

    def __init__(self, name: syntax.Name, session: syntax.Session) -> None:
        self.name = name
        self.session = session
        self.types: dict[Span, Type] = {}
        self.names: dict[Span, Declaration] = {}
        self.sound = True
        self.meant: Declaration | None = None

    @property
    def is_alias(self) -> bool:
        """Whether it is only a name for another."""
        return not self.session.steps and isinstance(self.session.tail, syntax.SessionName)


class Automaton:
    """Puts the states of a declaration, and of what it names, in one list.

    A state's number is known before the state is: it is reserved, and filled when what follows has numbers too.
    """

    def __init__(self, declaration: Declaration, report: Report) -> None:
        self.sound = True
        self._declaration = declaration
        self._report = report
        self._states: list[State] = []
        self._messages: dict[Span, Said] = {}
        self._starts: dict[Declaration, int] = {}
        self._waiting: deque[tuple[int, Declaration]] = deque()
        self._choices: list[tuple[int, syntax.Choice]] = []
        self._end: int | None = None
        self._start_of(declaration)
        while self._waiting and self.sound:
            at, waiting = self._waiting.popleft()
            self._fill(at, waiting.session, waiting, at)
        for at, choice in self._choices if self.sound else ():
            self._tell_branches(at, choice)

    def declared(self) -> Declared:
        """Return what was made."""
        name = self._declaration.name
        protocol = Protocol(name.text, tuple(self._states), tuple(sorted(self._starts.values())))
        return Declared(protocol, name.span, tuple(self._messages.values()))

    def _reserve(self) -> int:
        if len(self._states) == PROTOCOL_STATES_MAX and self.sound:
            self.sound = False
            name = self._declaration.name
            self._report.add(
                "E0507",
                name.span,
                f"protocol '{name.text}' is too large: more than {PROTOCOL_STATES_MAX} states with all names put in",
            )
        self._states.append(Done())
        return len(self._states) - 1

    def _start_of(self, declaration: Declaration) -> int:
        """Return the state in which a declaration begins; it is filled later, since names may lead far."""
        named = declaration
        while declaration.sound and declaration.is_alias:
            declaration = declaration.meant or next(iter(declaration.names.values()))
        named.meant = declaration
        if not declaration.sound:
            self.sound = False  # reported where it is
            return 0
        if declaration not in self._starts:
            self._starts[declaration] = at = self._reserve()
            self._waiting.append((at, declaration))
        return self._starts[declaration]

    def _fill(self, at: int, session: syntax.Session, declaration: Declaration, start: int) -> None:
        """Make a session begin at a reserved state."""
        for number, step in enumerate(session.steps, 1):
            last = number == len(session.steps)
            then = self._follow(session.tail, declaration, start) if last else self._reserve()
            way: Way = "there" if step.direction == "send" else "back"
            said = Said(way, declaration.types[step.span], step.span)
            self._messages.setdefault(step.span, said)
            self._states[at] = Exchange(way, said.type, then)
            at = then
        if not session.steps and isinstance(session.tail, syntax.Choice):
            self._fill_choice(at, session.tail, declaration, start)

    def _follow(
        self, tail: syntax.SessionEnd | syntax.Choice | syntax.SessionName, declaration: Declaration, start: int
    ) -> int:
        """Return the state in which what follows begins."""
        match tail:
            case syntax.SessionEnd("loop"):
                return start
            case syntax.SessionEnd():
                if self._end is None:
                    self._end = self._reserve()
                return self._end
            case syntax.SessionName(_, span):
                named = declaration.names.get(span)
                if named is None:
                    self.sound = False
                    return 0
                return self._start_of(named)
            case syntax.Choice():
                at = self._reserve()
                self._fill_choice(at, tail, declaration, start)
                return at

    def _fill_choice(self, at: int, choice: syntax.Choice, declaration: Declaration, start: int) -> None:
        branches = []
        for label, session in choice.branches:
            if session.steps:
                then = self._reserve()
                self._fill(then, session, declaration, start)
            else:
                then = self._follow(session.tail, declaration, start)
            branches.append((label.text, then))
        self._states[at] = Choice("there" if choice.word == "select" else "back", tuple(branches))
        self._choices.append((at, choice))

    def _tell_branches(self, at: int, choice: syntax.Choice) -> None:
        """Say how each branch is chosen; two that are chosen by messages of the same type cannot be told apart."""
        state = self._states[at]
        assert isinstance(state, Choice)
        firsts: list[tuple[str, Type, Span]] = []
        told: list[str] = []
        for (label, session), (_, then) in zip(choice.branches, state.branches, strict=True):
            first = self._states[then]
            loops = not session.steps and isinstance(session.tail, syntax.SessionEnd)
            if isinstance(first, Exchange) and first.way == state.way and not loops:
                firsts.append((label.text, first.type, label.span))
            else:
                told.append(label.text)
                firsts.append((label.text, LABEL, label.span))
                self._messages.setdefault(label.span, Said(state.way, LABEL, label.span))
        for number, (name, type_, span) in enumerate(firsts):
            for other, other_type, other_span in firsts[:number]:
                if (name in told and other in told) or is_disjoint(type_, other_type):
                    continue
                self.sound = False
                self._report.add(
                    "E0705",
                    span,
                    f"a message cannot tell the branches '{other}' and '{name}' apart",
                    label=_first_words(name, type_, told),
                    related=[(other_span, _first_words(other, other_type, told))],
                    help="begin them with messages of different types: with records that differ in a required field",
                )
                break
        self._states[at] = Choice(state.way, state.branches, tuple(told))


def _first_words(label: str, type_: Type, told: Collection[str]) -> str:
    return f'chosen by {{"label": "{label}"}}' if label in told else f"begins with {show(type_)}"
