"""The drawing of a pipeline, for Mermaid: which step needs what of which, and what stands behind what.

A thick edge is data: it says which fields are read. A thin edge is the order of the file, where there is no data.
"""

from __future__ import annotations

__all__ = ["generate_mermaid"]

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fabric.pipelines.expressions.expression import StepRead
from fabric.pipelines.loading.drawing import Drawn, drawn_steps

_SHAPES = {
    "condition": ("{", "}"),
    "http": (">", "]"),
    "io": ("[/", "/]"),
    "transform": ("([", "])"),
    "validate": ("{{", "}}"),
}
_SUBGRAPHS = ("parallel", "ensemble")
_WORDS_OF_MERMAID = frozenset({
    "call", "class", "classdef", "click", "default", "direction", "end", "flowchart", "graph", "href", "interpolate",
    "linkstyle", "style", "subgraph",
})  # fmt: skip
_FIELDS_SHOWN_MAX = 6


def generate_mermaid(path: str | os.PathLike[str], step_scores: Mapping[str, float] | None = None) -> str:
    """Return the drawing of a pipeline's file. Nothing is imported, so that it can be drawn anywhere.

    Args:
        path: of the file.
        step_scores: of steps, from 0 to 1; shown as ``accuracy: 91%``.

    Raises:
        PipelineLoadError: the file is no YAML, or has no steps where they should be.
    """
    from fabric.pipelines.loading.document import read_document
    from fabric.pipelines.loading.environment import Expander, with_dotenv
    from fabric.pipelines.loading.nodes import plain
    from fabric.pipelines.loading.problems import Problems

    file = Path(path)
    problems = Problems(str(path))
    node = read_document(file, problems)
    problems.raise_if_any()
    if node is not None:
        node = Expander(with_dotenv(os.environ, file.parent, problems), problems).expand(node)
    steps = drawn_steps(None if node is None else plain(node), file.parent)
    return "\n".join(_Drawing(steps, step_scores or {}).lines()) + "\n"


class _Drawing:
    """One drawing."""

    def __init__(self, steps: Sequence[Drawn], scores: Mapping[str, float]) -> None:
        self._steps = steps
        self._scores = scores
        self._ids: dict[int, str] = {}
        self._by_name: dict[str, list[Drawn]] = {}
        self._parents: dict[int, Drawn] = {}
        self._edges: dict[tuple[str, str], list[str]] = {}
        for step in self._all():
            self._name(step)
            self._by_name.setdefault(step.name, []).append(step)
            self._parents |= {id(child): step for _label, row in step.rows for child in row}

    def lines(self) -> Iterator[str]:
        """Return the lines of the drawing."""
        yield "flowchart TD"
        for step in self._steps:
            yield from self._nodes(step, 1)
        for step in self._all():
            self._find_data(step)
        for (source, target), labels in self._edges.items():
            yield f"    {source} ==>|{_escaped(_shown(labels))}| {target}"
        yield from self._order(self._steps)
        for step in self._all():
            for reason in step.unread:
                yield f"    %% {' '.join(step.name.split())}: what it reads is not known: {' '.join(reason.split())}"

    def _all(self) -> Iterator[Drawn]:
        for step in self._steps:
            yield step
            yield from step.inner

    def _name(self, step: Drawn) -> None:
        wanted = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in step.name) or "_"
        if wanted.lower() in _WORDS_OF_MERMAID:
            wanted += "_"
        taken, number, unique = set(self._ids.values()), 2, wanted
        while unique in taken:
            unique, number = f"{wanted}_{number}", number + 1
        self._ids[id(step)] = unique

    def _id(self, step: Drawn) -> str:
        return self._ids[id(step)]

    def _nodes(self, step: Drawn, level: int) -> Iterator[str]:
        space = "    " * level
        if step.kind in _SUBGRAPHS:
            label = [f"{step.kind}: {step.name}", *self._score(step), *step.notes]
            yield f'{space}subgraph {self._id(step)}["{_lines(label)}"]'
            for _label, row in step.rows:
                for child in row:
                    yield from self._nodes(child, level + 1)
            yield f"{space}end"
            return
        opening, closing = _SHAPES.get(step.kind, ("[", "]"))
        label = [step.name, step.kind, *step.notes, *self._score(step)]
        yield f'{space}{self._id(step)}{opening}"{_lines(label)}"{closing}'
        for _label, row in step.rows:
            for child in row:
                yield from self._nodes(child, level)

    def _score(self, step: Drawn) -> list[str]:
        return [f"accuracy: {self._scores[step.name]:.0%}"] if step.name in self._scores else []

    def _find_data(self, step: Drawn) -> None:
        for read in step.reads:
            if read.step is None:
                sources = [(other, "any") for other in self._before(step)]
            else:
                sources = [self._source(each, read) for each in self._by_name.get(read.step, ())]
            for source, label in sources:
                if source is not step:
                    labels = self._edges.setdefault((self._id(source), self._id(step)), [])
                    labels += [label] if label not in labels else []

    def _source(self, step: Drawn, read: StepRead) -> tuple[Drawn, str]:
        """Return who gives what is read: of a step in an ensemble or a parallel step, that one; and the fields."""
        fields = read.fields
        children = {child.name: child for _label, row in step.rows for child in row}
        while fields and step.kind in _SUBGRAPHS:
            child = children.get(fields[0]) or children.get(f"{step.name}.{fields[0]}")
            if child is None:
                break
            step, fields = child, fields[2:] if fields[1:2] == ("value",) else fields[1:]
            children = {child.name: child for _label, row in step.rows for child in row}
        return step, ".".join(fields) or "value"

    def _before(self, step: Drawn) -> Iterator[Drawn]:
        """Return the steps of the file in front of the one that a step is in."""
        while id(step) in self._parents:
            step = self._parents[id(step)]
        for other in self._steps:
            if other is step:
                return
            yield other

    def _order(self, row: Sequence[Drawn]) -> Iterator[str]:
        for step, before in zip(row, (None, *row), strict=False):
            if before is not None and (self._id(before), self._id(step)) not in self._edges:
                yield f"    {self._id(before)} --> {self._id(step)}"
            yield from self._order_inside(step)

    def _order_inside(self, step: Drawn) -> Iterator[str]:
        for label, inner in step.rows:
            if step.kind == "condition":
                if inner:
                    yield f"    {self._id(step)} -->|{label}| {self._id(inner[0])}"
                yield from self._order(inner)
            else:
                for child in inner:
                    yield from self._order_inside(child)
        if step.kind == "ensemble" and len(step.rows) == 2:
            (_, members), (_, judges) = step.rows
            yield from (f"    {self._id(member)} --> {self._id(judge)}" for member in members for judge in judges)


def _shown(labels: Sequence[str]) -> str:
    if len(labels) > _FIELDS_SHOWN_MAX:
        return ", ".join([*labels[:_FIELDS_SHOWN_MAX], "..."])
    return ", ".join(labels)


def _lines(parts: Sequence[str]) -> str:
    first, *others = map(_escaped, parts)
    return "<br/>".join([f"<b>{first}</b>", *others])


def _escaped(text: str) -> str:
    """Return a text that Mermaid shows as it is."""
    words = " ".join(text.split())
    return "".join(letter if letter.isalnum() or letter in " _-.,:/$%()+*=" else f"#{ord(letter)};" for letter in words)
