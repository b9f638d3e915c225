"""Reads an answer: its parser, then its schema. Says what it is worth, and raises nothing."""

from __future__ import annotations

__all__ = ["field_errors", "read_answer"]

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from fabric.pipelines.asking.attempts import FieldError, Fine, Verdict, Wrong
from fabric.pipelines.asking.extraction import extract_json
from fabric.pipelines.errors import ParseError, SchemaValidationError, StepExecutionError
from fabric.pipelines.schemas.schema import place_of
from fabric.pipelines.spec import LlmStep
from fabric.pipelines.vocab import Vocabulary


def read_answer(text: str, step: LlmStep, vocabularies: Mapping[str, Vocabulary], *, cut_off: bool = False) -> Verdict:
    """Return what an answer is worth.

    Args:
        text: what the model said.
        step: whose answer it is.
        vocabularies: as they are in this run.
        cut_off: whether the limit of tokens ended it.
    """
    try:
        parsed = extract_json(text) if step.parser is None else step.parser.function(text)
    except Exception as error:  # noqa: BLE001 - a parser is the user's: what it raises says that it cannot read this
        return _unreadable(error, step, cut_off)
    except (SystemExit, GeneratorExit) as error:
        return _unreadable(StepExecutionError(f"it would end the process: {error!r}"), step, cut_off)
    if step.schema is None:
        return Fine(parsed)
    try:
        validated = step.schema.validate(parsed, vocabularies)
    except SchemaValidationError as error:
        return _invalid(error, parsed, step, cut_off)
    except Exception as error:  # noqa: BLE001 - so is what validators of a schema raise
        message = f"the schema could not look at it: {type(error).__name__}: {error}"
        return _wrong("schema", message, error)
    value = validated.value if step.attempts.schema_strict else _as_map(parsed, validated.value)
    return Fine(value, validated.suggestions, [f"{step.name}: {line}" for line in validated.warnings])


def _as_map(parsed: Any, value: BaseModel) -> Any:
    """Return an answer as it was read, with its values as the schema has them. Without a strict schema the value of a
    step is always a map, whether its answer is what the schema wants or not."""
    known = value.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return {**parsed, **known} if isinstance(parsed, Mapping) else known


def _unreadable(error: Exception, step: LlmStep, cut_off: bool) -> Wrong:
    message = str(error) or type(error).__name__
    if step.parser is not None and not isinstance(error, ParseError):
        message = f"{step.parser.text} could not read it: {type(error).__name__}: {error}"
    return _wrong("parse", _told(message, cut_off), error)


def _invalid(error: SchemaValidationError, parsed: Any, step: LlmStep, cut_off: bool) -> Verdict:
    fields = field_errors(error)
    lines = [str(field) for field in fields] or [str(error)]
    if not step.attempts.schema_strict:
        return Fine(parsed, warnings=[f"{step.name}: {line}" for line in lines], errors=lines)
    if cut_off:
        return _wrong("schema", _told("; ".join(lines), cut_off), error, [*fields, FieldError("", _CUT_OFF, "cut_off")])
    return Wrong("schema", error, "; ".join(lines), fields)


_CUT_OFF = "the answer was cut off at max_tokens; a shorter one, or a higher limit, is needed"


def _told(message: str, cut_off: bool) -> str:
    return f"{_CUT_OFF} ({message})" if cut_off else message


def _wrong(kind: Any, message: str, error: Exception, fields: Any = ()) -> Wrong:
    """Return the verdict with an error that says all of it, and where it came from."""
    if isinstance(error, ParseError | SchemaValidationError) and str(error) == message:
        return Wrong(kind, error, message, fields)
    raised: Exception = (
        ParseError(message)
        if kind == "parse"
        else SchemaValidationError(message, getattr(error, "validation_error", None))
    )
    raised.__cause__ = error
    return Wrong(kind, raised, message, fields)


def field_errors(error: SchemaValidationError) -> list[FieldError]:
    """Return what a schema does not like, place by place: ``entries[0].n``."""
    found = error.validation_error
    if found is None:
        return []
    return [
        FieldError(place_of(one["loc"]), str(one["msg"]).removeprefix("Value error, "), str(one["type"]))
        for one in found.errors(include_url=False, include_context=False, include_input=False)
    ]
