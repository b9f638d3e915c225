"""A pipeline's files, read and checked before the first question.

    pipeline = load_pipeline("pipeline.yaml")

Everything that is wrong is found in one go: the first error decides the class of what is raised, ``problems`` has
all. Order: the shape of the file, models, outputs, steps as they are declared. What is only odd is a warning: in
``Pipeline.warnings``, and in the log.
"""

from __future__ import annotations

__all__ = ["load_pipeline"]

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from fabric.pipelines.errors import PipelineLoadError, SchemaRefError, StepConfigError
from fabric.pipelines.expressions.expression import bind
from fabric.pipelines.loading.asking import AskReader
from fabric.pipelines.loading.blocks import Block, shape
from fabric.pipelines.loading.document import read_document
from fabric.pipelines.loading.environment import Expander, with_dotenv
from fabric.pipelines.loading.keys import EXECUTION, OUTPUTS, ROOT
from fabric.pipelines.loading.models import read_model, warn_of_unpriced
from fabric.pipelines.loading.nodes import Entry, Fields, Items, Node, Scalar, plain
from fabric.pipelines.loading.problems import Problems, near
from fabric.pipelines.loading.reads import Scope, Texts
from fabric.pipelines.loading.references import Importer
from fabric.pipelines.loading.steps import StepReader, declared_names
from fabric.pipelines.spec import EnsembleStep, Execution, LlmStep, ModelSpec, Outputs, Pipeline, Step, substeps
from fabric.pipelines.vocab import Vocabulary
from fabric.pipelines.vocabularies.files import load_vocabularies

_LOG = logging.getLogger("fabric.pipelines")


def load_pipeline(
    path: str | os.PathLike[str],
    schemas: Mapping[str, type[BaseModel]] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Pipeline:
    """Return the pipeline of a file.

    Args:
        path: of the file.
        schemas: models of pydantic by step, over what the file says.
        environment: variables; those of ``.env`` beside the file, then of the one in the working directory, are added
            where it has none.

    Raises:
        PipelineLoadError: something is wrong with the files; ``problems`` has all of it.
    """
    loading = _Loading(Path(path), schemas or {}, environment)
    try:
        pipeline = loading.read()
    except PipelineLoadError as error:
        # What ends the reading comes last: what was found before it is as true.
        if error not in loading.problems.errors:
            loading.problems.errors.append(error)
    # They may say why something that is an error is not there.
    for warning in loading.problems.warnings:
        _LOG.warning("%s", warning)
    loading.problems.raise_if_any()
    return pipeline


class _Loading:
    """One file, on its way to a pipeline."""

    def __init__(self, path: Path, schemas: Mapping[str, type[BaseModel]], environment: Mapping[str, str]) -> None:
        self.problems = Problems(str(path))
        self._path = path
        self._directory = path.parent
        self._schemas = schemas
        self._environment = dict(environment)
        self._env_names: dict[str, None] = {}

    def read(self) -> Pipeline:
        node = read_document(self._path, self.problems)
        self._environment = with_dotenv(self._environment, self._directory, self.problems)
        root = self._root(node)
        block = Block(self.problems, root, ROOT, "the pipeline", "")
        models = self._models(block)
        steps_node = block.value("steps", _NO_STEPS)
        outputs = self._outputs(block, steps_node)
        execution = self._execution(block)
        vocabularies, odd = load_vocabularies(self._directory / "vocabularies")
        self.problems.warnings += odd
        steps = self._steps(block, steps_node, models, vocabularies)
        self._check_schemas(steps)
        if execution.budget_usd is not None:
            warn_of_unpriced([models[name] for name in _asked(steps) if name in models], self.problems)
        return Pipeline(
            path=self._path,
            models=MappingProxyType(models),
            steps=steps,
            outputs=outputs,
            vocabularies=MappingProxyType({**vocabularies, **_own_vocabularies(steps)}),
            execution=execution,
            warnings=tuple(self.problems.warnings),
            environment=MappingProxyType(self._environment),
            env=MappingProxyType(
                {name: self._environment[name] for name in self._env_names if name in self._environment}
            ),
        )

    def _root(self, node: Node | None) -> Fields:
        if node is None or (isinstance(node, Scalar) and node.value is None):
            self.problems.warn("the file is empty: the pipeline does nothing")
            return _NOTHING
        if not isinstance(node, Fields):
            self.problems.error(
                PipelineLoadError, f"a pipeline is a map with 'models' and 'steps'; this is {shape(node)}", node
            )
            return _NOTHING
        if "steps" not in node.entries:
            self.problems.warn("there are no 'steps': the pipeline does nothing", node)
        return self._expanded(node)

    def _expanded(self, root: Fields) -> Fields:
        """Put in variables everywhere but in models, which know themselves what they miss."""
        expander = Expander(self._environment, self.problems)
        entries = {
            key: entry if key == "models" else Entry(entry.key, expander.expand(entry.value))
            for key, entry in root.entries.items()
        }
        self._env_names.update(expander.names)
        for name, place in expander.missing.items():
            self._warn_of_missing(name, place)
        return Fields(MappingProxyType(entries), root.line, root.column)

    def _warn_of_missing(self, name: str, place: Scalar) -> None:
        self.problems.warn(f"the variable {name} is not set: ${{{name}}} stays as it is", place)

    def _models(self, block: Block) -> dict[str, ModelSpec]:
        models: dict[str, ModelSpec] = {}
        fields = block.value("models", _NOTHING)
        for name, entry in fields.entries.items():
            if not isinstance(name, str):
                block.error(f"the name of a model is a text; {entry.key.text!r} is {shape(entry.key)}", "models")
                continue
            expander = Expander(self._environment, self.problems)
            node = expander.expand(entry.value)
            self._env_names.update(expander.names)
            if not isinstance(node, Fields):
                said = f"model {name!r} must be a map; it is {shape(node)}"
                self.problems.error(PipelineLoadError, said, node, f"models.{name}")
                node = _NOTHING
            model = read_model(name, node, self.problems, self._environment, tuple(expander.missing))
            models[name] = model
            for variable, place in expander.missing.items() if model.required else ():
                self._warn_of_missing(variable, place)
        return models

    def _outputs(self, block: Block, steps: Items) -> Outputs | None:
        fields = block.value("outputs")
        if fields is None:
            return None
        inner = Block(self.problems, fields, OUTPUTS, "the pipeline", "outputs")
        final_as = inner.value("final_as")
        for name, line in _files(steps):
            if final_as == name:
                inner.error(f"outputs.final_as {name!r} collides with the file of the step in line {line}", "final_as")
                break
        directory: Node = inner.node("dir") or Scalar("./outputs", fields.line, fields.column)
        visible = {name: None for name, _ in declared_names(steps)}
        texts = Texts(self.problems, self._directory, {})
        bound = texts.bound(directory, "outputs.dir", Scope(visible))
        self._env_names.update(texts.env_names)
        return Outputs(dir=bound or bind("./outputs"), final_as=final_as, mark=inner.mark())

    def _execution(self, block: Block) -> Execution:
        fields = block.value("execution")
        if fields is None:
            return Execution()
        inner = Block(self.problems, fields, EXECUTION, "the pipeline", "execution")
        said: dict[str, Any] = {key.name: inner.value(key.name) for key in EXECUTION}
        return Execution(**{name: value for name, value in said.items() if value is not None})

    def _steps(
        self, block: Block, steps: Items, models: Mapping[str, ModelSpec], vocabularies: Mapping[str, Vocabulary]
    ) -> tuple[Step, ...]:
        parsers: dict[str, str] = {}
        for name, entry in block.value("parsers", _NOTHING).entries.items():
            target = plain(entry.value)
            if isinstance(target, str):
                parsers[str(name)] = target
            else:
                said = f"parser {name!r} must be module:function; it is {shape(entry.value)}"
                self.problems.error(PipelineLoadError, said, entry.value, f"parsers.{name}")
        importer = Importer(self._directory)
        texts = Texts(self.problems, self._directory, dict(declared_names(steps)))
        asking = AskReader(
            self.problems, texts, importer, self._directory, models, parsers, vocabularies, self._right_schemas()
        )
        read = StepReader(self.problems, texts, importer, asking).read(steps, "steps", {}, {})
        self._env_names.update(texts.env_names)
        return read

    def _right_schemas(self) -> dict[str, type[BaseModel]]:
        right = {}
        for step, model in self._schemas.items():
            if isinstance(model, type) and issubclass(model, BaseModel):
                right[step] = model
            else:
                said = f"schemas={{{step!r}: …}}: {model!r} is not a model of pydantic"
                self.problems.error(SchemaRefError, said)
        return right

    def _check_schemas(self, steps: tuple[Step, ...]) -> None:
        every = _every(steps)
        asking = {step.name for step in every if isinstance(step, (LlmStep, EnsembleStep))}
        if self.problems.errors:
            return
        for name in self._schemas:
            if name not in asking:
                listed = ", ".join(step.name for step in every if step.name in asking) or "none"
                said = f"schemas={{{name!r}: …}}: there is no such step that asks a model; there are: {listed}"
                self.problems.error(StepConfigError, said, suggestion=near(name, asking))


_NO_STEPS = Items((), 0, 0)
_NOTHING = Fields(MappingProxyType({}), 0, 0)


def _own_vocabularies(steps: tuple[Step, ...]) -> dict[str, Vocabulary]:
    """Return the vocabularies that stand in schemas, by name."""
    own: dict[str, Vocabulary] = {}
    for step in _every(steps):
        if isinstance(step, (LlmStep, EnsembleStep)) and step.schema is not None:
            own.update(step.schema.own)
    return own


def _every(steps: tuple[Step, ...]) -> list[Step]:
    return [inner for step in steps for inner in (step, *substeps(step))]


def _asked(steps: tuple[Step, ...]) -> list[str]:
    """Return the names of the models that steps ask, each once, in the order of the steps."""
    names: dict[str, None] = {}
    for step in _every(steps):
        asked = [step] if isinstance(step, LlmStep) else []
        if isinstance(step, EnsembleStep):
            asked = [member.ask for member in step.members] + ([] if step.judge is None else [step.judge.ask])
        names.update((one.model, None) for one in asked)
    return list(names)


def _files(steps: Items) -> list[tuple[str, int]]:
    """Return the files that steps are written to, as far as they can be known before steps are read."""
    files: list[tuple[str, int]] = []
    for item in steps.items:
        if not isinstance(item, Fields):
            continue
        save = plain(item.entries["save"].value) if "save" in item.entries else None
        if isinstance(save, str):
            files.append((save, item.line))
        if save is None:
            own = Items((item,), item.line, item.column)
            inner = [name for name, _ in declared_names(own)]
            names = inner if "members" in item.entries else inner[:1]
            files += [(f"{name}{suffix}", item.line) for name in names for suffix in (".json", ".yaml")]
    return files
