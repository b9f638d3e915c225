"""The gate: what can be decided without a model is decided without one."""

from typing import Any

WORDS_MAX = 4


def judge(draft: dict[str, Any]) -> dict[str, Any]:
    """Let a line pass if it is short."""
    words = len(draft["line"].split())
    remark = "" if words <= WORDS_MAX else f"{words} words are too many: {WORDS_MAX} at most"
    return {**draft, "pass": not remark, "remark": remark}
