"""Steps of a file that ask models: ``llm`` and ``ensemble``, their schemas, prompts and attempts."""

from __future__ import annotations

__all__ = ["AskReader"]

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from pydantic import BaseModel

from fabric.pipelines.errors import (
    CallableImportError,
    ModelRefError,
    PipelineLoadError,
    SchemaRefError,
    StepConfigError,
)
from fabric.pipelines.loading.blocks import Block, shape
from fabric.pipelines.loading.document import is_file, read_document
from fabric.pipelines.loading.keys import JUDGE, MEMBER, RETRY_ON
from fabric.pipelines.loading.models import read_sampling
from fabric.pipelines.loading.nodes import Fields, Node, Scalar, plain
from fabric.pipelines.loading.problems import Problems, near
from fabric.pipelines.loading.reads import Scope, Texts
from fabric.pipelines.loading.references import Importer, expect_called
from fabric.pipelines.prompt import Prompt
from fabric.pipelines.schema_builder import schema_class_name
from fabric.pipelines.schemas.schema import Schema, map_schema, model_schema
from fabric.pipelines.spec import Attempts, EnsembleStep, Judge, LlmStep, Member, ModelSpec, Reference
from fabric.pipelines.vocab import Vocabulary

_ATTEMPTS_WITH_SCHEMA = 3


class AskReader:
    """Reads steps that ask models. What is wrong with them is told to ``problems``.

    Args:
        problems: are told.
        texts: read expressions and templates.
        importer: finds classes and functions.
        root: directory of the pipeline.
        models: by name; ``None``: one that is there, and wrong.
        parsers: references by name.
        vocabularies: by name.
        schemas: of the caller, by step: they go over those of the file.
    """

    def __init__(
        self,
        problems: Problems,
        texts: Texts,
        importer: Importer,
        root: Path,
        models: Mapping[str, ModelSpec],
        parsers: Mapping[str, str],
        vocabularies: Mapping[str, Vocabulary],
        schemas: Mapping[str, type[BaseModel]],
    ) -> None:
        self._problems = problems
        self._texts = texts
        self._importer = importer
        self._root = root
        self._models = models
        self._parsers = parsers
        self._vocabularies = vocabularies
        self._schemas = schemas

    def llm(self, block: Block, scope: Scope, common: Mapping[str, Any]) -> LlmStep:
        """Return a step that asks one model."""
        schema = self._schema(block, common["name"])
        step = self._ask(block, scope, schema, dict(common), None)
        if _says_prompt(block):
            return step
        block.warn(f"{block.what} has no prompt: its model is asked with an empty one")
        return _with_prompt(step, self._texts.empty)

    def ensemble(self, block: Block, scope: Scope, common: Mapping[str, Any]) -> EnsembleStep:
        """Return a step that asks several models."""
        name = common["name"]
        schema = self._schema(block, name)
        shared = self._ask(block, scope, schema, {"name": name, "mark": block.mark()}, None)
        items = block.value("members")
        if items is not None and not items.items:
            block.error(f"{block.what}: an ensemble has at least one member", "members")
        members: list[Member] = []
        for number, item in enumerate(items.items if items is not None else ()):
            member = self._member(item, f"{block.under('members')}[{number}]", block, scope, shared, members)
            if member is not None:
                members.append(member)
        return EnsembleStep(
            members=tuple(members), judge=self._judge(block, scope, shared, members), schema=schema, **common
        )

    def _member(
        self, node: Node, path: str, ensemble: Block, scope: Scope, shared: LlmStep, others: Sequence[Member]
    ) -> Member | None:
        if not isinstance(node, Fields):
            said = f"{ensemble.what}: a member is a map; this is {shape(node)}"
            self._problems.error(StepConfigError, said, node, path)
            return None
        block = Block(self._problems, node, MEMBER, f"a member of {ensemble.what}", path, StepConfigError)
        name = self._member_name(block, ensemble, [member.name for member in others])
        if name is None:
            return None
        ask = self._ask(block, scope, shared.schema, {"name": f"{shared.name}.{name}", "mark": block.mark()}, shared)
        if not _says_prompt(block) and not _says_prompt(ensemble):
            block.warn(f"{block.what}, {name!r}, has no prompt: its model is asked with an empty one")
            ask = _with_prompt(ask, self._texts.empty)
        required = block.value("required", True) and not block.value("optional", False)
        return Member(name=name, required=required, ask=ask)

    def _member_name(self, block: Block, ensemble: Block, taken: Sequence[str]) -> str | None:
        """Return the name of a member: its own, or that of its model, with a number if that is taken."""
        own: str | None = block.value("name")
        model: str | None = block.value("model")
        if own is not None and own in taken:
            block.error(f"{ensemble.what} has two members named {own!r}: give each a name of its own", "name")
            return None
        if own is not None or model is None or model not in taken:
            return own or model
        numbered = next(name for number in range(2, len(taken) + 3) if (name := f"{model}_{number}") not in taken)
        block.warn(f"{ensemble.what} has two members of model {model!r}: this one is called {numbered!r}")
        return numbered

    def _judge(self, ensemble: Block, scope: Scope, shared: LlmStep, members: list[Member]) -> Judge | None:
        fields = ensemble.value("judge")
        if fields is None:
            return None
        block = Block(
            self._problems, fields, JUDGE, f"the judge of {ensemble.what}", ensemble.under("judge"), StepConfigError
        )
        asked = {member.ask.name: member.ask for member in members}
        sees = Scope({**scope.visible, **asked, shared.name: None}, "")
        own = _says_prompt(block)
        ask = self._ask(
            block, sees, shared.schema, {"name": f"{shared.name}._judge", "mark": block.mark()}, shared, "judge "
        )
        if ask.prompt is None and not own and members:
            ask = _with_prompt(ask, members[0].ask.prompt)
        return Judge(decides=block.value("condition", "all_succeeded"), ask=ask, own_prompt=own)

    def _ask(
        self,
        block: Block,
        scope: Scope,
        schema: Schema | None,
        common: dict[str, Any],
        shared: LlmStep | None,
        who: str = "",
    ) -> LlmStep:
        """Return a step; what its block does not say is that of ``shared``."""
        model = block.value("model", "")
        if model and model not in self._models:
            listed = ", ".join(self._models) or "none"
            block.error(
                f"{block.what}: {who}model {model!r} is not defined; models: {listed}",
                "model",
                ModelRefError,
                near(model, self._models),
            )
        vars_node = block.value("vars")
        sampling, base = read_sampling(block), shared or LlmStep(model="", name="", mark=common["mark"])
        prompt = self._prompt(block, scope)
        absent = block.value("prompt") if prompt is None else None
        if prompt is None and absent is None:
            prompt, absent = base.prompt, base.absent_prompt
        return LlmStep(
            model=model,
            prompt=prompt,
            absent_prompt=absent,
            system=self._system(block, scope) or base.system,
            schema=schema,
            parser=self._parser(block) or base.parser,
            vars=base.vars if vars_node is None else self._texts.bound(vars_node, block.under("vars"), scope),
            attempts=self._attempts(block, schema, None if shared is None else shared.attempts),
            sampling=sampling.over(base.sampling),
            extra_params=block.data("extra_params") or base.extra_params,
            max_prompt_tokens=block.value("max_prompt_tokens", base.max_prompt_tokens),
            inject_vocab_prompt=block.value("inject_vocab_prompt", base.inject_vocab_prompt),
            **common,
        )

    def _prompt(self, block: Block, scope: Scope) -> Prompt | None:
        name, node = block.value("prompt"), block.node("prompt")
        if name is not None and node is not None:
            return self._texts.template_file(name, node, block.under("prompt"), scope, block.what)
        text, node = block.value("prompt_string"), block.node("prompt_string")
        if text is None or node is None:
            return None
        return self._texts.template_text(_literal(text), node, block.under("prompt_string"), scope)

    def _system(self, block: Block, scope: Scope) -> Prompt | None:
        text, node = block.value("system"), block.node("system")
        if text is None or node is None:
            return None
        if "\n" not in text and is_file(self._root / text):
            return self._texts.template_file(text, node, block.under("system"), scope, block.what)
        return self._texts.template_text(text, node, block.under("system"), scope)

    def _attempts(self, block: Block, schema: Schema | None, shared: Attempts | None) -> Attempts:
        has_schema = schema is not None or block.node("schema") is not None
        base = shared or Attempts(max_attempts=_ATTEMPTS_WITH_SCHEMA if has_schema else 1, error_feedback=has_schema)
        template = None
        name, node = block.value("error_template"), block.node("error_template")
        if name is not None and node is not None:
            # It is rendered with variables of its own; it sees no steps.
            template = self._texts.template_file(name, node, block.under("error_template"), Scope({}), block.what)
        return Attempts(
            max_attempts=block.value("max_attempts", base.max_attempts),
            error_feedback=block.value("error_feedback", base.error_feedback),
            retry_hint=block.value("retry_hint", base.retry_hint),
            retry_on=tuple(word for word in RETRY_ON if word in block.value("retry_on", base.retry_on)),
            schema_strict=block.value("schema_strict", base.schema_strict),
            feedback_chars_max=block.value("max_feedback_tokens", base.feedback_chars_max),
            error_template=template or base.error_template,
        )

    def _parser(self, block: Block) -> Reference | None:
        text = block.value("parser")
        if text is None:
            return None
        target = self._parsers.get(text, text)
        if ":" not in target:
            listed = ", ".join(self._parsers) or "none"
            block.error(
                f"{block.what}: there is no parser {text!r}: it is a name of parsers ({listed}), or module:function",
                "parser",
                CallableImportError,
                near(text, self._parsers),
            )
            return None
        try:
            found = self._importer.find(target)
            expect_called(found, repr(target))
        except PipelineLoadError as error:
            block.error(f"{block.what}: parser: {error.message}", "parser", type(error), error.suggestion)
            return None
        return Reference(target, found)

    def _schema(self, block: Block, step: str) -> Schema | None:
        given = self._schemas.get(step)
        if given is not None:
            return self._model(block, given, step)
        node = block.value("schema")
        if node is None:
            return None
        if isinstance(node, Scalar):
            return self._class(block, node.value, step)
        fields, file = node, None
        if "$ref" in node.entries:
            found = self._referred(block, node)
            if found is None:
                return None
            fields, file = found
        try:
            schema = map_schema(schema_class_name(step), plain(fields), self._vocabularies, step)
            for odd in schema.odd:
                said, path = f"{block.what}: schema: {odd.message}", f"{block.under('schema')}.{odd.place}"
                self._problems.warn(said, _inside(fields, odd.place)[1], path, odd.suggestion, file)
            return schema
        except PipelineLoadError as error:
            for problem in error.problems:
                (key, place), path = _inside(fields, problem.key_path), block.under("schema")
                path = f"{path}.{problem.key_path}" if problem.key_path else path
                said = f"{block.what}: schema: {problem.message}"
                if key is not None and not isinstance(key.value, str):
                    said = (
                        f"{block.what}: schema: a field's name must be a text; {key.text} is read as {shape(key)}:"
                        f" write it in quotes: '{key.text}'"
                    )
                    place = key
                self._problems.error(type(problem), said, place, path, problem.suggestion, file)
            return None

    def _model(self, block: Block, model: type[BaseModel], step: str) -> Schema | None:
        try:
            return model_schema(model, self._vocabularies, step)
        except PipelineLoadError as error:
            block.error(f"{block.what}: schema: {error.message}", "schema", type(error), error.suggestion)
            return None

    def _class(self, block: Block, text: str, step: str) -> Schema | None:
        try:
            found = self._importer.find(text, SchemaRefError)
        except PipelineLoadError as error:
            block.error(f"{block.what}: schema: {error.message}", "schema", type(error), error.suggestion)
            return None
        if not (inspect.isclass(found) and issubclass(found, BaseModel)):
            said = f"{block.what}: schema: {text!r} is not a model of pydantic: a class that derives from BaseModel"
            block.error(said, "schema", SchemaRefError)
            return None
        return self._model(block, found, step)

    def _referred(self, block: Block, node: Fields) -> tuple[Fields, str] | None:
        if len(node.entries) > 1:
            block.error(
                f"{block.what}: schema: $ref stands alone: there are other keys beside it", "schema", SchemaRefError
            )
            return None
        name = plain(node.entries["$ref"].value)
        if not isinstance(name, str) or Path(name).suffix not in (".yaml", ".yml", ".json"):
            block.error(
                f"{block.what}: schema: $ref names a .yaml, .yml or .json file; it is {name!r}",
                "schema",
                SchemaRefError,
            )
            return None
        try:
            found = read_document(self._root / name, self._problems, name)
        except PipelineLoadError as error:
            if error.line is None:
                block.error(f"{block.what}: schema: {name}: {error.message}", "schema", SchemaRefError)
            else:
                self._problems.error(SchemaRefError, error.message, error, "", error.suggestion, error.file)
            return None
        if not isinstance(found, Fields):
            said = "nothing" if found is None else shape(found)
            block.error(
                f"{block.what}: schema: {name} has to be a map of fields; it is {said}", "schema", SchemaRefError
            )
            return None
        return found, name


def _says_prompt(block: Block) -> bool:
    return block.node("prompt") is not None or block.node("prompt_string") is not None


def _literal(text: str) -> str:
    """Return a template whose text is this one, whatever stands in it."""
    if "{" not in text:
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '{{ "' + escaped + '" }}'


def _with_prompt(ask: LlmStep, prompt: Prompt | None) -> LlmStep:
    return msgspec.structs.replace(ask, prompt=prompt)


def _inside(fields: Fields, key_path: str) -> tuple[Scalar | None, Node]:
    """Return the deepest key on a path of keys, and its value. A key may have dots in it: the longest that fits."""
    key: Scalar | None = None
    node: Node = fields
    while key_path and isinstance(node, Fields):
        fitting = [entry for name, entry in node.entries.items() if f"{key_path}.".startswith(f"{name}.")]
        if not fitting:
            break
        entry = max(fitting, key=lambda entry: len(str(entry.key.value)))
        key, node, key_path = entry.key, entry.value, key_path[len(str(entry.key.value)) + 1 :]
    return key, node
