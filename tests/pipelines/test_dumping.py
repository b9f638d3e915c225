"""Values as JSON has them."""

from datetime import date
from pathlib import Path

import pytest
from pydantic import BaseModel

from fabric.pipelines.runs.dumping import dumped, dumped_text, text_of


class Tagged(BaseModel):
    tags: set[str]
    when: date


class Opaque:
    pass


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Named:
    def __str__(self) -> str:
        return "by name"


def test_models_become_maps_and_dates_texts() -> None:
    """What pydantic knows, it writes; inside of lists and maps, too."""
    value = {"all": [Tagged(tags={"b", "a"}, when=date(2020, 1, 2))], "path": Path("a/b")}
    assert dumped(value) == {"all": [{"tags": ["a", "b"], "when": "2020-01-02"}], "path": "a/b"}


def test_sets_are_sorted_wherever_they_stand() -> None:
    """The order of a set is another one in each process; that of its JSON never is."""
    assert dumped({"x": [frozenset("cab"), {"y": {3, 1, 2}}]}) == {"x": [["a", "b", "c"], {"y": [1, 2, 3]}]}


def test_what_has_no_text_of_its_own_is_refused() -> None:
    """The address of an object is no value: it would be another one in each run."""
    assert dumped(Named()) == "by name"
    with pytest.raises(ValueError, match=r"type dict cannot be written as JSON.*nothing says how a Opaque is written"):
        dumped({"x": Opaque()})


def test_what_a_text_raises_is_refused() -> None:
    """Whatever it is: classes are the user's."""
    with pytest.raises(ValueError, match=r"type list cannot be written as JSON: .*no text"):
        dumped([Mute()])
    assert text_of(Mute()).endswith("Mute, whose text raised RuntimeError")
    assert text_of(ValueError("why")) == "why"


def test_numbers_that_json_does_not_have_are_refused() -> None:
    """Infinity is no JSON."""
    with pytest.raises(ValueError):
        dumped_text({"x": float("inf")})
    assert dumped_text({"x": "é"}) == '{"x": "é"}'


def test_a_value_inside_of_itself_is_refused() -> None:
    """It has no end."""
    ring: list[object] = []
    ring.append(ring)
    with pytest.raises(ValueError, match="list"):
        dumped(ring)
