"""What templates read, found before they are rendered: steps, variables, the environment, other templates.

Templates that are included, imported or extended by a name that is written there are read, too. Where a name depends on
the input, any step may be read.
"""

from __future__ import annotations

__all__ = ["NotAllowedError", "TemplateReads", "template_reads"]

from collections.abc import Iterator, Sequence

import msgspec
from jinja2 import Environment, TemplateNotFound, TemplateSyntaxError, nodes

from fabric.pipelines.expressions.scope import OWN_OF_STEPS, StepRead
from fabric.pipelines.prompts.trees import Link, has_own_steps, links_of, method_of_steps

TEMPLATES_MAX = 1_000
"""That one template reaches. There is a bug if there are more."""

LOOPS_MAX = 16
"""In each other. Python has 20, and some are Jinja's own."""

_DEPTH_PLAIN = 30
"""Python reads the code of templates that are no deeper; it has no more than 100 blocks in each other, say."""

_NAMELESS = "\0"  # a text in the pipeline's file: no template can include it


class NotAllowedError(TemplateSyntaxError):
    """A template does what templates must not."""


class TemplateReads(msgspec.Struct, frozen=True):
    """What a template reads, and all that it includes.

    Attributes:
        code: of it, as Jinja writes it.
        texts: of it, and of those that it includes.
        steps: every place that reads results of steps.
        env_names: the variables of the environment.
    """

    code: str
    texts: tuple[str, ...]
    steps: tuple[StepRead, ...]
    env_names: tuple[str, ...]


def template_reads(environment: Environment, source: str, name: str | None) -> TemplateReads:
    """Return what a template reads.

    Raises:
        TemplateSyntaxError: it is none, or one that it includes.
        NotAllowedError: it reads what templates must not.
    """
    walk = _Walk(environment)
    code = walk.whole(source, name)
    return TemplateReads(code, tuple(walk.texts), tuple(walk.steps), tuple(walk.env_names))


class _Walk:
    """One walk over a template and those that it reaches, each once."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._waiting: list[tuple[str, str]] = []
        self._sure: dict[str, dict[str, int]] = {}
        self.texts: list[str] = []
        self.steps: list[StepRead] = []
        self.env_names: list[str] = []

    def whole(self, source: str, name: str | None) -> str:
        """Read a template, and those that it reaches; return its code."""
        code = self._read(source, name)
        for full, text in self._waiting:  # which grows
            self._read(text, full)
        self._refuse_circles()
        return code

    def _read(self, source: str, name: str | None) -> str:
        tree = self._environment.parse(source, name, name)
        self.texts.append(source)
        reading = _Reading(source, name, reads_steps=not has_own_steps(tree))
        reading.node(tree)
        self.steps.extend(reading.steps)
        self.env_names.extend(reading.env_names)
        self._sure.setdefault(name or _NAMELESS, {})
        for reference in _references(tree, is_sure=True):
            self._follow(reference, name)
        # The tree is not the same afterwards.
        code = self._environment._generate(tree, name, name)
        if reading.deepest > _DEPTH_PLAIN:
            self._refuse_depth(code, name)
        return code

    def _refuse_depth(self, code: str, name: str | None) -> None:
        try:
            self._environment._compile(code, name or "")
        except (SyntaxError, RecursionError, MemoryError) as error:
            raise TemplateSyntaxError(f"it is nested too deep: {error.args[0]}", 1, name, name) from error

    def _follow(self, reference: _Reference, parent: str | None) -> None:
        if reference.names is None:
            self.steps.append(StepRead(None))
            return
        names = [self._environment.join_path(name, parent or "") for name in reference.names]
        full = next((name for name in names if name in self._sure or self._is_new(name)), None)
        if full is None:
            if not reference.may_be_missing:
                wanted = " or ".join(map(repr, reference.names))
                message = f"template {wanted} is not there, below the directory of the pipeline"
                raise NotAllowedError(message, reference.line, parent, parent)
            return
        if reference.is_sure:
            self._sure[parent or _NAMELESS][full] = reference.line
        if len(self._sure) > TEMPLATES_MAX:
            raise NotAllowedError(f"more than {TEMPLATES_MAX:,} templates", reference.line, parent, parent)

    def _is_new(self, name: str) -> bool:
        """Whether there is such a template; it is read later then."""
        assert self._environment.loader is not None
        try:
            text = self._environment.loader.get_source(self._environment, name)[0]
        except TemplateNotFound:
            return False
        self._sure[name] = {}
        self._waiting.append((name, text))
        return True

    def _refuse_circles(self) -> None:
        """Refuse templates that are taken whenever they are taken."""
        left = {name: set(others) for name, others in self._sure.items()}
        while ends := [name for name, others in left.items() if not others & left.keys()]:
            for name in ends:
                del left[name]
        if not left:
            return
        circle = [next(iter(left))]
        while circle[-1] not in circle[:-1]:
            circle.append(next(name for name in self._sure[circle[-1]] if name in left))
        circle = circle[circle.index(circle[-1]) :]
        message = f"templates include each other without an end: {' -> '.join(circle)}"
        raise NotAllowedError(message, self._sure[circle[0]][circle[1]], circle[0], circle[0])


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
    """One walk over the tree of one template: what it reads, and whether it may."""

    def __init__(self, source: str, name: str | None, reads_steps: bool) -> None:
        self._lines = [0]
        for line in source.splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line))
        self._name = name
        self._reads_steps = reads_steps
        self._loops = 0
        self._depth = 0
        self.deepest = 0
        self.steps: list[StepRead] = []
        self.env_names: list[str] = []

    def node(self, node: nodes.Node, is_soft: bool = False) -> None:
        """Read a node, and those in it.

        Args:
            node: any.
            is_soft: whether a field that is not there does no harm: what is asked for with ``is defined``.
        """
        self._depth += 1
        self.deepest = max(self.deepest, self._depth)
        self._inside(node, is_soft)
        self._depth -= 1

    def _inside(self, node: nodes.Node, is_soft: bool) -> None:
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

    def _read(self, node: nodes.Node, step: str | None = None, fields: tuple[str, ...] = (), own: str = "") -> StepRead:
        return StepRead(step, fields, self._place(node), own, self._name or "", node.lineno if self._name else 0)

    def _refuse(self, message: str, node: nodes.Node) -> None:
        raise NotAllowedError(message, node.lineno, self._name, self._name)

    def _name_alone(self, node: nodes.Name) -> None:
        if node.name == "steps" and self._reads_steps:
            self.steps.append(self._read(node))
        elif node.name == "env":
            self._refuse("variables of the environment are read one by one, by names that stand here: env.NAME", node)

    def _call(self, node: nodes.Call) -> None:
        if method_of_steps(node) is not None:
            self.steps.append(self._read(node))
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
            own = steps[1].name if len(steps) > 1 and steps[1].is_field and steps[1].name in OWN_OF_STEPS[1:] else ""
            self.steps.append(self._read(node, steps[0].name, fields, own))
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
