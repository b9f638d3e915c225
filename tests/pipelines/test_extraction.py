"""JSON in what models say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.pipelines.errors import ParseError
from fabric.pipelines.extraction import extract_json

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
    "the longest": ('{} then {"a": 1, "b": 2} and {"a": 1}', {"a": 1, "b": 2}),
    "trailing commas": ('{"a": [1, 2,], "b": ",]",}', {"a": [1, 2], "b": ",]"}),
    "trailing comma in prose": ('Yes. {"a": 1,} Bye.', {"a": 1}),
    "thoughts": ('<think>maybe {"a": 0, "long": "er"}</think>{"a": 1}', {"a": 1}),
    "thoughts without a beginning": ('maybe {"a": 0, "b": 1}</think>\n{"a": 1}', {"a": 1}),
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
    "single quotes": "{'a': 1}",
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
