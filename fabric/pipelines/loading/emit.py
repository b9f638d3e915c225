"""JSON Schema of pipeline files, for editors: made of the same lists of keys by which files are read.

It says what a file may look like, not what it names: that models, steps and functions are there is checked when a
pipeline is loaded.
"""

from __future__ import annotations

__all__ = ["pipeline_json_schema"]

from collections.abc import Callable, Iterable
from typing import Any

from fabric.pipelines.loading.keys import (
    CACHE,
    EXECUTION,
    JUDGE,
    MEMBER,
    MODEL,
    OUTPUTS,
    PRICING,
    PROVIDERS,
    ROOT,
    STEP_TYPES,
    STEPS,
    Key,
    step_keys,
)

# A value of any kind may be taken from the environment.
_VARIABLE = {"type": "string", "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}"}

_INLINE_VOCABULARY = {
    "type": "object",
    "properties": {
        "terms": {"type": ["array", "object"], "description": "What the field may say."},
        "known": {"type": ["array", "object"], "description": "The same as terms."},
        "description": {"type": "string", "description": "Says when a term belongs to it."},
    },
}


def pipeline_json_schema() -> dict[str, Any]:
    """Return the schema, as draft 7 has it, which is what editors know best."""
    steps = {key.name: key for kind in STEP_TYPES for key in step_keys(kind)}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Pipeline",
        "type": "object",
        "properties": {
            **_properties(ROOT),
            "models": {
                "type": "object",
                "description": "Models by name; steps say which one they ask.",
                "additionalProperties": _ref("Model"),
            },
            "steps": {
                "type": "array",
                "description": "What is done, in order.",
                "items": _ref("Step"),
            },
            "parsers": {
                "type": "object",
                "description": "Functions that read answers, by name.",
                "additionalProperties": {"type": "string", "pattern": ":"},
            },
            "outputs": _ref("Outputs"),
            "execution": _ref("Execution"),
            "schema": _ref("Fields"),
        },
        "definitions": {
            "Model": _model(),
            "Cache": _object(CACHE),
            "Pricing": _object(PRICING),
            "Outputs": _object(OUTPUTS),
            "Execution": _object(EXECUTION),
            "Step": {**_object(steps.values(), ["name"]), "allOf": [_needs(kind) for kind in STEP_TYPES]},
            "Member": _object(MEMBER),
            "Judge": _object(JUDGE),
            "Fields": {"type": "object", "additionalProperties": _ref("Field")},
            "Field": _field(),
        },
    }


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/definitions/{name}"}


def _object(keys: Iterable[Key], required: list[str] | None = None) -> dict[str, Any]:
    """Return a map with these keys and no others."""
    keys = list(keys)
    needed = [key.name for key in keys if key.required] if required is None else required
    said = {"type": "object", "properties": _properties(keys), "additionalProperties": False}
    return {**said, "required": needed} if needed else said


def _model() -> dict[str, Any]:
    """A provider that was registered may have keys of its own."""
    said = _object(MODEL)
    said["additionalProperties"] = True
    said["properties"]["provider"]["examples"] = list(PROVIDERS)
    said["properties"]["cache"] = _ref("Cache")
    said["properties"]["pricing"] = _ref("Pricing")
    return said


def _needs(kind: str) -> dict[str, Any]:
    """Return what a step of a type has to say. Without a type it is one that asks a model."""
    needed = [key.name for key in STEPS[kind] if key.required]
    is_kind: dict[str, Any] = {"properties": {"type": {"const": kind}}}
    if kind != "llm":
        is_kind["required"] = ["type"]
    if kind == "validate":
        return {"if": is_kind, "then": {"anyOf": [{"required": ["fn"]}, {"required": ["condition"]}]}}
    return {"if": is_kind, "then": {"required": needed}}


def _properties(keys: Iterable[Key]) -> dict[str, Any]:
    return {key.name: _property(key) for key in keys}


def _property(key: Key) -> dict[str, Any]:
    said = _NAMED[key.name] if key.name in _NAMED else _KINDS[key.kind](key)
    if "$ref" in said:
        return said
    return {**said, "description": key.says}


def _text(key: Key) -> dict[str, Any]:
    return {"type": "string", "enum": list(key.choices)} if key.choices else {"type": "string"}


def _words(key: Key) -> dict[str, Any]:
    return {"type": "array", "items": _text(key)}


def _number(key: Key) -> dict[str, Any]:
    said: dict[str, Any] = {"type": "integer" if key.kind == "integer" else "number"}
    if key.least is not None:
        said["exclusiveMinimum" if key.above else "minimum"] = key.least
    return {"anyOf": [said, _VARIABLE]}


def _schema(_: Key) -> dict[str, Any]:
    reference = {"type": "object", "properties": {"$ref": {"type": "string"}}, "required": ["$ref"]}
    inline = {"allOf": [_ref("Fields"), {"not": {"required": ["$ref"]}}]}
    return {"oneOf": [{"type": "string", "pattern": ":"}, {**reference, "additionalProperties": False}, inline]}


_KINDS: dict[str, Callable[[Key], dict[str, Any]]] = {
    "text": _text,
    "file": _text,
    "reference": _text,
    "words": _words,
    "integer": _number,
    "number": _number,
    "integers": lambda _: {"type": "array", "items": {"type": "integer"}},
    "flag": lambda _: {"anyOf": [{"type": "boolean"}, _VARIABLE]},
    "map": lambda _: {"type": "object"},
    "list": lambda _: {"type": "array"},
    "steps": lambda _: {"oneOf": [{"type": "array", "items": _ref("Step")}, _ref("Step")]},
    "expression": lambda _: {"type": ["string", "boolean", "number"]},
    "schema": _schema,
    "any": lambda _: {},
}

_NAMED: dict[str, dict[str, Any]] = {
    "members": {"type": "array", "items": _ref("Member"), "minItems": 1},
    "judge": _ref("Judge"),
    "save": {"oneOf": [{"const": False}, {"type": "string", "minLength": 1}]},
    "json_mode": {"enum": [True, False, "auto"]},
}


def _field() -> dict[str, Any]:
    """A field of a schema that stands in the file: a type, or a map that says more."""
    return {
        "oneOf": [
            {"type": "string", "description": "A type: str, int, float, bool, list[…] or dict[str, …], with | None."},
            {
                "type": "object",
                "required": ["type"],
                "additionalProperties": False,
                "properties": {
                    "type": {"type": "string", "description": "A type; list takes items."},
                    "description": {"type": "string", "description": "Says the model what is meant."},
                    "pattern": {"type": "string", "description": "Regular expression of the whole text."},
                    "min_length": {"type": "integer", "minimum": 0},
                    "max_length": {"type": "integer", "minimum": 0},
                    "min_items": {"type": "integer", "minimum": 0},
                    "max_items": {"type": "integer", "minimum": 0},
                    "on_fail": {
                        "enum": ["error", "null", "warn", None],
                        "description": "What becomes of a value that breaks a rule.",
                    },
                    "vocab": {
                        "oneOf": [{"type": "string"}, _INLINE_VOCABULARY],
                        "description": "Name of a file in vocabularies/, or the terms.",
                    },
                    "items": {"oneOf": [_ref("Fields"), {"type": "string"}], "description": "What a list has."},
                },
            },
        ]
    }
