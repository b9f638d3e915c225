"""Which results a step may read, and whether what it reads of them can be there."""

from __future__ import annotations

__all__ = ["Scope", "Texts"]

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from fabric.pipelines.document import Fields, Items, Node, Scalar, plain
from fabric.pipelines.errors import PipelineLoadError, StepRefError
from fabric.pipelines.expressions import Bound, Expression, StepRead, bind, parse_expression
from fabric.pipelines.problems import Place, Problems, near
from fabric.pipelines.prompt import Prompt, load_prompt, parse_prompt
from fabric.pipelines.schemas import Schema
from fabric.pipelines.spec import EnsembleStep, LlmStep, ParallelStep, Step

# So many names are listed beside one that is not there.
_LISTED_MAX = 12


class Scope:
    """The steps that are done when a step begins.

    Args:
        visible: by name; ``None``: a step of which nothing more is known.
        reader: name of the step that reads; empty: ``outputs``.
    """

    def __init__(self, visible: Mapping[str, Step | None], reader: str = "") -> None:
        self.visible = visible
        self.reader = reader


class Texts:
    """Expressions and templates of a file. What is wrong with them is told to ``problems``.

    Args:
        problems: are told.
        root: directory of the pipeline.
        declared: the lines of all steps by name, those that come later, too.

    Attributes:
        env_names: variables of the environment that are read, each once, in order.
    """

    def __init__(self, problems: Problems, root: Path, declared: Mapping[str, int]) -> None:
        self._problems = problems
        self._root = root
        self._declared = declared
        self._prompts: dict[Path, Prompt | None] = {}
        self.env_names: dict[str, None] = {}

    def expression(self, text: str, node: Node, path: str, scope: Scope) -> Expression | None:
        """Return an expression; ``None`` if it is wrong."""
        try:
            found = parse_expression(text)
        except PipelineLoadError as error:
            self._tell(error, node, path)
            return None
        self.env_names.update(dict.fromkeys(found.env_names))
        self._check_reads(found.reads, node, path, scope)
        return found

    def bound(self, node: Node, path: str, scope: Scope) -> Bound | None:
        """Return a value with its expressions; ``None`` if one of them is wrong."""
        right = True
        for scalar, place in _scalars(node, path):
            if not isinstance(scalar.value, str) or "{{" not in scalar.value:
                continue
            try:
                found = bind(scalar.value)
            except PipelineLoadError as error:
                self._tell(error, scalar, place)
                right = False
            else:
                self.env_names.update(dict.fromkeys(found.env_names))
                self._check_reads(found.reads, scalar, place, scope)
        return bind(plain(node)) if right else None

    def template_file(self, name: str, node: Node, path: str, scope: Scope, who: str) -> Prompt | None:
        """Return the template of a file; ``None``, with a warning, if the file is not there."""
        place = self._root / name
        if "\0" in name or not place.is_file():
            close = near(name, _templates(self._root))
            self._problems.warn(f"{who}: the prompt file {name!r} is not there", node, path, close)
            return None
        if place not in self._prompts:
            self._prompts[place] = self._template(place, node, path)
        prompt = self._prompts[place]
        if prompt is not None:
            self.env_names.update(dict.fromkeys(getattr(prompt, "env_names", ())))
            self._check_reads(prompt.reads, node, path, scope, f"{name}: ")
        return prompt

    def _template(self, place: Path, node: Node, path: str) -> Prompt | None:
        try:
            return load_prompt(place, self._root)
        except PipelineLoadError as error:
            self._tell(error, node, path)
            return None

    def template_text(self, text: str, node: Node, path: str, scope: Scope) -> Prompt | None:
        """Return the template that stands in the pipeline's file."""
        try:
            prompt = parse_prompt(text, self._root)
        except PipelineLoadError as error:
            self._tell(error, node, path)
            return None
        self.env_names.update(dict.fromkeys(getattr(prompt, "env_names", ())))
        self._check_reads(prompt.reads, node, path, scope)
        return prompt

    def _tell(self, error: PipelineLoadError, node: Node, path: str) -> None:
        inside = f"{path}{'' if error.key_path.startswith('[') else '.'}{error.key_path}" if error.key_path else path
        where: Node | Place = node if error.line is None else Place(error.line, error.column)
        self._problems.error(type(error), error.message, where, inside, error.suggestion, error.file or None)

    def _check_reads(self, reads: Iterable[StepRead], node: Node, path: str, scope: Scope, prefix: str = "") -> None:
        for read in reads:
            if read.step is None:
                continue
            place = _at(node, read) if not prefix else Place(node.line, node.column)
            if read.step in scope.visible:
                self._check_fields(read, scope.visible[read.step], place, path, prefix)
            else:
                self._undefined(read.step, place, path, scope, prefix)

    def _undefined(self, name: str, place: Place, path: str, scope: Scope, prefix: str) -> None:
        line, suggestion = self._declared.get(name), None
        if name == scope.reader:
            message = f"step {name!r} cannot read its own result"
        elif line is None:
            known = list(scope.visible)
            listed = ", ".join(known[:_LISTED_MAX]) + (", …" if len(known) > _LISTED_MAX else "")
            message = f"step {name!r} is not defined; steps in front of this one: {listed or 'none'}"
            suggestion = near(name, self._declared)
        else:
            message = (
                f"step {name!r} (line {line}) is not done when this is read: only steps in front of it are, not those"
                " of the other branch, nor those that run at the same time"
            )
        self._problems.error(StepRefError, prefix + message, place, path, suggestion)

    def _check_fields(self, read: StepRead, step: Step | None, place: Place, path: str, prefix: str) -> None:
        name, fields = read.step, list(read.fields)
        while fields and isinstance(step, (ParallelStep, EnsembleStep)):
            children = _children(step)
            if fields[0] in children:
                step = children[fields.pop(0)]
            elif isinstance(step, EnsembleStep):
                break
            else:
                message = f"parallel step {name!r} has no step {fields[0]!r}; it has {', '.join(children)}"
                self._problems.error(StepRefError, prefix + message, place, path, near(fields[0], children))
                return
        schema = step.schema if isinstance(step, (LlmStep, EnsembleStep)) else None
        if fields and schema is not None and not schema.has_field(fields):
            self._no_field(step, schema, fields, place, path, prefix)

    def _no_field(
        self, step: Step | None, schema: Schema, fields: list[str], place: Place, path: str, prefix: str
    ) -> None:
        owner = "" if step is None else step.name
        known = list(schema.model.model_fields) if len(fields) == 1 or not schema.has_field(fields[:1]) else []
        wrong = fields[0] if known else ".".join(fields)
        listed = f"; it has {', '.join(known[:_LISTED_MAX])}" if known else ""
        message = f"{prefix}the value of step {owner!r} has no field {wrong!r}{listed}"
        self._problems.error(StepRefError, message, place, path, near(wrong, known))


def _children(step: ParallelStep | EnsembleStep) -> dict[str, Step]:
    if isinstance(step, ParallelStep):
        return {child.name: child for child in step.steps}
    return {member.name: member.ask for member in step.members}


def _scalars(node: Node, path: str) -> Iterator[tuple[Scalar, str]]:
    if isinstance(node, Scalar):
        yield node, path
    elif isinstance(node, Items):
        for number, item in enumerate(node.items):
            yield from _scalars(item, f"{path}[{number}]")
    elif isinstance(node, Fields):
        for key, entry in node.entries.items():
            yield from _scalars(entry.value, f"{path}.{key}")


def _at(node: Node, read: StepRead) -> Place:
    """Return where a step is read, if the value is written in one line as it is read; otherwise where it begins."""
    place = Place(node.line, node.column)
    if not isinstance(node, Scalar) or node.style in ("|", ">") or node.expanded or "\n" in node.text:
        return place
    found = re.compile(rf"\bsteps\s*(?:\.\s*|\[\s*['\"]){re.escape(read.step or '')}\b").search(node.text, read.offset)
    return place if found is None else Place(node.line, node.column + found.start() + len(node.style))


def _templates(root: Path) -> list[str]:
    found = [*root.glob("*.j2"), *root.glob("*/*.j2")]
    return sorted(path.relative_to(root).as_posix() for path in found)
