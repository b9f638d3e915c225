"""From a text to a template, and from a template to a text: where Jinja's errors become ours.

When a template is read, Jinja writes Python for it. Python compiles that when it is rendered first: a third of the
time, for templates that a run may never come to. What it could refuse then is compiled at once: see ``template_reads``.
"""

from __future__ import annotations

__all__ = ["Source", "read"]

from collections.abc import Mapping
from typing import Any, Final

from jinja2 import Template, TemplateNotFound, TemplateSyntaxError, UndefinedError
from jinja2.exceptions import SecurityError
from jinja2.meta import find_undeclared_variables

from fabric.pipelines.errors import ExpressionSecurityError, PipelineLoadError, PromptRenderError
from fabric.pipelines.prompts.files import Below
from fabric.pipelines.prompts.reads import NotAllowedError, TemplateReads, template_reads
from fabric.pipelines.prompts.sandbox import Refused, Rendering, Sandbox, joined, rendering
from fabric.pipelines.results import StepResult

_TEXT: Final = "<template>"


class Source:
    """A template that can be rendered.

    Attributes:
        texts: its own, and those of templates that it includes.
    """

    __slots__ = ("_code", "_name", "_sandbox", "_template", "texts")

    def __init__(self, sandbox: Sandbox, reads: TemplateReads, name: str | None) -> None:
        self._sandbox = sandbox
        self.texts = reads.texts
        self._code = reads.code
        self._name = name
        self._template: Template | None = None

    def names(self) -> frozenset[str]:
        """Return the variables that it, and those that it includes, do not make themselves."""
        return frozenset().union(*(find_undeclared_variables(self._sandbox.parse(text)) for text in self.texts))

    def rendered(self, variables: Mapping[str, Any], steps: Mapping[str, StepResult] | None) -> str:
        """Return its text.

        Args:
            variables: that it sees.
            steps: what ``steps`` is in it; ``None``: whatever the variables say.

        Raises:
            PromptRenderError: a variable is not defined, or it does what templates must not.
        """
        token = rendering.set(Rendering(steps))
        try:
            return joined(self._compiled().generate(dict(variables)))
        except UndefinedError as error:
            raise PromptRenderError(f"{self._place(error)}: Undefined variable: {error.message}") from error
        except SecurityError as error:
            raise PromptRenderError(f"{self._place(error)}: not allowed: {error}") from error
        except (Refused, OverflowError) as error:
            raise PromptRenderError(f"{self._place(error)}: too much: {error}") from error
        except (RecursionError, MemoryError) as error:
            raise PromptRenderError(f"{self._place(None)}: it goes too deep: {type(error).__name__}") from error
        except TemplateNotFound as error:
            raise PromptRenderError(f"{self._place(error)}: no template {error.message!r}") from error
        except TemplateSyntaxError as error:
            raise PromptRenderError(f"template {error.name}:{error.lineno}: Syntax error: {error.message}") from error
        except Exception as error:  # values of the run are anything: they may raise anything when they are shown
            raise PromptRenderError(f"{self._place(error)}: {type(error).__name__}: {error}") from error
        finally:
            rendering.reset(token)

    def _compiled(self) -> Template:
        if self._template is None:
            code = self._sandbox._compile(self._code, self._name or _TEXT)
            self._template = Template.from_code(self._sandbox, code, self._sandbox.make_globals(None))
        return self._template

    def _place(self, error: BaseException | None) -> str:
        """Return the template and the line in which an error came up."""
        place = f"template {self._name or 'in the file of the pipeline'}"
        trace = error.__traceback__ if error is not None else None
        while trace is not None:
            if "__jinja_template__" in trace.tb_frame.f_globals or trace.tb_frame.f_code.co_filename == _TEXT:
                place = f"template {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
            trace = trace.tb_next
        return place


def read(files: Below, text: str, name: str | None) -> tuple[Source, TemplateReads]:
    """Return a template, ready to be rendered, and what it reads.

    Args:
        files: that it may include.
        text: of it.
        name: of its file; ``None``: it has none.

    Raises:
        PipelineLoadError: it is no template, or reads what templates must not.
    """
    sandbox = Sandbox(files)
    token = rendering.set(Rendering())  # Jinja calculates what is constant
    try:
        reads = template_reads(sandbox, text, name)
        return Source(sandbox, reads, name), reads
    except NotAllowedError as error:
        raise _problem(ExpressionSecurityError, files, error.name, error.lineno, error.message or "") from error
    except TemplateSyntaxError as error:
        message = f"Syntax error in template: {error.message}"
        raise _problem(PipelineLoadError, files, error.name, error.lineno, message) from error
    except (RecursionError, MemoryError) as error:
        message = f"Syntax error in template: it is nested too deep ({error})"
        raise _problem(PipelineLoadError, files, name, None, message) from error
    except ValueError as error:
        raise _problem(PipelineLoadError, files, name, None, f"Syntax error in template: {error}") from error
    finally:
        rendering.reset(token)


def _problem(
    kind: type[PipelineLoadError], files: Below, name: str | None, line: int | None, message: str
) -> PipelineLoadError:
    """Return an error with its place: in the file of a template, or in a text that somebody else has the place of."""
    if name is not None:
        return kind(message, files.path_of(name), line)
    return kind(f"line {line} of the template: {message}" if line else message)
