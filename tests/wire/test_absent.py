"""``None`` of a class is absence where the type knows no null."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pydantic
import pytest

from fabric.errors import ValueRejected
from fabric.wire.absent import encode_object
from fabric.wire.payload import INT, STRING, UNIT, Alias, Field, ListOf, Product, Record, Sum, Type, validator


@dataclasses.dataclass
class Noted:
    id: int
    note: str | None = None


class NotedStruct(msgspec.Struct):
    id: int
    said: str | None = msgspec.field(default=None, name="note")


class NotedModel(pydantic.BaseModel):
    id: int
    said: str | None = pydantic.Field(default=None, alias="note")


@dataclasses.dataclass
class Around:
    noted: Any


NOTED = Alias("Noted", Record((Field("id", INT), Field("note", STRING, optional=True))))
NULLED = Record((Field("id", INT), Field("note", Sum((STRING, UNIT)), optional=True)))
OTHER = Record((Field("other", INT),))
OBJECTS = [Noted(1), NotedStruct(1), NotedModel(id=1)]


def written(type_: Type, value: Any) -> str:
    """Return the JSON text of a value, models in it made plain as the callers of it do."""
    plain = msgspec.to_builtins(value, enc_hook=lambda model: model.model_dump(by_alias=True))
    return encode_object(validator(type_), plain, value).decode()


@pytest.mark.parametrize("value", OBJECTS, ids=lambda value: type(value).__name__)
def test_none_of_a_class_is_left_out_where_the_type_knows_no_null(value: Any):
    """At any depth, and in the variant that it is of; where null is a value, it is written."""
    assert written(NOTED, value) == '{"id":1}'
    assert written(ListOf(NOTED), [value, {"id": 2}]) == '[{"id":1},{"id":2}]'
    assert written(Product((INT, NOTED)), (3, value)) == '[3,{"id":1}]'
    assert written(Record((Field("noted", NOTED),)), Around(value)) == '{"noted":{"id":1}}'
    assert written(Record((Field("noted", NOTED),)), {"noted": value}) == '{"noted":{"id":1}}'
    assert written(Sum((OTHER, NOTED)), value) == '{"id":1}'
    assert written(NULLED, value) == '{"id":1,"note":null}'


@pytest.mark.parametrize("value", [{"id": 1, "note": None}, Around({"id": 1, "note": None})])
def test_null_of_a_dict_is_null(value: Any):
    """It was written there."""
    type_ = NOTED if isinstance(value, dict) else Record((Field("noted", NOTED),))
    with pytest.raises(ValueRejected, match="expected string, got null"):
        written(type_, value)


@pytest.mark.parametrize("value", OBJECTS, ids=lambda value: type(value).__name__)
def test_none_in_a_field_that_has_to_be_there_is_refused(value: Any):
    """It is no absence: that would be refused, too."""
    with pytest.raises(ValueRejected, match="expected string, got null"):
        written(Record((Field("id", INT), Field("note", STRING))), value)
