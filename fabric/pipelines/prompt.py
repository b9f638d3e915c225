"""Prompts: templates of Jinja in a sandbox, with what they read of steps.

``sandbox`` says what templates may do, ``template_reads`` what they read. Both need Jinja; this module needs it when a
template is read.
"""

from __future__ import annotations

__all__ = ["Prompt", "PromptRenderError", "load_prompt", "parse_prompt", "render_prompt", "render_prompt_string"]

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fabric.errors import ConfigError
from fabric.pipelines.errors import PipelineLoadError, PromptRenderError
from fabric.pipelines.expressions.expression import Scope, StepRead

if TYPE_CHECKING:
    from fabric.pipelines.prompts.files import Below
    from fabric.pipelines.prompts.reads import TemplateReads
    from fabric.pipelines.prompts.rendering import Source

MISSING: Final = "it needs pyyaml and jinja2: pip install 'plumb-fabric[pipelines]'"
_TEXT: Final = "<template>"


class Prompt:
    """A template.

    Attributes:
        path: of its file; ``None``: it stands in the pipeline's file.
        reads: every place that reads results of steps, also in templates that it includes.
        env_names: the variables of the environment that it reads.
    """

    __slots__ = ("_source", "env_names", "path", "reads")

    def __init__(self, path: Path | None, source: Source, reads: TemplateReads) -> None:
        self.path = path
        self.reads: tuple[StepRead, ...] = reads.steps
        self.env_names = reads.env_names
        self._source = source

    def __repr__(self) -> str:
        return f"Prompt({str(self.path or _TEXT)!r})"

    @property
    def names(self) -> frozenset[str]:
        """All variables that it does not make itself, those of templates that it includes among them."""
        return self._source.names()

    @property
    def texts(self) -> tuple[str, ...]:
        """Its own text, and those of templates that it includes."""
        return self._source.texts

    def render(self, variables: Mapping[str, Any], scope: Scope) -> str:
        """Return its text. ``ctx``, ``steps`` and ``env`` are those of the scope; ``steps.x.value.f`` and ``steps.x.f``
        are the same.

        Args:
            variables: beside these.
            scope: of the step.

        Raises:
            PromptRenderError: a variable is not defined, or it does what templates must not.
        """
        values = {name: result.value for name, result in scope.steps.items()}
        return self._source.rendered({**variables, "ctx": scope.ctx, "steps": values, "env": scope.env}, scope.steps)


def load_prompt(path: Path, root: Path) -> Prompt:
    """Return the template of a file. The file, and what it includes, is not read again.

    Args:
        path: of it.
        root: directory of the pipeline: it, and what it includes, is below it.

    Raises:
        PipelineLoadError: the file is not there, is no template, or reads what templates must not.
    """
    files = _files(root)
    return _loaded(files, files.read(path), files.name_of(path), path)


def parse_prompt(text: str, root: Path) -> Prompt:
    """Return the template of a text.

    Raises:
        PipelineLoadError: as for :func:`load_prompt`.
    """
    return _loaded(_files(root), text, None, None)


def _files(root: Path) -> Below:
    try:
        from fabric.pipelines.prompts.files import Below
    except ModuleNotFoundError as error:
        raise ConfigError(MISSING) from error
    return Below(root)


def _loaded(files: Below, text: str, name: str | None, path: Path | None) -> Prompt:
    from fabric.pipelines.prompts.rendering import read

    return Prompt(path, *read(files, text, name))


def render_prompt(template_dir: str | Path, template_name: str, **variables: Any) -> str:
    """Return the text of a template of a directory, as the steps of a pipeline write it.

    Raises:
        PromptRenderError: the file is not there, is no template, or has no text for these variables.
    """
    root = Path(template_dir)
    return _rendered_alone(lambda: load_prompt(root / template_name, root), variables)


def render_prompt_string(template_string: str, **variables: Any) -> str:
    """Return the text of a template that is given as a text.

    Raises:
        PromptRenderError: it is no template, or has no text for these variables.
    """
    return _rendered_alone(lambda: parse_prompt(template_string, Path()), variables)


def _rendered_alone(load: Any, variables: Mapping[str, Any]) -> str:
    try:
        prompt: Prompt = load()
    except PipelineLoadError as error:
        raise PromptRenderError(str(error)) from error
    return prompt._source.rendered(variables, None)
