"""JSON in what a model said. Models put it between words, into fences, behind their thoughts, and add commas.

What is found is what was meant, or nothing: a text that breaks off in the middle of its JSON is an error, and so is one
whose JSON cannot be read, though there may be a whole object inside of it.
"""

from __future__ import annotations

__all__ = ["extract_json"]

import json
import math
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from fabric.pipelines.errors import ParseError

SCANS_MAX = 200
"""Of places at which JSON might begin and does not. A text with more of them is not JSON in prose."""

DEPTH_MAX = 500
"""Of values in values. Python reads about a thousand."""

_THOUGHT = re.compile(r"<(/?)(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
_FENCE = re.compile(r"[ \t]*(?:(`{3,})[^`]*|(~{3,}).*)$")
_LANGUAGE = re.compile(r"\s*json\b", re.IGNORECASE)
_OPENING = re.compile(r"[{\[]")

_STRING = r'"(?:[^"\\]++|\\.)*+'
"""A string without its last quote: one that never ends is read once, not from each quote in it again."""

_MARKS = re.compile(rf'{_STRING}"?|[{{}}\[\]]', re.DOTALL)
"""Strings, and brackets."""

_COMMAS = re.compile(rf'{_STRING}"?|,(?=\s*+[}}\]])', re.DOTALL)
"""Strings, so that commas in them stay, and commas in front of a closing bracket."""

_MEANT = re.compile(
    rf"""\{{ \s*+ (?: $ | {_STRING} (?: $ | " \s*+ (?: : | $ ) ) | '[^'\n]*+' \s*+ : | // | /\* )
       | \[ \s*+ (?: \{{ | $ )""",
    re.DOTALL | re.VERBOSE,
)
"""How an object begins, or a list of objects, and nothing in prose does. If it cannot be read, no answer can."""

_BEGINS = re.compile(
    r"""\{ \s*+ (?: ["'\#,] | [\w$-]++ \s*+ : ) | \[ \s*+ (?: ["'\[] | [-+\w.]++ \s*+ , )""", re.VERBOSE
)
"""How other values begin, notations of other languages, and sets in prose. What is inside of them is no answer."""


def extract_json(text: str) -> Any:
    """Return the JSON value in a text: all of it, or what is in a fence, or the longest object between words.

    Commas behind a last element are forgiven, line breaks in strings, and a byte order mark. Objects, and lists of
    them, go before other lists: ``[1]`` in prose is a citation. Of several the longest counts; of equally long ones the
    last. One that cannot be read does not count if another follows: models say the shape of their answer first.

    Raises:
        ParseError: there is none, it breaks off, or it cannot be read.
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
    fenced = [found for found in map(_inside, _fences(words)) if found is not None]
    broken = bool(fenced) and isinstance(fenced[-1], ParseError)
    best = (None if broken else _best(fenced)) or _best(_scan(words))
    if best is None:
        raise ParseError(f"there is no JSON in the answer, which begins: {words[:80]!r}")
    return best[1]


def _without_thoughts(text: str) -> str:
    """Return a text without what a model thought; templates of some servers swallow the first mark, or the last."""
    kept: list[str] = []
    at, thinks = 0, False
    for mark in _THOUGHT.finditer(text):
        if mark.group(1):
            if not thinks:  # all before was thought
                kept.clear()
            at, thinks = mark.end(), False
        elif not thinks:
            kept.append(text[at : mark.start()])
            thinks = True
    if not thinks:
        kept.append(text[at:])
    return "".join(kept).strip()


def _fences(text: str) -> list[str]:
    """Return what is between fences; the last one may lack its end."""
    found: list[str] = []
    mark = ""
    lines: list[str] = []
    for line in text.split("\n"):
        if not mark:
            begins = _FENCE.match(line)
            mark, lines = (begins.group(1) or begins.group(2), []) if begins else ("", lines)
        elif line.lstrip().startswith(mark) or line.rstrip().endswith(mark):
            found.append("\n".join([*lines, line.strip().removesuffix(mark)]))
            mark = ""
        else:
            lines.append(line)
    if mark:
        found.append("\n".join(lines))
    return found or [_LANGUAGE.sub("", one, count=1) for one in text.split("```")[1:-1:2]]


_Candidate = tuple[int, Any]
"""How long the text of a value is, and the value."""


def _inside(text: str) -> _Candidate | ParseError | None:
    """Return the value that a fence is, or what is wrong with it if it was meant to be one.

    Raises:
        ParseError: one begins and does not end.
    """
    text = text.strip()
    found, value = _read(text)
    if found:
        return (len(text), value) if isinstance(value, dict | list) else None
    return next((one for one in _scan(text) if isinstance(one, ParseError)), None) if _MEANT.match(text) else None


def _best(found: Iterable[_Candidate | ParseError]) -> _Candidate | None:
    """Return the value that was meant: none from before one that is broken, which may be a draft or an example.

    Raises:
        ParseError: the last one is broken.
    """
    candidates: list[_Candidate] = []
    broken: ParseError | None = None
    for one in found:
        if isinstance(one, ParseError):
            candidates, broken = [], one
        else:
            candidates.append(one)
            broken = None if _has_fields(one[1]) else broken
    if broken is not None:
        raise broken
    pool = [one for one in candidates if _has_fields(one[1])] or candidates
    best: _Candidate | None = None
    for one in pool:
        if best is None or one[0] >= best[0]:
            best = one
    return best


def _has_fields(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _scan(text: str) -> Iterator[_Candidate | ParseError]:
    """Return every value between words, outermost only, or what is wrong with it if it is broken. It is passed over as
    a whole then: what is inside of it is not the answer.

    Raises:
        ParseError: one begins and does not end.
    """
    at, scans = 0, 0
    while (match := _OPENING.search(text, at)) is not None and scans < SCANS_MAX:
        start = match.start()
        end = _end_of(text, start)
        meant = _MEANT.match(text, start) is not None
        begins = meant or _BEGINS.match(text, start) is not None
        if end is None:
            if begins:
                raise ParseError(f"the JSON in the answer breaks off: what begins with {text[start : start + 40]!r}")
            scans += 1
            at = start + 1
            continue
        found, value = _read(text[start:end])
        if found:
            yield end - start, value
        elif meant:
            why = _why(text[start:end])
            yield ParseError(f"the JSON in the answer, {text[start : start + 40]!r}, cannot be read: {why}")
        else:
            scans += 1
        at = end if found or begins else start + 1


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
    return None


def _read(text: str) -> tuple[bool, Any]:
    """Return whether a text is JSON, and what it says; without commas behind last elements, if it is not as it is."""
    for one in (text, _tidy(text)) if "," in text else (text,):
        with suppress(ValueError):
            return True, _load(one)
    return False, None


def _tidy(text: str) -> str:
    return _COMMAS.sub(lambda match: "" if match.group() == "," else match.group(), text)


def _why(text: str) -> str:
    """Return what is wrong with a text that is no JSON."""
    text = _tidy(text)
    try:
        _load(text)
    except json.JSONDecodeError as error:
        return f"{error.msg} at {text[error.pos : error.pos + 20]!r}"
    except ValueError as error:
        return str(error)
    return "it is none"


def _load(text: str) -> Any:
    """Return what a text says that is JSON, but for line breaks in its strings: what is meant by those is plain.

    Raises:
        ValueError: it is none.
    """
    try:
        return json.loads(text, strict=False, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is no number that a computer has")
    return number
