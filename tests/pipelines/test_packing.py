"""Values on their way to a worker: they arrive as they were, or are refused; what a variable holds goes by its name."""

from __future__ import annotations

import datetime
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from fabric.pipelines.errors import ParseError, PromptTooLargeError, SchemaValidationError, StepExecutionError
from fabric.pipelines.remote.failures import pack_error, unpack_error
from fabric.pipelines.remote.packing import DEPTH_MAX, Packing, Unpackable


class Paper(BaseModel):
    title: str
    year: int | None = None


class Shelf(BaseModel):
    papers: list[Paper]
    since: datetime.date


class Shouting(BaseModel):
    text: str

    @field_validator("text")
    @classmethod
    def _louder(cls, text: str) -> str:
        return f"{text}!"


class Refused(Exception):
    def __init__(self, why: str, code: int) -> None:
        super().__init__(f"{why} ({code})")
        self.code = code


PLAIN = Packing({}, {})
NAMED = Packing(
    {"steps[0](extract)/extract": Paper}, {"TOKEN": "tok-123456", "LONGER": "tok-123456-more", "SHORT": "abc"}
)


def sent(value: Any, packing: Packing = PLAIN) -> Any:
    """Send a value as JSON text."""
    return packing.unpack(json.loads(json.dumps(packing.pack(value), allow_nan=False).encode()))


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=[]))
    | st.binary()
)
KEYS = st.text() | st.just("$") | st.integers() | st.booleans() | st.none() | st.tuples(st.integers(), st.text())
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(KEYS, inner),
    max_leaves=20,
)


def shape(value: Any) -> Any:
    """Return a value with the types of all that is in it: ``1 == True``."""
    if isinstance(value, list | tuple):
        return type(value), [shape(item) for item in value]
    if isinstance(value, dict):
        return dict, [(shape(key), shape(item)) for key, item in value.items()]
    return type(value), value


@given(VALUES)
def test_values_arrive_as_they_were(value: Any):
    """With their types and the order of their keys, also those that JSON does not know."""
    assert shape(sent(value)) == shape(value)


@given(st.text("tok-123456-moreabcx "))
def test_texts_arrive_as_they_were_whatever_variables_hold(text: str):
    """Also where what one variable holds begins with what another one holds."""
    assert sent({text: [text]}, NAMED) == {text: [text]}


def test_what_is_no_number_arrives_as_it_was():
    """Infinity and not-a-number are no JSON."""
    assert sent([math.inf, -math.inf]) == [math.inf, -math.inf]
    assert math.isnan(sent(math.nan))


def test_what_a_variable_holds_travels_by_its_name():
    """In texts, in keys and in models; the longest one wins; what is short is no secret."""
    value = {"auth": "Bearer tok-123456", "tok-123456": "tok-123456-more", "abc": "abc"}
    text = json.dumps(NAMED.pack([value, Paper(title="tok-123456")]))
    assert "123456" not in text
    assert '"SHORT"' not in text
    assert NAMED.unpack(json.loads(text)) == [value, Paper(title="tok-123456")]


def test_a_variable_that_is_not_set_there_is_said():
    """Its name is, for what it held nobody there knows."""
    with pytest.raises(Unpackable, match="'TOKEN' is not set"):
        PLAIN.unpack(NAMED.pack("tok-123456"))


def test_models_arrive_as_models():
    """Those of schemas by their step, others by their class, with what JSON says in texts; as deep as they are."""
    shelf = Shelf(papers=[Paper(title="A"), Paper(title="B", year=3)], since=datetime.date(2020, 1, 2))
    assert sent({"x": [shelf, Paper(title="C")]}, NAMED) == {"x": [shelf, Paper(title="C")]}
    assert NAMED.pack(Paper(title="C"))["$"][1][0] == "steps[0](extract)/extract"


def test_models_are_validated_when_they_arrive():
    """What is none of its class is refused, whoever sent it."""
    with pytest.raises(Unpackable, match="a Paper was sent that is none here"):
        NAMED.unpack({"$": ["model", ["steps[0](extract)/extract", {"title": 3}]]})


def test_a_model_that_is_another_one_behind_json_is_refused():
    """A validator that adds to its value would add to it twice."""
    with pytest.raises(Unpackable, match="x is a Shouting that is another one when it is read back"):
        PLAIN.pack(Shouting(text="hey"), "x")


def test_a_model_of_a_class_that_nobody_finds_is_refused():
    """A class inside of a function has no name that leads to it."""

    class Inner(BaseModel):
        pass

    with pytest.raises(Unpackable, match=r"x\[0\] is a test_a_model.*Inner, a class that a worker cannot find"):
        PLAIN.pack([Inner()], "x")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({1, 2}, "x is a set"),
        ([datetime.date(2020, 1, 1)], r"x\[0\] is a date"),
        ({"a": {"b": (1, object())}}, r"x\.a\.b\[1\] is a object"),
        ({object(): 1}, "a key of x is a object"),
    ],
)
def test_what_cannot_arrive_as_it_was_is_refused_with_its_place(value: Any, said: str):
    """And with what could."""
    with pytest.raises(Unpackable, match=f"{said}; expected text"):
        PLAIN.pack(value, "x")


def test_what_is_too_deep_is_refused():
    """Instead of ending the process, or the stack of who reads it."""
    value: list[Any] = []
    for _ in range(DEPTH_MAX + 1):
        value = [value]
    with pytest.raises(Unpackable, match="is deeper than 100"):
        PLAIN.pack(value, "x")


def told(error: Exception, packing: Packing = PLAIN) -> Exception:
    """Send an exception."""
    return unpack_error(json.loads(json.dumps(pack_error(error, packing))), packing)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        KeyError("k"),
        FileNotFoundError(2, "No such file or directory", "/x"),
        ParseError("not JSON"),
        SchemaValidationError("bad"),
        PromptTooLargeError("s", 5, 3),
        Refused("closed", 4),
        ZeroDivisionError(),
    ],
)
def test_exceptions_arrive_as_they_were(error: Exception):
    """Of the same class, with the same text and what they know."""
    found = told(error)
    assert type(found) is type(error)
    assert str(found) == str(error)
    known = {name: value for name, value in vars(found).items() if name != "__notes__"}
    assert known == vars(error)


def test_an_exception_without_a_class_here_is_called_the_same():
    """And is a StepExecutionError."""

    class Strange(Exception):
        def __str__(self) -> str:
            return "strange indeed"

    found = told(Strange(object()))
    assert isinstance(found, StepExecutionError)
    assert (type(found).__name__, str(found)) == ("Strange", "strange indeed")


def test_causes_arrive_and_the_traceback_is_a_note():
    """So whoever debugs sees where it was raised."""
    try:
        try:
            raise KeyError("inner")
        except KeyError as cause:
            raise ValueError("outer tok-123456") from cause
    except ValueError as raised:
        packed = pack_error(raised, NAMED)
    assert "123456" not in json.dumps(packed)
    found = unpack_error(packed, NAMED)
    assert str(found) == "outer tok-123456"
    assert repr(found.__cause__) == "KeyError('inner')"
    assert "in a worker:" in found.__notes__[0]
    assert "test_packing.py" in found.__notes__[0]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    marks: list[int]

    @field_validator("name")
    @classmethod
    def _short(cls, name: str) -> str:
        if len(name) > 3:
            raise ValueError("too long")
        return name


def test_what_a_schema_said_arrives():
    """Word for word: places, texts, types of errors."""
    with pytest.raises(ValidationError) as caught:
        Strict.model_validate({"name": "four", "marks": [1, "x"], "z": 1})
    error = SchemaValidationError("3 errors", caught.value)
    found = told(error)
    assert isinstance(found, SchemaValidationError)
    assert str(found.validation_error) == str(caught.value)
    for one, other in zip(found.validation_error.errors(), caught.value.errors(), strict=True):
        assert (one["loc"], one["msg"], one["type"], one["input"]) == (
            other["loc"],
            other["msg"],
            other["type"],
            other["input"],
        )


@pytest.mark.parametrize("chars", range(1, 40))
def test_the_end_of_a_text_has_no_half_of_a_variable(chars: int) -> None:
    """Wherever it is cut: what one holds is there by its name, or not at all."""
    text = "before tok-123456-more between tok-123456"
    kept = NAMED.unpack(NAMED.pack_end(text, chars))
    assert text.endswith(kept)
    assert len(kept) <= chars
    assert "123456" not in json.dumps(NAMED.pack_end(text, chars))
    assert "6-more" not in json.dumps(NAMED.pack_end(text, chars))
    assert PLAIN.pack_end(text, chars) == text[-chars:]


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __reduce__(self) -> str:
        raise TypeError("nor parts")


def test_an_exception_that_says_nothing_arrives() -> None:
    """Its class does, and what is wrong with its text."""
    error = unpack_error(pack_error(Mute(1), PLAIN), PLAIN)
    assert type(error).__name__ == "Mute"
    assert "whose text raised RuntimeError" in str(error)
