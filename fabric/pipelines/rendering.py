"""From a text to a template, and from a template to a text: where Jinja's errors become ours."""

from __future__ import annotations

__all__ = ["compiled", "rendered"]

from collections.abc import Mapping
from typing import Any

from jinja2 import Template, TemplateNotFound, TemplateSyntaxError, UndefinedError
from jinja2.exceptions import SecurityError

from fabric.pipelines.errors import ExpressionSecurityError, PipelineLoadError, PromptRenderError
from fabric.pipelines.results import StepResult
from fabric.pipelines.sandbox import Refused, Rendering, Sandbox, joined, rendering
from fabric.pipelines.template_files import Below
from fabric.pipelines.template_reads import NotAllowedError, TemplateReads, template_reads


def compiled(files: Below, text: str, name: str | None) -> tuple[Template, TemplateReads]:
    """Return a template, ready to be rendered, and what it reads.

    Args:
        files: that it may include.
        text: of it.
        name: of its file; ``None``: it has none.

    Raises:
        PipelineLoadError: it is no template, or reads what templates must not.
    """
    sandbox = Sandbox(files)
    try:
        code = sandbox.compile(text, name, name)
        reads = template_reads(sandbox, text, name)
        return Template.from_code(sandbox, code, sandbox.make_globals(None)), reads
    except NotAllowedError as error:
        raise _problem(ExpressionSecurityError, files, error.name, error.lineno, error.message or "") from error
    except TemplateSyntaxError as error:
        message = f"Syntax error in template: {error.message}"
        raise _problem(PipelineLoadError, files, error.name, error.lineno, message) from error
    except (RecursionError, MemoryError, SyntaxError) as error:
        # Python's own compiler has limits, too: of loops in loops, say.
        message = f"Syntax error in template: it is nested too deep ({error})"
        raise _problem(PipelineLoadError, files, name, None, message) from error
    except ValueError as error:
        raise _problem(PipelineLoadError, files, name, None, f"Syntax error in template: {error}") from error


def _problem(
    kind: type[PipelineLoadError], files: Below, name: str | None, line: int | None, message: str
) -> PipelineLoadError:
    """Return an error with its place: in the file of a template, or in a text that somebody else has the place of."""
    if name is not None:
        return kind(message, files.path_of(name), line)
    return kind(f"line {line} of the template: {message}" if line else message)


def rendered(template: Template, variables: Mapping[str, Any], steps: Mapping[str, StepResult] | None) -> str:
    """Return the text of a template.

    Args:
        template: of a sandbox.
        variables: that it sees.
        steps: what ``steps`` is in it; ``None``: whatever the variables say.

    Raises:
        PromptRenderError: a variable is not defined, or it does what templates must not.
    """
    token = rendering.set(Rendering(steps))
    try:
        return joined(template.generate(dict(variables)))
    except UndefinedError as error:
        raise PromptRenderError(f"{_place(template, error)}: Undefined variable: {error.message}") from error
    except SecurityError as error:
        raise PromptRenderError(f"{_place(template, error)}: not allowed: {error}") from error
    except (Refused, OverflowError) as error:
        raise PromptRenderError(f"{_place(template, error)}: too much: {error}") from error
    except (RecursionError, MemoryError) as error:
        raise PromptRenderError(f"{_place(template, None)}: it goes too deep: {type(error).__name__}") from error
    except TemplateNotFound as error:
        raise PromptRenderError(f"{_place(template, error)}: no template {error.message!r}") from error
    except TemplateSyntaxError as error:
        raise PromptRenderError(f"{error.name}:{error.lineno}: Syntax error in template: {error.message}") from error
    except Exception as error:  # values of the run are anything: they may raise anything when they are shown
        raise PromptRenderError(f"{_place(template, error)}: {type(error).__name__}: {error}") from error
    finally:
        rendering.reset(token)


def _place(template: Template, error: BaseException | None) -> str:
    """Return the template and the line in which an error came up."""
    place = f"template {template.name or 'in the file of the pipeline'}"
    trace = error.__traceback__ if error is not None else None
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename == (template.filename or "<template>") or "__jinja_template__" in trace.tb_frame.f_globals:
            place = f"template {code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
