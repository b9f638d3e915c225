"""JSON in what a model said. Models put it between words, into fences, behind their thoughts, and add commas.

What is found is what was meant, or nothing: a text that breaks off in the middle of its JSON is an error, though there
may be a whole object inside of it.
"""

from __future__ import annotations

__all__ = ["extract_json"]

import json
import re
from collections.abc import Iterator
from typing import Any

from fabric.pipelines.errors import ParseError

SCANS_MAX = 200
"""Of places at which JSON might begin and does not. A text with more of them is not JSON in prose."""

DEPTH_MAX = 500
"""Of values in values. Python reads about a thousand."""

_THOUGHTS = re.compile(r"<(think|thinking|thought|reasoning)>.*?</\1>", re.DOTALL | re.IGNORECASE)
_THOUGHTS_END = re.compile(r"^.*</(?:think|thinking|thought|reasoning)>", re.DOTALL | re.IGNORECASE)
_THOUGHTS_BEGIN = re.compile(r"<(?:think|thinking|thought|reasoning)>.*$", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(r"^[ \t]*(```+|~~~+)[ \t]*([\w+-]*)[^\n]*\n(.*?)^[ \t]*\1", re.DOTALL | re.MULTILINE)
_FENCE_INLINE = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL | re.IGNORECASE)
_OPENING = re.compile(r"[{\[]")
_BEGINS = re.compile(r'\{\s*(?:"|$)|\[\s*(?:["{\[]|$)')
"""What JSON looks like at its beginning, and a set or a citation in prose does not."""


def extract_json(text: str) -> Any:
    """Return the JSON value in a text: all of it, or what is in a fence, or the longest object between words.

    Commas behind a last element are forgiven, and a byte order mark. Objects go before arrays: ``[1]`` in prose is a
    citation. Of several the longest counts; of equally long ones the last.

    Raises:
        ParseError: there is none, or it breaks off.
    """
    text = text.lstrip("\ufeff").strip()
    found, value = _read(text)
    if found:
        return value
    words = _without_thoughts(text)
    if not words:
        raise ParseError("there is no JSON in the answer: it is empty" + (" but for its thoughts" if text else ""))
    found, value = _read(words)
    if found:
        return value
    fenced = [candidate for candidate in map(_inside, _fences(words)) if candidate is not None]
    best = _best(fenced)
    if best is None:
        best = _best(list(_scan(words)))
    if best is None:
        raise ParseError(f"there is no JSON in the answer, which begins: {words[:80]!r}")
    return best[1]


def _without_thoughts(text: str) -> str:
    """Return a text without what a model thought; templates of some servers swallow the first mark, or the last."""
    text = _THOUGHTS.sub("", text)
    return _THOUGHTS_BEGIN.sub("", _THOUGHTS_END.sub("", text)).strip()


def _fences(text: str) -> Iterator[str]:
    spans = [match.group(3) for match in _FENCE.finditer(text)]
    yield from spans or (match.group(1) for match in _FENCE_INLINE.finditer(text))


_Candidate = tuple[int, Any]
"""How long the text of a value is, and the value."""


def _inside(text: str) -> _Candidate | None:
    found, value = _read(text.strip())
    return (len(text), value) if found and isinstance(value, dict | list) else None


def _best(candidates: list[_Candidate]) -> _Candidate | None:
    pool = [one for one in candidates if isinstance(one[1], dict)] or candidates
    best: _Candidate | None = None
    for one in pool:
        if best is None or one[0] >= best[0]:
            best = one
    return best


def _scan(text: str) -> Iterator[_Candidate]:
    """Return every value between words, outermost only.

    Raises:
        ParseError: one begins and does not end.
    """
    at, scans = 0, 0
    while (match := _OPENING.search(text, at)) is not None and scans < SCANS_MAX:
        start = match.start()
        scans += 1
        end = _end_of(text, start)
        if end is None:
            if _BEGINS.match(text, start):
                raise ParseError(f"the JSON in the answer breaks off: what begins with {text[start : start + 40]!r}")
            at = start + 1
            continue
        found, value = _read(text[start:end])
        if found:
            scans -= 1
            yield end - start, value
        at = end if found else start + 1


_MARKS = re.compile(r'"(?:[^"\\]|\\.)*"|["{}\[\]]', re.DOTALL)
"""Whole strings, quotes that begin none, and brackets."""


def _end_of(text: str, start: int) -> int | None:
    """Return where the bracket at ``start`` is closed, strings passed over; ``None``: nowhere.

    Raises:
        ParseError: it is nested too deeply for anybody to have meant it.
    """
    depth = 0
    for match in _MARKS.finditer(text, start):
        mark = match.group()
        if mark in ("{", "["):
            depth += 1
            if depth > DEPTH_MAX:
                raise ParseError(f"the JSON in the answer is nested deeper than {DEPTH_MAX} levels")
        elif mark in ("}", "]"):
            depth -= 1
            if depth == 0:
                return match.end()
        elif mark == '"':
            return None
    return None


def _read(text: str) -> tuple[bool, Any]:
    """Return whether a text is JSON, and what it says; without commas behind last elements, if it is not as it is."""
    found, value = _load(text)
    if found or "," not in text:
        return found, value
    tidy = _COMMAS.sub(lambda match: "" if match.group() == "," else match.group(), text)
    return (False, None) if tidy == text else _load(tidy)


_COMMAS = re.compile(r'"(?:[^"\\]|\\.)*"|,(?=\s*[}\]])', re.DOTALL)
"""Strings, so that commas in them stay, and commas in front of a closing bracket."""


def _load(text: str) -> tuple[bool, Any]:
    try:
        return True, json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False, None


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
