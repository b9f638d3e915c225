"""What annotations make of an argument, and when they do not fit what a program declares."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import json
import typing
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.errors import ConfigError, ValueRejected
from fabric.wire.payload import (
    INT,
    JSON,
    NUMBER,
    STRING,
    UNIT,
    Alias,
    Field,
    ListOf,
    Product,
    Record,
    Sum,
    Type,
    decode_json,
    encode_json,
)
from fabric.wire.spec import WorkerSpec
from fabric.worker.function import make_function, to_plain

if TYPE_CHECKING:
    from nowhere import Unknown

LINE = Alias("Line", Record((Field("sku", STRING), Field("count", INT))))
NOTED = Record((Field("id", INT), Field("note", STRING, optional=True)))
REDO = Sum((Record((Field("fix", STRING),)), Record((Field("mark", INT), Field("hint", STRING)))))


@dataclasses.dataclass
class Line:
    sku: str
    count: int


class LineStruct(msgspec.Struct):
    sku: str
    count: int


class LineDict(TypedDict):
    sku: str
    count: int


class LineModel(pydantic.BaseModel):
    sku: str
    count: int


@dataclasses.dataclass
class Noted:
    id: int
    note: str | None = None


class Forgotten:
    """Has no method to be called by."""

    def __init__(self) -> None:
        self.sum = 0


class NotedStruct(msgspec.Struct):
    id: int
    note: str | None = None


class NotedModel(pydantic.BaseModel):
    id: int
    note: str | None = None


class NulledDict(TypedDict):
    id: int
    note: NotRequired[str | None]


class NotedDict(TypedDict):
    id: int
    note: NotRequired[str]


@dataclasses.dataclass
class Fix:
    fix: str


@dataclasses.dataclass
class Mark:
    mark: int
    hint: str


@dataclasses.dataclass
class WithDefault:
    sku: str
    count: int = 0


class Limited(pydantic.BaseModel):
    sku: str
    count: int = pydantic.Field(ge=1)


class Colour(enum.Enum):
    RED = "red"


def spec(input_: Type = JSON, output: Type = JSON) -> WorkerSpec:
    return WorkerSpec("f", "python", input_, output, config={"call": "mine:f"})


def taking(annotation: Any) -> Any:
    def f(value):
        return value

    f.__annotations__ = {"value": annotation}
    return f


def giving(annotation: Any) -> Any:
    def f(value):
        return value

    f.__annotations__ = {"return": annotation}
    return f


def refusal(function: Any, input_: Type = JSON, output: Type = JSON) -> str:
    """Return what is said, without whose function it is."""
    with pytest.raises(ConfigError) as raised:
        make_function(function, spec(input_, output))
    text = str(raised.value)
    assert text.startswith("worker 'f': mine:f: ")
    return text.removeprefix("worker 'f': mine:f: ")


# --- arguments ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "annotation", "text", "value"),
    [
        (LINE, Line, '{"sku":"a","count":2}', Line("a", 2)),
        (LINE, LineStruct, '{"sku":"a","count":2}', LineStruct("a", 2)),
        (LINE, LineModel, '{"sku":"a","count":2}', LineModel(sku="a", count=2)),
        (LINE, LineDict, '{"sku":"a","count":2}', {"sku": "a", "count": 2}),
        (LINE, dict, '{"sku":"a","count":2}', {"sku": "a", "count": 2}),
        (LINE, WithDefault, '{"sku":"a","count":2}', WithDefault("a", 2)),
        (ListOf(LINE), list[Line], '[{"sku":"a","count":2}]', [Line("a", 2)]),
        (ListOf(LINE), list[LineModel], '[{"sku":"a","count":2}]', [LineModel(sku="a", count=2)]),
        (Product((INT, LINE)), tuple[int, Line], '[1,{"sku":"a","count":2}]', (1, Line("a", 2))),
        (NOTED, Noted, '{"id":1}', Noted(1)),
        (NOTED, NotedDict, '{"id":1,"note":"x"}', {"id": 1, "note": "x"}),
        (REDO, Fix | Mark, '{"fix":"x"}', Fix("x")),
        (REDO, Fix | Mark, '{"mark":3,"hint":"x"}', Mark(3, "x")),
        (ListOf(REDO), list[Fix | Mark], '[{"fix":"x"},{"mark":3,"hint":"x"}]', [Fix("x"), Mark(3, "x")]),
        (Sum((STRING, LINE)), str | Line, '"x"', "x"),
        (INT, float, "3", 3.0),
        (NUMBER, int | float, "3", 3),
        (STRING, str, '"x"', "x"),
        (UNIT, None, "null", None),
        (JSON, Line, '{"sku":"a","count":2}', Line("a", 2)),
        (JSON, Any, '{"a":[1]}', {"a": [1]}),
        (JSON, dict[str, int], '{"a":1}', {"a": 1}),
        (LINE, dict[str, int | str], '{"sku":"a","count":2}', {"sku": "a", "count": 2}),
        (ListOf(JSON), list[dict[str, Line]], '[{"a":{"sku":"a","count":2}}]', [{"a": Line("a", 2)}]),
        (JSON, Colour, '"red"', Colour.RED),
        (LINE, typing.Dict, '{"sku":"a","count":2}', {"sku": "a", "count": 2}),  # noqa: UP006
        (JSON, typing.Mapping, '{"a":1}', {"a": 1}),
        (LINE, collections.abc.Mapping, '{"sku":"a","count":2}', {"sku": "a", "count": 2}),
        (ListOf(INT), typing.List, "[1]", [1]),  # noqa: UP006
        (ListOf(LINE), list[dict], '[{"sku":"a","count":2}]', [{"sku": "a", "count": 2}]),
        (Product((INT, LINE)), tuple[int, dict], '[1,{"sku":"a","count":2}]', (1, {"sku": "a", "count": 2})),
        (ListOf(LINE), tuple[dict, ...], '[{"sku":"a","count":2}]', ({"sku": "a", "count": 2},)),
        (Sum((STRING, LINE)), str | dict, '{"sku":"a","count":2}', {"sku": "a", "count": 2}),
        (Sum((STRING, LINE)), str | dict, '"x"', "x"),
        (REDO, dict, '{"fix":"x"}', {"fix": "x"}),
        (JSON, Literal["a", "b"], '"a"', "a"),
    ],
)
def test_an_argument_is_what_its_annotation_says(declared: Type, annotation: Any, text: str, value: Any):
    """A record is an instance of whichever class the user has for it."""
    made = make_function(taking(annotation), spec(declared)).read(text.encode())
    assert (made, type(made)) == (value, type(value))


@pytest.mark.parametrize("annotation", [str, int, bool, dict, list, Any, object, list[int], dict[str, Any], int | str])
def test_plain_annotations_cost_nothing(annotation: Any):
    """What is declared is read as it always was."""
    declared = {str: STRING, int: INT, list[int]: ListOf(INT), list: ListOf(INT), int | str: Sum((INT, STRING))}
    declared |= {bool: Alias("B", make_bool()), dict: LINE, dict[str, Any]: LINE}
    assert make_function(taking(annotation), spec(declared.get(annotation, JSON))).read is decode_json


def make_bool() -> Type:
    from fabric.wire.payload import BOOL

    return BOOL


def test_without_an_annotation_values_are_plain():
    """Also of what Python does not know the signature."""
    for function in (lambda value: value, str, max):
        assert make_function(function, spec(LINE)).read is decode_json


@pytest.mark.parametrize(
    ("declared", "annotation", "text", "said"),
    [
        (JSON, Line, '{"sku":"a"}', "expected object { sku: string, count: int }, got no field 'count'"),
        (
            JSON,
            Line,
            '{"sku":"a","count":1,"more":2}',
            "expected object { sku: string, count: int }, got unknown field 'more'",
        ),
        (JSON, list[int], '[1,"x"]', 'expected int, got string "x" at $[1]'),
        (JSON, str, "1", "expected string, got integer 1"),
        (JSON, dict, '"x"', "expected json, got what its annotation refuses: Expected `object`, got `str`"),
        (JSON, list[dict[str, Any]], "[1]", "expected [json], got what its annotation refuses: Expected `object`"),
        (STRING, Colour, '"blue"', "expected string, got what its annotation refuses: "),
        (
            JSON,
            dict[str, int],
            '{"a":"x"}',
            "expected json, got what its annotation refuses: Expected `int`, got `str`",
        ),
        (LINE, Limited, '{"sku":"a","count":0}', "expected Limited, got what its annotation refuses: "),
    ],
)
def test_what_the_annotation_refuses_is_told_in_the_words_of_the_language(
    declared: Type, annotation: Any, text: str, said: str
):
    """``json`` is looked at as it comes, and so is what types do not say."""
    read = make_function(taking(annotation), spec(declared)).read
    with pytest.raises(ValueRejected) as raised:
        read(text.encode())
    assert str(raised.value).startswith(said)


# --- refusals at the start ----------------------------------------------------------------------------------------


def test_a_parameter_of_another_type_is_refused():
    """Function, parameter, expected, got, and why."""
    assert refusal(taking(Line), Record((Field("sku", STRING), Field("count", STRING)))) == (
        "parameter 'value': expected { sku: string, count: string }, as the program declares, got Line, as it is"
        " annotated; field 'count' is string, expected int"
    )
    assert refusal(taking(int), STRING) == (
        "parameter 'value': expected string, as the program declares, got int, as it is annotated"
    )


@pytest.mark.parametrize("annotation", [dict, dict[str, int], typing.Dict, collections.abc.Mapping])  # noqa: UP006
def test_a_dict_is_an_object(annotation: Any):
    """Wherever something else is declared it is refused at the start."""
    said = "expected {}, as the program declares, got {}, as it is annotated"
    assert said.format("string", "dict") in refusal(taking(annotation), STRING)
    assert said.format("string", "dict") in refusal(giving(annotation), output=STRING)
    assert said.format("[string]", "[dict]") in refusal(taking(list[annotation]), ListOf(STRING))
    assert said.format("string | int", "dict") in refusal(giving(annotation), output=Sum((STRING, INT)))
    assert "expected string | Line" in refusal(taking(annotation), Sum((STRING, LINE)))
    make_function(giving(annotation), spec(output=Sum((STRING, LINE))))


def test_two_types_of_one_name_are_shown_as_what_they_are():
    """The names alone would say nothing."""
    assert refusal(taking(Line), Alias("Line", Record((Field("sku", STRING),)))).startswith(
        "parameter 'value': expected { sku: string }, as the program declares, got { sku: string, count: int }, as"
    )


def test_a_result_of_another_type_is_refused():
    """As with parameters."""
    assert refusal(giving(str), output=INT) == (
        "its result: expected int, as the program declares, got string, as it is annotated"
    )


@pytest.mark.parametrize(
    ("annotation", "declared"),
    [
        (int, NUMBER),
        (int, JSON),
        (int, INT),
        (Any, INT),
        (int | None, INT),
        (None, INT),
        (None, UNIT),
        (int | None, Sum((INT, UNIT))),
        (dict[str, int], JSON),
        (dict[str, Any], LINE),
        (WithDefault, LINE),
        (LineModel, LINE),
        (list[Line], ListOf(LINE)),
        (Fix | Mark | None, REDO),
    ],
)
def test_results_that_fit(annotation: Any, declared: Type):
    """A field with a default is written; ``None`` beside others is no output."""
    make_function(giving(annotation), spec(output=declared))


@pytest.mark.parametrize("class_", [Noted, NotedStruct, NotedModel])
def test_none_of_a_class_fits_a_field_that_may_be_absent(class_: Any):
    """It is left out; so at any depth, and beside other classes. As an argument it is what is absent."""
    make_function(giving(class_), spec(output=NOTED))
    make_function(giving(list[class_]), spec(output=ListOf(NOTED)))
    make_function(giving(class_ | int), spec(output=Sum((NOTED, INT))))
    make_function(taking(class_), spec(input_=NOTED))
    required = Record(tuple(Field(field.name, field.type) for field in NOTED.fields))
    assert refusal(giving(class_), output=required).endswith("field 'note' is string | unit, expected string")


def test_none_of_a_typed_dict_is_null():
    """It is written as it is."""
    make_function(giving(NotedDict), spec(output=NOTED))
    assert refusal(giving(NulledDict), output=NOTED).endswith("field 'note' is string | unit, expected string")


class PartDict(TypedDict, total=False):
    sku: str
    count: int


class PartStruct(msgspec.Struct, omit_defaults=True):
    sku: str
    count: int = 0


class PartUnset(msgspec.Struct):
    sku: str
    count: int | msgspec.UnsetType = msgspec.UNSET


@dataclasses.dataclass
class Around:
    inner: PartStruct
    mark: int = 0


class DefaultStruct(msgspec.Struct):
    sku: str
    count: int = 0


@pytest.mark.parametrize("class_", [PartDict, PartStruct, PartUnset])
def test_a_field_that_may_be_left_out_is_no_required_one(class_: Any):
    """Some classes do not write all that they have."""
    words = "field 'count' may be absent, but Line requires it"
    assert words in refusal(giving(class_), output=LINE)
    assert words in refusal(giving(list[class_]), output=ListOf(LINE))
    optional = Record((Field("sku", STRING, optional=class_ is PartDict), Field("count", INT, optional=True)))
    make_function(giving(class_), spec(output=optional))
    make_function(giving(DefaultStruct), spec(output=LINE))


def test_so_it_is_in_a_class_within_a_class():
    """The outer one writes its own."""
    inner = Record((Field("sku", STRING), Field("count", INT)))
    said = refusal(giving(Around), output=Record((Field("inner", inner), Field("mark", INT))))
    assert "field 'inner' is PartStruct, expected { sku: string, count: int }" in said
    lax = Record((Field("sku", STRING), Field("count", INT, optional=True)))
    make_function(giving(Around), spec(output=Record((Field("inner", lax), Field("mark", INT)))))


async def numbers_later(value) -> AsyncIterator[int]:
    yield value


def numbers(value) -> Iterator[int]:
    yield value


async def number(value) -> int:
    return value


class Callable_:  # noqa: N801
    def __call__(self, value) -> int:
        return value


@pytest.mark.parametrize("function", [numbers, numbers_later, number, Callable_, Callable_()])
def test_what_is_yielded_or_awaited_is_compared(function: Any):
    """The item of an iterator, what a coroutine returns, what an object with ``__call__`` does."""
    make_function(function, spec(output=INT))
    assert refusal(function, output=STRING).startswith("its result: expected string")


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda: None, "it takes (), and is called with one value, the message"),
        (lambda a, b: None, "it takes (a, b), and is called with one value, the message"),
        (Forgotten, "it takes () -> None, and is called with one value, the message; a class that is a worker has"),
        (taking(set[int]), "parameter 'value': "),
        (giving(complex), "its result: "),
    ],
)
def test_what_cannot_be_called_with_a_message_is_refused(function: Any, said: str):
    """Before any message."""
    assert refusal(function).startswith(said)


def test_a_type_that_only_a_checker_knows_is_refused():
    """Its name says nothing when the program runs."""

    def f(value: Unknown):
        return value

    assert "name 'Unknown' is not defined" in refusal(f)


def test_an_annotation_that_cannot_be_read_is_refused():
    """With what Python says of it."""

    def attribute(value: list[json.Missing]):  # type: ignore[name-defined]
        return value

    def quoted(value: int | "Line"):  # noqa: UP037
        return value

    assert "AttributeError: module 'json' has no attribute 'Missing'" in refusal(attribute)
    assert "TypeError: unsupported operand" in refusal(quoted)
    assert "SyntaxError" in refusal(taking("a b"))


# --- results ------------------------------------------------------------------------------------------------------


def test_models_become_plain_values_at_any_depth():
    """Dataclasses, structs and models of pydantic."""
    value = {"a": [LineModel(sku="x", count=1), Line("y", 2)], "b": (LineStruct("z", 3),)}
    assert encode_json(to_plain(value)) == encode_json(
        {"a": [{"sku": "x", "count": 1}, {"sku": "y", "count": 2}], "b": [{"sku": "z", "count": 3}]}
    )
    with pytest.raises(TypeError, match="objects of type object are no JSON"):
        to_plain([object()])


@given(st.lists(st.builds(Line, st.text(), st.integers(-(2**62), 2**62))))
def test_there_and_back_it_is_the_same(lines: list[Line]):
    """A result read as an argument is equal to what it was."""
    read = make_function(taking(list[Line]), spec(ListOf(LINE))).read
    assert read(json.dumps(to_plain(lines)).encode()) == lines
