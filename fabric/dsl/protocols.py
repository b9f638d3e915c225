"""Protocols: ``Send(Question) >> Recv(Answer) >> Select(again=LOOP, done=END)``."""

from __future__ import annotations

__all__ = ["END", "LOOP", "Offer", "Recv", "Select", "Send", "Session", "session_of"]

from collections.abc import Iterable
from typing import ClassVar, Literal

from fabric.dsl.names import name_at, qname_at
from fabric.dsl.origin import HEIGHT_MAX, NOWHERE, Immutable, fill, here
from fabric.dsl.printing import Printer
from fabric.dsl.raw import Raw, nodes_of, spoken_by_first
from fabric.dsl.types import type_of
from fabric.errors import ConfigError
from fabric.lang import syntax
from fabric.wire import payload

Tail = syntax.SessionEnd | syntax.Choice | syntax.SessionName


class Session(Immutable):
    """Steps, and how it goes on behind them. One that does not say so yet goes on with ``>>``."""

    __slots__ = ("_steps", "_tail", "classes", "height")

    _steps: tuple[syntax.SessionStep, ...]
    _tail: Tail | None
    classes: tuple[payload.Alias, ...]
    height: int

    def __init__(self, *parts: object) -> None:
        steps: tuple[syntax.SessionStep, ...] = ()
        tail: Tail | None = None
        classes: dict[payload.Alias, None] = {}
        height = 1
        for part in parts:
            if tail is not None:
                raise ConfigError("nothing comes behind END, LOOP, a choice or the name of a protocol")
            session = _part(part)
            steps += session._steps
            tail = session._tail
            classes |= dict.fromkeys(session.classes)
            height = max(height, session.height)
        self._fill(steps, tail, tuple(classes), height)

    def _fill(
        self, steps: tuple[syntax.SessionStep, ...], tail: Tail | None, classes: tuple[payload.Alias, ...], height: int
    ) -> None:
        if height > HEIGHT_MAX:
            raise ConfigError(f"this protocol is nested more than {HEIGHT_MAX} levels deep: give the inner part a name")
        fill(self, _steps=steps, _tail=tail, classes=classes, height=height)

    @property
    def node(self) -> syntax.Session:
        """What the parser would make of it.

        Raises:
            ConfigError: it has no end.
        """
        at = here()
        if self._tail is None:
            raise ConfigError("a protocol ends with END, LOOP, a choice or the name of a protocol: write  ... >> END")
        return syntax.Session(self._steps, self._tail, at)

    def __rshift__(self, other: object) -> Session:
        return Session(self, other)

    def __repr__(self) -> str:
        tail = self._tail or syntax.SessionName(syntax.Name("...", NOWHERE), NOWHERE)
        return f"<{type(self).__name__} {Printer().session(syntax.Session(self._steps, tail, NOWHERE))}>"


class _Step(Session):
    __slots__ = ()

    _direction: ClassVar[Literal["send", "recv"]]

    def __init__(self, of: object) -> None:
        type_ = type_of(of)
        self._fill((syntax.SessionStep(self._direction, type_.node, here()),), None, type_.classes, 1)


class Send(_Step):
    """``send T``: this side says it."""

    __slots__ = ()
    _direction = "send"


class Recv(_Step):
    """``recv T``: the other side says it."""

    __slots__ = ()
    _direction = "recv"


class _Choice(Session):
    __slots__ = ()

    _word: ClassVar[Literal["select", "offer"]]

    def __init__(self, branches: Iterable[tuple[str, object]] = (), /, **named: object) -> None:
        at = here()
        word = type(self).__name__
        if isinstance(branches, (Session, str, Raw)) or not isinstance(branches, Iterable):
            raise TypeError(f"a choice has labels: {word}(again=LOOP, done=END); got {branches!r}")
        sessions = [(name_at(label, "a label", at), session_of(of)) for label, of in (*branches, *named.items())]
        nodes = tuple((label, session.node) for label, session in sessions)
        classes = dict.fromkeys(alias for _, session in sessions for alias in session.classes)
        height = 1 + max((session.height for _, session in sessions), default=0)
        self._fill((), syntax.Choice(self._word, nodes, at), tuple(classes), height)


class Select(_Choice):
    """``select { a: ..., b: ... }``: this side chooses."""

    __slots__ = ()
    _word = "select"


class Offer(_Choice):
    """``offer { a: ..., b: ... }``: the other side chooses."""

    __slots__ = ()
    _word = "offer"


class _End(Session):
    __slots__ = ()

    def __init__(self, word: Literal["end", "loop"]) -> None:
        self._fill((), syntax.SessionEnd(word, NOWHERE), (), 1)


END = _End("end")
LOOP = _End("loop")


def session_of(given: object) -> Session:
    """Return a session for what stands for one: one or more parts, the name of a protocol, ``Raw``."""
    return given if isinstance(given, Session) else Session(given)


def _part(given: object) -> Session:
    if isinstance(given, Session):
        return given
    at = here()
    made = object.__new__(Session)
    match given:
        case Raw():
            (node,) = nodes_of(given, "protocol")
            *steps, tail = spoken_by_first((*node.steps, node.tail), node.span)
            made._fill(tuple(steps), tail, (), 1)
        case str():
            made._fill((), syntax.SessionName(qname_at(given, "the name of a protocol", at), at), (), 1)
        case _:
            raise TypeError(f"a protocol is made of Send, Recv, Select, Offer, END, LOOP and names; got {given!r}")
    return made
