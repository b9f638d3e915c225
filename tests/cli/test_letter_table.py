"""What ``dead list`` and ``dead show`` print, to the letter."""

from __future__ import annotations

import msgspec

from fabric.cli.letter_table import render_letter, render_letters, without_content
from fabric.runtime.dead_letters import Letter

LETTER = Letter(
    17, "judge", "poison", "worker 'judge' was killed by signal 9,\nand again", 3, "2026-11-21T11:00:00.123456Z",
    "2026-11-21T10:00:00.000000Z", "ab" * 16, msgspec.Raw('{"topic":"é"}'.encode()), ("out of", "memory"),
)  # fmt: skip


def test_a_list_has_a_line_each_without_the_message():
    """Cut to the terminal, if there is one."""
    assert render_letters([LETTER], None) == [
        "ID  AT                    WORKER  CAUSE   ATTEMPTS  BYTES  DETAIL",
        "17  2026-11-21T11:00:00Z  judge   poison  3         14     worker 'judge' was killed by signal 9, and again",
    ]
    assert render_letters([LETTER], 70)[1] == ("17  2026-11-21T11:00:00Z  judge   poison  3         14     worker 'ju…")


def test_an_object_in_a_list_has_neither_the_message_nor_what_the_worker_said():
    """They may be anything; their sizes are told."""
    assert without_content(LETTER) == {
        "id": 17,
        "worker": "judge",
        "cause": "poison",
        "detail": "worker 'judge' was killed by signal 9,\nand again",
        "attempts": 3,
        "at": "2026-11-21T11:00:00.123456Z",
        "session": "2026-11-21T10:00:00.000000Z",
        "trace": "ab" * 16,
        "payload_bytes": 14,
        "stderr_lines": 2,
    }


def test_one_letter_is_shown_whole():
    """The message last, as it is."""
    assert list(render_letter(LETTER, "demo")) == [
        "dead letter 17 of 'demo'",
        "worker    judge",
        "cause     poison: worker 'judge' was killed by signal 9,\nand again",
        "attempts  3",
        "at        2026-11-21T11:00:00.123456Z",
        "session   2026-11-21T10:00:00.000000Z",
        f"trace     {'ab' * 16}",
        "stderr    its last lines:",
        "  | out of",
        "  | memory",
        "message   14 bytes:",
        '{"topic":"é"}',
    ]
