"""Whether a call that failed is made again, and when."""

from __future__ import annotations

__all__ = ["ATTEMPTS_MAX", "RETRY_AFTER_MAX_S", "retry_delay_s"]

import random

ATTEMPTS_MAX = 5
"""Attempts of one call, the first included."""

FIRST_DELAY_S = 0.5
DELAY_MAX_S = 8.0

RETRY_AFTER_MAX_S = 60.0
"""A provider that asks to wait longer is not waited for: whoever sent the message should hear of it before that."""


def retry_delay_s(failures: int, retry_after_s: float | None, chance: random.Random) -> float | None:
    """Return how long to wait before the next attempt of a call, or ``None`` if there should be none.

    Half of it is chance, so that agents that were refused together do not come back together; it is never earlier than
    the provider asked for.

    Args:
        failures: attempts that have failed for a reason that may pass.
        retry_after_s: what the provider asked for at the last one.
        chance: draws the delay.
    """
    wanted_s = retry_after_s or 0.0
    if failures >= ATTEMPTS_MAX or not wanted_s <= RETRY_AFTER_MAX_S:
        return None
    ceiling_s = min(DELAY_MAX_S, FIRST_DELAY_S * 2 ** (failures - 1))
    return max(wanted_s, chance.uniform(ceiling_s / 2, ceiling_s))
