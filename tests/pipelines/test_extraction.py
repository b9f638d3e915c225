"""JSON in what models say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.pipelines.asking.extraction import extract_json
from fabric.pipelines.errors import ParseError

SAID: dict[str, tuple[str, Any]] = {
    "plain": ('{"a": 1}', {"a": 1}),
    "array": ("[1, 2, 3]", [1, 2, 3]),
    "byte order mark": ('\ufeff{"a": 1}', {"a": 1}),
    "white space": ('  \n{"a": 1}\n', {"a": 1}),
    "fence": ('```json\n{"a": 1}\n```', {"a": 1}),
    "fence without a language": ('```\n{"a": 1}\n```', {"a": 1}),
    "fence in prose": ('Here:\n```json\n{"a": [1]}\n```\nDone {so} far.', {"a": [1]}),
    "fence in one line": ('It is ```{"a": 1}```.', {"a": 1}),
    "fence that ends behind the value": ('```json\n{"a": 1}```', {"a": 1}),
    "fence in a string": ('Yes: {"a": "```json\\n{}\\n```"}', {"a": "```json\n{}\n```"}),
    "a fence of code and one of JSON": ('```python\nx = {1, 2}\n```\n```json\n{"a": 1}\n```', {"a": 1}),
    "prose": ('Here is the result: {"ok": true} done.', {"ok": True}),
    "braces in prose": ('The set {1, 2} and {x} give {"a": 1}; see {y}.', {"a": 1}),
    "a brace that is never closed": ('if x { then say {"a": 1}', {"a": 1}),
    "braces in strings": ('So: {"a": "} {", "b": "\\"}"} ok', {"a": "} {", "b": '"}'}),
    "citations longer than the object": ('As [101, 102, 103] say: {"a": 1}', {"a": 1}),
    "a citation": ('As [1] says: {"a": 1}', {"a": 1}),
    "in brackets": ('[see {"a": 1}]', {"a": 1}),
    "array in prose": ('They are ["x", "y"].', ["x", "y"]),
    "an example first": ('Like {"a": 0}, so: {"a": 1}', {"a": 1}),
    "a list of objects and an example": ('[{"a": 1}, {"a": 2}], not {"z": 0}', [{"a": 1}, {"a": 2}]),
    "a shape first": ('As {"a": int, "b": {"c": str}}: {"a": 1}', {"a": 1}),
    "a shape in a fence first": ('```\n{"a": …}\n```\nSo:\n```json\n{"a": 1}\n```', {"a": 1}),
    "a shape in a fence and no fence": ('```\n{"a": …}\n```\nSo: {"a": 1}', {"a": 1}),
    "line break in a string": ('Yes: {"a": "one\ntwo", "b": {"a": 0}}', {"a": "one\ntwo", "b": {"a": 0}}),
    "a set of strings first": ('One of {"x", "y"}, here {"a": 1}', {"a": 1}),
    "a fence in tildes": ('~~~json\n{"a": 1}\n~~~', {"a": 1}),
    "a fence that never ends": ('```json\n{"a": 0}\n```\nand\n```json\n{"a": 1}', {"a": 1}),
    "lines in a fence": ('```\n{"a": 0}\n{"a": 1}\n```', {"a": 1}),
    "the longest": ('{} then {"a": 1, "b": 2} and {"a": 1}', {"a": 1, "b": 2}),
    "trailing commas": ('{"a": [1, 2,], "b": ",]",}', {"a": [1, 2], "b": ",]"}),
    "trailing comma in prose": ('Yes. {"a": 1,} Bye.', {"a": 1}),
    "thoughts": ('<think>maybe {"a": 0, "long": "er"}</think>{"a": 1}', {"a": 1}),
    "thoughts without a beginning": ('maybe {"a": 0, "b": 1}</think>\n{"a": 1}', {"a": 1}),
    "thoughts with another end": ('<think>{"a": 0}</thinking>{"a": 1}', {"a": 1}),
    "thoughts in thoughts": ('<think>x<think>y</think>{"a": 0, "b": 1}</think>{"a": 1}', {"a": 1}),
    "thoughts behind": ('{"a": 1}<think>or {"a": 0, "b": 1}', {"a": 1}),
    "thoughts that are data": ('{"a": "<think>x</think>"}', {"a": "<think>x</think>"}),
    "thoughts and a fence": ('<thinking>\n```json\n{"a": 0}\n```\n</thinking>\n```json\n{"a": 1}\n```', {"a": 1}),
}


@pytest.mark.parametrize(("text", "value"), SAID.values(), ids=SAID)
def test_the_value_is_found(text: str, value: Any) -> None:
    """What was meant is found, whatever is around it."""
    assert extract_json(text) == value


NOTHING = {
    "prose": "this is just text with no json",
    "empty": "",
    "thoughts only": '<think>{"a": 1}</think>',
    "thoughts that never end": '<think>so {"a": 1}',
    "cut in a list": '{"entries": [{"n": 1}, {"n": 2',
    "cut behind a record": '{"entries": [{"n": 1}, {"n": 2}',
    "cut in a string": '{"a": "Esche',
    "cut in a fence": '```json\n{"a": {"b": 1},\n',
    "cut behind prose": 'Here: {"a": {"b": 1}, "c',
    "not a number": '{"a": NaN}',
    "not a number, and a record": '{"a": NaN, "m": {"k": 1}}',
    "a number without an end": '{"a": 1e999}',
    "only a number without an end": "-1e999",
    "single quotes": "{'a': 1}",
    "single quotes, and a record": "{'a': {\"b\": 1}}",
    "a thousand with a comma": '{"title": "x", "price": 1,000, "meta": {"title": "inner"}}',
    "words without quotes": '{"a": "x", "meta": {"a": "y"}, "tags": [a, b]}',
    "names without quotes": '{a: {"b": 1}}',
    "names without quotes, cut": '{a: {"b": 1}, ',
    "a comment": '{"a": 1, // one\n "b": {"a": 2}}',
    "a comment first": '{// one\n "b": {"a": 2}}',
    "quotes in a string": '{"a": "so "called" x", "m": {"a": 1}}',
    "two commas": '{"items": [{"n": 1}, {"n": 2},, {"n": 3}]}',
    "two commas in a list": '[{"n": 1}, {"n": 2},, {"n": 3}]',
    "two commas in a list of numbers": '[1,, {"n": 3}]',
    "broken behind an example": 'Like {"a": 0}: {"a": 1,000}',
    "broken in front of a citation": '{"a": 1,000} [1]',
    "broken in a fence": '```json\n{"a": 1,000, "m": {"a": 1}}\n```',
    "broken in a fence behind an example": '```json\n{"a": 0}\n```\n```json\n{"a": 1,000}\n```',
    "cut in a fence behind an example": '```json\n{"a": 0}\n```\n```json\n{"a": {"b": 1',
    "deep": "[" * 100_000,
    "deep and whole": "[" * 100_000 + "]" * 100_000,
    "braces only": "{" * 100_000,
}


@pytest.mark.parametrize("text", NOTHING.values(), ids=NOTHING)
def test_nothing_is_made_up(text: str) -> None:
    """A text without JSON, or one that breaks off, is an error: a record inside of what was cut is not the answer."""
    with pytest.raises(ParseError) as raised:
        extract_json(text)
    assert isinstance(raised.value, ValueError)


def test_nesting_is_bounded() -> None:
    """What nobody can have meant is said to be that, in time that is linear."""
    with pytest.raises(ParseError, match="nested deeper than 500"):
        extract_json("[" * 100_000 + "]" * 100_000)


def test_what_is_broken_is_said_with_its_place() -> None:
    """A model is told where its answer cannot be read."""
    with pytest.raises(ParseError, match=r"cannot be read: Expecting value at 'a, b\]\}'"):
        extract_json('So: {"a": {"b": 1}, "c": [a, b]}')
    with pytest.raises(ParseError, match="cannot be read: 1e999 is no number"):
        extract_json('{"a": 1e999}')


LONG = {
    "thoughts": "<think>" * 100_000,
    "ends of thoughts": "</think><think>" * 100_000,
    "quotes": '{"a": ' + '"\\' * 100_000,
    "marks of a fence": "`" * 100_000 + "\n" + "x" * 100_000,
    "blanks in a fence": "```" + " " * 200_000,
    "sets": "{x} " * 50_000,
}


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_long_answers_are_read_once(text: str) -> None:
    """In time that is linear: what reads them again from each mark in them takes minutes, and the test does not end."""
    with pytest.raises(ParseError):
        extract_json(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@settings(max_examples=50)
@given(value=st.dictionaries(st.text(), json_values, min_size=1), before=st.text("ab ,.", max_size=9))
def test_any_object_is_found_between_words(value: dict[str, Any], before: str) -> None:
    """Whatever strings are in an object, it is found as it is."""
    assert extract_json(f"{before}{json.dumps(value)} that is all") == value


@settings(max_examples=50)
@given(value=st.dictionaries(st.text(), json_values, min_size=1), share=st.floats(0, 1, exclude_max=True))
def test_no_beginning_of_an_object_is_an_answer(value: dict[str, Any], share: float) -> None:
    """What breaks off anywhere is refused."""
    text = json.dumps(value)
    with pytest.raises(ParseError):
        extract_json("Here: " + text[: int(len(text) * share)])


@settings(max_examples=50)
@given(value=st.dictionaries(st.text(), json_values, min_size=1), junk=st.sampled_from([", x", ",,", " x", ", 'x': 1"]))
def test_nothing_inside_of_a_broken_object_is_an_answer(value: dict[str, Any], junk: str) -> None:
    """Whatever is in an object that cannot be read, it is refused."""
    with pytest.raises(ParseError):
        extract_json(f"Here: {json.dumps(value)[:-1]}{junk}}} that is all")
