"""Sources of models, guessed from samples."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from fabric.errors import ConfigError
from fabric.pipelines.infer import infer_schema_source


def model_of(source: str, name: str) -> type[BaseModel]:
    """Return the class of a source: the user would import it."""
    names: dict[str, Any] = {}
    exec(source, names)
    model: type[BaseModel] = names[name]
    return model


def test_a_source_says_what_the_sample_shows():
    """Types of values and of items of lists; null may be null."""
    source = infer_schema_source(
        "PaperSchema",
        {
            "title": "x",
            "year": 5,
            "score": 1.5,
            "open": False,
            "doi": None,
            "tags": ["a"],
            "counts": [1, 2.5],
            "none": [],
            "mixed": [1, "a"],
            "meta": {"a": 1},
            "rows": [{"a": 1}],
        },
    )
    assert source.splitlines()[2:] == [
        "from typing import Any, Optional",
        "",
        "from pydantic import BaseModel",
        "",
        "",
        "class PaperSchema(BaseModel):",
        "    title: str",
        "    year: int",
        "    score: float",
        "    open: bool",
        "    doi: Optional[str] = None",
        "    tags: list[str]",
        "    counts: list[float]",
        "    none: list[Any]",
        "    mixed: list[Any]",
        "    meta: dict[str, Any]",
        "    rows: list[Any]",
    ]


def test_names_that_python_does_not_allow_are_changed():
    """The answer's own names are aliases; no two fields have the same."""
    sample = {"my-field": 1, "my_field": 2, "123abc": "x", "class": None, "_x": 1, "": 2, "model_config": 3, "é": 4}
    source = infer_schema_source("Some-Schema", sample)
    model = model_of(source, "SomeSchema")
    assert list(model.model_fields) == [
        "my_field",
        "my_field_2",
        "field_123abc",
        "field_class",
        "x",
        "field",
        "field_model_config",
        "field_2",
    ]
    assert model.model_validate(sample).model_dump(by_alias=True) == sample


def test_what_is_no_object_is_refused():
    """With what to do."""
    with pytest.raises(ConfigError, match="expected a JSON object, got list"):
        infer_schema_source("S", [1])  # type: ignore[arg-type]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def test_names_of_pydantic_and_of_types_are_changed():
    """A field keeps its name as its alias; the fields behind it have their own types."""
    sample = {"validate": None, "int": None, "n": 3}
    model = model_of(infer_schema_source("Odd", sample), "Odd")
    assert model.model_fields["n"].annotation is int
    assert model.model_validate(sample).model_dump(by_alias=True) == sample


@given(st.text(max_size=8), st.dictionaries(st.text(max_size=8), JSON, max_size=4))
def test_any_sample_is_an_instance_of_its_model(name: str, sample: dict[str, Any]):
    """Whatever its keys are called, and nothing in it becomes code."""
    source = infer_schema_source(name, sample)
    class_name = source.split("class ", 1)[1].split("(", 1)[0]
    assert model_of(source, class_name).model_validate(sample).model_dump(by_alias=True) == sample
