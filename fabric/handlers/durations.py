"""How long a handler wants to sleep, in the grammar of Go's ``time.ParseDuration``: ``1h30m``, ``-1.5s``, ``250ms``."""

from __future__ import annotations

__all__ = ["SLEEP_S_MAX", "parse_duration", "sleep_s"]

import re
from fractions import Fraction

from fabric.errors import HandlerFailed

SLEEP_S_MAX = 10 * 365.25 * 24 * 3600
"""Ten years. Go's durations end at 292; who sleeps longer has made a mistake, and who means "for ever" pauses."""

CHARS_MAX = 512
"""``"%.2f"`` of the largest float has 312."""

_UNITS_S = {
    "ns": Fraction(1, 10**9),
    "us": Fraction(1, 10**6),
    "\N{MICRO SIGN}s": Fraction(1, 10**6),
    "\N{GREEK SMALL LETTER MU}s": Fraction(1, 10**6),
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
}
_PART = rf"(?:([0-9]+)(?:\.([0-9]*))?|\.([0-9]+))({'|'.join(_UNITS_S)})"
_PARTS = re.compile(_PART)
_WHOLE = re.compile(rf"([-+]?)(?:0|((?:{_PART})+))")


def parse_duration(text: str) -> Fraction:
    """Return a duration in seconds, exactly; it may be negative, and longer than Go's.

    Raises:
        HandlerFailed: it is none. ``inf`` and ``nan`` are none.
    """
    found = _WHOLE.fullmatch(text) if len(text) <= CHARS_MAX else None
    if found is None:
        shown = text if len(text) <= 40 else f"{text[:40]}…"
        raise HandlerFailed(
            f'a sleep has duration {shown!r}: expected a number with a unit, such as "1.50s" or "2h45m"'
        )
    total = Fraction(0)
    for whole, part, alone, unit in _PARTS.findall(found[2] or ""):
        digits = part or alone
        total += (Fraction(int(whole or "0")) + Fraction(int(digits or "0"), 10 ** len(digits))) * _UNITS_S[unit]
    return -total if found[1] == "-" else total


def sleep_s(text: str) -> float:
    """Return how long to sleep, from none at all to ten years."""
    return min(max(float(min(parse_duration(text), Fraction(SLEEP_S_MAX))), 0.0), SLEEP_S_MAX)
