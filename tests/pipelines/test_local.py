"""What functions are given."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from fabric.pipelines.runs.local import own


def test_lists_and_dicts_are_copied_and_nothing_else() -> None:
    """A value of any other class is the user's, and may not be one that can be copied."""
    others = [OrderedDict(a=1), (1, [2]), {3}, object()]

    copy = own({"a": others, "b": {"c": []}})

    assert copy == {"a": others, "b": {"c": []}}
    assert list(copy) == ["a", "b"]
    assert copy["a"] is not others
    assert all(one is other for one, other in zip(copy["a"], others, strict=True))


def test_what_stands_twice_or_in_itself_does_so_in_the_copy() -> None:
    """However deep it is."""
    inner: list[Any] = []
    inner.append(inner)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    copy = own([inner, inner, deep])

    assert copy[0] is copy[1]
    assert copy[0][0] is copy[0]
    assert copy[0] is not inner
    depth = 0
    while copy[2]:
        copy[2] = copy[2][0]
        depth += 1
    assert depth == 100_000
