"""Files with what a run gave: written after a run that did not fail, each as a whole or not at all."""

from __future__ import annotations

__all__ = ["DIRECTORY", "MISSING", "write_outputs"]

import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fabric.pipelines.expressions.expression import Scope
from fabric.pipelines.expressions.places import directory_of
from fabric.pipelines.results import RunContext
from fabric.pipelines.runs.dumping import dumped, dumped_text, text_of
from fabric.pipelines.spec import EnsembleStep, Outputs, Pipeline, Step

DIRECTORY = "outputs_dir"
"""In the metadata of a run: where its outputs are."""

MISSING = "outputs_missing"
"""In the metadata of a run: what was not written and why, a line each."""

_YAML = (".yaml", ".yml")

_log = logging.getLogger("fabric.pipelines.runs.outputs")


def write_outputs(pipeline: Pipeline, rctx: RunContext, scope: Scope) -> None:
    """Write the values of the steps at the top, those of members of ensembles, and the last one.

    Not called for a dry run. A file that cannot be written is a warning of the run, which has not failed for that.

    Args:
        pipeline: which files, and where.
        rctx: the run, with all its steps.
        scope: of the end of the run: the directory may be an expression.
    """
    if pipeline.outputs is None or rctx.failed:
        return
    wanted = list(_wanted(pipeline, rctx))
    if not wanted:
        return
    replaced, missing = _write_all(pipeline.outputs, wanted, scope, rctx)
    for warning in replaced + missing:
        _log.warning("%s", warning)
        rctx.metadata["validation_warnings"].append(warning)
    if missing:
        rctx.metadata[MISSING] = missing


def _write_all(
    outputs: Outputs, wanted: list[tuple[str, str, Any]], scope: Scope, rctx: RunContext
) -> tuple[list[str], list[str]]:
    """Return who replaced a file of the same run, and what was not written."""
    try:
        root = _root_of(outputs, scope)
    except Exception as error:  # noqa: BLE001 - the expression has values of the user's
        return [], [f"no outputs were written: {text_of(error)}"]
    rctx.metadata[DIRECTORY] = str(root)
    replaced: list[str] = []
    missing: list[str] = []
    writers: dict[Path, str] = {}
    for step, name, value in wanted:
        try:
            path = _path_of(root, name)
            if path in writers:
                replaced.append(f"output {name!r} of {step} replaces that of {writers[path]}: both have the same name")
            writers[path] = step
            _write(path, value)
        except Exception as error:  # noqa: BLE001 - values are the user's; the next file may be written
            missing.append(f"output {name!r} of {step} was not written: {text_of(error)}")
    return replaced, missing


def _wanted(pipeline: Pipeline, rctx: RunContext) -> Iterator[tuple[str, str, Any]]:
    """Return who wants a file, its name, and the value. What is ``None`` has no file."""
    extension = ".yaml" if rctx.input.get("_output_format") == "yaml" else ".json"
    for step in pipeline.steps:
        if step.save is not False:
            yield from _files_of(step, rctx, extension)
    assert pipeline.outputs is not None
    if pipeline.outputs.final_as:
        values = [_value_of(rctx, step.name) for step in pipeline.steps]
        last = next((value for value in reversed(values) if value is not None), None)
        if last is not None:
            yield "'final_as'", pipeline.outputs.final_as, last


def _files_of(step: Step, rctx: RunContext, extension: str) -> Iterator[tuple[str, str, Any]]:
    value = _value_of(rctx, step.name)
    if value is not None:
        yield f"step {step.name!r}", step.save if isinstance(step.save, str) else step.name + extension, value
    if value is None or isinstance(step.save, str) or not isinstance(step, EnsembleStep):
        return
    for member in step.members:
        said = _value_of(rctx, member.ask.name)
        if said is not None:
            yield f"member {member.ask.name!r}", member.ask.name + extension, said


def _value_of(rctx: RunContext, name: str) -> Any:
    result = rctx.steps.get(name)
    return None if result is None else result.value


def _root_of(outputs: Outputs, scope: Scope) -> Path:
    said = outputs.dir.resolve(scope, {"": directory_of})
    if said is None or not str(said).strip():
        raise ValueError("'outputs.dir' has no value for this input")
    root = Path(str(said))
    root.mkdir(parents=True, exist_ok=True)
    return root.resolve()


def _path_of(root: Path, name: str) -> Path:
    """Return the path of a file.

    Raises:
        ValueError: it would not be below the directory.
    """
    path = (root / name).resolve()
    if path == root or not path.is_relative_to(root):
        raise ValueError("it is not below the directory of 'outputs'")
    return path


def _write(path: Path, value: Any) -> None:
    if path.suffix.lower() in _YAML:
        import yaml  # of the extra: commands import this module before they know that it is there

        text = yaml.safe_dump(dumped(value), allow_unicode=True, sort_keys=False)
    else:
        text = dumped_text(value, indent=2) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    # Whoever reads while we write, or after we died, sees the file of before or that of now.
    handle, beside = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(beside).chmod(0o666 & ~_umask())
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def _umask() -> int:
    """Return the umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
