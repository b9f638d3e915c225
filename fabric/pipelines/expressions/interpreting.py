"""The value of an expression that ``whitelist`` let pass: one rule for each kind of node, and Python's order.

``None`` is empty: ``len(None)`` is 0, and nothing is in it. What begins at ``ctx`` is null-safe: what is not there is
``None``, however deep.
"""

from __future__ import annotations

__all__ = ["interpreted"]

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from fabric.pipelines.errors import ExpressionEvalError
from fabric.pipelines.expressions.scope import ABSENT, Scope, field_of, item_of, part_of_step, plain
from fabric.pipelines.expressions.whitelist import CONSTANTS
from fabric.pipelines.results import StepResult


def interpreted(tree: ast.expr, scope: Scope) -> Any:
    """Return the value of an expression, as it is: what is a step is its value.

    Raises:
        ExpressionEvalError: it has none. Whatever else a value of the run raises when it is compared, say.
    """
    return plain(_value(tree, scope))


def _value(node: ast.expr, scope: Scope) -> Any:
    return _RULES[type(node)](node, scope)


def _constant(node: ast.Constant, _scope: Scope) -> Any:
    return node.value


def _name(node: ast.Name, scope: Scope) -> Any:
    if node.id == "ctx":
        return scope.ctx
    if node.id == "steps":
        return {name: result.value for name, result in scope.steps.items()}
    return CONSTANTS[node.id]


def _attribute(node: ast.Attribute, scope: Scope) -> Any:
    if isinstance(node.value, ast.Name):
        if node.value.id == "steps":
            return scope.steps.get(node.attr)
        if node.value.id == "env":
            return scope.env.get(node.attr)
    value = _value(node.value, scope)
    if isinstance(value, StepResult):
        return _there(part_of_step(value, node.attr, scope.steps), node, value.value)
    return _there(field_of(value, node.attr), node, value)


def _subscript(node: ast.Subscript, scope: Scope) -> Any:
    key = _key(node.slice, scope)
    if isinstance(node.value, ast.Name):
        if node.value.id == "steps":
            return _step_at(key, scope)
        if node.value.id == "env":
            return scope.env.get(key)
    value = _value(node.value, scope)
    try:
        found = item_of(plain(value), key)
    except TypeError:
        if not _is_null_safe(node) and not (isinstance(value, StepResult) and isinstance(key, str)):
            raise
        found = ABSENT
    if isinstance(value, StepResult) and isinstance(key, str) and (found is None or found is ABSENT):
        found = scope.steps.get(f"{value.name}.{key}", found)
    return _there(found, node, plain(value))


def _step_at(key: Any, scope: Scope) -> StepResult | None:
    if not isinstance(key, str):
        raise ExpressionEvalError(f"steps are known by names, not by {key!r}")
    return scope.steps.get(key)


def _key(node: ast.expr, scope: Scope) -> Any:
    if isinstance(node, ast.Slice):
        parts = (node.lower, node.upper, node.step)
        return slice(*(None if part is None else plain(_value(part, scope)) for part in parts))
    return plain(_value(node, scope))


def _there(found: Any, node: ast.Attribute | ast.Subscript, value: Any) -> Any:
    if found is not ABSENT:
        return found
    if _is_null_safe(node):
        return None
    what = f"no field {node.attr!r}" if isinstance(node, ast.Attribute) else f"no item {ast.unparse(node.slice)}"
    raise ExpressionEvalError(f"{ast.unparse(node.value)} has {what}: it is a {type(value).__name__}")


def _is_null_safe(node: ast.expr) -> bool:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return isinstance(node, ast.Name) and node.id == "ctx"


def _boolean(node: ast.BoolOp, scope: Scope) -> Any:
    is_or = isinstance(node.op, ast.Or)
    for operand in node.values[:-1]:
        value = _value(operand, scope)
        if bool(plain(value)) is is_or:
            return value
    return _value(node.values[-1], scope)


def _unary(node: ast.UnaryOp, scope: Scope) -> Any:
    value = plain(_value(node.operand, scope))
    if isinstance(node.op, ast.Not):
        return not value
    return -value if isinstance(node.op, ast.USub) else value


def _ternary(node: ast.IfExp, scope: Scope) -> Any:
    return _value(node.body if plain(_value(node.test, scope)) else node.orelse, scope)


def _list(node: ast.List, scope: Scope) -> Any:
    return [plain(_value(element, scope)) for element in node.elts]


def _tuple(node: ast.Tuple, scope: Scope) -> Any:
    return tuple(plain(_value(element, scope)) for element in node.elts)


def _is_in(element: Any, container: Any) -> bool:
    return container is not None and element in container


_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: _is_in,
    ast.NotIn: lambda element, container: not _is_in(element, container),
}


def _compare(node: ast.Compare, scope: Scope) -> Any:
    left_node, left = node.left, plain(_value(node.left, scope))
    outcome: Any = True
    for number, (comparison, right_node) in enumerate(zip(node.ops, node.comparators, strict=True), 1):
        right = plain(_value(right_node, scope))
        try:
            outcome = _COMPARISONS[type(comparison)](left, right)
        except TypeError as error:
            for side, value in ((left_node, left), (right_node, right)):
                if value is None:
                    raise ExpressionEvalError(f"{ast.unparse(side)} is None: {error}") from error
            raise
        if number < len(node.ops) and not outcome:
            return outcome
        left_node, left = right_node, right
    return outcome


def _call(node: ast.Call, scope: Scope) -> Any:
    assert isinstance(node.func, ast.Name)
    return _FUNCTIONS[node.func.id]([_value(argument, scope) for argument in node.args])


def _first_non_none(values: list[Any]) -> Any:
    return next((value for value in values if plain(value) is not None), None)


def _active_models(values: list[Any]) -> list[Any]:
    """Return the keys of a map, in its order, whose values are there."""
    mapping = plain(values[0])
    if mapping is None:
        return []
    if not isinstance(mapping, Mapping):
        raise ExpressionEvalError(f"active_models takes a map, not a {type(mapping).__name__}")
    return [key for key, value in mapping.items() if value is not None]


def _len(values: list[Any]) -> int:
    value = plain(values[0])
    return 0 if value is None else len(value)


_FUNCTIONS: dict[str, Callable[[list[Any]], Any]] = {
    "active_models": _active_models,
    "first_non_none": _first_non_none,
    "len": _len,
}

_RULES: dict[type[ast.expr], Callable[[Any, Scope], Any]] = {
    ast.Attribute: _attribute,
    ast.BoolOp: _boolean,
    ast.Call: _call,
    ast.Compare: _compare,
    ast.Constant: _constant,
    ast.IfExp: _ternary,
    ast.List: _list,
    ast.Name: _name,
    ast.Subscript: _subscript,
    ast.Tuple: _tuple,
    ast.UnaryOp: _unary,
}
