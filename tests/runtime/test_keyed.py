"""What is remembered of messages with keys."""

from __future__ import annotations

from fabric.runtime.keyed import CAME_BYTES, Keyed
from fabric.session.events import Output


def test_a_message_is_known_by_its_text_which_is_not_kept():
    """Space around it does not count."""
    keyed = Keyed()
    keyed.add("one", 1, "input", b' {"a":1}\n')
    came = keyed.find("one")
    assert came is not None
    assert came.is_of("input", b'{"a":1}')
    assert not came.is_of("input", b'{"a":2}')
    assert not came.is_of("other", b'{"a":1}')
    keyed.add("large", 2, "input", b"1" * 1_000_000)
    assert all(len(value) < 100 for value in vars(keyed.find("large")).values() if isinstance(value, bytes))


def test_keys_count_as_what_is_kept():
    """They stay, and so there is less room for what came of their messages."""
    keyed = Keyed(10 * CAME_BYTES)
    for number in range(9):
        keyed.add(str(number), number, "input", b"1")
        keyed.delivered([Output("output", b"x" * CAME_BYTES, (number,))])
        keyed.settled([number])
    kept = [number for number in range(9) if (came := keyed.find(str(number))) and came.outputs is not None]
    assert kept == [8]
