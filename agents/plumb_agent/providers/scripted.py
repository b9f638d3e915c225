r"""A model that says what a file or a function tells it to: for tests, demonstrations and offline work.

``script: "./replies.jsonl"`` names a file, relative to the program. Each line is one reply and is used once:

====================================================  ===========================================================
line                                                  the model answers
====================================================  ===========================================================
``{"reply": VALUE}``                                  the JSON text of ``VALUE``
``{"text": "…"}``                                     these characters, JSON or not: how to test an invalid reply
``{"tool": NAME, "arguments": {…}}``                  a call of a tool; its result comes before the next line
``{"tools": [{"name": NAME, "arguments": {…}}, …]}``  several calls at once
``{"match": "REGEX", …}`` and one of these            the same, but only to an input whose JSON text has a match
any other JSON value                                  its JSON text; so is an object with other keys than these
====================================================  ===========================================================

A call takes the first line not used yet that fits its input. A retry is a call: it takes a further line, and is still
about the same input; so is the call that brings the results of tools. Blank lines are skipped. When no line is left
that fits, the call fails and so does the worker. Which lines were used is not part of the conversation: a worker that
was started again begins at the top.

``script: "package.module:function"`` names a function, sync or async, called as ``function(user_text, messages)``:
the JSON text of the input, and the messages so far as a list of ``{"role", "content"}``, the newest last. It returns
the value to reply, ``Text("…")`` for raw characters, or ``Call(name, arguments)`` or a list of them, to call tools. The
results of tools are in the newest message when it is called again. Modules beside the program are found. A sync
function should be quick: while it runs, the worker does nothing else.

A token is a word; a reply of more words than ``max_tokens`` is cut off there.
"""

from __future__ import annotations

__all__ = ["Call", "Line", "ScriptedFile", "ScriptedFunction", "Text", "open_script", "read_lines"]

import importlib
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import trio

from fabric.errors import ConfigError, ValueRejected
from fabric.wire.payload import decode_json, encode_json, to_plain
from plumb_agent.memory import dump
from plumb_agent.messages import Reply, Request, ToolUseBlock
from plumb_agent.providers import Provider, ProviderFailed
from plumb_agent.providers.words import count_words, say

_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_KEYS = ({"reply"}, {"text"}, {"tool", "arguments"}, {"tools"})


class Text(msgspec.Struct, frozen=True):
    """Characters to reply as they are, instead of the JSON text of a value."""

    text: str


class Call(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call of a tool, instead of a reply."""

    name: str
    arguments: dict[str, Any]


class Line(msgspec.Struct, frozen=True):
    """One reply of a file, or calls of tools, and the inputs that it is for."""

    text: str
    match: re.Pattern[str] | None = None
    calls: tuple[Call, ...] = ()


def open_script(script: Any, directory: str) -> Provider:
    """Return the provider for the key ``script``.

    Args:
        script: as written in the program.
        directory: where relative names start, and where modules are looked for first.

    Raises:
        ConfigError: no such file or function, or a line that cannot be read.
    """
    if not isinstance(script, str) or not script:
        raise ConfigError('provider \'scripted\' needs script: "./replies.jsonl" or script: "package.module:function"')
    if _FUNCTION.fullmatch(script):
        return ScriptedFunction(_import(script, directory), script)
    path = Path(directory, script)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the script {str(path)!r}: {error}") from None
    return ScriptedFile(read_lines(text, str(path)), str(path))


def read_lines(text: str, name: str) -> list[Line]:
    """Read a file of replies; ``name`` is for messages.

    Raises:
        ConfigError: a line is not JSON, or its ``match`` or ``text`` is not what it has to be.
    """
    lines = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            lines.append(_read_line(decode_json(line)))
        except (ValueRejected, re.error, TypeError) as error:
            raise ConfigError(f"{name}:{number}: {error}") from None
    return lines


def _read_line(value: Any) -> Line:
    if not isinstance(value, dict) or value.keys() - {"match"} not in _KEYS:
        return Line(encode_json(value).decode())
    match = re.compile(value["match"]) if "match" in value else None
    if "reply" in value:
        return Line(encode_json(value["reply"]).decode(), match)
    if "text" in value:
        if not isinstance(value["text"], str):
            raise TypeError("'text' must be a string")
        return Line(value["text"], match)
    calls = [{"name": value["tool"], "arguments": value["arguments"]}] if "tool" in value else value["tools"]
    try:
        return Line("", match, msgspec.convert(calls, tuple[Call, ...]))
    except msgspec.ValidationError as error:
        shape = '{"tool": NAME, "arguments": {…}} or {"tools": [{"name": NAME, "arguments": {…}}, …]}'
        raise TypeError(f'a call of a tool is {shape}: {error}. A value like this is {{"reply": VALUE}}') from None


def _import(script: str, directory: str) -> Callable[[str, list[dict[str, Any]]], Any]:
    module_name, _, function_name = script.partition(":")
    if directory not in sys.path:
        sys.path.insert(0, directory)
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"cannot import the script {script!r}: {error}") from None
    if not callable(function):
        raise ConfigError(f"the script {script!r} is not a function")
    return function  # type: ignore[no-any-return]


class _Caller:
    """Makes the calls of one conversation, each with an id of its own."""

    def __init__(self) -> None:
        self._calls = 0

    def reply(self, text: str, calls: Iterable[Call], request: Request) -> Reply:
        blocks = [ToolUseBlock(self._new_id(), call.name, call.arguments) for call in calls]
        return say(text, count_words(request), request.max_tokens, *blocks)

    def _new_id(self) -> str:
        self._calls += 1
        return f"call_{self._calls}"


class ScriptedFile:
    """Replies from a file."""

    def __init__(self, lines: Iterable[Line], name: str) -> None:
        self._lines = list(lines)
        self._name = name
        self._caller = _Caller()

    async def complete(self, request: Request) -> Reply:
        """Reply with the first line left that fits."""
        await trio.lowlevel.checkpoint()
        for number, line in enumerate(self._lines):
            if line.match is None or line.match.search(request.input):
                del self._lines[number]
                return self._caller.reply(line.text, line.calls, request)
        left = f"none of the {len(self._lines)} lines left fits" if self._lines else "all its lines are used up"
        raise ProviderFailed(f"the script {self._name!r} has no reply to {_shorten(request.input)}: {left}")


class ScriptedFunction:
    """Replies from a function."""

    def __init__(self, function: Callable[[str, list[dict[str, Any]]], Any], name: str) -> None:
        self._function = function
        self._name = name
        self._caller = _Caller()

    async def complete(self, request: Request) -> Reply:
        """Reply with what the function returns."""
        await trio.lowlevel.checkpoint()
        try:
            value = self._function(request.input, dump(request.messages))
            if inspect.isawaitable(value):
                value = await value
            calls = _calls(value)
            text = "" if calls else value.text if isinstance(value, Text) else encode_json(value).decode()
        except Exception as error:  # noqa: BLE001 - the author's code may raise anything
            raise ProviderFailed(
                f"the script {self._name!r} raised {type(error).__name__}: {error}", traceback=traceback.format_exc()
            ) from None
        return self._caller.reply(text, calls, request)


def _calls(value: Any) -> tuple[Call, ...]:
    """Return the calls that a function returned, if that is what it returned."""
    if isinstance(value, Call):
        value = [value]
    if not isinstance(value, list) or not any(isinstance(item, Call) for item in value):
        return ()
    if not all(isinstance(item, Call) for item in value):
        raise TypeError("a list with a Call in it must have nothing else in it")
    return msgspec.convert(to_plain(value), tuple[Call, ...])  # what JSON does not have is refused here


def _shorten(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."
