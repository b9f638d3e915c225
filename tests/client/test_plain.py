"""What callers send, as JSON: as the type says that is derived of its class."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pydantic
import pytest

from fabric.client.preparing import read_input
from fabric.errors import PipelineError
from fabric.types import from_python
from fabric.wire.payload import JSON


@pydantic.dataclasses.dataclass
class Aliased:
    a: int = pydantic.Field(alias="b")


class Model(pydantic.BaseModel):
    a: int = pydantic.Field(alias="b")


@dataclasses.dataclass(frozen=True, slots=True)
class Plain:
    inner: Aliased
    models: list[Model]


class Struct(msgspec.Struct, frozen=True, rename="camel"):
    the_inner: Aliased
    count: int = 0


ALIASED, MODEL = Aliased(b=1), Model(b=2)


@pytest.mark.parametrize(
    ("value", "type_", "json"),
    [
        (ALIASED, Aliased, b'{"b":1}'),
        (MODEL, Model, b'{"b":2}'),
        ([ALIASED, ALIASED], list[Aliased], b'[{"b":1},{"b":1}]'),
        (Plain(ALIASED, [MODEL]), Plain, b'{"inner":{"b":1},"models":[{"b":2}]}'),
        (Struct(ALIASED), Struct, b'{"theInner":{"b":1},"count":0}'),
        ({"x": (ALIASED, 1.5, None)}, dict, b'{"x":[{"b":1},1.5,null]}'),
    ],
    ids=str,
)
def test_what_is_of_pydantic_is_sent_as_its_type_says(value: Any, type_: Any, json: bytes):
    """By alias, wherever it stands; what holds it is as ever, and not changed."""
    before = repr(value)
    for wanted in (from_python(type_), JSON):
        assert read_input({"input": wanted}, value, None) == ("input", json)
    assert repr(value) == before


def test_what_holds_itself_is_refused():
    """And does not run forever."""
    value: list[Any] = []
    value.append(value)
    with pytest.raises(PipelineError, match="input: JSON cannot say that"):
        read_input({"input": JSON}, value, None)
