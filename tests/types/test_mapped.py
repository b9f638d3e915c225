"""Types of the language as Python types."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from typing import Any, Union
from zlib import crc32

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

import fabric
from fabric.errors import ConfigError, ValueRejected
from fabric.lang.source import Source
from fabric.lang.types import is_disjoint
from fabric.types import from_python, input_type, map_type, output_type
from fabric.wire.payload import (
    BOOL,
    INT,
    JSON,
    NUMBER,
    STRING,
    UNIT,
    Alias,
    Field,
    ListOf,
    Prim,
    Product,
    Record,
    Sum,
    Type,
    encode_json,
    to_plain,
    validator,
)


def data(type_: Type) -> dict[str, Any]:
    return to_plain(type_)


def record(**fields: Type) -> Record:
    """A record; a name that ends in an underscore is optional."""
    return Record(tuple(Field(name.rstrip("_"), type_, name.endswith("_")) for name, type_ in fields.items()))


DRAFT = Alias("Draft", record(title=STRING, mark_=INT))


@pytest.mark.parametrize(
    ("type_", "python"),
    [
        (STRING, str),
        (INT, int),
        (NUMBER, float),
        (BOOL, bool),
        (JSON, Any),
        (UNIT, type(None)),
        (ListOf(INT), list[int]),
        (Sum((STRING, INT)), Union[str, int]),  # noqa: UP007
        (Sum((INT, UNIT)), int | None),
        (Product((INT, ListOf(STRING))), tuple[int, list[str]]),
        (Alias("Score", INT), int),
    ],
    ids=str,
)
def test_types_without_records_are_plain_python_types(type_: Type, python: Any):
    """As the page's table has them."""
    assert map_type(data(type_)) == python
    assert map_type({"kind": "stream", "item": data(type_)}) == python


def test_a_record_is_a_model_of_its_name():
    """The same class each time, so that isinstance works over several calls."""
    draft = map_type(data(DRAFT))
    assert issubclass(draft, BaseModel)
    assert draft.__name__ == "Draft"
    assert draft(title="a").title == "a"
    assert map_type(data(ListOf(DRAFT))) == list[draft]
    assert map_type(data(DRAFT)) is draft
    assert map_type(data(Alias("Mod.Draft", DRAFT))) is draft
    assert map_type(data(DRAFT), strict=True) is draft
    assert map_type(data(record(of=DRAFT))).model_fields["of"].annotation is draft


def test_several_ports_are_a_tuple():
    """In the order of the signature."""
    ports = {"kind": "product", "items": [{"kind": "stream", "item": data(each)} for each in (INT, STRING)]}
    assert map_type(ports) == tuple[int, str]


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (record(a=INT), {"a": True}),
        (record(a=INT), {"a": "1"}),
        (record(a=INT), {"a": 1.5}),
        (record(a=INT), {"a": 1e300}),
        (record(a=NUMBER), {"a": "1"}),
        (record(a=NUMBER), {"a": False}),
        (record(a=BOOL), {"a": 1}),
        (record(a=STRING), {"a": 1}),
        (record(a=INT), {"a": 1, "b": 2}),
        (record(a=INT), {}),
        (record(a_=INT), {"a": None}),
        (record(a=ListOf(INT)), {"a": ["1"]}),
        (record(a=Product((INT, INT))), {"a": [1, 2, 3]}),
    ],
    ids=str,
)
def test_a_model_refuses_what_the_program_refuses(type_: Type, value: Any):
    """Pydantic alone would convert most of these."""
    with pytest.raises(ValueRejected):
        validator(type_).coerce(value)
    with pytest.raises(ValidationError):
        map_type(data(type_)).model_validate(value)


def test_a_whole_number_is_taken_for_an_int_and_integers_keep_their_digits():
    """As on the wire."""
    found = map_type(data(record(a=INT, b=NUMBER, c=NUMBER)))(a=3.0, b=10**30 + 1, c=2.5)
    assert (found.a, type(found.a), found.b, found.c) == (3, int, 10**30 + 1, 2.5)
    assert found.model_dump_json() == '{"a":3,"b":1000000000000000000000000000001,"c":2.5}'


def test_a_field_that_is_absent_is_none_and_is_not_written():
    """Null is not absence: a message with null would be refused."""
    draft = map_type(data(DRAFT))
    found = draft(title="a")
    assert found.mark is None
    assert found.model_dump() == {"title": "a"}
    assert TypeAdapter(list[draft]).dump_json([found]) == b'[{"title":"a"}]'
    assert map_type(data(record(inner_=DRAFT)))().model_dump() == {}
    found.mark = 2
    assert found.model_dump() == {"title": "a", "mark": 2}
    with pytest.raises(ValidationError):
        found.mark = None


NAMES = "class None copy json schema self cls data model_config model_fields model_dump model_x _x __x f_x class_ _"


def test_every_name_of_a_field_works():
    """Words of Python and of pydantic get another attribute, and keep their name in JSON."""
    fields = Record(tuple(Field(name, INT) for name in NAMES.split()))
    model = map_type(data(fields))
    values = {field.name: number for number, field in enumerate(fields.fields)}
    found = model(**values)
    assert found.model_dump() == values
    assert found.model_dump(by_alias=False) == values
    assert found.class__ == values["class"]
    assert found.copy_ == values["copy"]
    assert from_python(model) == fields


def test_the_json_schema_of_a_model_is_that_of_its_record():
    """For messages in both directions."""
    model = map_type(data(Alias("Draft", record(title=STRING, mark_=INT, rate=NUMBER))))
    for mode in ("validation", "serialization"):
        schema = model.model_json_schema(mode=mode)
        assert schema["required"] == ["title", "rate"]
        assert schema["properties"]["mark"] == {"title": "Mark", "type": "integer"}
        assert schema["properties"]["rate"] == {"title": "Rate", "type": "number"}
        assert schema["additionalProperties"] is False


@pytest.mark.parametrize(
    "wrong", [{}, {"kind": "nothing"}, {"kind": "prim", "name": "date"}, {"kind": "list"}, {"kind": "stream"}]
)
def test_what_is_no_type_is_said_to_be_none(wrong: dict[str, Any]):
    """Instead of an error of the decoder."""
    with pytest.raises(ConfigError, match="this is no type of the language"):
        map_type(wrong)


def test_the_types_of_a_program_are_those_of_its_main_binding():
    """Not of the first one."""
    text = """
        type Draft = { title: string }
        let other : !int -> !int = id
        let main : !(string | int) -> !Draft = worker { command: ["x"] }
    """
    result = fabric.check(Source("main.plumb", text))
    assert input_type(result) == str | int
    assert output_type(result).__name__ == "Draft"


def test_pydantic_is_loaded_when_a_type_is_mapped():
    """It takes longer to load than a small program to check."""
    code = "import sys, fabric.types as t; t.from_python(list[int]); print('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"False\n"


@pytest.mark.processes
def test_a_model_is_a_message_and_a_message_is_a_model():
    """What a program takes and gives, in the types that it says."""
    text = """
        type Draft = { title: string, mark?: int }
        let main : !Draft -> !{ class: string, of: [Draft] } = map({ class: title, of: [value] })
    """
    program = Source("main.plumb", text)
    result = fabric.check(program)
    draft = input_type(result)(title="a")
    (answer,) = fabric.call_sync(program, draft)
    found = output_type(result).model_validate(answer)
    assert (found.class_, found.of) == ("a", [draft])


# --- Properties ---------------------------------------------------------------------------------------------------

NAMES_OF_FIELDS = st.sampled_from(["a", "b", "class", "copy", "_x", "model_dump"])


def larger(types: st.SearchStrategy[Type]) -> st.SearchStrategy[Type]:
    fields = st.dictionaries(NAMES_OF_FIELDS, st.tuples(types, st.booleans()), max_size=3)
    records = fields.map(lambda found: Record(tuple(Field(name, *of) for name, of in found.items())))
    products = st.lists(types, min_size=2, max_size=3).map(lambda items: Product(tuple(items)))
    sums = st.lists(types.filter(lambda t: not isinstance(t, Sum)), min_size=2, max_size=3).filter(can_be_told_apart)
    named = records.flatmap(lambda of: st.just(of) | st.just(Alias(f"T{crc32(encode_json(of))}", of)))
    return named | types.map(ListOf) | products | sums.map(lambda variants: Sum(tuple(variants)))


def can_be_told_apart(variants: list[Type]) -> bool:
    return all(is_disjoint(a, b) for i, a in enumerate(variants) for b in variants[:i])


TYPES = st.recursive(st.sampled_from([BOOL, INT, NUMBER, STRING, UNIT, JSON]), larger, max_leaves=6)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([3.0, -0.0, 2.0**53, 2.0**53 + 2, 10**400, "1", "true", ""])
)
ANYTHING = st.recursive(
    SCALARS, lambda of: st.lists(of, max_size=3) | st.dictionaries(NAMES_OF_FIELDS, of, max_size=3), max_leaves=4
)


@st.composite
def values(draw: st.DrawFn, type_: Type) -> Any:
    """A value of a type, with something else in some place now and then."""
    if draw(st.integers(0, 15)) == 0:
        return draw(ANYTHING)
    match type_:
        case Alias(_, of):
            return draw(values(of))
        case Record(fields):
            kept = [field for field in fields if not field.optional or draw(st.booleans())]
            return {field.name: draw(values(field.type)) for field in kept}
        case ListOf(item):
            return draw(st.lists(values(item), max_size=3))
        case Product(items):
            return [draw(values(item)) for item in items]
        case Sum(variants):
            return draw(values(draw(st.sampled_from(variants))))
        case Prim(name):
            return draw(PRIMITIVES[name])


PRIMITIVES = {
    "string": st.text(max_size=3),
    "int": st.integers() | st.integers(-9, 9).map(float),
    "number": st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    "bool": st.booleans(),
    "unit": st.none(),
    "json": ANYTHING,
}


@given(st.data(), TYPES)
def test_pydantic_accepts_what_the_fabric_accepts(drawn: st.DataObject, type_: Type):
    """And what it dumps is accepted again, as the same value."""
    value = drawn.draw(values(type_))
    adapter = TypeAdapter(map_type(data(type_), strict=True))
    try:
        accepted = validator(type_).coerce(value)
    except ValueRejected:
        with pytest.raises(ValidationError):
            adapter.validate_python(value)
        return
    dumped = msgspec.to_builtins(adapter.dump_python(adapter.validate_python(value)))
    assert to_plain(validator(type_).coerce(to_plain(dumped))) == to_plain(accepted)


@given(TYPES)
def test_the_way_there_and_back_gives_the_same_type(type_: Type):
    """With the names of records."""
    assert from_python(map_type(data(type_), strict=True)) == type_
    assert from_python(map_type(data(type_))) == type_


@given(st.data(), TYPES)
def test_a_model_reads_the_bytes_of_a_message(drawn: st.DataObject, type_: Type):
    """As a worker would."""
    value = drawn.draw(values(type_))
    try:
        payload = encode_json(validator(type_).coerce(value))
    except ValueRejected:
        return
    TypeAdapter(map_type(data(type_), strict=True)).validate_json(payload)


def test_models_can_be_pickled():
    """With what is in them, absent fields, and names that the language has and Python does not."""
    inner = Record((Field("class", STRING), Field("may", INT, True)))
    model = map_type(
        to_plain(Alias("Outer", Record((Field("items", ListOf(Alias("Inner", inner))), Field("u", inner)))))
    )
    value = model.model_validate({"items": [{"class": "a"}, {"class": "b", "may": 2}], "u": {"class": "c"}})
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        other = pickle.loads(pickle.dumps(value, protocol))
        assert other == value
        assert type(other) is model
        assert other.model_dump(mode="json") == value.model_dump(mode="json")
        assert [one.model_fields_set for one in other.items] == [{"class_"}, {"class_", "may"}]
    assert copy.deepcopy(value) == value


def test_models_can_be_pickled_for_a_process_that_has_not_made_them():
    """It makes them of what is in the pickle."""
    model = map_type(to_plain(Alias("Point", Record((Field("x", INT), Field("y", INT))))))
    text = "import pickle, sys; value = pickle.load(sys.stdin.buffer); print(type(value).__name__, value.x, value.y)"
    done = subprocess.run(
        [sys.executable, "-c", text], input=pickle.dumps(model(x=1, y=2)), capture_output=True, check=False, timeout=60
    )
    assert (done.stdout, done.stderr) == (b"Point 1 2\n", b"")


class Subclass(map_type(to_plain(Record((Field("x", INT),))))):  # type: ignore[misc]
    """A user's."""


def test_what_is_made_of_a_model_is_pickled_as_itself():
    """As any class of a module."""
    other = pickle.loads(pickle.dumps(Subclass(x=1)))
    assert (type(other), other.x) == (Subclass, 1)


@pytest.mark.parametrize("read", [input_type, output_type])
def test_what_is_no_result_of_a_check_is_refused(read: Any):
    """In words that say what is wanted."""
    with pytest.raises(TypeError, match=r"the result of fabric\.check"):
        read(None)
