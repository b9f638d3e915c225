"""Pieces of work and what comes of them, as messages: what ``remote`` sends to workers, and ``serving`` answers.

A message names the step; the worker has read the same file and knows the rest: the function, the schema, the parser,
the key. Only what a run knows better than the file goes along: values, rendered messages, what the run overrides of a
model, terms that a vocabulary has got since.
"""

from __future__ import annotations

__all__ = ["Envelopes", "Leaf", "leaves", "packing_of", "write_failure"]

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, get_type_hints

import msgspec

from fabric.pipelines.errors import StepExecutionError
from fabric.pipelines.loading.references import package_of
from fabric.pipelines.remote.failures import pack_error, unpack_error
from fabric.pipelines.remote.packing import Packing, Unpackable
from fabric.pipelines.results import AttemptLog, VocabSuggestion
from fabric.pipelines.spec import (
    EnsembleStep,
    FunctionStep,
    HttpStep,
    LlmStep,
    Mark,
    ModelSpec,
    Pipeline,
    Step,
    substeps,
)
from fabric.pipelines.vocab import Vocabulary
from fabric.pipelines.work import Done, FunctionWork, HttpWork, LlmWork, Work

Leaf = FunctionStep | HttpStep | LlmStep

_WORK: Mapping[str, type[Work]] = {"function": FunctionWork, "http": HttpWork, "llm": LlmWork}
_LISTED: Mapping[str, type[Any]] = {"attempts": AttemptLog, "suggestions": VocabSuggestion}
_MODEL_FIELDS = {name: hint for name, hint in get_type_hints(ModelSpec).items() if name not in ("name", "mark")}
_NEW = "a model of the run"
_NOTHING: Mapping[str, str] = {}


def leaves(pipeline: Pipeline) -> Iterator[Leaf]:
    """Return all steps of a pipeline that make work, in the order in which they are declared."""
    for top in pipeline.steps:
        for step in (top, *substeps(top)):
            yield from _leaves(step)


def _leaves(step: Step) -> Iterator[Leaf]:
    if isinstance(step, FunctionStep | HttpStep | LlmStep):
        yield step
    elif isinstance(step, EnsembleStep):
        yield from (member.ask for member in step.members)
        if step.judge is not None:
            yield step.judge.ask


def _bare_question(step: Leaf) -> str:
    """Return the name of a question that is of no step, as that whether a vocabulary is to grow."""
    if isinstance(step, LlmStep) and step.schema is None and step.parser is None:
        return step.name
    raise StepExecutionError(f"the pipeline has no step {step.name!r}")


def _address(step: Leaf) -> str:
    """Return what a step is found by: the branches of a ``condition`` may share names."""
    return f"{step.mark.key_path}/{step.name}"


def packing_of(pipeline: Pipeline, hidden: Mapping[str, str] = _NOTHING) -> Packing:
    """Return how values of a pipeline are packed: those of its schemas by the place of the step.

    Args:
        pipeline: whose variables travel by name.
        hidden: what else does, by its name.
    """
    schemas = [(_address(step), step.schema) for step in leaves(pipeline) if isinstance(step, LlmStep)]
    return Packing(
        {place: schema.model for place, schema in schemas if schema is not None},
        {name: held for name, held in pipeline.env.items() if held} | dict(hidden),
        package_of(pipeline.path.parent),
    )


class Envelopes:
    """Writes messages, and reads them. Made from the same file on both sides, and with the same variables.

    Args:
        pipeline: of the file, with the environment that it was read with.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._steps = {_address(step): step for step in leaves(pipeline)}
        self._packing = packing_of(pipeline)

    # --- work ---

    def write_work(self, work: Work) -> dict[str, Any]:
        """Return a piece of work as plain JSON values.

        Raises:
            Unpackable: something of it cannot be sent. The text says step and place.
        """
        step = work.step
        kind = next(kind for kind, class_ in _WORK.items() if isinstance(work, class_))
        written: dict[str, Any] = {"kind": kind, "step": _address(step)}
        if written["step"] not in self._steps:
            written["asks"] = _bare_question(step)
        for field in dataclasses.fields(work):
            value = getattr(work, field.name)
            try:
                match field.name:
                    case "step" | "asked":
                        continue
                    case "model":
                        written["model"] = self._write_model(value)
                    case "vocabularies":
                        written["vocabularies"] = self._packing.pack(self._write_vocabularies(work), "vocabularies")
                    case "messages":
                        written["messages"] = self._packing.pack([dict(message) for message in value], "messages")
                    case "inputs" | "request":
                        written[field.name] = self._packing.pack(dict(value), field.name)
                    case "variables":
                        written["variables"] = self._packing.pack(_used(value, step), "vars")
                    case _:
                        written[field.name] = value
            except Unpackable as error:
                raise Unpackable(f"step {step.name!r} cannot go to a worker: {error}. {_HINT}") from error
        return written

    def read_work(self, written: Mapping[str, Any]) -> Work:
        """Return the piece of work.

        Raises:
            StepExecutionError: the file here has no such step.
            Unpackable: it names what is not here.
        """
        step = self._steps.get(written["step"])
        if "asks" in written:
            step = LlmStep(name=written["asks"], mark=Mark(""), model=written["model"]["name"])
        if step is None:
            raise StepExecutionError(f"{self._pipeline.path} has no step {written['step']!r} here: it is another file")
        fields: dict[str, Any] = {"step": step}
        for name, value in written.items():
            match name:
                case "kind" | "step" | "asks":
                    continue
                case "model":
                    fields["model"] = self._read_model(value)
                case "vocabularies":
                    found = self._packing.unpack(value)
                    fields["vocabularies"] = {name: Vocabulary(**said) for name, said in found.items()}
                case "messages" | "inputs" | "request" | "variables":
                    fields[name] = self._packing.unpack(value)
                case _:
                    fields[name] = value
        return _WORK[written["kind"]](**fields)

    def _write_model(self, model: ModelSpec) -> dict[str, Any]:
        """Write what is different from the model of that name in the file. The key never is."""
        base = self._pipeline.models.get(model.name)
        written: dict[str, Any] = {"name": model.name}
        for name in _MODEL_FIELDS:
            value, known = getattr(model, name), getattr(base or ModelSpec(name=_NEW), name)
            if name == "block":
                value, known = _without_key(value), _without_key(known)
            if value == known:
                continue
            packed = self._packing.pack(_plain(value), f"model {model.name!r}: {name}")
            if name == "api_key" and isinstance(packed, str):
                raise Unpackable(
                    f"model {model.name!r} has another api_key in this run, and keys are never sent: let the file"
                    " name a variable, api_key: ${NAME}"
                )
            written[name] = packed
        return written

    def _read_model(self, written: Mapping[str, Any]) -> ModelSpec:
        base = self._pipeline.models.get(written["name"]) or ModelSpec(name=written["name"])
        changed = {
            name: msgspec.convert(self._packing.unpack(value), type=_MODEL_FIELDS[name])
            for name, value in written.items()
            if name != "name"
        }
        if "block" in changed and "api_key" in base.block:
            changed["block"] = {**changed["block"], "api_key": changed.get("api_key", base.api_key)}
        return msgspec.structs.replace(base, **changed)

    def _write_vocabularies(self, work: Work) -> dict[str, Any]:
        """Write what the step's schema takes values to. The file may have got further terms meanwhile."""
        assert isinstance(work, LlmWork)
        names = () if work.step.schema is None else work.step.schema.vocabularies
        return {name: _write_vocabulary(work.vocabularies[name]) for name in names if name in work.vocabularies}

    # --- what comes of it ---

    def write_done(self, done: Done, step: Leaf) -> dict[str, Any]:
        """Return what came of a piece of work as plain JSON values. What cannot be said is an error of the work."""
        try:
            value = self._packing.pack(done.value, "its value")
        except Unpackable as error:
            what = f" {step.function.text}" if isinstance(step, FunctionStep) and step.function else ""
            text = f"what step {step.name!r}{what} gave cannot come from a worker: {error}. {_HINT}"
            return self.write_done(dataclasses.replace(done, value=None, error=Unpackable(text)), step)
        written: dict[str, Any] = {}
        for field in dataclasses.fields(done):
            given = getattr(done, field.name)
            if field.name in _LISTED:
                written[field.name] = [self._packing.pack(dict(vars(each)), field.name) for each in given]
            elif field.name == "warnings":
                written["warnings"] = self._packing.pack(list(given))
            else:
                written[field.name] = given
        failure = None if done.error is None else pack_error(done.error, self._packing)
        return {**written, "value": value, "error": failure}

    def read_done(self, written: Mapping[str, Any]) -> Done:
        """Return what came of a piece of work."""
        fields = dict(written)
        for name, class_ in _LISTED.items():
            fields[name] = tuple(class_(**self._packing.unpack(each)) for each in written[name])
        fields["warnings"] = tuple(self._packing.unpack(written["warnings"]))
        error = written["error"]
        fields["error"] = None if error is None else unpack_error(error, self._packing)
        fields["value"] = self._packing.unpack(written["value"])
        return Done(**fields)


def write_failure(error: Exception) -> dict[str, Any]:
    """Return what came of work that could not be begun, of whatever file it is: ``Envelopes.read_done`` reads it."""
    packing = Packing({}, {})
    return {"value": None, "error": pack_error(error, packing), "attempts": [], "suggestions": [], "warnings": []}


_HINT = "Say place: local for this step, or give it what JSON can say"


def _write_vocabulary(vocabulary: Vocabulary) -> dict[str, Any]:
    """Return what values are taken to, by which rules. How it grows is not for workers."""
    return {
        "known": {term: tuple(spellings) for term, spellings in vocabulary.terms.items()},
        "label": vocabulary.label,
        "description": vocabulary.description,
        "fuzzy_match": vocabulary.fuzzy_match,
        "case_sensitive": vocabulary.case_sensitive,
        "capture_ideal": vocabulary.capture_ideal,
        "denied": sorted(vocabulary.denied),
    }


def _used(variables: Mapping[str, Any], step: Leaf) -> dict[str, Any]:
    """Return the variables that the step's ``error_template`` uses: nobody else asks for them."""
    template = step.attempts.error_template if isinstance(step, LlmStep) else None
    return {} if template is None else {name: value for name, value in variables.items() if name in template.names}


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value)
    return dict(value) if isinstance(value, Mapping) else value


def _without_key(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: given for name, given in value.items() if name != "api_key"}
