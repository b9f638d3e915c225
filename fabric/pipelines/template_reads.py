"""What templates read, found before they are rendered: steps, variables, the environment, other templates.

Templates that are included, imported or extended by a name that is written there are read, too. Where a name depends on
the input, any step may be read.
"""

from __future__ import annotations

__all__ = ["NotAllowedError", "TemplateReads", "template_reads"]

from collections.abc import Iterator, Sequence

import msgspec
from jinja2 import Environment, TemplateNotFound, TemplateSyntaxError, nodes

from fabric.pipelines.scope import OWN_OF_STEPS, StepRead
from fabric.pipelines.template_steps import Link, has_own_steps, links_of, method_of_steps

TEMPLATES_MAX = 1_000
"""That one template reaches. There is a bug if there are more."""

LOOPS_MAX = 16
"""In each other. Python has 20, and some are Jinja's own."""


class NotAllowedError(TemplateSyntaxError):
    """A template does what templates must not."""


class TemplateReads(msgspec.Struct, frozen=True):
    """What a template reads, and all that it includes.

    Attributes:
        code: of it, as Jinja writes it.
        steps: every place that reads results of steps.
        env_names: the variables of the environment.
    """

    code: str
    steps: tuple[StepRead, ...]
    env_names: tuple[str, ...]


def template_reads(environment: Environment, source: str, name: str | None) -> TemplateReads:
    """Return what a template reads.

    Raises:
        TemplateSyntaxError: it is none, or one that it includes.
        NotAllowedError: it reads what templates must not.
    """
    walk = _Walk(environment)
    code = walk.template(source, name, ())
    return TemplateReads(code, tuple(walk.steps), tuple(walk.env_names))


class _Walk:
    """One walk over a template and those that it reaches."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._seen: set[str] = set()
        self.steps: list[StepRead] = []
        self.env_names: list[str] = []

    def template(self, source: str, name: str | None, above: Sequence[str]) -> str:
        """Read a template, and those that it reaches; return its code."""
        tree = self._environment.parse(source, name, name)
        reading = _Reading(source, name, reads_steps=not has_own_steps(tree))
        reading.node(tree)
        self.steps.extend(reading.steps)
        self.env_names.extend(reading.env_names)
        for reference in list(_references(tree, is_sure=True)):
            self._follow(reference, name, above if reference.is_sure else ())
        # The tree is not the same afterwards.
        return self._environment._generate(tree, name, name)

    def _follow(self, reference: _Reference, parent: str | None, above: Sequence[str]) -> None:
        if reference.names is None:
            self.steps.append(StepRead(None))
            return
        found = None
        for name in reference.names:
            full = self._environment.join_path(name, parent or "")
            try:
                assert self._environment.loader is not None
                found = (full, self._environment.loader.get_source(self._environment, full)[0])
                break
            except TemplateNotFound:
                continue
        if found is None:
            if reference.may_be_missing:
                return
            raise NotAllowedError(
                f"template {' or '.join(map(repr, reference.names))} is not below the directory of the pipeline",
                reference.line,
                parent,
                parent,
            )
        full, source = found
        above = (*above, parent or "")
        if reference.is_sure and full in above:
            circle = " -> ".join((*above[above.index(full) :], full))
            raise NotAllowedError(
                f"templates include each other without an end: {circle}", reference.line, parent, parent
            )
        if full not in self._seen or reference.is_sure:
            self._seen.add(full)
            if len(self._seen) > TEMPLATES_MAX:
                raise NotAllowedError(f"more than {TEMPLATES_MAX:,} templates", reference.line, parent, parent)
            self.template(source, full, above)


class _Reference(msgspec.Struct, frozen=True):
    """A place that names another template.

    Attributes:
        names: of which the first that is there is taken; ``None``: they depend on the input.
        may_be_missing: whether there need be none.
        is_sure: whether it is taken whenever this template is.
    """

    names: tuple[str, ...] | None
    may_be_missing: bool
    is_sure: bool
    line: int


def _references(node: nodes.Node, is_sure: bool) -> Iterator[_Reference]:
    if isinstance(node, nodes.Include | nodes.Extends | nodes.Import | nodes.FromImport):
        may_be_missing = isinstance(node, nodes.Include) and node.ignore_missing
        yield _Reference(_written(node.template), may_be_missing, is_sure, node.lineno)
    if isinstance(node, nodes.If | nodes.For | nodes.Macro | nodes.CallBlock | nodes.Block):
        is_sure = False
    for child in node.iter_child_nodes():
        yield from _references(child, is_sure)


def _written(node: nodes.Expr) -> tuple[str, ...] | None:
    parts = node.items if isinstance(node, nodes.Tuple | nodes.List) else [node]
    names = [part.value for part in parts if isinstance(part, nodes.Const) and isinstance(part.value, str)]
    return tuple(names) if len(names) == len(parts) else None


class _Reading:
    """One walk over the tree of one template."""

    def __init__(self, source: str, name: str | None, reads_steps: bool) -> None:
        self._lines = [0]
        for line in source.splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line))
        self._name = name
        self._reads_steps = reads_steps
        self._loops = 0
        self.steps: list[StepRead] = []
        self.env_names: list[str] = []

    def node(self, node: nodes.Node, is_soft: bool = False) -> None:
        """Read a node, and those in it.

        Args:
            node: any.
            is_soft: whether a field that is not there does no harm: what is asked for with ``is defined``.
        """
        if isinstance(node, nodes.Getattr | nodes.Getitem):
            self._chain(node, is_soft)
            return
        if isinstance(node, nodes.Name) and node.ctx == "load":
            self._name_alone(node)
        if isinstance(node, nodes.Call):
            self._call(node)
            return
        if isinstance(node, nodes.For):
            self._loops += 1
            if self._loops > LOOPS_MAX:
                self._refuse(f"loops in loops, more than {LOOPS_MAX}", node)
        soft_child = node.node if _is_soft(node) else None  # type: ignore[attr-defined]
        for child in node.iter_child_nodes():
            self.node(child, is_soft=child is soft_child)
        self._loops -= isinstance(node, nodes.For)

    def _place(self, node: nodes.Node) -> int:
        return self._lines[min(max(node.lineno, 1), len(self._lines)) - 1]

    def _refuse(self, message: str, node: nodes.Node) -> None:
        raise NotAllowedError(message, node.lineno, self._name, self._name)

    def _name_alone(self, node: nodes.Name) -> None:
        if node.name == "steps" and self._reads_steps:
            self.steps.append(StepRead(None, (), self._place(node)))
        elif node.name == "env":
            self._refuse("variables of the environment are read one by one, by names that stand here: env.NAME", node)

    def _call(self, node: nodes.Call) -> None:
        if method_of_steps(node) is not None:
            self.steps.append(StepRead(None, (), self._place(node)))
        elif isinstance(node.node, nodes.Getattr):  # a method: it is no field
            self._hidden(node.node)
            self.node(node.node.node)
        else:
            self.node(node.node)
        for child in node.iter_child_nodes(exclude=("node",)):
            self.node(child)

    def _hidden(self, node: nodes.Expr) -> None:
        if isinstance(node, nodes.Getattr) and node.attr.startswith("_"):
            self._refuse(f"{node.attr!r} is not allowed: names that begin with an underscore are hidden", node)

    def _chain(self, node: nodes.Getattr | nodes.Getitem, is_soft: bool) -> None:
        self._hidden(node)
        steps, env = links_of(node, "steps"), links_of(node, "env")
        if steps and self._reads_steps:
            fields = () if is_soft else _fields(steps[1:])
            self.steps.append(StepRead(steps[0].name, fields, self._place(node)))
        if env and len(env) == 1:
            self.env_names.append(env[0].name)
        if not (steps and self._reads_steps) and not (env and len(env) == 1):
            for child in node.iter_child_nodes():
                self.node(child)
            return
        inner: nodes.Expr = node
        while isinstance(inner, nodes.Getattr | nodes.Getitem):
            self._hidden(inner)
            inner = inner.node


def _fields(links: Sequence[Link]) -> tuple[str, ...]:
    if links and links[0].is_field and links[0].name in OWN_OF_STEPS:
        if links[0].name != "value":
            return ()
        links = links[1:]
    return tuple(link.name for link in links)


def _is_soft(node: nodes.Node) -> bool:
    if isinstance(node, nodes.Test):
        return node.name in ("defined", "undefined")
    return isinstance(node, nodes.Filter) and node.name in ("default", "d")
