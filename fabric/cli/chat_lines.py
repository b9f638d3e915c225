"""What `chat` tells of the agents' work, as lines: tokens, thoughts, tools, and what they say to each other. Pure.

What models, tools and programs say may hold anything, also what a terminal would obey. None of it is printed as it is.
"""

from __future__ import annotations

__all__ = ["Telling", "printable"]

import re
from typing import Any

from fabric.cli.log_lines import readable, words_of
from fabric.errors import ValueRejected
from fabric.session.events import DeadLetter, Heard, Note, Refuse
from fabric.session.failure import last_words
from fabric.wire.payload import decode_json, encode_json

PALETTE = (36, 33, 35, 32, 34, 96, 93, 95, 92, 94)
"""Colors of agents, the most distinct first: cyan, yellow, magenta, green, blue, and the bright ones. No red."""

RED, DIM, PLAIN = "\x1b[31m", "\x1b[2m", "\x1b[0m"

ARGUMENTS_MAX = 160
"""Characters of a tool's arguments, and of what came of it: a line or two of a terminal."""

SAID_MAX = 2_000
"""Characters of what one agent says to another: a page of a terminal."""

TOLD = frozenset({"session.failed", "message.rejected", "message.dead_lettered"})
"""Notes of what is told otherwise."""

_RANK = {"debug": 0, "info": 1, "warning": 2, "error": 3}

# Control characters but tab and line feed; line and paragraph separators; what changes the direction of text; halves
# of characters that UTF-8 does not have.
_HARMFUL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""Return text with what a terminal might obey as escapes, such as ``\x1b``. A CR before a LF is left out."""
    return _HARMFUL.sub(_escape, text.replace("\r\n", "\n"))


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


class Telling:
    """How it is told.

    Args:
        color: whether in color: one for each agent.
        thinking: whether what they think is told, too.
        answering: agents whose answers are those of the program: they are printed as such.
        level: the lowest one of notes that is told.
    """

    def __init__(
        self, *, color: bool, thinking: bool, answering: frozenset[str] = frozenset(), level: str = "error"
    ) -> None:
        self._color = color
        self._thinking = thinking
        self._answering = answering
        self._rank = _RANK[level]
        self._colors: dict[str, int] = {}
        self._complaints: dict[str, str] = {}

    def heard(self, heard: Heard) -> list[str]:
        """Return the lines for what an agent says of its work; none for what is of no interest, or makes no sense."""
        try:
            event = decode_json(heard.payload)
        except ValueRejected:
            return []
        agent = heard.topic
        match event:
            case {"kind": "usage"}:
                return self._say(agent, _tokens(event))
            case {"kind": "thinking", "thinking": str(thought)} if self._thinking:
                return self._say(agent, thought, DIM)
            case {"kind": "tool_call", "name": str(name)}:
                return self._say(agent, _call(name, event))
            case {"kind": "output", "content": content} if agent not in self._answering:
                return self._say(agent, _shortened(content if isinstance(content, str) else _json(content), SAID_MAX))
        return []

    def wrote(self, worker: str, line: str) -> list[str]:
        """Return the lines for what a worker wrote to its stderr."""
        said = last_words((line,))
        if not said.code:
            return self._say(worker, readable(line), DIM)
        self._complaints[worker] = said.text
        return self._say(worker, f"error: {said.text}", RED)

    def noted(self, note: Note) -> list[str]:
        """Return the line for a note, if it is told."""
        if note.event in TOLD or (_RANK[note.level] < self._rank and note.event != "session.waiting"):
            return []
        return [self._paint(printable(words_of(note.event, dict(note.fields))), DIM)]

    def buried(self, letter: DeadLetter) -> list[str]:
        """Return the lines for a message that a worker could not do."""
        said = last_words(letter.stderr).text or letter.detail
        lines = [] if said == self._complaints.pop(letter.worker, "") else self.failed(f"{letter.worker}: {said}")
        return [*lines, self._paint("that message is left out; the conversation goes on without it", DIM)]

    def refused(self, refusal: Refuse) -> list[str]:
        """Return the lines for a message that went no further. Of one that is a dead letter is told already."""
        if refusal.code in ("dead_lettered", "input_closed"):
            return []
        return self.failed(f"{refusal.node}: {refusal.detail}" if refusal.node else refusal.detail)

    def failed(self, message: str) -> list[str]:
        """Return the lines for an error."""
        return [self._paint(line, RED) for line in f"error: {printable(message)}".split("\n")]

    def _say(self, agent: str, text: str, style: str = "") -> list[str]:
        front = f"[{printable(agent)}]"
        if self._color:
            color = self._colors.setdefault(agent, PALETTE[len(self._colors) % len(PALETTE)])
            front = f"\x1b[{color}m{front}{PLAIN}"
        return [f"{front} {self._paint(line, style)}" for line in printable(text).split("\n")]

    def _paint(self, text: str, style: str) -> str:
        return f"{style}{text}{PLAIN}" if self._color and style else text


def _tokens(event: dict[str, Any]) -> str:
    read, created = _count(event, "cache_read_tokens"), _count(event, "cache_creation_tokens")
    cache = f" (cache: {read} read, {created} create)" if read or created else ""
    return f"{_count(event, 'prompt_tokens')} in / {_count(event, 'completion_tokens')} out{cache}"


def _count(event: dict[str, Any], key: str) -> int:
    value = event.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _call(name: str, event: dict[str, Any]) -> str:
    arguments, summary = event.get("arguments", ""), event.get("summary", "")
    sign = "✘" if event.get("is_error") is True else "→"
    return f"{name}({_on_one_line(arguments)}) {sign} {_on_one_line(summary)}".rstrip()


def _on_one_line(value: object) -> str:
    text = value if isinstance(value, str) else _json(value)
    return _shortened(" ".join(text.split()), ARGUMENTS_MAX)


def _shortened(text: str, size_max: int) -> str:
    left = len(text) - size_max
    return text if left <= 0 else f"{text[:size_max]}… ({left} more)"


def _json(value: object) -> str:
    return encode_json(value).decode()
