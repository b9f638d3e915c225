"""Expressions of pipelines: parsed once, checked against a list of what they may be, and interpreted. Never compiled.

``{{ steps.extract.value.title }}``. The language is a small part of Python's; see ``GUIDE.md``.
"""

from __future__ import annotations

__all__ = ["Bound", "Expression", "Scope", "StepRead", "bind", "parse_expression"]

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fabric.pipelines.results import StepResult


@dataclass(frozen=True)
class Scope:
    """What expressions and templates see.

    Attributes:
        ctx: the input of the run.
        steps: what is done so far, by name.
        env: the environment, as far as the pipeline may see it.
    """

    ctx: Mapping[str, Any]
    steps: Mapping[str, StepResult]
    env: Mapping[str, str] = field(default_factory=dict)


class StepRead(msgspec.Struct, frozen=True):
    """A place that reads results of steps.

    Attributes:
        step: name; ``None``: whichever the input says, so it may be any.
        fields: what is read of its value, as far as it is known: ``steps.x.value.a`` and ``steps.x.a`` both read a.
        offset: of this place in the text, in characters.
    """

    step: str | None
    fields: tuple[str, ...] = ()
    offset: int = 0


class Expression:
    """One expression.

    Attributes:
        text: as it was written, without braces.
        reads: every place that reads results of steps.
    """

    text: str
    reads: tuple[StepRead, ...]

    def evaluate(self, scope: Scope) -> Any:
        """Return its value.

        Raises:
            ExpressionEvalError: it has none for this scope.
        """
        raise NotImplementedError


def parse_expression(text: str) -> Expression:
    """Return the expression of a text, bare or in braces as a whole.

    Raises:
        ExpressionSecurityError: it is none, or does what expressions must not. Without a place: the caller knows it.
    """
    raise NotImplementedError


class Bound:
    """A value of the file in which expressions stand: a map, a list or a text, at any depth.

    Attributes:
        reads: every place that reads results of steps.
        constant: whether it has no expression in it.
    """

    reads: tuple[StepRead, ...]
    constant: bool

    def resolve(self, scope: Scope) -> Any:
        """Return the value. A text that is one expression as a whole has its value, with its type; in others
        expressions become text, and ``None`` becomes nothing.

        Raises:
            ExpressionEvalError: an expression has no value for this scope.
        """
        raise NotImplementedError


def bind(data: Any) -> Bound:
    """Return a value of the file with its expressions.

    Raises:
        ExpressionSecurityError: as for :func:`parse_expression`; ``key_path`` says where in the value: ``a[0].b``.
    """
    raise NotImplementedError


def _unused() -> Iterator[None]:
    raise NotImplementedError
