"""Declared protocols: their names, their types, and which of them are right.

    protocol Shelf = { fetch: send string . recv json . loop, quit: end }

A protocol is a session type: what two processes say to each other, in which order, seen from the one that declares.
It becomes a :class:`fabric.lang.typed.Protocol` (see ``automata``). Protocols may name each other, as long as a message
lies on the way round (*contractive*): ``P = send int . Q`` and ``Q = recv int . P``.
Source: Honda, Vasconcelos, Kubo 1998, session types.
"""

from __future__ import annotations

__all__ = ["ProtocolTable"]

from collections.abc import Collection, Mapping

import msgspec

from fabric.lang import syntax
from fabric.lang.automata import Automaton, Declaration, Declared
from fabric.lang.diagnostic import Report
from fabric.lang.ordering import dependency_order
from fabric.lang.source import Span
from fabric.lang.typed import Protocol
from fabric.lang.types import TypeTable, report_unknown_module


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
        self._declarations: dict[str, Declaration] = {}
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

    def typed(self) -> dict[str, Protocol]:
        """Return the automata of those that are right."""
        return {name: declared.protocol for name, declared in self.declared.items()}

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
            self._declarations[name.text] = Declaration(name, decl.session)

    def _table_of(self, name: syntax.Name) -> ProtocolTable | None:
        return self if name.module is None else self._imports.get(name.module)

    def _find(self, name: syntax.Name) -> Declaration | None:
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
                if hint is None and name.module is None:
                    hint = f"declare it: protocol {name.text} = send T . end"
            self._report.add("E0702", name.span, f"there is no protocol '{name.text}'{there}", help=hint)
        return found

    def _resolve(self, declaration: Declaration, session: syntax.Session) -> None:
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

    def _resolve_choice(self, declaration: Declaration, choice: syntax.Choice) -> None:
        if not choice.branches:
            declaration.sound = False
            self._report.add(
                "E0705",
                choice.span,
                "a choice without branches can never be made",
                help="write  end  where nothing more is said",
            )
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
        aliases = {name: self._own_names(d) for name, d in self._declarations.items() if d.is_alias}
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

    def _own_names(self, declaration: Declaration) -> list[str]:
        """Return the protocols of this file that one names; those of other files never lead back here."""
        named = declaration.names.values()
        return [other.name.text for other in named if self._declarations.get(other.name.text) is other]

    # --- automata ---

    def _link(self) -> None:
        """Make the automata, of what is named before what names it, so that one mistake is reported once."""
        needs = {name: self._own_names(declaration) for name, declaration in self._declarations.items()}
        made: dict[str, Declared] = {}
        order, _ = dependency_order(needs)
        for name in order:
            declaration = self._declarations[name]
            if declaration.sound:
                automaton = Automaton(declaration, self._report)
                declaration.sound = automaton.sound
                if automaton.sound:
                    made[name] = automaton.declared()
        self.declared = {name: made[name] for name in self._declarations if name in made}
