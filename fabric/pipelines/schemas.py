"""What an answer has to be: a model of pydantic, of the user's or made of a map in the pipeline's file.

The public functions for maps are those of ``schema_builder``.
"""

from __future__ import annotations

__all__ = ["Schema", "Validated", "map_schema", "model_schema"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from fabric.pipelines.results import VocabSuggestion
from fabric.pipelines.vocab import Vocabulary


@dataclass(frozen=True)
class Validated:
    """An answer that is what it should be."""

    value: BaseModel
    suggestions: Sequence[VocabSuggestion] = ()
    warnings: Sequence[str] = ()


class Schema:
    """A schema.

    Attributes:
        model: class of the values.
        hint: what a prompt says of it.
        vocabularies: names of those that its fields use, in the order of the fields.
    """

    model: type[BaseModel]
    hint: str
    vocabularies: tuple[str, ...]

    def validate(self, parsed: Any, vocabularies: Mapping[str, Vocabulary]) -> Validated:
        """Return the value of an answer. ``parsed`` is not changed.

        Args:
            parsed: the answer, as it was read.
            vocabularies: as they are in this run, by name.

        Raises:
            SchemaValidationError: it is not what it should be; ``validation_error`` says each place.
        """
        raise NotImplementedError

    def has_field(self, path: Sequence[str]) -> bool:
        """Whether a value may have such a field. What cannot be known is true."""
        raise NotImplementedError


def model_schema(model: type[BaseModel]) -> Schema:
    """Return the schema of a model that somebody wrote."""
    raise NotImplementedError


def map_schema(name: str, fields: Mapping[Any, Any], vocabularies: Mapping[str, Vocabulary]) -> Schema:
    """Return the schema of a map in a file.

    Args:
        name: of the class that is made.
        fields: types by name, short or rich.
        vocabularies: of the pipeline; those that stand in a field are named ``STEP.field`` and added by the caller.

    Raises:
        SchemaRefError: a type is none, or a name cannot be one; ``key_path`` says where in the map.
    """
    raise NotImplementedError
