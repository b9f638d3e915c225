"""Python types as types of the language."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Callable, Mapping, Sequence
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    Required,
    TypedDict,
    TypeVar,
    Union,
)

import msgspec
import pydantic
import pytest

from fabric.errors import ConfigError
from fabric.types import from_python
from fabric.wire.payload import Alias, resolve, show


class Verdict(pydantic.BaseModel):
    verdict: bool
    commentary: str | None = None
    why: list[str] = pydantic.Field(alias="because")
    _kept: int = 0
    kind_of: ClassVar[str] = "model"


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.0
    tags: list[str] = dataclasses.field(default_factory=list)


class Named(msgspec.Struct, rename="camel"):
    some_name: str
    mark: int | msgspec.UnsetType = msgspec.UNSET


class Tagged(msgspec.Struct, tag="tagged", tag_field="what"):
    a: int


class Options(TypedDict, total=False):
    must: Required[int]
    may: NotRequired[Annotated[str, "a note"]]
    might: bool


@pydantic.dataclasses.dataclass
class Checked:
    a: int
    b: str = pydantic.Field(alias="bee", default="")


class Items(pydantic.RootModel[list[int]]):
    pass


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Outer(pydantic.BaseModel):
    verdict: Verdict
    points: list[Point]


@pytest.mark.parametrize(
    ("python", "shown"),
    [
        (str, "string"),
        (int, "int"),
        (float, "number"),
        (bool, "bool"),
        (None, "unit"),
        (type(None), "unit"),
        (dict, "json"),
        (Any, "json"),
        (object, "json"),
        (dict[str, Any], "json"),
        (Mapping[str, object], "json"),
        (pydantic.JsonValue, "json"),
        (list, "[json]"),
        (list[int], "[int]"),
        (Sequence[list[str]], "[[string]]"),
        (tuple[int, ...], "[int]"),
        (tuple[int, str], "(int, string)"),
        (Optional[int], "int | unit"),  # noqa: UP045
        (Union[int, str], "int | string"),  # noqa: UP007
        (int | str | None, "int | string | unit"),
        (Literal["a", "b"], "string"),
        (Literal["a", 1, None], "string | int | unit"),
        (Annotated[int, "a note"], "int"),
        (pydantic.PositiveInt, "int"),
        (NewType("Score", int), "int"),
        (Color, "string"),
        (int | float, "number"),
        (dict | None, "json"),
        (list[int] | list[float], "[number]"),
        (list[Annotated[int, 1] | None], "[int | unit]"),
    ],
    ids=str,
)
def test_a_python_type_is_the_smallest_type_of_its_values(python: Any, shown: str):
    """In the words of the language."""
    assert show(from_python(python)) == shown


@pytest.mark.parametrize(
    ("python", "shown"),
    [
        (Verdict, "{ verdict: bool, commentary?: string | unit, because: [string] }"),
        (Point, "{ x: int, y?: number, tags?: [string] }"),
        (Named, "{ someName: string, mark?: int }"),
        (Tagged, "{ what: string, a: int }"),
        (Options, "{ must: int, may?: string, might?: bool }"),
        (Checked, "{ a: int, bee?: string }"),
        (Outer, "{ verdict: Verdict, points: [Point] }"),
        (Items, "[int]"),
    ],
)
def test_a_class_becomes_a_type_of_its_name(python: Any, shown: str):
    """Fields are called as in JSON; those with a default may be absent."""
    type_ = from_python(python)
    assert isinstance(type_, Alias)
    assert type_.name == python.__name__
    assert show(resolve(type_)) == shown


class Node(pydantic.BaseModel):
    below: list[Node]


class Open(pydantic.BaseModel, extra="allow"):
    a: int


class Computed(pydantic.BaseModel):
    a: int

    @pydantic.computed_field
    @property
    def twice(self) -> int:
        return 2 * self.a


class Excluded(pydantic.BaseModel):
    a: int = pydantic.Field(exclude=True)


class Serialized(pydantic.BaseModel):
    a: int
    b: int

    @pydantic.field_serializer("b")
    def text(self, value: int) -> str:
        return str(value)


class SerializedAll(pydantic.BaseModel):
    a: int

    @pydantic.field_serializer("*")
    def text(self, value: int) -> str:
        return str(value)


class SerializedByNote(pydantic.BaseModel):
    a: Annotated[int, pydantic.PlainSerializer(str)]


class SerializedWhole(pydantic.BaseModel):
    a: int

    @pydantic.model_serializer
    def text(self) -> str:
        return str(self.a)


@pydantic.dataclasses.dataclass
class ExcludedHere:
    a: int = pydantic.Field(exclude=True)


class Reserved(pydantic.BaseModel):
    type: str


class TwoNames(pydantic.BaseModel):
    a: int = pydantic.Field(validation_alias="b")


class Deep(pydantic.BaseModel):
    tags: list[set[str]]


class Left(pydantic.BaseModel):
    a: int = 0


class Right(pydantic.BaseModel):
    b: int = 0


class Rows(msgspec.Struct, array_like=True):
    a: int


class Pair(NamedTuple):
    a: int
    b: int


def other_point() -> type:
    @dataclasses.dataclass
    class Point:
        z: int

    return Point


@pytest.mark.parametrize(
    ("python", "said"),
    [
        (set[int], "set[int] is no type of the language; use list[T]"),
        (frozenset, "use list[T]"),
        (dict[str, int], "dict[str, int] is no type of the language; use a class with these fields"),
        (dict[int, Any], "dict[int, Any] is no type"),
        (tuple, "use tuple[A, B]"),
        (tuple[int], "fewer than two items"),
        (Pair, "use tuple[A, B]"),
        (complex, "use float"),
        (bytes, "bytes is no type"),
        (datetime.date, "date is no type"),
        (Callable[[int], int], "a message is a value"),
        (TypeVar("T"), "~T is no type"),
        ("int", "'int' is no type of the language; a type is wanted here, not its name in quotes"),
        (3, "3 is no type"),
        ([], "[] is no type"),
        (Deep, "Deep.tags, its items: set[str] is no type"),
        (Node, "Node.below, its items: Node contains itself"),
        (Open, "Open: extra='allow'"),
        (Computed, "Computed: what it writes cannot be read again, because of the computed field 'twice'"),
        (Excluded, "Excluded.a is not written, because of its exclude"),
        (ExcludedHere, "ExcludedHere.a is not written, because of its exclude"),
        (Serialized, "Serialized.b: its serializer may write another type than int"),
        (SerializedAll, "SerializedAll.a: its serializer may write another type than int"),
        (SerializedByNote, "SerializedByNote.a: its serializer may write another type than int"),
        (SerializedWhole, "SerializedWhole: a model_serializer writes something else than its fields"),
        (Reserved, "Reserved: 'type' cannot be the name of a field"),
        (TwoNames, "TwoNames.a is read as 'b' and written as 'a'"),
        (Rows, "Rows: array_like structs are arrays"),
        (Left | Right, "the variants of Left | Right cannot be told apart"),
        (list[int] | list[str], "cannot be told apart"),
        (type("agent", (pydantic.BaseModel,), {}), "'agent' cannot be the name of a type"),
        (tuple[Point, other_point()], "item 1: two different types are called Point"),
    ],
    ids=str,
)
def test_what_the_language_has_no_type_for_is_refused(python: Any, said: str):
    """With the part that it is about, and what to use instead."""
    with pytest.raises(ConfigError) as caught:
        from_python(python)
    assert said in str(caught.value)


def test_a_class_whose_types_are_unknown_is_refused():
    """Its annotations name what is nowhere."""

    @dataclasses.dataclass
    class Lost:
        a: Nowhere  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(ConfigError, match="Lost: name 'Nowhere' is not defined"):
        from_python(Lost)


def test_a_type_that_is_nested_too_deeply_is_refused():
    """As the checker does with one that is declared."""
    deep: Any = int
    for _ in range(90):
        deep = list[deep]
    with pytest.raises(ConfigError, match="nested too deeply"):
        from_python(deep)


def test_a_class_that_is_used_twice_is_the_same_type():
    """It is no recursion either."""
    assert show(from_python(tuple[Point, list[Point]])) == "(Point, [Point])"
