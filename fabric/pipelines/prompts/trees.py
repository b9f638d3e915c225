"""Templates as trees: what they read of steps, and how that is rewritten so that the sandbox answers it.

A chain of fields and items that begins at ``steps`` becomes one question to the environment, with the whole chain; the
rounds of loops are counted. Everything else stays as Jinja made it. A template that has a variable of its own called
``steps`` means that one.
"""

from __future__ import annotations

__all__ = ["Link", "has_own_steps", "links_of", "method_of_steps", "with_steps"]

from typing import Any

import msgspec
from jinja2 import nodes
from jinja2.visitor import NodeTransformer

_METHODS_OF_MAPS = ("get", "items", "keys", "values")


class Link(msgspec.Struct, frozen=True):
    """A field, or an item with a name that is written there."""

    name: str
    is_field: bool


def links_of(node: nodes.Node, root: str) -> list[Link] | None:
    """Return a chain from a variable on: ``steps.x["a"]``; ``None``: this is none, or not by names alone."""
    links: list[Link] = []
    while True:
        if isinstance(node, nodes.Getattr):
            links.append(Link(node.attr, is_field=True))
            node = node.node
        elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
            links.append(Link(node.arg.value, is_field=False))
            node = node.node
        else:
            break
    is_root = isinstance(node, nodes.Name) and node.name == root and node.ctx == "load"
    return links[::-1] if is_root else None


def method_of_steps(node: nodes.Call) -> str | None:
    """Return the method of the map of all steps that is called: ``steps.items()``; ``None``: none is."""
    links = links_of(node.node, "steps")
    return links[0].name if links and len(links) == 1 and links[0].name in _METHODS_OF_MAPS else None


def has_own_steps(tree: nodes.Template) -> bool:
    """Whether a template gives the name ``steps`` to something of its own."""
    return any(name.name == "steps" and name.ctx != "load" for name in tree.find_all(nodes.Name))


def with_steps(tree: nodes.Template) -> nodes.Template:
    """Return a template as it is compiled."""
    _Rewriting(rewrites_steps=not has_own_steps(tree)).visit(tree)
    return tree


class _Rewriting(NodeTransformer):
    """One walk over one template."""

    def __init__(self, rewrites_steps: bool) -> None:
        self._rewrites_steps = rewrites_steps

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - Jinja's name
        self.generic_visit(node)
        node.iter = _asked("counted", [node.iter], node)
        return node

    def visit_Pair(self, node: nodes.Pair) -> nodes.Node:  # noqa: N802 - Jinja's name
        self.generic_visit(node)
        if not isinstance(node.key, nodes.Const):
            node.key = _asked("comparable", [node.key], node)
        return node

    def visit_Call(self, node: nodes.Call) -> nodes.Node:  # noqa: N802 - Jinja's name
        if method_of_steps(node) is None:
            self.generic_visit(node)
        else:  # a map has this method; what it is called with may be anything
            node.args = [self.visit(argument) for argument in node.args]
        return node

    def visit_Getattr(self, node: nodes.Getattr) -> nodes.Node:  # noqa: N802 - Jinja's name
        return self._chain(node)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802 - Jinja's name
        return self._chain(node)

    def _chain(self, node: nodes.Expr) -> nodes.Node:
        links = links_of(node, "steps") if self._rewrites_steps else None
        if not links:
            self.generic_visit(node)
            return node
        written = nodes.Const(tuple((link.name, link.is_field) for link in links))
        return _asked("read_steps", [nodes.ContextReference(), written], node)


def _asked(name: str, arguments: list[Any], node: nodes.Node) -> nodes.Call:
    """Return a call of a method of the environment."""
    call = nodes.Call(nodes.EnvironmentAttribute(name), arguments, [], None, None, lineno=node.lineno)
    assert node.environment is not None
    call.set_environment(node.environment)
    return call
