"""ELIZA with the DOCTOR script, as printed in 1966: a model that needs no network and never surprises.

What happens to one text (pages 37 to 40 of the paper named in ``doctor.script``):

1. It is read word by word. A comma, a full stop or BUT ends the reading if a keyword was found before it; if none was,
   what was read so far is forgotten. Each word may be replaced by another (``I`` by ``YOU``), and each keyword that has
   rules goes onto a stack: on top if its rank is higher than that of the top, else to the bottom.
2. If the top keyword is that of the MEMORY rule, a sentence about the text is kept for later.
3. The rules of the top keyword are tried in order. The first whose pattern fits is used; its answers take turns.
   An answer may instead send on to the rules of another keyword, or to the next keyword of the stack.
4. Without a keyword the oldest sentence kept is said, but only at every fourth text; else one of the NONE rule, in
   turn.

Three details are not in the paper and come from the program's listing, which was found later: BUT as a delimiter, the
count to four, and the choice between the four MEMORY sentences by hashing the last word of the text (middle bits of its
square, :func:`_hash`). With them, the conversation printed in the paper comes out word for word, and nothing here knows
that conversation.

The script reads ``?`` and ``!`` as full stops and ``;`` and ``:`` as commas; the keyboards of 1966 had neither.
"""

from __future__ import annotations

__all__ = ["Doctor", "Eliza", "Rule", "Script", "load_script", "read_script"]

import re
import unicodedata
from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
import trio

from fabric.errors import ConfigError
from fabric.wire.payload import encode_json
from plumb_agent.messages import History, Message, Reply, Request, text_of
from plumb_agent.providers import ProviderFailed
from plumb_agent.providers.words import say

MEMORIES_MAX = 1_000
"""Sentences kept for later; the newest are not kept when there are so many. Each text about MY makes one, and at best
every fourth text takes one away."""

_SCRIPT_FILE = Path(__file__).with_name("doctor.script")
_TURN_OF_MEMORY: Final = 4

# --- The script, as data ------------------------------------------------------------------------------------------


class AnyOf(msgspec.Struct, frozen=True, tag=True):
    """One word out of these."""

    words: frozenset[str]


class Tagged(msgspec.Struct, frozen=True, tag=True):
    """One word with one of these tags."""

    tags: frozenset[str]


Part: TypeAlias = str | int | AnyOf | Tagged
"""Of a pattern: this word; so many words, 0 for any number; or a choice."""


class Say(msgspec.Struct, frozen=True, tag=True):
    """Say these words; a number stands for what that part of the pattern matched, counted from 1."""

    words: tuple[str | int, ...]


class Link(msgspec.Struct, frozen=True, tag=True):
    """Go on with the rules of another keyword, and with another text if ``text`` is given."""

    keyword: str
    text: tuple[str | int, ...] | None = None


class NewKey(msgspec.Struct, frozen=True, tag=True):
    """Go on with the next keyword of the stack."""


Answer: TypeAlias = Say | Link | NewKey


class Decomposition(msgspec.Struct, frozen=True):
    """A shape of text and the answers to it."""

    pattern: tuple[Part, ...]
    answers: tuple[Answer, ...]


class Rule(msgspec.Struct, frozen=True):
    """All about one keyword."""

    keyword: str
    replacement: str | None = None
    rank: int = 0
    tags: frozenset[str] = frozenset()
    decompositions: tuple[Decomposition, ...] = ()


class Script(msgspec.Struct, frozen=True):
    """A script, ready for use.

    Attributes:
        greeting: what the program opens with.
        rules: by keyword, with NONE among them.
        memory_keyword: the texts about which something is kept.
        memories: pattern and sentence, four of them.
    """

    greeting: str
    rules: dict[str, Rule]
    memory_keyword: str
    memories: tuple[Decomposition, ...]


def load_script() -> Script:
    """Return the DOCTOR script."""
    return _load(_SCRIPT_FILE)


@lru_cache(maxsize=1)
def _load(path: Path) -> Script:
    return read_script(path.read_text(encoding="utf-8"))


def read_script(text: str) -> Script:
    """Read a script in the notation that ``doctor.script`` explains.

    Raises:
        ConfigError: brackets do not match, a link leads nowhere, or NONE, MEMORY or the greeting is missing.
    """
    greeting, *items = _read_lists(text)
    rules: dict[str, Rule] = {}
    memory_keyword = ""
    memories: tuple[Decomposition, ...] = ()
    for item in items:
        if item[0] == "MEMORY":
            memory_keyword, memories = item[1], tuple(_read_memory(memory) for memory in item[2:])
        else:
            rules[item[0]] = _read_rule(item)
    links = {
        answer.keyword
        for rule in rules.values()
        for decomposition in rule.decompositions
        for answer in decomposition.answers
        if isinstance(answer, Link)
    }
    missing = sorted((links | {"NONE", memory_keyword}) - rules.keys())
    if missing or len(memories) != _TURN_OF_MEMORY:
        raise ConfigError(f"the ELIZA script has no rule for {missing}, or not {_TURN_OF_MEMORY} in MEMORY")
    return Script(" ".join(greeting), rules, memory_keyword, memories)


def _read_lists(text: str) -> list[list[Any]]:
    """Return the bracketed lists, as lists of words and lists."""
    stack: list[list[Any]] = [[]]
    for token in re.findall(r"[()]|[^\s()]+", re.sub(r"(?m)^;.*$", "", text)):
        if token == "(":  # noqa: S105
            stack.append([])
        elif token == ")":  # noqa: S105
            if len(stack) == 1:
                raise ConfigError("the ELIZA script has a closing bracket too many")
            done = stack.pop()
            stack[-1].append(done)
        else:
            stack[-1].append(token)
    if len(stack) > 1 or not stack[0] or not all(isinstance(item, list) and item for item in stack[0]):
        raise ConfigError("the ELIZA script is not a row of lists, or a closing bracket is missing")
    return stack[0]


def _read_rule(item: Sequence[Any]) -> Rule:
    keyword, rest = item[0], deque(item[1:])
    replacement, rank, tags = None, 0, frozenset[str]()
    decompositions: list[Decomposition] = []
    while rest:
        match rest.popleft():
            case "=":
                replacement = rest.popleft()
            case "DLIST":
                tags = frozenset(word.lstrip("/") for word in rest.popleft())
            case str() as number if number.isdecimal():
                rank = int(number)
            case [str() as link] if link.startswith("="):  # bare: whatever the text looks like
                decompositions.append(Decomposition((0,), (Link(link[1:]),)))
            case [list() as pattern, *answers]:
                decompositions.append(Decomposition(_read_pattern(pattern), tuple(map(_read_answer, answers))))
            case other:
                raise ConfigError(f"the ELIZA script has {other!r} in the rule of {keyword}")
    return Rule(keyword, replacement, rank, tags, tuple(decompositions))


def _read_memory(item: Sequence[Any]) -> Decomposition:
    middle = item.index("=")
    return Decomposition(_read_pattern(item[:middle]), (Say(_read_words(item[middle + 1 :])),))


def _read_pattern(item: Sequence[Any]) -> tuple[Part, ...]:
    def part(word: Any) -> Part:
        match word:
            case [first, *others] if first.startswith("*"):
                return AnyOf(frozenset([first[1:], *others]))
            case [first, *others] if first.startswith("/"):
                return Tagged(frozenset([first[1:], *others]))
            case str():
                return int(word) if word.isdecimal() else word
        raise ConfigError(f"the ELIZA script has {word!r} in a pattern")

    return tuple(map(part, item))


def _read_answer(item: Sequence[Any]) -> Answer:
    match item:
        case ["NEWKEY"]:
            return NewKey()
        case ["PRE", list() as text, [link]]:
            return Link(link[1:], _read_words(text))
        case [str() as link] if link.startswith("="):
            return Link(link[1:])
    return Say(_read_words(item))


def _read_words(item: Sequence[str]) -> tuple[str | int, ...]:
    return tuple(int(word) if word.isdecimal() else word for word in item)


# --- Reading a text -----------------------------------------------------------------------------------------------

_TOKEN = re.compile(r"\d+(?:[.,]\d+)+|[^\W_]+(?:['\-][^\W_]+)*|[.,;:?!]")
_DELIMITERS = frozenset([".", ",", ";", ":", "?", "!", "BUT"])
_APOSTROPHES = str.maketrans(dict.fromkeys("‘’ʼ`´′＇", "'"))


def _tokens(text: str) -> list[str]:
    """Return words in capitals, and delimiters. What is neither is dropped."""
    return _TOKEN.findall(unicodedata.normalize("NFC", text.translate(_APOSTROPHES)).upper())


def _match(
    pattern: tuple[Part, ...], words: Sequence[str], tags: dict[str, frozenset[str]]
) -> list[Sequence[str]] | None:
    """Return the words of each part, or ``None``. A part that may be longer is as short as it can be, from the left.

    Between two 0s lies a run of fixed length. Taking for each run the first place where it fits is as good as trying
    all places, so a long text costs no more than its length times that of the pattern.
    """

    def fits(at: int, run: Sequence[Part]) -> list[Sequence[str]] | None:
        found: list[Sequence[str]] = []
        for part in run:
            match part:
                case int():
                    if at + part > len(words):
                        return None
                    found.append(words[at : at + part])
                    at += part
                    continue
                case _ if at >= len(words):
                    return None
                case str():
                    fit = words[at] == part
                case AnyOf(alternatives):
                    fit = words[at] in alternatives
                case Tagged(wanted):
                    fit = not wanted.isdisjoint(tags.get(words[at], frozenset()))
            if not fit:
                return None
            found.append(words[at : at + 1])
            at += 1
        return found

    runs: list[list[Part]] = [[]]
    for part in pattern:
        if part == 0:
            runs.append([])
        else:
            runs[-1].append(part)
    matched = fits(0, runs[0])
    if matched is None:
        return None
    end = sum(map(len, matched))
    if len(runs) == 1:
        return matched if end == len(words) else None
    for number, run in enumerate(runs[1:], start=1):
        length = sum(part if isinstance(part, int) else 1 for part in run)
        # The last run reaches to the end of the text; an empty one lets its 0 take everything.
        first = len(words) - length if number == len(runs) - 1 else end
        for start in range(max(first, end), len(words) - length + 1):
            found = fits(start, run)
            if found is not None:
                matched += [words[end:start], *found]
                end = start + length
                break
        else:
            return None
    return matched


def _fill(words: tuple[str | int, ...], parts: Sequence[Sequence[str]]) -> list[str]:
    filled: list[str] = []
    for word in words:
        if isinstance(word, int):
            filled += parts[word - 1] if 0 < word <= len(parts) else ()
        else:
            filled.append(word)
    return filled


_CODES = {
    character: code
    for first, row in ((0o00, "0123456789"), (0o21, "ABCDEFGHI"), (0o41, "JKLMNOPQR"), (0o62, "STUVWXYZ"), (0o14, "'"))
    for code, character in enumerate(row, start=first)
}
_BLANK = 0o60


def _hash(word: str, bits: int) -> int:
    """Return the middle bits of the square of a word, written in the six-bit characters of the IBM 7094.

    A machine word holds six characters; of a longer word the last machine word counts, blanks fill it up.
    """
    tail = word[(len(word) - 1) // 6 * 6 :].ljust(6) if word else " " * 6
    datum = 0
    for character in tail:
        datum = datum << 6 | _CODES.get(character, _BLANK)
    datum &= (1 << 35) - 1  # the sign bit is no part of the number
    return datum * datum >> 35 - bits // 2 & (1 << bits) - 1


class Doctor:
    """One patient's conversation: which answers had their turn, and what was kept for later."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._tags = {rule.keyword: rule.tags for rule in script.rules.values() if rule.tags}
        self._turns: dict[tuple[str, int], int] = {}
        self._memories: deque[str] = deque()
        self._count = 1

    def answer(self, text: str) -> str:
        """Return the answer to a text, in capitals and without a full stop."""
        self._count = self._count % _TURN_OF_MEMORY + 1
        words, stack = self._read(text)
        if not stack:
            if self._count == _TURN_OF_MEMORY and self._memories:
                return self._memories.popleft()
            return self._say_none(words)
        if stack[0] == self._script.memory_keyword:
            self._remember(words)
        for keyword in stack:
            said = self._apply(keyword, words)
            if said is not None:
                return said
        return self._say_none(words)

    def _read(self, text: str) -> tuple[list[str], deque[str]]:
        """Return the words after replacement, and the stack of keywords, top first."""
        words: list[str] = []
        stack: deque[str] = deque()
        rules = self._script.rules
        for token in _tokens(text):
            if token in _DELIMITERS:
                if stack:
                    break
                words.clear()
                continue
            rule = rules.get(token)
            if rule is None or token == "NONE":  # noqa: S105
                words.append(token)
                continue
            words.append(rule.replacement or token)
            if rule.decompositions:
                if not stack or rule.rank > rules[stack[0]].rank:
                    stack.appendleft(token)
                else:
                    stack.append(token)
        return words, stack

    def _remember(self, words: Sequence[str]) -> None:
        memory = self._script.memories[_hash(words[-1], 2)]
        parts = _match(memory.pattern, words, self._tags)
        if parts is not None and len(self._memories) < MEMORIES_MAX:
            (answer,) = memory.answers
            assert isinstance(answer, Say)
            self._memories.append(" ".join(_fill(answer.words, parts)))

    def _say_none(self, words: Sequence[str]) -> str:
        said = self._apply("NONE", words)
        assert said is not None, "the NONE rule fits every text"
        return said

    def _decompose(self, keyword: str, words: Sequence[str]) -> tuple[Answer, list[Sequence[str]]] | None:
        """Return the answer whose turn it is, of the first pattern that fits, and the parts of that pattern."""
        for number, decomposition in enumerate(self._script.rules[keyword].decompositions):
            parts = _match(decomposition.pattern, words, self._tags)
            if parts is not None:
                turn = self._turns.get((keyword, number), 0)
                self._turns[keyword, number] = (turn + 1) % len(decomposition.answers)
                return decomposition.answers[turn], parts
        return None

    def _apply(self, keyword: str, words: Sequence[str]) -> str | None:
        """Follow the rules of a keyword to what is said; ``None`` asks for the next keyword."""
        seen: set[str] = set()
        while keyword not in seen:  # links that lead in a circle lead to the next keyword
            seen.add(keyword)
            found = self._decompose(keyword, words)
            if found is None:
                return None
            answer, parts = found
            match answer:
                case Say(said):
                    return " ".join(_fill(said, parts))
                case Link(other, text):
                    keyword = other
                    words = words if text is None else _fill(text, parts)
                case NewKey():
                    return None
        return None


# --- The provider -------------------------------------------------------------------------------------------------


_MODEL = "doctor"


def _no_model(model: str) -> str:
    return f"provider 'eliza' has no model {model!r}; its only model is {_MODEL!r}"


def _patient_says(message: Message) -> str:
    """Return the text of an input: of a JSON string what it holds, of any other value its JSON text."""
    text = text_of(message.content)
    try:
        return msgspec.json.decode(text, type=str)
    except (msgspec.DecodeError, ValueError):
        return text


class Eliza:
    """The provider ``eliza``; its only model is ``doctor``.

    An answer depends on the messages of the request and on nothing else: turns and memories are found by replaying
    what the user said. They are kept from call to call, and used when a request continues the one before.
    """

    def __init__(self, model: str) -> None:
        if model != _MODEL:
            raise ConfigError(_no_model(model))
        self._doctor = Doctor(load_script())
        self._heard: History | None = None
        self._heard_words = 0

    async def complete(self, request: Request) -> Reply:
        """Answer the last message of the user."""
        await trio.lowlevel.checkpoint()
        if request.model != _MODEL:  # somebody sent set_model
            raise ProviderFailed(_no_model(request.model))
        new = request.messages.since(self._heard)
        if not new:
            self._doctor = Doctor(load_script())
            self._heard_words = 0
            new = tuple(request.messages)
        self._heard = request.messages
        answer = ""
        for message in new:
            self._heard_words += len(text_of(message.content).split())
            if message.role == "user":
                answer = self._doctor.answer(_patient_says(message))
        text = encode_json(answer).decode()
        prompt_words = self._heard_words + sum(len(block.text.split()) for block in request.system)
        return say(text, prompt_words, request.max_tokens)
