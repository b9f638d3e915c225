"""What a value of a vocabulary's field is taken for. Pure, and the same in every process: no order of hashes counts.

A value is compared in this order, and the first comparison that finds a term decides:

1. as a whole, with terms and with what is declared as another spelling of one: ``exact``;
2. word by word: one stands in the other (``gene knockout`` and ``knockout``): ``fuzzy``. Words, not letters: HDPE is
   not a PE;
3. as an abbreviation: ``E. coli`` for ``Escherichia coli``: ``fuzzy``;
4. by likeness, from 0.75 on, as ``difflib`` measures it: ``fuzzy``. Codes of up to four capitals or digits are never
   alike (LDPE is no HDPE), and neither is what has other digits (phase 3 is not phase 2).

If several terms fit, the one that is most alike is taken; if they are equally alike, the one that is declared first.
A value of more than a thousand characters is compared as a whole only: a page is no term.
"""

from __future__ import annotations

__all__ = ["LIKENESS_MIN", "Terms", "spelling"]

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import cached_property

from fabric.pipelines.results import MatchType

# Below it, difflib finds words alike that share no more than their ending.
LIKENESS_MIN = 0.75

# The longest terms that people keep, names of chemicals, have some hundred; a model that repeats itself fills a page.
FUZZY_CHARS_MAX = 1_000

# What one snapshot remembers: in a batch the same values come again and again, and likeness is slow.
REMEMBERED_MAX = 4_096

_CODE_CHARS_MAX = 4
_WORD = re.compile(r"([^\W_]+)(\.?)")
_DIGITS = re.compile(r"\d+")


def spelling(text: str, case_sensitive: bool) -> str:
    """Return what of a text counts when it is compared as a whole."""
    return text if case_sensitive else text.casefold()


@dataclass(frozen=True)
class _Term:
    """A term, prepared to be compared."""

    text: str
    key: str
    words: str  # with a space around each
    parts: tuple[tuple[str, bool], ...]  # its words, and whether a full stop is behind each
    digits: tuple[str, ...]
    is_code: bool


def _prepared(term: str, text: str, key: str) -> _Term:
    parts = tuple((word, bool(stop)) for word, stop in _WORD.findall(key))
    is_code = len(text) <= _CODE_CHARS_MAX and (text.isupper() or text.isdigit())
    words = f" {' '.join(word for word, _ in parts)} "
    return _Term(term, key, words, parts, tuple(_DIGITS.findall(key)), is_code)


@dataclass(frozen=True)
class Terms:
    """The terms of a vocabulary, in their order, each with other spellings of it. Immutable."""

    known: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    case_sensitive: bool = False
    fuzzy_match: bool = True

    def with_terms(self, added: Iterable[str]) -> Terms:
        """Return these and others behind them; what differs in nothing that counts is the same term."""
        known = dict(self.known)
        keys = {spelling(term, self.case_sensitive) for term in known}
        for term in added:
            key = spelling(term, self.case_sensitive)
            if key not in keys:
                keys.add(key)
                known[term] = ()
        return Terms(known, self.case_sensitive, self.fuzzy_match)

    @cached_property
    def _whole(self) -> Mapping[str, str]:
        """The term of each spelling. Terms win over other spellings, and who is declared first over who comes later."""
        found: dict[str, str] = {}
        for term in self.known:
            found.setdefault(spelling(term, self.case_sensitive), term)
        for term, others in self.known.items():
            for other in others:
                found.setdefault(spelling(other, self.case_sensitive), term)
        return found

    @cached_property
    def _terms(self) -> tuple[_Term, ...]:
        return tuple(
            _prepared(term, text, spelling(text, self.case_sensitive))
            for term, others in self.known.items()
            for text in (term, *others)
        )

    def knows(self, value: str) -> bool:
        """Whether a value is a term as a whole, or another spelling of one."""
        return spelling(value, self.case_sensitive) in self._whole

    def match(self, value: str) -> tuple[str, MatchType]:
        """Return the term that a value is taken for, and how sure that is; the value itself if it is ``novel``."""
        key = spelling(value, self.case_sensitive)
        if key in self._whole:
            return self._whole[key], "exact"
        if not self.fuzzy_match or not key.strip() or len(key) > FUZZY_CHARS_MAX:
            return value, "novel"
        if key in self._remembered:
            found = self._remembered[key]
        else:
            found = self._nearest(_prepared(value, value, key))
            if len(self._remembered) < REMEMBERED_MAX:
                self._remembered[key] = found
        return (found, "fuzzy") if found is not None else (value, "novel")

    @cached_property
    def _remembered(self) -> dict[str, str | None]:
        return {}

    def _nearest(self, value: _Term) -> str | None:
        return (
            _best(value, [term for term in self._terms if _contains(value, term)])
            or _best(value, [term for term in self._terms if _abbreviates(value, term) or _abbreviates(term, value)])
            or _best(
                value, [one for one in self._terms if not one.is_code and one.digits == value.digits], LIKENESS_MIN
            )
        )


def _contains(value: _Term, term: _Term) -> bool:
    return bool(value.parts and term.parts) and (value.words in term.words or term.words in value.words)


def _abbreviates(short: _Term, long: _Term) -> bool:
    """Whether one text is the other with some of its words cut: to one letter, or with a full stop behind the cut."""
    if len(short.parts) != len(long.parts) or len(short.parts) < 2:
        return False
    pairs = [(word, stop, full) for (word, stop), (full, _) in zip(short.parts, long.parts, strict=True)]
    shortened = [word != full for word, _, full in pairs]
    return (
        any(shortened)
        and not all(shortened)
        and all(word == full or (full.startswith(word) and (stop or len(word) == 1)) for word, stop, full in pairs)
    )


def _best(value: _Term, terms: Iterable[_Term], ratio_min: float = 0.0) -> str | None:
    """Return the term that is most like a text; of equal ones, the first."""
    found, best = None, ratio_min
    matcher = SequenceMatcher(autojunk=False)
    matcher.set_seq2(value.key)
    for term in terms:
        matcher.set_seq1(term.key)
        if matcher.real_quick_ratio() < best or matcher.quick_ratio() < best:
            continue
        ratio = matcher.ratio()
        if ratio > best or (found is None and ratio >= best):
            found, best = term.text, ratio
    return found
