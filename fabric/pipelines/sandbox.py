"""The Jinja that prompts are written in: in a sandbox, without effects, and with an end.

To what Jinja's own sandbox refuses (names with underscores, changing lists and maps, ``range`` of more than 100,000) we
add:

* Methods that may have effects: see ``template_access``.
* What is different each time: ``random``, ``lipsum``.
* Work without an end: rounds of loops and calls are counted, over all loops of a text.
* Texts without an end: whatever makes a text longer than its parts is measured, before it is made where one can know.

``steps.x`` in a template is what it is in an expression: see ``scope``. Templates are rewritten for that when they are
compiled, so values are handed to them as they are.
"""

from __future__ import annotations

__all__ = ["CHARS_MAX", "NUMBER_MAX", "ROUNDS_MAX", "Refused", "Rendering", "Sandbox", "rendering"]

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from types import FunctionType
from typing import Any, Final

from jinja2 import StrictUndefined, Template, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.filters import FILTERS
from jinja2.loaders import BaseLoader
from jinja2.runtime import Context, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter, safe_range

from fabric.pipelines.json_text import as_json
from fabric.pipelines.results import StepResult
from fabric.pipelines.scope import OWN_OF_STEPS, plain
from fabric.pipelines.template_access import is_callable, is_readable
from fabric.pipelines.template_steps import Link, with_steps

ROUNDS_MAX: Final = 1_000_000
"""Rounds of all loops of a text, and calls in it: a second or two."""

_ROUNDS_OF_CALL: Final = 10
_ROUNDS_OF_INCLUDE: Final = 100
# They take that much longer.

CHARS_MAX: Final = 32 * 2**20
"""Of a text, and of each part of one. No model reads a tenth of it."""

NUMBER_MAX: Final = 1_000_000
"""For widths, counts and indents."""

_BITS_MAX = 10_000
_CHARS_OF_ELEMENT = 8  # of a list: what it takes in memory
_WIDE = re.compile(r"\d{7}")
_WIDE_PERCENT = re.compile(r"%(\([^)]*\))?[-#0 +]*(\*|\d{7}|\d*\.(\*|\d{7}))")
_SIZED_FILTERS = frozenset({"batch", "center", "indent", "slice", "tojson", "truncate", "wordwrap"})
_SIZED_METHODS = frozenset({"center", "expandtabs", "ljust", "rjust", "zfill"})


class Refused(Exception):
    """A template does what it must not, or asks for too much."""


@dataclass
class Rendering:
    """A text that is being made.

    Attributes:
        steps: what is done so far; ``None``: templates are not those of a run.
        rounds: of loops, and calls, until now.
    """

    steps: Mapping[str, StepResult] | None = None
    rounds: int = 0

    def count(self, rounds: int) -> None:
        """Note a round of a loop, or what takes as long as some.

        Raises:
            Refused: there were too many.
        """
        self.rounds += rounds
        if self.rounds > ROUNDS_MAX:
            raise Refused(f"more than {ROUNDS_MAX:,} rounds of loops, or a tenth as many calls")


rendering: ContextVar[Rendering] = ContextVar("rendering")


class _Generator(CodeGenerator):
    """Writes the code of a template: ``~`` is measured, too."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802 - Jinja's name
        self.write("environment.concatenated((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_Call(self, node: nodes.Call, frame: Frame, forward_caller: bool = False) -> None:  # noqa: N802 - as above
        if not isinstance(node.node, nodes.EnvironmentAttribute):
            super().visit_Call(node, frame, forward_caller=forward_caller)
            return
        self.write(f"environment.{node.node.name}(")  # which is ours
        for argument in node.args:
            self.visit(argument, frame)
            self.write(", ")
        self.write(")")


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of the templates below one directory."""

    code_generator_class = _Generator
    intercepted_binops = frozenset({"*", "**", "+", "%"})

    def __init__(self, loader: BaseLoader) -> None:
        super().__init__(
            loader=loader,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            auto_reload=False,
        )
        self.filters = dict(_FILTERS)
        del self.globals["lipsum"]

    @staticmethod
    def concat(parts: Iterable[str]) -> str:
        """Join what a part of a template gave."""
        return joined(parts)

    def concatenated(self, parts: Sequence[Any]) -> str:
        """Return what ``~`` gives."""
        return joined(str(part) for part in parts)

    def join_path(self, template: str, parent: str) -> str:
        """Return the name of a template that another one includes: from the directory of the pipeline, or beside it."""
        assert isinstance(self.loader, BaseLoader)
        return getattr(self.loader, "beside", lambda name, _parent: name)(template, parent)  # type: ignore[no-any-return]

    def _load_template(self, name: str, globals: Any) -> Template:  # noqa: A002 - Jinja's name
        state = rendering.get(None)
        if state is not None:  # a template that is included
            state.count(_ROUNDS_OF_INCLUDE)
        return super()._load_template(name, globals)

    def _generate(self, source: nodes.Template, *args: Any, **options: Any) -> str:
        return super()._generate(with_steps(source), *args, **options)

    def counted(self, iterable: Iterable[Any]) -> Iterator[Any]:
        """Yield what a loop goes over."""
        state = rendering.get()
        for element in iterable:
            state.count(1)
            yield element

    def read_steps(self, context: Context, pairs: Sequence[tuple[str, bool]]) -> Any:
        """Return what a chain of fields and items that begins at ``steps`` is."""
        links = [Link(*pair) for pair in pairs]
        steps = rendering.get().steps
        if steps is None:
            return self._chained(context.resolve("steps"), links)
        first, *rest = links
        result = steps.get(first.name)
        if result is None:
            return self.undefined(f"step {first.name!r} has no result", steps, first.name)
        return self._part(result, rest, steps)

    def _part(self, result: StepResult, links: Sequence[Link], steps: Mapping[str, StepResult]) -> Any:
        if not links:
            return result.value
        first, *rest = links
        if first.is_field and first.name == "value":
            return self._chained(result.value, rest)
        if first.is_field and first.name in OWN_OF_STEPS:
            return self._chained(getattr(result, first.name), rest)
        inner = steps.get(f"{result.name}.{first.name}")
        if inner is not None:
            return self._part(inner, rest, steps)
        return self._chained(result.value, links)

    def _chained(self, value: Any, links: Sequence[Link]) -> Any:
        for link in links:
            value = self.getattr(value, link.name) if link.is_field else self.getitem(value, link.name)
        return plain(value)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Whether a template may read an attribute."""
        return super().is_safe_attribute(obj, attr, value) and is_readable(obj, attr, value)

    def is_safe_callable(self, obj: Any) -> bool:
        """Whether a template may call something that it could read."""
        return super().is_safe_callable(obj) and (obj is safe_range or _is_ours(obj) or is_callable(obj))

    def call(self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Call something for a template."""
        rendering.get().count(_ROUNDS_OF_CALL)
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str | bytes):
            _check_method(owner, __obj.__name__, args, kwargs)
        elif isinstance(owner, int):
            _check_numbers(args)
        found = super().call(__context, __obj, *args, **kwargs)
        return found if isinstance(__obj, Macro) else _measured(found)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Calculate for a template."""
        if operator == "%" and isinstance(left, str):
            _check_percent(left)
        elif operator == "*":
            _check_size(max(_size(left) * _count(right), _size(right) * _count(left)))
            _check_bits(_bits(left) + _bits(right))
        elif operator == "**":
            _check_bits(_bits(left) * (abs(right) if isinstance(right, int) else 1))
        elif operator == "+":
            _check_size(_size(left) + _size(right))
        return _measured(super().call_binop(context, operator, left, right))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Return what is called instead of ``format`` of a text."""
        if super().wrap_str_format(value) is None:
            return None
        text, by_map = value.__self__, value.__name__ == "format_map"
        formatter = _Formatter(self)

        def wrapped(*args: Any, **kwargs: Any) -> str:
            return formatter.vformat(text, () if by_map else args, args[0] if by_map else kwargs)

        return functools.update_wrapper(wrapped, value)


class _Formatter(SandboxedFormatter):
    """``format`` of a text, without wide columns."""

    def format_field(self, value: Any, format_spec: str) -> Any:
        if _WIDE.search(format_spec):
            raise Refused(f"a width of more than {NUMBER_MAX:,} in {format_spec!r}")
        return super().format_field(value, format_spec)


def _is_ours(function: Any) -> bool:
    """Whether it is the ``format`` of this module."""
    return isinstance(function, FunctionType) and function.__globals__ is globals()


def joined(parts: Iterable[str]) -> str:
    """Return texts one after the other.

    Raises:
        Refused: that is too long.
    """
    kept: list[str] = []
    size = 0
    for part in parts:
        size += len(part)
        _check_size(size)
        kept.append(part)
    return "".join(kept)


def _filters() -> dict[str, Callable[..., Any]]:
    found = {name: _limited(name, function) for name, function in FILTERS.items() if name != "random"}
    return found | {"tojson": _limited("tojson", as_json)}


def _limited(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter that measures what it is given, as far as one can know, and what it gives."""
    first = 1 if hasattr(function, "jinja_pass_arg") else 0

    @functools.wraps(function)
    def limited(*args: Any, **kwargs: Any) -> Any:
        value, *others = args[first:]
        if name in _SIZED_FILTERS:
            _check_numbers((*others, *kwargs.values()))
        if name == "format":
            _check_percent(str(value))
        if name in ("replace", "join"):
            _check_method(value, name, others, kwargs)
        if name in ("indent", "wordwrap"):
            longest = max((max(_size(other), _count(other)) for other in (*others, *kwargs.values())), default=1)
            _check_size(longest * (str(value).count("\n") + 1 if name == "indent" else 1))
        return _measured(function(*args, **kwargs))

    return limited


def _check_method(text: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Refuse a method of a text if what it gives is too long.

    ``replace`` and ``join`` are filters, too: there the list comes first.
    """
    if name == "translate":
        raise Refused("'translate' of a text")
    if name in _SIZED_METHODS:
        _check_numbers((*args, *kwargs.values()))
    if name == "replace" and len(args) >= 2:
        _check_size(
            _size(text)
            + (_size(text) + 1 if isinstance(text, bytes) else str(text).count(str(args[0]))) * _size(args[1])
        )
    if name == "join":
        glue, many = (text, args[0]) if isinstance(text, str | bytes) and args else (args[0] if args else "", text)
        _check_size(_size(glue) * _size(many))


def _check_percent(text: str) -> None:
    if _WIDE_PERCENT.search(text):
        raise Refused(f"a width of more than {NUMBER_MAX:,}, or one that is not written, in {text[:80]!r}")


def _check_numbers(values: Iterable[Any]) -> None:
    for value in values:
        if isinstance(value, int) and abs(value) > NUMBER_MAX:
            raise Refused(f"a width or count of {value}; at most {NUMBER_MAX:,} is allowed")


def _check_size(size: int) -> None:
    if size > CHARS_MAX:
        raise Refused(f"a text or list of more than {CHARS_MAX:,} characters or elements")


def _check_bits(bits: int) -> None:
    if bits > _BITS_MAX:
        raise Refused(f"a number of more than {_BITS_MAX:,} bits")


def _measured(value: Any) -> Any:
    _check_size(_size(value))
    return value


def _size(value: Any) -> int:
    if isinstance(value, str | bytes):
        return len(value)
    return len(value) * _CHARS_OF_ELEMENT if isinstance(value, list | tuple) else 0


def _count(value: Any) -> int:
    return max(value, 0) if isinstance(value, int) else 0


def _bits(value: Any) -> int:
    return value.bit_length() if isinstance(value, int) else 0


_FILTERS = _filters()
