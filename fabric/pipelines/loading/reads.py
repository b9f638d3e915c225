"""Which results a step may read, and whether what it reads of them can be there."""

from __future__ import annotations

__all__ = ["Scope", "Texts"]

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from fabric.pipelines.errors import PipelineLoadError, StepRefError
from fabric.pipelines.expressions.expression import Bound, Expression, StepRead, bind, parse_expression
from fabric.pipelines.loading.document import is_file
from fabric.pipelines.loading.nodes import Fields, Items, Node, Scalar, plain
from fabric.pipelines.loading.problems import Place, Problems, near
from fabric.pipelines.prompt import Prompt, load_prompt, parse_prompt
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
        empty: a template without any text.
    """

    def __init__(self, problems: Problems, root: Path, declared: Mapping[str, int]) -> None:
        self._problems = problems
        self._root = root
        self._declared = declared
        self._prompts: dict[Path, Prompt | None] = {}
        self.env_names: dict[str, None] = {}
        self.empty = parse_prompt("", root)

    def expression(self, text: str, node: Node, path: str, scope: Scope) -> Expression | None:
        """Return an expression; ``None`` if it is wrong."""
        try:
            found = parse_expression(text)
        except PipelineLoadError as error:
            self._tell(error, node, path)
            return None
        self._reads_env(found.env_names)
        self._check_reads(found.reads, node, path, scope)
        return found

    def bound(self, node: Node, path: str, scope: Scope) -> Bound | None:
        """Return a value with its expressions; ``None`` if one of them is wrong."""
        try:
            found = bind(plain(node))
        except PipelineLoadError:
            found = None
        if found is None or not all(self._is_right(read, scope) for read in found.reads):
            # Only now is it worth while to look where each of them stands.
            self._tell_each(node, path, scope)
            return None
        self._reads_env(found.env_names)
        return found

    def _tell_each(self, node: Node, path: str, scope: Scope) -> None:
        for scalar, place in _scalars(node, path):
            if not isinstance(scalar.value, str) or "{{" not in scalar.value:
                continue
            try:
                reads = bind(scalar.value).reads
            except PipelineLoadError as error:
                self._tell(error, scalar, place)
            else:
                self._check_reads(reads, scalar, place, scope)

    def _reads_env(self, names: Iterable[str]) -> None:
        self.env_names.update(dict.fromkeys(names))

    def template_file(self, name: str, node: Node, path: str, scope: Scope, who: str) -> Prompt | None:
        """Return the template of a file; ``None``, with a warning, if the file is not there."""
        place = self._root / name
        if not is_file(place):
            close = near(name, _templates(self._root))
            self._problems.warn(f"{who}: the prompt file {name!r} is not there", node, path, close)
            return None
        if place not in self._prompts:
            self._prompts[place] = self._template(place, node, path)
        prompt = self._prompts[place]
        if prompt is not None:
            self._reads_env(prompt.env_names)
            self._check_reads(prompt.reads, node, path, scope, self._directory_of(place))
        return prompt

    def _template(self, place: Path, node: Node, path: str) -> Prompt | None:
        try:
            return load_prompt(place, self._directory_of(place))
        except PipelineLoadError as error:
            self._tell(error, node, path)
            return None

    def _directory_of(self, place: Path) -> Path:
        # A prompt that the file itself names may stand anywhere; what it includes is below its own directory then.
        return self._root if place.resolve().is_relative_to(self._root.resolve()) else place.parent

    def template_text(self, text: str, node: Node, path: str, scope: Scope) -> Prompt | None:
        """Return the template that stands in the pipeline's file."""
        try:
            prompt = parse_prompt(text, self._root)
        except PipelineLoadError as error:
            self._tell(error, node, path)
            return None
        self._reads_env(prompt.env_names)
        self._check_reads(prompt.reads, node, path, scope)
        return prompt

    def _tell(self, error: PipelineLoadError, node: Node, path: str) -> None:
        inside = f"{path}{'' if error.key_path.startswith('[') else '.'}{error.key_path}" if error.key_path else path
        where: Node | Place = node if error.line is None else Place(error.line, error.column)
        self._problems.error(type(error), error.message, where, inside, error.suggestion, error.file or None)

    def _check_reads(
        self, reads: Iterable[StepRead], node: Node, path: str, scope: Scope, directory: Path | None = None
    ) -> None:
        """Tell what is wrong with places that read steps.

        Args:
            reads: the places.
            node: in which they stand, or the name of a template that they stand in.
            path: of it.
            scope: what is there.
            directory: that names of templates start from.
        """
        for read in reads:
            file = str((directory or self._root) / read.template) if read.template else None
            place = _at(node, read) if file is None else Place(read.line)
            wrong = self._wrong(read, scope)
            if wrong is not None:
                message, suggestion = wrong
                self._problems.error(StepRefError, message, place, path, suggestion, file)
            elif read.own and read.own in _fields_of(scope.visible.get(read.step or "")):
                said = f"steps.{read.step}.{read.own} is the {read.own} of the step itself; its value has a field"
                said += f' {read.own!r}, too: steps.{read.step}["{read.own}"]'
                self._problems.warn(said, place, path, file=file)

    def _is_right(self, read: StepRead, scope: Scope) -> bool:
        return self._wrong(read, scope) is None

    def _wrong(self, read: StepRead, scope: Scope) -> tuple[str, str | None] | None:
        """Return what is wrong with a place that reads a step, and what was meant, perhaps."""
        if read.step is None:
            return None
        if read.step in scope.visible:
            return _wrong_field(read, scope.visible[read.step])
        return self._undefined(read.step, scope)

    def _undefined(self, name: str, scope: Scope) -> tuple[str, str | None]:
        line = self._declared.get(name)
        if name == scope.reader:
            return f"step {name!r} cannot read its own result", None
        if line is None:
            known = list(scope.visible)
            listed = ", ".join(known[:_LISTED_MAX]) + (", …" if len(known) > _LISTED_MAX else "")
            message = f"step {name!r} is not defined; steps in front of this one: {listed or 'none'}"
            return message, near(name, self._declared)
        return (
            f"step {name!r} (line {line}) is not done when this is read: only steps in front of it are, not those of"
            " the other branch, nor those that run at the same time"
        ), None


def _wrong_field(read: StepRead, step: Step | None) -> tuple[str, str | None] | None:
    name, fields = read.step, list(read.fields)
    while fields and isinstance(step, (ParallelStep, EnsembleStep)):
        children = _children(step)
        if fields[0] in children:
            step = children[fields.pop(0)]
        elif isinstance(step, EnsembleStep):
            break
        else:
            message = f"parallel step {name!r} has no step {fields[0]!r}; it has {', '.join(children)}"
            return message, near(fields[0], children)
    schema = step.schema if isinstance(step, (LlmStep, EnsembleStep)) else None
    if step is None or schema is None or not fields or schema.has_field(fields):
        return None
    first_is_wrong = not schema.has_field(fields[:1])
    known = list(schema.model.model_fields) if first_is_wrong else []
    wrong = fields[0] if first_is_wrong else ".".join(fields)
    listed = f"; it has {', '.join(known[:_LISTED_MAX])}" if known else ""
    return f"the value of step {step.name!r} has no field {wrong!r}{listed}", near(wrong, known)


def _fields_of(step: Step | None) -> Iterable[str]:
    schema = step.schema if isinstance(step, (LlmStep, EnsembleStep)) else None
    return () if schema is None else schema.model.model_fields


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
