"""Expressions of pipelines: parsed once, checked against a list of what they may be, and interpreted. Never compiled.

``{{ steps.extract.value.title }}``. The language is a small part of Python's; see ``GUIDE.md``. ``whitelist`` says what
may be written, ``interpreting`` what it is worth, ``scope`` what it sees.
"""

from __future__ import annotations

__all__ = ["Bound", "Expression", "Part", "Scope", "StepRead", "bind", "parse_expression"]

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from fabric.pipelines.errors import ExpressionEvalError, ExpressionSecurityError
from fabric.pipelines.expressions.interpreting import interpreted
from fabric.pipelines.expressions.scope import Scope, StepRead
from fabric.pipelines.expressions.whitelist import checked

_OPEN, _CLOSE = "{{", "}}"


class Expression:
    """One expression.

    Attributes:
        text: as it was written, without braces.
        reads: every place that reads results of steps.
        env_names: the variables of the environment that it reads.
    """

    __slots__ = ("_tree", "env_names", "reads", "text")

    def __init__(self, text: str) -> None:
        found = checked(text)
        self.text = text.strip()
        self.reads = found.reads
        self.env_names = found.env_names
        self._tree = found.tree

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def evaluate(self, scope: Scope) -> Any:
        """Return its value.

        Raises:
            ExpressionEvalError: it has none for this scope.
        """
        try:
            return interpreted(self._tree, scope)
        except ExpressionEvalError as error:
            raise ExpressionEvalError(f"expression {self.text!r}: {error}") from error
        except Exception as error:  # values of the run are anything: they may raise anything when they are compared
            raise ExpressionEvalError(f"expression {self.text!r}: {type(error).__name__}: {error}") from error


def parse_expression(text: str) -> Expression:
    """Return the expression of a text, bare or in braces as a whole.

    Raises:
        ExpressionSecurityError: it is none, or does what expressions must not. Without a place: the caller knows it.
    """
    stripped = text.strip()
    if stripped.startswith(_OPEN) and stripped.endswith(_CLOSE):
        pieces = _pieces(stripped)
        if len(pieces) == 1 and isinstance(pieces[0], Expression):
            return pieces[0]
        raise ExpressionSecurityError(f"syntax: {stripped[:80]!r}: one expression is meant here, these are several")
    return Expression(text)


def _pieces(text: str) -> list[str | Expression]:
    """Return a text as what is literal in it and its expressions, in order.

    Raises:
        ExpressionSecurityError: an expression is not closed, is none, or does what expressions must not.
    """
    pieces: list[str | Expression] = []
    start = 0
    while (opened := text.find(_OPEN, start)) >= 0:
        closed = _closing(text, opened + len(_OPEN))
        if closed < 0:
            raise ExpressionSecurityError(
                f"syntax: {text[opened : opened + 40]!r}: what {_OPEN} opens is not closed with {_CLOSE}; "
                "for braces as they are, write {{ '{{' }}"
            )
        if opened > start:
            pieces.append(text[start:opened])
        pieces.append(Expression(text[opened + len(_OPEN) : closed]))
        start = closed + len(_CLOSE)
    if start < len(text) or not pieces:
        pieces.append(text[start:])
    return pieces


def _closing(text: str, start: int) -> int:
    """Return where an expression ends: at the first braces that do not stand in a text of Python."""
    quote = ""
    at = start
    while at < len(text):
        character = text[at]
        if quote:
            if character == "\\":
                at += 1
            elif character == quote:
                quote = ""
        elif character in "'\"":
            quote = character
        elif text.startswith(_CLOSE, at):
            return at
        at += 1
    # A quotation mark that is alone: the expression is none, and says so better than we can here.
    return text.find(_CLOSE, start)


class Part(NamedTuple):
    """A part of a text with expressions in it.

    Attributes:
        literal: whether it stands in the file; otherwise an expression gave it.
    """

    text: str
    literal: bool


Writer: TypeAlias = Callable[[Sequence[Part]], str]
_NO_WRITERS: Mapping[str, Writer] = MappingProxyType({})


class _Text:
    """A text with expressions in it."""

    __slots__ = ("pieces",)

    def __init__(self, pieces: list[str | Expression]) -> None:
        self.pieces = pieces

    def resolve(self, scope: Scope, writer: Writer | None = None) -> str:
        parts = [
            Part(each, True) if isinstance(each, str) else Part(_shown(each, scope), False) for each in self.pieces
        ]
        return "".join(part.text for part in parts) if writer is None else writer(parts)


def _shown(expression: Expression, scope: Scope) -> str:
    value = expression.evaluate(scope)
    try:
        return "" if value is None else str(value)
    except Exception as error:  # as for evaluating: an integer of a million digits has no text, say
        raise ExpressionEvalError(f"expression {expression.text!r}: {type(error).__name__}: {error}") from error


class Bound:
    """A value of the file in which expressions stand: a map, a list or a text, at any depth.

    Attributes:
        reads: every place that reads results of steps.
        env_names: the variables of the environment that it reads.
        constant: whether it has no expression in it.
    """

    __slots__ = ("_data", "constant", "env_names", "reads")

    def __init__(self, data: Any) -> None:
        problems: list[ExpressionSecurityError] = []
        self._data = _bound(data, "", problems)
        if problems:
            problems[0].problems = tuple(problems)
            raise problems[0]
        found = list(_expressions(self._data))
        self.reads = tuple(read for expression in found for read in expression.reads)
        self.env_names = tuple(name for expression in found for name in expression.env_names)
        self.constant = not found

    def __repr__(self) -> str:
        return f"Bound({self._data!r})"

    def resolve(self, scope: Scope, writers: Mapping[str, Writer] = _NO_WRITERS) -> Any:
        """Return the value. A text that is one expression as a whole has its value, with its type; in others
        expressions become text, and ``None`` becomes nothing. Maps and lists are new each time.

        Args:
            writers: put a text in which expressions stand together, by its key in the map that this is; ``""`` if this
                is the text itself.

        Raises:
            ExpressionEvalError: an expression has no value for this scope.
        """
        data = self._data
        if isinstance(data, dict) and writers:
            return {key: _resolved(value, scope, writers.get(key)) for key, value in data.items()}
        return _resolved(data, scope, writers.get(""))


def bind(data: Any) -> Bound:
    """Return a value of the file with its expressions.

    Raises:
        ExpressionSecurityError: as for :func:`parse_expression`; ``key_path`` says where in the value: ``a[0].b``. All
            that is wrong is in its ``problems``, each with its own.
    """
    return Bound(data)


def _bound(data: Any, path: str, problems: list[ExpressionSecurityError]) -> Any:
    if isinstance(data, str):
        try:
            return _bound_text(data)
        except ExpressionSecurityError as problem:
            problem.key_path = path
            problems.append(problem)
            return data
    if isinstance(data, Mapping):
        return {key: _bound(value, f"{path}.{key}" if path else str(key), problems) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_bound(value, f"{path}[{number}]", problems) for number, value in enumerate(data)]
    return data


def _bound_text(text: str) -> str | Expression | _Text:
    if _OPEN not in text:
        return text
    # Space around an expression is what YAML leaves behind a block.
    pieces = _pieces(text.strip())
    if len(pieces) == 1:
        return pieces[0]
    return _Text(_pieces(text))


def _resolved(data: Any, scope: Scope, writer: Writer | None = None) -> Any:
    if isinstance(data, Expression):
        return data.evaluate(scope)
    if isinstance(data, _Text):
        return data.resolve(scope, writer)
    if isinstance(data, dict):
        return {key: _resolved(value, scope) for key, value in data.items()}
    if isinstance(data, list):
        return [_resolved(value, scope) for value in data]
    return data


def _expressions(data: Any) -> Iterator[Expression]:
    if isinstance(data, Expression):
        yield data
    elif isinstance(data, _Text):
        yield from (piece for piece in data.pieces if isinstance(piece, Expression))
    elif isinstance(data, dict):
        for value in data.values():
            yield from _expressions(value)
    elif isinstance(data, list):
        for value in data:
            yield from _expressions(value)
