"""Declared protocols to automata.

    protocol Shelf = { fetch: send string . recv json . loop, quit: end }

A protocol is a session type: what two processes say to each other, in which order, seen from the one that declares.
Here it becomes a :class:`fabric.lang.typed.Protocol`, states and messages. ``loop`` leads back to the start of the
declaration it stands in. A name goes on as another protocol; since a name stands only at an end, nothing comes back
from there, and the states of a protocol are put in once however often it is named. So recursion by names is allowed
too, as long as a message lies on the way round (*contractive*): ``P = send int . Q`` and ``Q = recv int . P``.

A branch of a choice is taken by what the chooser sends: the message that the branch begins with, if the branch
begins with one of the chooser's, else ``{"label": name}``. So the first messages of the branches have to be disjoint.
Source: Honda, Vasconcelos, Kubo 1998, session types; labels that are values of a type as in Pucella and Tov 2008.
"""

from __future__ import annotations

__all__ = ["LABEL", "Declared", "ProtocolTable", "Said"]

from collections import deque
from collections.abc import Collection, Mapping

import msgspec

from fabric.lang import syntax
from fabric.lang.diagnostic import Report
from fabric.lang.ordering import dependency_order
from fabric.lang.source import Span
from fabric.lang.typed import Choice, Done, Exchange, Protocol, State, Way
from fabric.lang.types import TypeTable, is_disjoint, report_unknown_module
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


class _Declaration:
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
        self.names: dict[Span, _Declaration] = {}
        self.sound = True
        self.meant: _Declaration | None = None

    @property
    def is_alias(self) -> bool:
        return not self.session.steps and isinstance(self.session.tail, syntax.SessionName)


class ProtocolTable:
    """The declared protocols of a file.

    Args:
        program: has the declarations.
        types: the file's types.
        imports: namespace to the protocols behind it.
        damaged: namespaces of which nothing is known.
        mentioned: gets the namespaces that protocols are taken from.
        report: takes what is wrong.

    Attributes:
        declared: those that are right, by name, in the order of the text.
    """

    def __init__(
        self,
        program: syntax.Program,
        types: TypeTable,
        imports: Mapping[str, ProtocolTable],
        damaged: Collection[str],
        mentioned: set[str],
        report: Report,
    ) -> None:
        self.declared: dict[str, Declared] = {}
        self._types = types
        self._broken = program.broken
        self._imports = imports
        self._damaged = damaged
        self._mentioned = mentioned
        self._report = report
        self._declarations: dict[str, _Declaration] = {}
        self._collect(program)
        for declaration in self._declarations.values():
            self._resolve(declaration, declaration.session)
        self._check_contractive()
        self._link()

    def find(self, name: syntax.Name) -> Declared | None:
        """Return a protocol; None if there is none, which is reported, or if it is known to be wrong."""
        table = self._table_of(name)
        declaration = self._find(name)
        if table is None or declaration is None:
            return None
        found = table.declared.get(name.text)
        if found is None or name.module is None:
            return found
        named = msgspec.structs.replace(found.protocol, name=name.full)
        return msgspec.structs.replace(found, protocol=named)

    # --- names ---

    def _collect(self, program: syntax.Program) -> None:
        for decl in program.declarations:
            if not isinstance(decl, syntax.ProtocolDecl):
                continue
            name = decl.name
            if name.text in self._declarations:
                self._report.add(
                    "E0205",
                    name.span,
                    f"protocol '{name.text}' is declared twice",
                    related=[(self._declarations[name.text].name.span, "first declared here")],
                )
                continue
            if not name.text[0].isupper():
                self._report.add("W0210", name.span, f"names of protocols start with a capital: '{name.text}'")
            self._declarations[name.text] = _Declaration(name, decl.session)

    def _table_of(self, name: syntax.Name) -> ProtocolTable | None:
        return self if name.module is None else self._imports.get(name.module)

    def _find(self, name: syntax.Name) -> _Declaration | None:
        """Return a declaration; None if there is none, which is reported."""
        if name.module is not None:
            self._mentioned.add(name.module)
        table = self._table_of(name)
        if table is None:
            if name.module not in self._damaged:
                report_unknown_module(name, self._imports, self._report)
            return None
        found = table._declarations.get(name.text)
        if found is None and name.text not in table._broken:
            there = f" in the module '{name.module}'" if name.module else ""
            if name.text in table._types.types:
                hint: str | None = f"'{name.text}' is a type; a message of it is written  send {name.full} ."
            else:
                hint = self._report.suggest(name.text, table._declarations)
            self._report.add("E0702", name.span, f"there is no protocol '{name.text}'{there}", help=hint)
        return found

    def _resolve(self, declaration: _Declaration, session: syntax.Session) -> None:
        """Read the types and names of a session."""
        for step in session.steps:
            declaration.types[step.span] = self._types.value_type(step.type)
        match session.tail:
            case syntax.SessionName(name, span):
                found = self._find(name)
                if found is None:
                    declaration.sound = False
                else:
                    declaration.names[span] = found
            case syntax.Choice() as choice:
                self._resolve_choice(declaration, choice)

    def _resolve_choice(self, declaration: _Declaration, choice: syntax.Choice) -> None:
        if not choice.branches:
            declaration.sound = False
            message = "a choice without branches can never be made"
            self._report.add("E0705", choice.span, message, help="write  end  where nothing more is said")
        seen: dict[str, Span] = {}
        for label, session in choice.branches:
            if label.text in seen:
                declaration.sound = False
                self._report.add(
                    "E0205",
                    label.span,
                    f"branch '{label.text}' is declared twice",
                    related=[(seen[label.text], "first declared here")],
                )
            seen.setdefault(label.text, label.span)
            self._resolve(declaration, session)

    # --- what goes round without a message ---

    def _check_contractive(self) -> None:
        for declaration in self._declarations.values():
            session = declaration.session
            if not session.steps and isinstance(session.tail, syntax.SessionEnd) and session.tail.word == "loop":
                declaration.sound = False
                self._report.add(
                    "E0701",
                    session.tail.span,
                    f"protocol '{declaration.name.text}' goes round without a message",
                    label="back to here",
                    help="put a message before it: send T . loop",
                )
        aliases = {
            name: [next(iter(declaration.names.values())).name.text]
            for name, declaration in self._declarations.items()
            if declaration.is_alias and self._is_own(declaration)
        }
        for cycle in dependency_order(aliases)[1]:
            path = " -> ".join([*cycle, cycle[0]])
            first, *others = (self._declarations[name] for name in cycle)
            self._report.add(
                "E0701",
                first.name.span,
                f"protocol '{first.name.text}' is only a name for itself: {path}",
                related=[(other.name.span, "on the way") for other in others],
                help="put a message on the way: send T . ...",
            )
            for name in cycle:
                self._declarations[name].sound = False

    def _is_own(self, declaration: _Declaration) -> bool:
        """Say whether an alias means a protocol of this file; those of other files never lead back here."""
        return all(self._declarations.get(named.name.text) is named for named in declaration.names.values()) and bool(
            declaration.names
        )

    # --- automata ---

    def _link(self) -> None:
        """Make the automata, of what is named before what names it, so that one mistake is reported once."""
        needs = {
            name: [n.name.text for n in d.names.values() if self._declarations.get(n.name.text) is n]
            for name, d in self._declarations.items()
        }
        made: dict[str, Declared] = {}
        order, _ = dependency_order(needs)
        for name in order:
            declaration = self._declarations[name]
            if declaration.sound:
                automaton = _Automaton(declaration, self._report)
                declaration.sound = automaton.sound
                if automaton.sound:
                    made[name] = automaton.declared()
        self.declared = {name: made[name] for name in self._declarations if name in made}


class _Automaton:
    """Puts the states of a declaration, and of what it names, in one list.

    A state's number is known before the state is: it is reserved, and filled when what follows has numbers too.
    """

    def __init__(self, declaration: _Declaration, report: Report) -> None:
        self.sound = True
        self._declaration = declaration
        self._report = report
        self._states: list[State] = []
        self._messages: dict[Span, Said] = {}
        self._starts: dict[_Declaration, int] = {}
        self._waiting: deque[tuple[int, _Declaration]] = deque()
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

    def _start_of(self, declaration: _Declaration) -> int:
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

    def _fill(self, at: int, session: syntax.Session, declaration: _Declaration, start: int) -> None:
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
        self, tail: syntax.SessionEnd | syntax.Choice | syntax.SessionName, declaration: _Declaration, start: int
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

    def _fill_choice(self, at: int, choice: syntax.Choice, declaration: _Declaration, start: int) -> None:
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
