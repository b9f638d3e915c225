"""Relations between types."""

from __future__ import annotations

import pytest

from fabric.lang.check import check_source
from fabric.lang.diagnostic import Report
from fabric.lang.parser import parse
from fabric.lang.source import Source
from fabric.lang.types import TypeTable, is_consistent, is_disjoint, is_subtype, join, why_not
from fabric.wire.payload import Alias, Sum, resolve, show


def types(*texts):
    """Read types; what they are called does not matter."""
    source = Source("x.plumb", "\n".join(f"type T{i} = {text}" for i, text in enumerate(texts)))
    report = Report(source)
    table = TypeTable(parse(source, report), {}, (), set(), report)
    assert not report.diagnostics()
    return [table.types[f"T{i}"] for i in range(len(texts))]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("int", "int"),
        ("int", "number"),
        ("[int]", "[number]"),
        ("(int, string)", "(number, json)"),
        ("string", "string | int"),
        ("string | int", "int | string | bool"),
        ("{ a: int }", "{ a: number }"),
        ("{ a: int }", "{ a?: int }"),
        ("{}", "{ a?: int }"),
        ("{ a: int } | { b: int }", "json"),
        ("{ a: int }", "{ a: int } | { b: int }"),
    ],
)
def test_one_fits_the_other_and_not_the_other_way(a, b):
    """The relation of LANGUAGE.md, "Fit"."""
    left, right = types(a, b)
    assert is_subtype(left, right)
    assert is_consistent(left, right)
    assert is_subtype(right, left) == (a == b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("number", "int"),
        ("string", "int"),
        ("string | int", "string"),
        ("{ a: int, b: int }", "{ a: int }"),
        ("{ a?: int }", "{ a: int }"),
        ("{ a: int }", "{ a: int, b: int }"),
        ("(int, int)", "[int]"),
        ("(int, int)", "(int, int, int)"),
        ("unit", "{ a?: int }"),
    ],
)
def test_one_does_not_fit_the_other(a, b):
    """Nor does looking at each message help."""
    left, right = types(a, b)
    assert not is_subtype(left, right)
    assert not is_consistent(left, right)


@pytest.mark.parametrize(
    ("a", "b"), [("json", "int"), ("{ a: json }", "{ a: int }"), ("[json]", "[int]"), ("json", "{}")]
)
def test_json_is_consistent_with_what_it_does_not_fit(a, b):
    """At any depth."""
    left, right = types(a, b)
    assert not is_subtype(left, right)
    assert is_consistent(left, right)


@pytest.mark.parametrize(
    ("a", "b", "disjoint"),
    [
        ("string", "int", True),
        ("int", "number", False),
        ("json", "int", False),
        ("{ a: int }", "{ b: int }", True),
        ("{ a: int }", "{ a: int, b?: int }", False),
        ("{ a: int }", "{ a: string }", True),
        ("{ a?: int }", "{ a?: string }", False),
        ("{ a?: int }", "{ b: int }", True),
        ("(int, int)", "(int, int, int)", True),
        ("(int, string)", "(int, int)", True),
        ("[int]", "(int, int)", False),
        ("string | { a: int }", "bool | { b: int }", True),
        ("unit", "{}", True),
    ],
)
def test_disjoint_types_have_no_value_in_common(a, b, disjoint):
    """Decided by the shape of their JSON."""
    left, right = types(a, b)
    assert is_disjoint(left, right) is disjoint
    assert is_disjoint(right, left) is disjoint


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        (["int", "number"], "T1"),
        (["int", "string"], "T0 | T1"),
        (["{ a: int }", "json"], "T1"),
        (["[int]", "[string]"], None),
        (["int | string", "bool", "int"], "int | string | T1"),
    ],
)
def test_the_join_is_the_widest_or_the_sum_if_there_is_one(parts, whole):
    """Overlapping types of which none is widest have none."""
    joined = join(types(*parts))
    assert (joined and show(joined)) == whole


def test_a_sum_of_sums_is_flat_and_keeps_the_names_of_its_variants():
    """So that messages show names."""
    a, b, c = types("{ a: int }", "T0 | string", "T1 | bool")
    assert isinstance(a, Alias)
    assert isinstance(b, Alias)
    assert show(resolve(c)) == "T0 | string | bool"
    assert isinstance(resolve(c), Sum)


@pytest.mark.parametrize(
    ("a", "b", "reasons"),
    [
        ("{ a: int, c: int }", "{ a: int, b: int }", 2),
        ("{ a: int }", "{ a: string }", 1),
        ("{ a?: int }", "{ a: int }", 1),
        ("string | int", "string", 1),
        ("number", "int", 1),
        ("string", "int", 0),
    ],
)
def test_reasons_say_why_a_type_does_not_fit(a, b, reasons):
    """None where the names say it all."""
    assert len(why_not(*types(a, b))) == reasons


def test_declared_types_are_aliases_of_the_module():
    """Types keep their names down to the plan."""
    module, _ = check_source(Source("x.plumb", "type A = { b: B }\ntype B = int\nlet main : !A -> !A = id"))
    assert module is not None
    assert list(module.types) == ["A", "B"]
    assert show(module.bindings["main"].inputs[0].type) == "A"
