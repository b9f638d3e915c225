"""Maps of fields become models."""

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from fabric.pipelines.errors import SchemaRefError
from fabric.pipelines.schema_builder import schema_class_name, yaml_dict_to_model
from fabric.pipelines.schemas.fields import read_fields
from fabric.pipelines.vocab import Vocabulary


def made(**fields: Any) -> type[BaseModel]:
    return yaml_dict_to_model("M", fields)


def wrong(fields: Any) -> list[tuple[str, str]]:
    """Return all that is wrong with a map: places and messages."""
    with pytest.raises(SchemaRefError) as caught:
        yaml_dict_to_model("M", fields, {"plastic": Vocabulary(["PET"])})
    return [(problem.key_path, problem.message) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("kind", "value", "bad"),
    [
        ("str", "a", 1),
        ("int", 1, "x"),
        ("float", 1.5, "x"),
        ("bool", True, "x"),
        ("list[str]", ["a"], "a"),
        ("list[bool]", [True], [[]]),
        ("dict[str, int]", {"a": 1}, {"a": "x"}),
        ("dict[str,float]", {"a": 1.5}, []),
    ],
)
def test_a_type_in_words_is_a_type(kind: str, value: Any, bad: Any):
    """Required as it stands; with ``| None`` it may be null, and left out."""
    assert made(f=kind)(f=value).model_dump() == {"f": value}
    for given_value in ({"f": bad}, {"f": None}, {}):
        with pytest.raises(ValidationError):
            made(f=kind).model_validate(given_value)
    for optional in (f"{kind} | None", f"{kind}|None", {"type": f" {kind} |None "}):
        assert made(f=optional).model_validate({}).model_dump() == {"f": None}
        assert made(f=optional)(f=value).model_dump() == {"f": value}


def test_fields_may_have_names_that_pydantic_has_used(recwarn: pytest.WarningsRecorder):
    """Without a word about it: nobody here uses its old methods."""
    fields = dict.fromkeys(("copy", "json", "schema", "dict", "model_name", "my-field", "class"), "str")
    values = dict.fromkeys(fields, "x")
    assert yaml_dict_to_model("M", fields).model_validate(values).model_dump() == values
    assert not recwarn.list


@pytest.mark.parametrize(
    ("rules", "good", "bad"),
    [
        ({"type": "str", "pattern": "[A-Z]{3}"}, "ABC", "ABCD"),
        ({"type": "str", "pattern": "^a|b$"}, "b", "xb"),
        ({"type": "str", "min_length": 2}, "ab", "a"),
        ({"type": "str", "max_length": 2}, "ab", "abc"),
        ({"type": "list[str]", "min_items": 1}, ["a"], []),
        ({"type": "list", "items": "int", "max_items": 1}, [1], [1, 2]),
        ({"type": "list[str]", "max_length": 1}, ["a", "b"], ["a", "bc"]),
        ({"type": "dict[str, str]", "pattern": "[0-9]+"}, {"a": "1"}, {"a": "1", "b": "x"}),
    ],
)
def test_a_rule_holds(rules: dict[str, Any], good: Any, bad: Any, caplog: pytest.LogCaptureFixture):
    """What breaks it is an error, null, or let pass and logged, as ``on_fail`` says; null is never judged."""
    assert made(f=rules)(f=good).model_dump() == {"f": good}
    with pytest.raises(ValidationError) as caught:
        made(f=rules)(f=bad)
    assert [error["loc"] for error in caught.value.errors()] == [("f",)]
    optional = {**rules, "type": f"{rules['type']} | None"}
    assert made(f=optional)(f=None).model_dump() == {"f": None}
    for null in ("null", None):
        assert made(f={**optional, "on_fail": null})(f=bad).model_dump() == {"f": None}
        with pytest.raises(ValidationError):
            made(f={**rules, "on_fail": null})(f=bad)
    with caplog.at_level(logging.WARNING):
        assert made(f={**rules, "on_fail": "warn"})(f=bad).model_dump() == {"f": bad}
    assert [record.message.startswith("field f: ") for record in caplog.records] == [True]


def test_each_broken_rule_is_told_with_its_place():
    """Also in records inside of lists, and beside wrong types."""
    model = made(
        code={"type": "str", "pattern": "[A-Z]+", "max_length": 2},
        count="int",
        rows={"type": "list", "items": {"name": {"type": "str", "min_length": 1}}},
    )
    with pytest.raises(ValidationError) as caught:
        model.model_validate({"code": "abc", "count": "x", "rows": [{"name": "a"}, {"name": ""}]})
    assert {error["loc"]: error["msg"] for error in caught.value.errors()} == {
        ("code",): "has 3 characters; at most 2 allowed; 'abc' does not match pattern '[A-Z]+'",
        ("count",): "Input should be a valid integer, unable to parse string as an integer",
        ("rows", 1, "name"): "has 0 characters; at least 1 required",
    }


def test_records_are_nested_as_deep_as_the_map():
    """Each a model of its own."""
    model = made(a={"type": "list", "items": {"b": {"type": "list | None", "items": {"c": "int"}}}})
    value = {"a": [{"b": [{"c": 1}]}, {"b": None}]}
    assert model.model_validate(value).model_dump() == value
    assert yaml_dict_to_model("Empty", {}).model_validate({"x": 1}).model_dump() == {}


def test_a_vocabulary_comes_before_the_rules():
    """Its terms are what the rules are about; empty texts and numbers are left to them."""
    vocabulary = {"terms": ["ABC", "DEFG"]}
    model = made(
        f={"type": "str", "vocab": vocabulary, "pattern": "[A-Z]{3}"}, g={"type": "list[str]", "vocab": vocabulary}
    )
    assert model.model_validate({"f": "abc", "g": ["defg", "x", ""]}).model_dump() == {
        "f": "ABC",
        "g": ["DEFG", "x", ""],
    }
    with pytest.raises(ValidationError):
        model.model_validate({"f": "", "g": []})
    with pytest.raises(ValidationError):
        model.model_validate({"f": 3, "g": []})


@pytest.mark.parametrize(
    ("field", "place", "said"),
    [
        ("datetime", "f", "unsupported type 'datetime'"),
        ("list[datetime]", "f", "unsupported type"),
        ("dict[int, str]", "f", "unsupported type"),
        ("list", "f", "a list of what?"),
        (42, "f", "must be a string or mapping"),
        (None, "f", "must be a string or mapping, got nothing"),
        ({"description": "x"}, "f", "missing the required 'type' key"),
        ({"typ": "str"}, "f", "is 'typ' a slip of the pen?"),
        ({"type": 3}, "f.type", "'type' must be a string"),
        ({"type": "list"}, "f", "a list of what?"),
        ({"type": "list", "items": "date"}, "f.items", "unsupported items type 'date'"),
        ({"type": "list", "items": 42}, "f.items", "'items' must be a map"),
        ({"type": "list", "items": {"g": "date"}}, "f.items.g", "unsupported type 'date'"),
        ({"type": "str", "items": {"g": "str"}}, "f.items", "'items' goes with 'type: list'"),
        ({"type": "str", "pattern": "["}, "f.pattern", "is no regular expression"),
        ({"type": "str", "pattern": 3}, "f.pattern", "is no regular expression"),
        ({"type": "str", "min_length": -1}, "f.min_length", "a whole number from 0, got -1"),
        ({"type": "str", "max_length": True}, "f.max_length", "a whole number from 0, got True"),
        ({"type": "str", "on_fail": "nul"}, "f.on_fail", "must be error, null or warn"),
        ({"type": "str", "description": ["x"]}, "f.description", "must be a string"),
        ({"type": "str", "vocab": 3}, "f.vocab", "must be a file's name or a map"),
        ({"type": "int", "vocab": "plastic"}, "f.vocab", "goes with texts"),
        ({"type": "str", "vocab": "plastics"}, "f.vocab", "the vocabulary 'plastics' is not found; there are: plastic"),
        ({"type": "str", "vocab": {"terms": ["a"], "growth_policy": "human"}}, "f.vocab", "growth_policy"),
        ({"type": "str", "vocab": {"terms": ["a"], "persist": True}}, "f.vocab", "persist"),
        ({"type": "str", "vocab": {"term": ["a"]}}, "f.vocab", "unknown key 'term'"),
        ({"type": "str", "vocab": {"terms": [1]}}, "f.vocab", "known[0]: expected a text, got 1"),
    ],
)
def test_what_is_no_field_is_refused(field: Any, place: str, said: str):
    """With the place in the map."""
    [(where, message)] = wrong({"f": field})
    assert where == place
    assert said in message


@pytest.mark.parametrize("name", [True, None, 3, "", "_x", "model_config", "model_dump"])
def test_a_name_that_no_field_can_have_is_refused(name: Any):
    """YAML reads ``yes:`` as true: the message says how to write it."""
    [(_, message)] = wrong({name: "str"})
    assert "a field" in message or "no field" in message
    if not isinstance(name, str):
        assert "in quotes" in message


def test_all_that_is_wrong_is_told_at_once():
    """In the order of the map; the first is what is raised."""
    found = wrong({"a": "date", True: "str", "b": {"type": "list", "items": {"c": {"type": "x", "pattern": "("}}}})
    assert [place for place, _ in found] == ["a", "True", "b.items.c", "b.items.c.pattern"]


def test_a_map_without_an_end_is_refused():
    """YAML can write one that contains itself."""
    fields: dict[str, Any] = {}
    fields["f"] = {"type": "list", "items": fields}
    [(place, message)] = wrong(fields)
    assert "nested" in message
    assert place.startswith("f.items.f.items")


def test_a_map_that_multiplies_is_refused():
    """In no time."""
    fields: dict[str, Any] = {}
    fields.update(f={"type": "list", "items": fields}, g={"type": "list", "items": fields})
    assert "a schema may have 10000 fields, those of its records counted" in [message for _, message in wrong(fields)]


def test_a_key_that_is_not_known_is_odd():
    """It is no error: the file does run."""
    read = read_fields({"f": {"type": "int", "descripton": "x"}, "g": "str"})
    assert not read.errors
    assert [(odd.place, odd.suggestion) for odd in read.odd] == [("f.descripton", "description")]


def test_a_rule_that_cannot_hold_or_cannot_be_broken_is_an_error():
    """Whoever wrote it expects something of it."""
    fields = {
        "a": {"type": "int", "pattern": "x", "min_length": 1, "max_items": 2},
        "b": {"type": "str", "min_length": 5, "max_length": 2},
        "c": {"type": "list[str]", "min_items": 3, "max_items": 2, "min_length": 2, "max_length": 2},
    }
    assert [place for place, _ in wrong(fields)] == [
        "a.pattern",
        "a.min_length",
        "a.max_items",
        "b.min_length",
        "c.min_items",
    ]
    assert wrong({"b": fields["b"]})[0][1] == "field 'b': 'min_length' 5 is above 'max_length' 2: no value fits"


@pytest.mark.parametrize(
    ("step", "name"),
    [("extract", "ExtractSchema"), ("extract_paper-2", "ExtractPaper2Schema"), ("2nd", "_2ndSchema"), ("é", "Schema")],
)
def test_a_class_is_called_as_its_step(step: str, name: str):
    """In capitals, and so that it is a name."""
    assert schema_class_name(step) == name


YAML = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["str", "list", "list[int]|None"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["f", "type", "items", "vocab", "terms", "known", "pattern", "on_fail", "min_items"])
            | st.none()
            | st.text(max_size=3),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(YAML)
def test_any_map_is_a_model_or_an_error_of_ours(fields: Any):
    """Nothing in a file makes anything else of it."""
    try:
        names = set(yaml_dict_to_model("M", fields).model_fields)
    except SchemaRefError:
        return
    assert names == set(fields)


@given(st.text(max_size=6), st.integers(0, 4), st.integers(0, 4))
def test_a_rule_holds_for_every_text(value: str, one: int, other: int):
    """As Python counts characters."""
    low, high = sorted((one, other))
    model = made(f={"type": "str | None", "min_length": low, "max_length": high, "on_fail": "null"})
    assert model.model_validate({"f": value}).model_dump() == {"f": value if low <= len(value) <= high else None}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"f": "x" * 900_000}, "unsupported type"),
        ({"f": "a" + " " * 900_000 + "b"}, "unsupported type"),
        ({"f": {"type": "list", "items": "x" * 900_000}}, "unsupported items type"),
        ({"f" * 900_000: "str"}, "has at most 200 characters, got 900,000"),
    ],
)
def test_what_is_long_is_not_repeated_in_an_error(said: Any, words: str):
    """Nor does it take long to see that it is none."""
    with pytest.raises(SchemaRefError, match=words) as raised:
        yaml_dict_to_model("X", said)
    assert len(str(raised.value)) < 1_000


@pytest.mark.parametrize("kind", ["str|None", "str | None", "str  |  None", " str |None "])
def test_a_type_that_may_be_null(kind: str):
    """However it is spaced."""
    assert yaml_dict_to_model("X", {"f": kind})().model_dump() == {"f": None}
