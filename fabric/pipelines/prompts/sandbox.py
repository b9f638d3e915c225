"""The Jinja that prompts are written in: in a sandbox, without effects, and with an end.

To what Jinja's own sandbox refuses (names with underscores, changing lists and maps, ``range`` of more than 100,000) we
add:

* Methods that may have effects: see ``template_access``.
* What is different each time: ``random``, ``lipsum``.
* Work without an end: rounds of loops, calls, and what filters go over are counted, over all of a text.
* Texts without an end: whatever makes a text longer than its parts is measured, before it is made where one can know;
  and so is what is made on the way to one text, in all. See ``template_limits``.

``steps.x`` in a template is what it is in an expression: see ``scope``. Templates are rewritten for that when they are
compiled, so values are handed to them as they are.
"""

from __future__ import annotations

__all__ = ["Refused", "Rendering", "Sandbox", "joined", "rendering"]

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from types import BuiltinFunctionType, FunctionType
from typing import Any

from jinja2 import StrictUndefined, Template, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.loaders import BaseLoader
from jinja2.runtime import Context, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter, safe_range
from pydantic import BaseModel

from fabric.pipelines.expressions.scope import OWN_OF_STEPS, plain
from fabric.pipelines.prompts.access import is_callable, is_readable
from fabric.pipelines.prompts.filters import COMPARISONS, FILTERS, INDENT_MAX, TESTS, check_method
from fabric.pipelines.prompts.limits import (
    NUMBER_MAX,
    Refused,
    Rendering,
    check_bits,
    check_numbers,
    check_percent,
    check_size,
    check_text,
    count_of,
    joined,
    rendering,
    size_of,
)
from fabric.pipelines.prompts.trees import Link, with_steps
from fabric.pipelines.results import StepResult

_ROUNDS_OF_CALL = 10
_ROUNDS_OF_INCLUDE = 100
# They take that much longer.

_ATOMS = (str, int, float, type(None))


class _Generator(CodeGenerator):
    """Writes the code of a template: ``~`` is measured, too."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802 - Jinja's name
        self.write("environment.concatenated((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:  # noqa: N802 - Jinja's name
        if len(node.ops) > 1:  # of a chain, each is looked at by itself
            super().visit_Compare(node, frame)
            return
        self.write(f"environment.compared({node.ops[0].op!r}, ")
        self.visit(node.expr, frame)
        self.write(", ")
        self.visit(node.ops[0].expr, frame)
        self.write(")")

    def visit_Operand(self, node: nodes.Operand, frame: Frame) -> None:  # noqa: N802 - Jinja's name
        written = {
            "eq": "==",
            "ne": "!=",
            "gt": ">",
            "gteq": ">=",
            "lt": "<",
            "lteq": "<=",
            "in": "in",
            "notin": "not in",
        }
        self.write(f" {written[node.op]} environment.comparable(")
        self.visit(node.expr, frame)
        self.write(")")

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:  # noqa: N802 - Jinja's name
        if not isinstance(node.arg, nodes.Slice):
            super().visit_Getitem(node, frame)
            return
        self.write("environment.made(")
        super().visit_Getitem(node, frame)
        self.write(")")

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
            finalize=_shown,
        )
        self.filters = dict(FILTERS)
        self.tests = dict(TESTS)
        del self.globals["lipsum"]

    @staticmethod
    def concat(parts: Iterable[str]) -> str:
        """Join what a part of a template gave."""
        return joined(parts)

    def concatenated(self, parts: Sequence[Any]) -> str:
        """Return what ``~`` gives."""
        return joined(str(_shown(part)) for part in parts)

    @staticmethod
    def compared(name: str, left: Any, right: Any) -> Any:
        """Return what a comparison gives."""
        if name in ("in", "notin"):
            rendering.get().search(left, right)
        elif not isinstance(left, _ATOMS) and not isinstance(right, _ATOMS):
            rendering.get().compare(left)
        return COMPARISONS[name](left, right)

    @staticmethod
    def comparable(value: Any) -> Any:
        """Return what is compared in a chain, or is a key."""
        rendering.get().compare(value)
        return value

    @staticmethod
    def made(value: Any) -> Any:
        """Return a part of a text or of a list."""
        return rendering.get().made_of(value)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Return an item, or a field."""
        if isinstance(argument, tuple):
            rendering.get().compare(argument)
        return super().getitem(obj, argument)

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
        return rendering.get().counted(iterable)

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
        state = rendering.get()
        state.count(_ROUNDS_OF_CALL)
        _check_call(state, __obj, args, kwargs)
        found = super().call(__context, __obj, *args, **kwargs)
        return found if isinstance(__obj, Macro) else state.made_of(found)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Calculate for a template."""
        if operator == "%" and isinstance(left, str | bytes):
            check_percent(left if isinstance(left, str) else left.decode("latin-1"), right)
        elif operator == "*":
            check_size(max(size_of(left) * count_of(right), size_of(right) * count_of(left)))
            check_bits(_bits(left) + _bits(right))
        elif operator == "**":
            check_bits(_bits(left) * (abs(right) if isinstance(right, int) else 1))
        elif operator == "+":
            check_size(size_of(left) + size_of(right))
        return rendering.get().made_of(super().call_binop(context, operator, left, right))

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
    """``format`` of a text, which is measured from column to column."""

    _size = 0

    def format_field(self, value: Any, format_spec: str) -> Any:
        if re.search(r"\d{7}", format_spec):
            raise Refused(f"a width of more than {NUMBER_MAX:,} in {format_spec!r}")
        check_text(value)
        found = super().format_field(value, format_spec)
        self._size += len(found)
        check_size(self._size)
        return found

    def convert_field(self, value: Any, conversion: Any) -> Any:
        check_text(value)
        return super().convert_field(value, conversion)


def _shown(value: Any) -> Any:
    """Return what becomes a part of a text."""
    if not isinstance(value, str | int):
        check_text(value)
    return value


def _check_call(state: Rendering, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    owner = getattr(function, "__self__", None)
    if isinstance(owner, str | bytes):
        name = function.__name__
        if name == "join" and args:
            check_size(len(owner) * len(args[0] if isinstance(args[0], Sized) else ()))
            check_text(args[0])
        check_method(owner, name, args, kwargs)
        if name.endswith(("split", "splitlines")):
            state.take(len(owner) * 8)  # each piece is an object
    elif isinstance(owner, int):
        check_numbers(args)
    elif isinstance(owner, BaseModel) and hasattr(BaseModel, function.__name__):
        check_numbers(kwargs.values(), INDENT_MAX)
        state.count(check_text(owner))
    elif function is dict or isinstance(function, BuiltinFunctionType):
        for arg in args:
            state.compare(arg)


def _bits(value: Any) -> int:
    return value.bit_length() if isinstance(value, int) else 0


def _is_ours(function: Any) -> bool:
    """Whether it is the ``format`` of this module."""
    return isinstance(function, FunctionType) and function.__globals__ is globals()
