"""What expressions may be. Whatever is not named here is refused; nothing is compiled.

``ast`` makes a tree of the text, and this walks over it once: it refuses, with a sentence for the author of the file,
and it notes which steps and which variables of the environment are read. ``interpreting`` has a rule for each kind of
node that is let pass here, and for no other.
"""

from __future__ import annotations

__all__ = ["CONSTANTS", "DEPTH_MAX", "FUNCTIONS", "ROOTS", "TEXT_CHARS_MAX", "Checked", "checked"]

import ast
import difflib
import warnings
from typing import Any, Final, NoReturn

import msgspec

from fabric.pipelines.errors import ExpressionSecurityError
from fabric.pipelines.expressions.scope import OWN_OF_STEPS, StepRead

TEXT_CHARS_MAX: Final = 8_192
"""Of one expression. The longest that we have seen in use has 200; ``ast`` needs memory for each character."""

DEPTH_MAX: Final = 64
"""Of the tree. ``interpreting`` takes three frames of Python's stack, which has 1,000, for a level."""

ROOTS: Final = ("ctx", "steps", "env")
FUNCTIONS: Final = ("first_non_none", "active_models", "len")
CONSTANTS: Final[dict[str, bool | None]] = {"none": None, "true": True, "false": False}
"""How JSON and templates write what Python writes with a capital."""

_SHOWN_CHARS_MAX = 200

_REFUSED: dict[type[ast.AST], str] = {
    ast.Await: "'await' is not allowed",
    ast.Dict: "a map in braces is not allowed: write it in YAML, with an expression for each of its values",
    ast.DictComp: "a comprehension is not allowed: do it in a transform step",
    ast.GeneratorExp: "a comprehension is not allowed: do it in a transform step",
    ast.JoinedStr: "an f-string is not allowed: write text around expressions instead",
    ast.Lambda: "a lambda is not allowed: do it in a transform step",
    ast.ListComp: "a comprehension is not allowed: do it in a transform step",
    ast.NamedExpr: "':=' is not allowed",
    ast.Set: "a set is not allowed: write a list",
    ast.SetComp: "a comprehension is not allowed: do it in a transform step",
    ast.Starred: "'*' is not allowed",
    ast.Slice: "a slice stands in brackets behind a value",
    ast.Yield: "'yield' is not allowed",
    ast.YieldFrom: "'yield' is not allowed",
}


class Checked(msgspec.Struct, frozen=True):
    """An expression that may be interpreted.

    Attributes:
        tree: of it.
        reads: every place that reads results of steps.
        env_names: the variables of the environment that it reads.
    """

    tree: ast.expr
    reads: tuple[StepRead, ...]
    env_names: tuple[str, ...]


def checked(text: str) -> Checked:
    """Return an expression without braces.

    Raises:
        ExpressionSecurityError: it is none, or does what expressions must not.
    """
    stripped = text.strip()
    # Where YAML breaks a line inside of an expression, Python would see the end of it.
    line = stripped.translate(_SPACES)
    return _Check(line, offset=len(text) - len(text.lstrip())).whole()


_SPACES = {ord(character): " " for character in "\t\n\r\f\v"}


def _too_long(text: str) -> str | None:
    if len(text) > TEXT_CHARS_MAX:
        return f"an expression has at most {TEXT_CHARS_MAX:,} characters, this one has {len(text):,}"
    return None


class _Check:
    """One walk over one expression."""

    def __init__(self, text: str, offset: int) -> None:
        self._text = text
        self._offset = offset
        self._reads: list[StepRead] = []
        self._env_names: list[str] = []

    def whole(self) -> Checked:
        tree = self._parsed()
        self._check(tree, 1)
        return Checked(tree, tuple(self._reads), tuple(self._env_names))

    def _refuse(self, message: str, suggestion: str | None = None) -> NoReturn:
        shown = self._text if len(self._text) <= _SHOWN_CHARS_MAX else f"{self._text[:_SHOWN_CHARS_MAX]}..."
        raise ExpressionSecurityError(f"expression {shown!r}: {message}", suggestion=suggestion)

    def _parsed(self) -> ast.expr:
        if (reason := _too_long(self._text)) is not None:
            self._refuse(reason)
        if not self._text:
            self._refuse("syntax: it is empty")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of escapes in texts, say: not ours to speak of
                return ast.parse(self._text, mode="eval").body
        except SyntaxError as error:
            place = f" at character {error.offset}" if error.offset else ""
            self._refuse(f"syntax{place}: {error.msg}{self._hint()}")
        except (RecursionError, MemoryError):
            self._refuse(f"syntax: it is nested too deep; {DEPTH_MAX} levels are allowed")
        except ValueError as error:  # a null character; a surrogate that is alone
            self._refuse(f"syntax: {error}")

    def _hint(self) -> str:
        if "{{" in self._text or "}}" in self._text:
            return "; one expression is meant here, without braces or in one pair of them"
        return ""

    def _check(self, node: ast.expr, depth: int) -> None:
        if depth > DEPTH_MAX:
            self._refuse(f"it is nested too deep; {DEPTH_MAX} levels are allowed")
        match node:
            case ast.Constant(value=value):
                self._constant(value)
            case ast.Name():
                self._name(node)
            case ast.Attribute() | ast.Subscript():
                self._chain(node, depth)
            case ast.Call():
                self._call(node, depth)
            case ast.UnaryOp():
                self._unary(node, depth)
            case ast.BoolOp(values=inner) | ast.List(elts=inner) | ast.Tuple(elts=inner):
                self._all(inner, depth)
            case ast.Compare(left=left, comparators=others):
                self._all([left, *others], depth)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                self._all([test, body, orelse], depth)
            case ast.BinOp(op=ast.BitOr()):
                self._refuse("'|' is not allowed: filters belong to prompts; do it in a transform step")
            case ast.BinOp():
                self._refuse("arithmetic is not allowed: do it in a transform step")
            case _:
                self._refuse(_REFUSED.get(type(node), f"{type(node).__name__} is not allowed"))

    def _all(self, nodes: list[ast.expr], depth: int) -> None:
        for node in nodes:
            self._check(node, depth + 1)

    def _constant(self, value: Any) -> None:
        if value is not None and not isinstance(value, str | int | float):
            self._refuse(f"a {type(value).__name__} is not allowed: there are texts, numbers, True, False and None")

    def _name(self, node: ast.Name) -> None:
        if node.id in CONSTANTS or node.id == "ctx":
            return
        if node.id == "steps":
            self._reads.append(StepRead(None, (), self._place(node)))
        elif node.id == "env":
            self._refuse("variables of the environment are read one by one: env.NAME")
        elif node.id in FUNCTIONS:
            self._refuse(f"{node.id!r} is a function: {node.id}(...)")
        else:
            near = difflib.get_close_matches(node.id, (*ROOTS, *FUNCTIONS), n=1)
            self._refuse(f"{node.id!r} is not a valid root: there are {', '.join(ROOTS)}", near[0] if near else None)

    def _unary(self, node: ast.UnaryOp, depth: int) -> None:
        if isinstance(node.op, ast.Not):
            self._check(node.operand, depth + 1)
        elif not (
            isinstance(node.op, ast.USub | ast.UAdd)
            and isinstance(node.operand, ast.Constant)
            and type(node.operand.value) in (int, float)
        ):
            self._refuse("arithmetic is not allowed: a sign stands in front of a number only")

    def _call(self, node: ast.Call, depth: int) -> None:
        known = ", ".join(f"{name}(...)" for name in FUNCTIONS)
        if not isinstance(node.func, ast.Name):
            self._refuse(f"only direct function calls are allowed: {known}")
        if node.func.id not in FUNCTIONS:
            near = difflib.get_close_matches(node.func.id, FUNCTIONS, n=1)
            self._refuse(f"disallowed function {node.func.id!r}: there are {known}", near[0] if near else None)
        if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
            self._refuse(f"arguments of {node.func.id!r} are given one by one, without names")
        if node.func.id != "first_non_none" and len(node.args) != 1:
            self._refuse(f"{node.func.id!r} takes one argument, {len(node.args)} are given")
        self._all(node.args, depth)

    def _chain(self, node: ast.expr, depth: int) -> None:
        """Check fields and items of a value: the links of a chain, from the value on."""
        links: list[ast.Attribute | ast.Subscript] = []
        while isinstance(node, ast.Attribute | ast.Subscript):
            links.append(node)
            node = node.value
        links.reverse()
        depth += len(links)
        if isinstance(node, ast.Name) and node.id == "steps":
            self._step_read(links, self._place(node))
        elif isinstance(node, ast.Name) and node.id == "env":
            self._env_read(links[0])
        else:
            self._check(node, depth)
        for link in links:
            self._link(link, depth)

    def _link(self, link: ast.Attribute | ast.Subscript, depth: int) -> None:
        if isinstance(link, ast.Attribute):
            if link.attr.startswith("_"):
                self._refuse(f"{link.attr!r} is not allowed: names that begin with an underscore are hidden")
        elif isinstance(link.slice, ast.Slice):
            parts = (link.slice.lower, link.slice.upper, link.slice.step)
            self._all([part for part in parts if part is not None], depth)
        else:
            self._check(link.slice, depth + 1)

    def _step_read(self, links: list[ast.Attribute | ast.Subscript], place: int) -> None:
        first, *rest = links
        name = _name_of(first)
        if name is None and isinstance(first, ast.Subscript) and isinstance(first.slice, ast.Constant | ast.Slice):
            self._refuse('steps are known by names: steps.NAME or steps["NAME"]')
        fields: list[str] = []
        own = rest[0].attr if rest and isinstance(rest[0], ast.Attribute) else ""
        own = own if own in OWN_OF_STEPS[1:] else ""
        if name is not None and not own:
            for number, link in enumerate(rest):
                if number == 0 and isinstance(link, ast.Attribute) and link.attr == "value":
                    continue
                if (named := _name_of(link)) is None:
                    break
                fields.append(named)
        self._reads.append(StepRead(name, tuple(fields), place, own))

    def _env_read(self, link: ast.Attribute | ast.Subscript) -> None:
        name = _name_of(link)
        if name is None:
            self._refuse('variables of the environment are read by names that stand here: env.NAME or env["NAME"]')
        self._env_names.append(name)

    def _place(self, node: ast.expr) -> int:
        # ``ast`` counts bytes.
        return self._offset + len(self._text.encode()[: node.col_offset].decode())


def _name_of(link: ast.Attribute | ast.Subscript) -> str | None:
    """Return the field that a link names; ``None``: it depends on a value, is a number or a slice."""
    if isinstance(link, ast.Attribute):
        return link.attr
    if isinstance(link.slice, ast.Constant) and isinstance(link.slice.value, str):
        return link.slice.value
    return None
