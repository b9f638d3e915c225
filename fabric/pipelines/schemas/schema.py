"""What an answer has to be: a model of pydantic, of the user's or made of a map in the pipeline's file.

The public functions for maps are those of ``schema_builder``. Here a schema learns which of its fields have
vocabularies, at any depth, and an answer is taken to its terms with the vocabularies of a run before the model sees it.
"""

from __future__ import annotations

__all__ = ["Schema", "Validated", "map_schema", "model_schema", "place_of"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from fabric.pipelines.errors import SchemaValidationError
from fabric.pipelines.results import VocabSuggestion
from fabric.pipelines.schema_builder import judging, model_of_map, model_to_schema_hint, vocabulary_not_found
from fabric.pipelines.schemas.fields import Oddity
from fabric.pipelines.vocab import HINTS_HEADER, Vocabulary, apply_vocab


@dataclass(frozen=True)
class Validated:
    """An answer that is what it should be."""

    value: BaseModel
    suggestions: Sequence[VocabSuggestion] = ()
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class VocabPlace:
    """A field that has a vocabulary.

    Attributes:
        key: of it in an answer.
        vocabulary: its name in a run.
        capture_ideal: whether the model is asked what it would rather have said; ``None``: as the vocabulary says.
    """

    key: str
    vocabulary: str
    capture_ideal: bool | None


@dataclass(frozen=True)
class _Record:
    """What of a model has to do with vocabularies: its own fields, and records in its fields, by key."""

    places: Sequence[VocabPlace]
    inner: Mapping[str, Sequence[type[BaseModel]]]
    keys: frozenset[str]


@dataclass(frozen=True, eq=False)
class Schema:
    """A schema.

    Attributes:
        model: class of the values.
        hint: what a prompt says of it.
        vocabularies: names of those that its fields use, in the order of the fields.
        own: those that stand in the schema itself, by name. The caller adds them to those of the pipeline.
        odd: what its map says without any effect.
        is_users: whether somebody wrote the class: its validators may do anything, and take their time.
    """

    model: type[BaseModel]
    hint: str
    vocabularies: tuple[str, ...]
    own: Mapping[str, Vocabulary]
    _records: Mapping[type[BaseModel], _Record]
    odd: Sequence[Oddity] = ()
    is_users: bool = True

    def validate(self, parsed: Any, vocabularies: Mapping[str, Vocabulary]) -> Validated:
        """Return the value of an answer. ``parsed`` is not changed.

        Args:
            parsed: the answer, as it was read.
            vocabularies: as they are in this run, by name; one that is missing is as it stands in the schema.

        Raises:
            SchemaValidationError: it is not what it should be; ``validation_error`` says each place.
        """
        reading = _Reading(self._records, {**self.own, **vocabularies})
        read = reading.record(self.model, parsed, "")
        try:
            with judging() as let_pass:
                value = self.model.model_validate(read)
        except ValidationError as error:
            raise SchemaValidationError(_in_words(self.model, error), error) from error
        return Validated(value, tuple(reading.suggestions), (*reading.warnings, *let_pass))

    def vocab_hints(self, vocabularies: Mapping[str, Vocabulary]) -> str:
        """Return what a prompt says of the vocabularies of this schema, by the names of its fields.

        Args:
            vocabularies: as they are in this run, by name.
        """
        known = {**self.own, **vocabularies}
        said: dict[tuple[str, str], str] = {}
        for record in self._records.values():
            for place in record.places:
                vocabulary = known.get(place.vocabulary)
                if vocabulary is not None and vocabulary.inject_prompt:
                    captures = vocabulary.capture_ideal if place.capture_ideal is None else place.capture_ideal
                    text = vocabulary.build_prompt_suffix(place.key, captures)
                    said.setdefault((place.vocabulary, place.key), text)
        return HINTS_HEADER + "\n\n".join(said.values()) if said else ""

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the values, for models that are held to one; without our own keys."""
        schema: dict[str, Any] = _without_own_keys(self.model.model_json_schema())
        return schema

    def has_field(self, path: Sequence[str]) -> bool:
        """Whether a value may have such a field. What cannot be known is true."""
        model: Any = self.model
        for name in path:
            if not (isinstance(model, type) and issubclass(model, BaseModel)):
                return True
            if name not in model.model_fields:
                return hasattr(model, name) or model.model_config.get("extra") == "allow"
            model = _bare(model.model_fields[name].annotation)
        return True


def model_schema(
    model: type[BaseModel], vocabularies: Mapping[str, Vocabulary] | None = None, owner: str | None = None
) -> Schema:
    """Return the schema of a model that somebody wrote.

    Args:
        model: of pydantic.
        vocabularies: of the pipeline, by name.
        owner: the step's name: vocabularies that stand in the model are named ``OWNER.field``.

    Raises:
        SchemaRefError: a field names a vocabulary that is not there.
    """
    looking = _Looking({} if vocabularies is None else vocabularies, model.__name__ if owner is None else owner)
    looking.record(model, "")
    names = dict.fromkeys(place.vocabulary for record in looking.records.values() for place in record.places)
    return Schema(model, model_to_schema_hint(model), tuple(names), looking.own, looking.records)


def map_schema(
    name: str, fields: Mapping[Any, Any], vocabularies: Mapping[str, Vocabulary], owner: str | None = None
) -> Schema:
    """Return the schema of a map in a file.

    Args:
        name: of the class that is made.
        fields: types by name, short or rich.
        vocabularies: of the pipeline, by name.
        owner: the step's name: vocabularies that stand in a field are named ``OWNER.field``, and are in ``own``.

    Raises:
        SchemaRefError: a type is none, or a name cannot be one; ``key_path`` says where in the map, ``problems`` has
            all that is wrong.
    """
    model, odd = model_of_map(name, fields, vocabularies)
    return replace(model_schema(model, vocabularies, owner), odd=odd, is_users=False)


class _Looking:
    """Looks for vocabularies in the fields of models, each model once: models may contain themselves."""

    def __init__(self, vocabularies: Mapping[str, Vocabulary], owner: str) -> None:
        self.vocabularies = vocabularies
        self.owner = owner
        self.own: dict[str, Vocabulary] = {}
        self.records: dict[type[BaseModel], _Record] = {}

    def record(self, model: type[BaseModel], path: str) -> None:
        if model in self.records:
            return
        places: list[VocabPlace] = []
        inner: dict[str, Sequence[type[BaseModel]]] = {}
        keys = {key: name for name, field in model.model_fields.items() for key in _keys(name, field)}
        self.records[model] = _Record(places, inner, frozenset(keys))
        for key, name in keys.items():
            field = model.model_fields[name]
            place = f"{path}.{name}" if path else name
            extra = field.json_schema_extra
            if isinstance(extra, Mapping) and (found := self.named(extra, place)):
                captures = True if extra.get("_pyconveyor_capture_ideal") else None
                places.append(VocabPlace(key, found, captures))
            models = tuple(_models_in(field.annotation))
            if models:
                inner[key] = models
            for one in models:
                self.record(one, place)

    def named(self, extra: Mapping[str, Any], place: str) -> str | None:
        """Return the name of a field's vocabulary."""
        reference, vocabulary = extra.get("_pyconveyor_vocab_ref"), extra.get("_pyconveyor_vocab")
        if isinstance(reference, str):
            if reference not in self.vocabularies:
                raise vocabulary_not_found(reference, self.vocabularies, place)
            vocabulary = self.vocabularies[reference]
        if not isinstance(vocabulary, Vocabulary):
            return None
        for name, known in (*self.vocabularies.items(), *self.own.items()):
            if known is vocabulary:
                return name
        self.own[f"{self.owner}.{place}"] = vocabulary
        return f"{self.owner}.{place}"


class _Reading:
    """One answer being taken to the terms of vocabularies. Makes new maps and lists; the answer stays as it is."""

    def __init__(self, records: Mapping[type[BaseModel], _Record], vocabularies: Mapping[str, Vocabulary]) -> None:
        self.records = records
        self.vocabularies = vocabularies
        self.suggestions: list[VocabSuggestion] = []
        self.warnings: list[str] = []

    def record(self, model: type[BaseModel], data: Any, path: str) -> Any:
        record = self.records[model]
        if not isinstance(data, Mapping) or not (record.places or record.inner):
            return data
        read = dict(data)
        places = {place.key: place for place in record.places}
        for key in data:
            at = f"{path}.{key}" if path else key
            if key in places:
                read[key] = self.field(places[key], record, read, at)
            for inner in record.inner.get(key, ()):
                read[key] = self.inner(inner, read[key], at)
        return read

    def inner(self, model: type[BaseModel], data: Any, path: str) -> Any:
        """Take records in a field, in a list or in a map to their terms."""
        if isinstance(data, list):
            return [self.inner(model, item, f"{path}[{index}]") for index, item in enumerate(data)]
        if not isinstance(data, Mapping):
            return data
        if (
            data
            and not self.records[model].keys & set(data)
            and all(isinstance(item, Mapping) for item in data.values())
        ):
            return {key: self.record(model, item, f"{path}.{key}") for key, item in data.items()}
        return self.record(model, data, path)

    def field(self, place: VocabPlace, record: _Record, read: dict[str, Any], path: str) -> Any:
        vocabulary = self.vocabularies.get(place.vocabulary)
        value = read[place.key]
        if vocabulary is None:
            return value
        captures = vocabulary.capture_ideal if place.capture_ideal is None else place.capture_ideal
        ideal = _take_ideal(read, record.keys, (place.key, vocabulary.label)) if captures else None
        if isinstance(value, dict):
            return {key: self.term(item, place, vocabulary, f"{path}.{key}", None) for key, item in value.items()}
        if not isinstance(value, list):
            return self.term(value, place, vocabulary, path, ideal)
        ideals = ideal if isinstance(ideal, list) and len(ideal) == len(value) else [None] * len(value)
        return [self.term(item, place, vocabulary, path, own) for item, own in zip(value, ideals, strict=True)]

    def term(self, value: Any, place: VocabPlace, vocabulary: Vocabulary, path: str, ideal: Any) -> Any:
        if not isinstance(value, str) or not value.strip():
            return value
        stored, _, _, found = apply_vocab(value, vocabulary, path, ideal if isinstance(ideal, str) else None)
        if found is not None:
            self.suggestions.append(
                VocabSuggestion(
                    found.field_name,
                    found.raw_value,
                    found.matched_to,
                    found.match_type,
                    found.ideal_value,
                    found.vocab_label,
                    place.vocabulary,
                )
            )
        elif vocabulary.denies(value):
            self.warnings.append(f"{path}: {value!r:.80} is excluded from the vocabulary {vocabulary.label!r}")
        return stored


def _take_ideal(read: dict[str, Any], fields: frozenset[str], names: Sequence[str]) -> Any:
    """Take what the model would rather have said out of an answer; only if the schema has no such field itself."""
    found = None
    for name in names:
        key = f"{name}_ideal"
        if key in read and key not in fields:
            found = read.pop(key) if found is None else found
    return found


def _without_own_keys(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_own_keys(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _without_own_keys(part) for key, part in schema.items() if not str(key).startswith("_pyconveyor_")}


def _keys(name: str, field: Any) -> list[str]:
    """Return what a field may be called in an answer."""
    names = [name, field.alias, field.validation_alias]
    return list(dict.fromkeys(key for key in names if isinstance(key, str)))


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found: list[type[BaseModel]] = []
    for part in get_args(annotation):
        found.extend(model for model in _models_in(part) if model not in found)
    return found


def _bare(annotation: Any) -> Any:
    """Return the one type of a field that may be null, too."""
    kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
    return kinds[0] if len(kinds) == 1 and type(None) in get_args(annotation) else annotation


def _in_words(model: type[BaseModel], error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [f"{place_of(problem['loc']) or 'the answer'}: {problem['msg']}" for problem in problems]
    return f"the answer is no {model.__name__}: " + "; ".join(lines)


def place_of(location: Sequence[int | str]) -> str:
    """Return where in an answer something is: ``entries[0].n``; empty: it is the answer as a whole."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
