"""Relations between types say what they should about values."""

from __future__ import annotations

from itertools import product
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fabric.errors import ValueRejected
from fabric.lang.types import is_consistent, is_disjoint, is_subtype, join
from fabric.wire.payload import (
    BOOL,
    INT,
    JSON,
    NUMBER,
    STRING,
    UNIT,
    Field,
    ListOf,
    Product,
    Record,
    Sum,
    Type,
    encode_json,
    validator,
)

SCALARS = [BOOL, INT, NUMBER, STRING, UNIT]
WITNESSES: dict[Type, list[Any]] = {
    BOOL: [True],
    INT: [0],
    NUMBER: [0, 0.5],
    STRING: ["x"],
    UNIT: [None],
    JSON: [True, 0, 0.5, "x", None, [], [0], {}, {"a": 0}, {"z": "x"}],
}


def is_sum(variants: list[Type]) -> bool:
    return all(is_disjoint(a, b) for i, a in enumerate(variants) for b in variants[:i])


def records(types: st.SearchStrategy[Type]) -> st.SearchStrategy[Type]:
    fields = st.dictionaries(st.sampled_from("abc"), st.tuples(types, st.booleans()), max_size=2)
    return fields.map(lambda found: Record(tuple(Field(name, *of) for name, of in found.items())))


def larger(types: st.SearchStrategy[Type]) -> st.SearchStrategy[Type]:
    products = st.lists(types, min_size=2, max_size=3).map(lambda items: Product(tuple(items)))
    sums = st.lists(types.filter(lambda type_: not isinstance(type_, Sum)), min_size=2, max_size=3).filter(is_sum)
    return records(types) | types.map(ListOf) | products | sums.map(lambda variants: Sum(tuple(variants)))


RECORDS = st.recursive(st.sampled_from(SCALARS), records, max_leaves=4)
TYPES = st.recursive(st.sampled_from([*SCALARS, JSON]), larger, max_leaves=6)


def witnesses(type_: Type) -> list[Any]:
    """Return values of a type, few, but of each kind that it has."""
    match type_:
        case Record(fields):
            parts = [
                [(field.name, value) for value in witnesses(field.type)] + [None] * field.optional for field in fields
            ]
            return [dict(filter(None, chosen)) for chosen in product(*parts)]
        case ListOf(item):
            return [[], *([value] for value in witnesses(item))]
        case Product(items):
            return [list(chosen) for chosen in product(*map(witnesses, items))]
        case Sum(variants):
            return [value for variant in variants for value in witnesses(variant)]
    return WITNESSES[type_]


def has(type_: Type, value: Any) -> bool:
    try:
        validator(type_).check(encode_json(value))
    except ValueRejected:
        return False
    return True


@given(TYPES)
def test_a_type_has_its_values_and_fits_itself(type_: Type) -> None:
    """So that what follows is about something."""
    assert all(has(type_, value) for value in witnesses(type_))
    assert is_subtype(type_, type_)


@given(TYPES, TYPES)
def test_values_of_a_type_that_fits_are_values_of_the_other(a: Type, b: Type) -> None:
    """No message is refused where the checker was content without ``json``."""
    if is_subtype(a, b):
        assert all(has(b, value) for value in witnesses(a))
        assert is_consistent(a, b)


@given(RECORDS, RECORDS)
def test_records_fit_exactly_if_their_values_do(a: Type, b: Type) -> None:
    """Both ways: int and number, required and optional fields, fields left over."""
    assert is_subtype(a, b) == all(has(b, value) for value in witnesses(a))


@given(TYPES, TYPES)
def test_disjoint_types_have_no_value_in_common(a: Type, b: Type) -> None:
    """So a value of a sum is of one variant."""
    if is_disjoint(a, b):
        assert not any(has(b, value) for value in witnesses(a))
        assert not any(has(a, value) for value in witnesses(b))


@given(st.lists(TYPES.filter(lambda type_: not isinstance(type_, Sum)), min_size=2, max_size=3).filter(is_sum))
def test_a_value_of_a_sum_is_of_exactly_one_variant(variants: list[Type]) -> None:
    """Validation and the checker agree on what is disjoint."""
    for value in witnesses(Sum(tuple(variants))):
        assert sum(has(variant, value) for variant in variants) == 1


@given(TYPES, TYPES, TYPES)
def test_what_fits_what_fits_fits(a: Type, b: Type, c: Type) -> None:
    """The relation is transitive."""
    if is_subtype(a, b) and is_subtype(b, c):
        assert is_subtype(a, c)


@given(st.lists(TYPES, min_size=1, max_size=3))
def test_every_type_fits_the_join(types: list[Type]) -> None:
    """Where streams come together."""
    joined = join(types)
    assert joined is None or all(is_subtype(type_, joined) for type_ in types)
