"""Models of pydantic, made of maps in a pipeline's file.

    Paper = yaml_dict_to_model("Paper", {"title": "str", "doi": {"type": "str | None", "pattern": "10\\\\..+"}})

A field's vocabulary comes first, then its rules, then its type. Each rule is one of its field, so what it says has a
place, and hides nothing about other fields. What a model is given is never changed.
"""

from __future__ import annotations

__all__ = ["judging", "model_to_schema_hint", "schema_class_name", "yaml_dict_to_model"]

import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model
from pydantic_core import PydanticCustomError

from fabric.pipelines.errors import SchemaRefError
from fabric.pipelines.schemas.fields import PRIMITIVES, FieldSpec, Oddity, Rules, read_fields
from fabric.pipelines.schemas.hints import model_to_schema_hint
from fabric.pipelines.schemas.rules import broken_rules
from fabric.pipelines.vocab import KEYS, Vocabularies, Vocabulary

# These are how a model is used; a field that took the name of one would break it.
_TAKEN = tuple(name for name in dir(BaseModel) if name.startswith("model_"))

# Where a run is judging an answer: what `on_fail: warn` lets pass goes here, and vocabularies are those of the run.
_warnings_of_run: ContextVar[list[str] | None] = ContextVar("warnings_of_run", default=None)


@contextmanager
def judging() -> Iterator[list[str]]:
    """Make models of this module leave vocabularies to the caller; yields what their rules let pass."""
    let_pass: list[str] = []
    token = _warnings_of_run.set(let_pass)
    try:
        yield let_pass
    finally:
        _warnings_of_run.reset(token)


def schema_class_name(step: str) -> str:
    """Return what the class of a step's schema is called: ``extract_paper`` has ``ExtractPaperSchema``."""
    words = "".join(word[:1].upper() + word[1:] for word in re.split(r"[^0-9A-Za-z]+", step))
    return f"{'_' if words[:1].isdigit() else ''}{words}Schema"


def yaml_dict_to_model(
    name: str, field_map: Mapping[Any, Any], vocabularies: Mapping[str, Vocabulary] | None = None
) -> type[BaseModel]:
    """Return the model of a map of fields.

    Args:
        name: of the class.
        field_map: types by name, short or rich.
        vocabularies: that fields may name.

    Raises:
        SchemaRefError: the map is not what it should be; ``problems`` has all that is wrong, ``key_path`` says where.
    """
    return model_of_map(name, field_map, {} if vocabularies is None else vocabularies)[0]


def model_of_map(
    name: str, field_map: Mapping[Any, Any], vocabularies: Mapping[str, Vocabulary]
) -> tuple[type[BaseModel], Sequence[Oddity]]:
    """Return the model of a map, and what the map says without any effect. See :func:`yaml_dict_to_model`."""
    read = read_fields(field_map, _TAKEN)
    found = _Vocabularies(vocabularies)
    found.look(read.fields)
    if errors := (*read.errors, *found.errors):
        errors[0].problems = errors
        raise errors[0]
    return _Building(found.by_place).model(name, read.fields), read.odd


class _Vocabularies:
    """The vocabularies of fields, by the places of the fields."""

    def __init__(self, known: Mapping[str, Vocabulary]) -> None:
        self.known = known
        self.by_place: dict[str, Vocabulary] = {}
        self.errors: list[SchemaRefError] = []

    def look(self, fields: tuple[FieldSpec, ...]) -> None:
        for spec in fields:
            if spec.vocab is not None:
                try:
                    self.by_place[spec.place] = self.found(spec.name, spec.vocab, f"{spec.place}.vocab")
                except SchemaRefError as error:
                    self.errors.append(error)
            if isinstance(spec.inner, tuple):
                self.look(spec.inner)

    def found(self, field: str, said: str | Mapping[str, Any], place: str) -> Vocabulary:
        if isinstance(said, str):
            if said not in self.known:
                raise vocabulary_not_found(said, self.known, place)
            return self.known[said]
        try:
            return _inline(field, said)
        except ValueError as error:
            raise SchemaRefError(f"the vocabulary of field {field!r}: {error}", key_path=place) from error


class _Building:
    """Classes being made of one map."""

    def __init__(self, vocabularies: Mapping[str, Vocabulary]) -> None:
        self.vocabularies = vocabularies

    def model(self, name: str, fields: tuple[FieldSpec, ...]) -> type[BaseModel]:
        made = {spec.name: self.field(name, spec) for spec in fields}
        with warnings.catch_warnings():
            # "copy" and "json" are good names for fields; nobody here uses pydantic's old methods of these names.
            warnings.filterwarnings("ignore", message="Field name .* shadows an attribute", category=UserWarning)
            made_model: type[BaseModel] = create_model(
                name,
                __config__=ConfigDict(protected_namespaces=()),
                **made,  # type: ignore[call-overload]
            )
        return made_model

    def field(self, model: str, spec: FieldSpec) -> tuple[Any, Any]:
        inner: Any = spec.inner
        if isinstance(inner, tuple):
            inner = self.model(f"{model}{schema_class_name(spec.name).removesuffix('Schema')}Item", inner)
        else:
            inner = PRIMITIVES[inner]
        annotation = {"list": list[inner], "dict": dict[str, inner], "": inner}[spec.outer]
        if spec.optional:
            annotation = annotation | None
        vocab = self.vocabularies.get(spec.place)
        if vocab is not None or spec.rules:
            annotation = Annotated[annotation, BeforeValidator(_Check(spec.name, spec.rules, vocab))]
        return annotation, Field(
            default=_absent(spec.optional),
            description=spec.description,
            json_schema_extra=None if vocab is None else {"_pyconveyor_vocab": vocab},  # type: ignore[dict-item]
        )


def vocabulary_not_found(name: str, vocabularies: Mapping[str, Vocabulary], place: str) -> SchemaRefError:
    """Return the error about a vocabulary that is not there."""
    if isinstance(vocabularies, Vocabularies) and name in vocabularies.left_out:
        return SchemaRefError(f"the vocabulary {name!r} is left out: {vocabularies.left_out[name]}", key_path=place)
    close = get_close_matches(name, list(vocabularies), 1)
    there = f"there are: {', '.join(vocabularies)}" if vocabularies else f"write vocabularies/{name}.yaml"
    return SchemaRefError(
        f"the vocabulary {name!r} is not found; {there}", key_path=place, suggestion=close[0] if close else None
    )


def _inline(name: str, said: Mapping[str, Any]) -> Vocabulary:
    if (policy := said.get("growth_policy", "auto")) != "auto":
        raise ValueError(f"growth_policy: one that stands in a field can only have 'auto', got {policy!r}; use a file")
    if said.get("persist"):
        raise ValueError("persist: one that stands in a field has no file to write; use a file in vocabularies/")
    unknown = [str(key) for key in said if key not in KEYS]
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r}; there are {', '.join(KEYS)}")
    return Vocabulary.from_dict({**said, "growth_policy": "auto", "persist": False}, label=name)


def _absent(optional: bool) -> Any:
    """Return what a field has that is left out; ``...``: it must not be."""
    return None if optional else ...


class _Check:
    """What happens to a value of a field before its type is checked."""

    def __init__(self, name: str, rules: Rules, vocab: Vocabulary | None) -> None:
        self.name = name
        self.rules = rules
        self.vocab = vocab

    def __call__(self, value: Any) -> Any:
        run = _warnings_of_run.get()
        if self.vocab is not None and run is None:
            value = _normalised(value, self.vocab)
        if value is None:
            return None
        broken = list(broken_rules(self.rules, value))
        if not broken:
            return value
        if self.rules.on_fail == "null":
            return None
        text = "; ".join(sentence for _, sentence in broken)
        if self.rules.on_fail == "warn":
            logging.getLogger(__name__).warning("field %s: %s", self.name, text)
            if run is not None:
                run.append(f"field {self.name}: {text}")
            return value
        raise PydanticCustomError(broken[0][0], "{text}", {"text": text})


def _normalised(value: Any, vocab: Vocabulary) -> Any:
    if isinstance(value, list):
        return [_normalised(item, vocab) for item in value]
    if isinstance(value, dict):
        return {key: _normalised(item, vocab) for key, item in value.items()}
    if not isinstance(value, str) or not value.strip():
        return value
    return vocab.match(value)[0]
