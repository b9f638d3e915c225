"""Prompts: templates of Jinja in a sandbox, with what they read of steps."""

from __future__ import annotations

__all__ = ["Prompt", "load_prompt", "parse_prompt"]

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fabric.pipelines.expressions import Scope, StepRead


class Prompt:
    """A template.

    Attributes:
        path: of its file; ``None``: it stands in the pipeline's file.
        reads: every place that reads results of steps, also in templates that it includes.
        names: all variables that it uses.
    """

    path: Path | None
    reads: tuple[StepRead, ...]
    names: frozenset[str]

    def render(self, variables: Mapping[str, Any], scope: Scope) -> str:
        """Return its text. ``ctx``, ``steps`` and ``env`` are those of the scope; ``steps.x.value.f`` and ``steps.x.f``
        are the same.

        Args:
            variables: beside these.
            scope: of the step.

        Raises:
            PromptRenderError: a variable is not defined, or it does what templates must not.
        """
        raise NotImplementedError


def load_prompt(path: Path, root: Path) -> Prompt:
    """Return the template of a file.

    Args:
        path: of it.
        root: directory of the pipeline: what it includes is below it.

    Raises:
        PipelineLoadError: the file is not there, is no template, or reads what templates must not.
    """
    raise NotImplementedError


def parse_prompt(text: str, root: Path) -> Prompt:
    """Return the template of a text.

    Raises:
        PipelineLoadError: as for :func:`load_prompt`.
    """
    raise NotImplementedError
