"""Schemas judge answers with the vocabularies of a run."""

import copy
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, computed_field

from fabric.pipelines.errors import SchemaRefError, SchemaValidationError
from fabric.pipelines.schema_builder import model_to_schema_hint
from fabric.pipelines.schemas.schema import Schema, map_schema, model_schema
from fabric.pipelines.vocab import VocabField, Vocabulary

PLASTIC = Vocabulary(["PET", "HDPE"], label="plastic")
KNOWN = {"plastic": PLASTIC}


def schema(**fields: Any) -> Schema:
    return map_schema("XSchema", fields, KNOWN, "x")


def told(judged: Any) -> list[tuple[str, str, str | None, str | None, str]]:
    return [
        (one.field_name, one.raw_value, one.matched_to, one.ideal_value, one.vocabulary) for one in judged.suggestions
    ]


def test_an_answer_is_taken_to_the_terms_of_the_run():
    """Those of the file may have grown meanwhile, and change nothing."""
    judging = schema(f={"type": "str", "vocab": "plastic"})
    grown = Vocabulary(["PET", "polystyrene"], label="plastic")
    assert judging.validate({"f": "polystyrenes"}, {"plastic": grown}).value.model_dump() == {"f": "polystyrene"}
    judged = judging.validate({"f": "polystyrenes"}, {"plastic": Vocabulary(["PET"], label="plastic")})
    assert judged.value.model_dump() == {"f": "polystyrenes"}
    assert told(judged) == [("f", "polystyrenes", None, None, "plastic")]


def test_fields_at_any_depth_have_vocabularies():
    """Lists of texts and records inside of records, each with its place."""
    vocab = {"vocab": "plastic"}
    deep = schema(
        tags={"type": "list[str] | None", **vocab},
        rows={"type": "list", "items": {"cells": {"type": "list", "items": {"f": {"type": "str | None", **vocab}}}}},
        by={"type": "dict[str, str]", **vocab},
    )
    answer = {
        "tags": ["pet", "wood", ""],
        "rows": [{"cells": []}, {"cells": [{"f": "hdpe pipe"}, {"f": None}]}],
        "by": {"a": "pet"},
    }
    before = copy.deepcopy(answer)
    judged = deep.validate(answer, KNOWN)
    assert answer == before
    assert judged.value.model_dump() == {
        "tags": ["PET", "wood", ""],
        "rows": [{"cells": []}, {"cells": [{"f": "HDPE"}, {"f": None}]}],
        "by": {"a": "PET"},
    }
    assert told(judged) == [
        ("tags", "wood", None, None, "plastic"),
        ("rows[1].cells[0].f", "hdpe pipe", "HDPE", None, "plastic"),
    ]


def test_a_vocabulary_that_stands_in_a_field_has_a_name_of_its_step():
    """So it has one in a run, and in a worker elsewhere."""
    own = schema(f={"type": "str", "vocab": {"terms": ["a"]}}, g={"type": "str", "vocab": "plastic"})
    assert own.vocabularies == ("x.f", "plastic")
    assert list(own.own) == ["x.f"]
    assert own.own["x.f"].label == "f"
    assert own.validate({"f": "A", "g": "pet"}, {}).value.model_dump() == {"f": "a", "g": "pet"}
    assert told(own.validate({"f": "b", "g": "PET"}, {**KNOWN, **own.own})) == [("f", "b", None, None, "x.f")]


def test_what_the_model_would_rather_have_said_is_taken_out():
    """By the name of the field or of the vocabulary, for each item of a list."""
    asks = Vocabulary(["PET"], label="plastic", capture_ideal=True)

    class Strict(BaseModel):
        model_config = ConfigDict(extra="forbid")
        f: str = VocabField(vocab="plastic")
        g: list[str] = VocabField(vocab="plastic", default=[])

    strict = model_schema(Strict, {"plastic": asks})
    judged = strict.validate(
        {"f": "PP", "f_ideal": "polypropylene", "g": ["PP", "PET", "PVC"], "g_ideal": ["1", "2", "3"]},
        {"plastic": asks},
    )
    assert [(one[0], one[1], one[3]) for one in told(judged)] == [
        ("f", "PP", "polypropylene"),
        ("g", "PP", "1"),
        ("g", "PVC", "3"),
    ]
    assert told(strict.validate({"f": "PP", "plastic_ideal": "x"}, {"plastic": asks}))[0][3] == "x"
    with pytest.raises(SchemaValidationError, match="f_ideal: Extra inputs are not permitted"):
        strict.validate({"f": "PP", "f_ideal": "x"}, {"plastic": PLASTIC})


def test_a_field_that_ends_in_ideal_stays():
    """It is the user's, not an answer of ours."""
    asks = Vocabulary(["PET"], label="plastic", capture_ideal=True)
    judging = map_schema("X", {"f": {"type": "str", "vocab": "plastic"}, "f_ideal": "str"}, {"plastic": asks}, "x")
    judged = judging.validate({"f": "PP", "f_ideal": "mine"}, {"plastic": asks})
    assert judged.value.model_dump() == {"f": "PP", "f_ideal": "mine"}


def test_a_model_that_somebody_wrote_has_vocabularies():
    """By object or by name, under another name in answers, in unions, and in itself."""
    own = Vocabulary(["oak"], label="wood")

    class Tree(BaseModel):
        wood: str = VocabField(vocab=own, alias="kind")
        plastic: str | None = VocabField(vocab="plastic", default=None)
        inside: "list[Tree] | dict[str, Tree] | None" = None

    trees = model_schema(Tree, KNOWN, "x")
    assert trees.vocabularies == ("x.wood", "plastic")
    judged = trees.validate(
        {"kind": "OAK", "inside": [{"kind": "elm", "plastic": "pet", "inside": {"a": {"kind": "Oak"}}}]}, KNOWN
    )
    inner = judged.value.model_dump(exclude_none=True)["inside"][0]
    assert inner == {"wood": "elm", "plastic": "PET", "inside": {"a": {"wood": "oak"}}}
    assert told(judged) == [("inside[0].kind", "elm", None, None, "x.wood")]


def test_a_vocabulary_that_is_not_there_is_an_error():
    """A model names it in vain."""

    class Wrong(BaseModel):
        f: str = VocabField(vocab="plastics")

    with pytest.raises(SchemaRefError, match="'plastics' is not found") as caught:
        model_schema(Wrong, KNOWN)
    assert caught.value.suggestion == "plastic"


def test_what_is_not_what_it_should_be_is_told():
    """A line for each place."""
    judging = schema(f="int", rows={"type": "list", "items": {"g": "str"}})
    with pytest.raises(SchemaValidationError) as caught:
        judging.validate({"f": "x", "rows": [{"g": "a"}, {}]}, {})
    assert str(caught.value) == (
        "the answer is no XSchema: f: Input should be a valid integer, unable to parse string as an integer; "
        "rows[1].g: Field required"
    )
    assert len(caught.value.validation_error.errors()) == 2
    for answer in ([], "x", None, 3):
        with pytest.raises(SchemaValidationError, match="the answer: Input should be a valid dictionary"):
            judging.validate(answer, {})


def test_what_is_let_pass_is_told():
    """Rules that only warn, and values that are denied."""
    denies = Vocabulary(["PET"], label="plastic", denied=["junk"])
    judging = schema(f={"type": "str", "vocab": "plastic"}, g={"type": "str", "min_length": 3, "on_fail": "warn"})
    judged = judging.validate({"f": "Junk", "g": "ab"}, {"plastic": denies})
    assert judged.suggestions == ()
    assert judged.warnings == (
        "f: 'Junk' is excluded from the vocabulary 'plastic'",
        "field g: has 2 characters; at least 3 required",
    )


def test_a_prompt_is_told_of_the_vocabularies_of_a_schema():
    """By the names of the fields, once each; not of others."""
    asks = Vocabulary(["PET"], label="plastic", capture_ideal=True)
    other = Vocabulary(["x"], label="other")
    judging = schema(
        k={"type": "str", "vocab": "plastic"},
        rows={"type": "list", "items": {"k": {"type": "str", "vocab": "plastic"}, "other": "str"}},
    )
    assert judging.vocab_hints({"plastic": asks, "other": other}) == (
        "---\nVocabulary constraints:\n"
        "Vocabulary constraint for `plastic` (field `k`): choose from [PET].\n"
        "Also return `k_ideal`: what you would answer if there were no such list."
    )
    assert schema(f="str").vocab_hints(KNOWN) == ""


def test_a_hint_says_what_a_model_says():
    """A line for each field, what is nested below it, for models of anybody."""

    class Inner(BaseModel):
        name: str = Field(description="Who.\nIn full.")
        more: "Inner | None" = None

    class Outer(BaseModel):
        rows: list[Inner]
        kind: Literal["a", "b"] | None = None
        score: float = 0.9
        by: dict[str, int]
        key: Inner = Field(alias="the key")
        any_of: list[Any]

    assert model_to_schema_hint(Outer).splitlines() == [
        "Return a JSON object with the following fields:",
        '- "rows": array of objects (required)',
        '    - "name": string (required)',
        "        Who.",
        "        In full.",
        '    - "more": object or null',
        "- \"kind\": one of 'a', 'b' or null",
        '- "score": number (optional)',
        '- "by": object with integer values (required)',
        '- "the key": object (required)',
        '    - "name": string (required)',
        "        Who.",
        "        In full.",
        '    - "more": object or null',
        '- "any_of": array of any value (required)',
    ]


def test_a_schema_is_json_schema_too():
    """For models that are held to one; vocabularies in fields do not stand in the way."""
    said = schema(f={"type": "str", "vocab": "plastic", "description": "Which."}).json_schema()
    assert said == {
        "title": "XSchema",
        "type": "object",
        "properties": {"f": {"title": "F", "type": "string", "description": "Which."}},
        "required": ["f"],
    }


def test_fields_are_known_before_a_run():
    """What cannot be known may be there."""

    class Model(BaseModel):
        a: str
        rows: list[str]

        @computed_field  # type: ignore[prop-decorator]
        @property
        def length(self) -> int:
            return len(self.a)

    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")
        inner: Model | None

    assert [model_schema(Model).has_field([name]) for name in ("a", "length", "b")] == [True, True, False]
    assert model_schema(Model).has_field(["a", "anything"])
    assert [model_schema(Open).has_field(path) for path in (["x"], ["inner", "a"], ["inner", "b"])] == [
        True,
        True,
        False,
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["pet", "PETs", "wood", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["f", "tags", "rows", "by", "f_ideal"]), inner, max_size=4)
    ),
    max_leaves=15,
)


@given(JSON)
def test_any_answer_is_a_value_or_an_error_and_stays_as_it_is(answer: Any):
    """Whatever a model says; and the same answer is judged the same."""
    vocab = {"vocab": "plastic"}
    judging = schema(
        f={"type": "str | None", **vocab},
        tags={"type": "list[str] | None", **vocab},
        rows={"type": "list | None", "items": {"f": {"type": "str", **vocab}}},
    )
    before = copy.deepcopy(answer)
    verdicts = []
    for _ in range(2):
        try:
            judged = judging.validate(answer, KNOWN)
        except SchemaValidationError as error:
            verdicts.append(str(error))
        else:
            verdicts.append(f"{judged.value!r} {told(judged)}")
    assert answer == before
    assert verdicts[0] == verdicts[1]
