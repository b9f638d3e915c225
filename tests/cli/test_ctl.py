"""What ``ctl`` understands."""

from __future__ import annotations

from typing import Any

import pytest

from fabric.cli.ctl import control_message
from fabric.errors import ConfigError

FILES = {
    "list": b'[{"role":"user","content":"hello"}]',
    "reply": b'{"kind":"memory","messages":[1],"pinned":[]}',
    "other": b'{"kind":"memory_set"}',
    "text": b"hello",
}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pause"], {"pause": True}),
        (["resume"], {"resume": True}),
        (["memory"], {"get_memory": True}),
        (['{"set_temp": 0.2}'], {"set_temp": 0.2}),
        (["set_memory", "list"], {"set_memory": [{"role": "user", "content": "hello"}]}),
        (["set_memory", "reply"], {"set_memory": [1]}),
    ],
)
def test_a_word_or_an_object_is_a_message(words: list[str], message: dict[str, Any]):
    """What ``memory`` has printed can be given back."""
    assert control_message(words, FILES.__getitem__) == message


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["paws"], "expected pause, resume, memory, set_memory FILE, or a JSON object"),
        (["[1]"], r"got '\[1\]'"),
        (["{"], "malformed"),
        (["{}", "{}"], "one message at a time"),
        (["set_memory"], "expected set_memory FILE"),
        (["set_memory", "a", "b"], "expected set_memory FILE"),
        (["set_memory", "other"], "other: expected a list of messages"),
        (["set_memory", "text"], "text: "),
    ],
)
def test_anything_else_is_refused_with_what_is_expected(words: list[str], complaint: str):
    """Before anybody is told anything."""
    with pytest.raises(ConfigError, match=complaint):
        control_message(words, FILES.__getitem__)
