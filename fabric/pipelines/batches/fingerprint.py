"""What the files of a pipeline are known by, but for its own: who goes on with a batch is told which were changed."""

from __future__ import annotations

__all__ = ["digests_of"]

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

from fabric.pipelines.loading.references import package_of
from fabric.pipelines.prompt import Prompt
from fabric.pipelines.spec import EnsembleStep, LlmStep, Pipeline, substeps


def digests_of(pipeline: Pipeline) -> dict[str, str]:
    """Return the SHA-256 of the templates, with what they include, and of the modules beside the pipeline, by their
    names from there.

    Vocabularies are not among them: runs change them.
    """
    directory = pipeline.path.parent.resolve()
    digests = {_name(path, directory): _digest(path.read_bytes()) for path in _modules(directory) if path.is_file()}
    for prompt in _prompts(pipeline):
        if prompt.path is not None:
            digests[_name(prompt.path, directory)] = _digest("\0".join(prompt.texts).encode(errors="surrogatepass"))
    return dict(sorted(digests.items()))


def _name(path: Path, directory: Path) -> str:
    whole = path.resolve()
    return whole.relative_to(directory).as_posix() if whole.is_relative_to(directory) else str(whole)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _prompts(pipeline: Pipeline) -> Iterator[Prompt]:
    for step in (each for top in pipeline.steps for each in (top, *substeps(top))):
        asking: list[LlmStep] = [step] if isinstance(step, LlmStep) else []
        if isinstance(step, EnsembleStep):
            asking = [member.ask for member in step.members] + ([step.judge.ask] if step.judge else [])
        for ask in asking:
            yield from filter(None, (ask.prompt, ask.system, ask.attempts.error_template))


def _modules(directory: Path) -> Iterator[Path]:
    """Return the modules beside pipelines of a directory that have been imported."""
    package = package_of(directory) + "."
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if path is not None and name.startswith(package):
            yield Path(path)
