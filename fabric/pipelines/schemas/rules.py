"""The rules of a field, applied to a value. Pure."""

from __future__ import annotations

__all__ = ["broken_rules"]

import re
from collections.abc import Iterator
from typing import Any

from fabric.pipelines.schemas.fields import Rules


def broken_rules(rules: Rules, value: Any) -> Iterator[tuple[str, str]]:
    """Return each rule that a value breaks: its name, and a sentence.

    Rules for texts hold for each text in a list or a dict. What has another type breaks none: its type is wrong, and
    that is said by others.
    """
    if isinstance(value, list):
        if rules.min_items is not None and len(value) < rules.min_items:
            yield "min_items", f"has {_count(len(value), 'item')}; at least {rules.min_items} required"
        if rules.max_items is not None and len(value) > rules.max_items:
            yield "max_items", f"has {_count(len(value), 'item')}; at most {rules.max_items} allowed"
        for index, item in enumerate(value):
            yield from ((rule, f"item {index} {text}") for rule, text in _of_text(rules, item))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from ((rule, f"item {key!r:.80} {text}") for rule, text in _of_text(rules, item))
    else:
        yield from _of_text(rules, value)


def _of_text(rules: Rules, value: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(value, str):
        return
    if rules.min_length is not None and len(value) < rules.min_length:
        yield "min_length", f"has {_count(len(value), 'character')}; at least {rules.min_length} required"
    if rules.max_length is not None and len(value) > rules.max_length:
        yield "max_length", f"has {_count(len(value), 'character')}; at most {rules.max_length} allowed"
    if rules.pattern is not None and re.fullmatch(rules.pattern, value) is None:
        yield "pattern", f"{value!r:.80} does not match pattern {rules.pattern!r}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
