"""What may be written at the cursor.

The tokens before it say what kind of thing may come (:mod:`fabric.lsp.cursor`), the checker says which there are. While
a declaration is being written it often does not parse; its ports and channels are then those of the last text that
did, or are read off the tokens. What flows in a half-written chain, :mod:`fabric.lsp.probe` finds out.
"""

from __future__ import annotations

__all__ = ["VALUES", "Item", "ItemKind", "Known", "complete"]

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Literal, TypeAlias

import msgspec

from fabric.lang import syntax
from fabric.lang.check import FileAnalysis
from fabric.lang.config import PROVIDERS
from fabric.lang.lexer import Token
from fabric.lang.signature import Interface
from fabric.lang.tools import BUILTINS
from fabric.lang.types import record_variants
from fabric.lsp.cursor import CONFIGURED, Cursor, find_cursor, in_type
from fabric.lsp.place import field_type
from fabric.lsp.probe import Probe
from fabric.lsp.signs import KEY_WORDS, MORPHISM_WORDS, PRIMITIVE_WORDS, expansion
from fabric.wire.payload import Type, show, show_stream

ItemKind: TypeAlias = Literal[
    "process", "tool", "type", "protocol", "port", "field", "channel", "module", "keyword", "key", "value"
]


class Item(msgspec.Struct, frozen=True):
    """One thing that may be written. ``detail`` is shown beside it, ``insert`` is written in its place."""

    label: str
    kind: ItemKind
    detail: str = ""
    insert: str = ""


class Known(msgspec.Struct, frozen=True):
    """What there is to choose from.

    Attributes:
        file: the text as it is.
        readable: the last text that could be parsed.
        files: the program, by path.
        modules: that ``use`` would find.
        try_text: what would be known of this file if its text were another.
    """

    file: FileAnalysis
    readable: FileAnalysis
    files: Mapping[str, FileAnalysis]
    modules: tuple[str, ...]
    try_text: Callable[[str], FileAnalysis]


VALUES: dict[str, tuple[str, ...]] = {
    "provider": tuple(f'"{name}"' for name in PROVIDERS),
    "builtin": tuple(f'"{name}"' for name in BUILTINS),
    "transport": ('"zmq"', '"stdio"'),
    "frames": ('"v2"', '"bare"'),
    "mode": ('"command"', '"rpc"'),
    "release": ('"commit"', '"early"'),
    **dict.fromkeys(("amnesiac", "runtime_context", "lenient_string", "markers", "compat", "state"), ("true", "false")),
}
"""Values of keys that have only a few."""

_DECLARATIONS = {
    "let": "a process",
    "type": "names a type",
    "protocol": "names a protocol",
    "use": "brings in a file",
}
_IMPLEMENTATIONS = {
    "agent": "a model: agent { ... }",
    "tool": "what agents and workers call: tool { ... }",
    "python": "a function: python { call: ... }",
    "worker": "a program: worker { command: ... }",
    "handler": "a program that decides one step of its durable session: handler { command: ... }",
    "plumb": "wiring: plumb(ports) { ... }",
}
_SESSION = {
    "send": "a message goes out",
    "recv": "a message comes in",
    "select": "this side chooses",
    "offer": "the other side chooses",
    "end": "nothing more is said",
    "loop": "from the start",
}
_OPERAND_ENDS = frozenset({"name", "number", "string", "true", "false", ")", "]", "}"})


def complete(text: str, offset: int, known: Known) -> tuple[int, tuple[Item, ...]]:
    """Return what may be written at an offset, and where the word that it replaces begins."""
    cursor = find_cursor(text, offset)
    items: dict[str, Item] = {}
    if not cursor.silent:
        for item in _Completion(text, offset, cursor, known).items():
            items.setdefault(item.label, item)
    return cursor.start, tuple(items.values())


class _Completion:
    def __init__(self, text: str, offset: int, cursor: Cursor, known: Known) -> None:
        self._cursor = cursor
        self._known = known
        self._probe = Probe(text, offset, cursor, known.try_text)
        self._processes = {**known.readable.processes, **known.file.processes}
        self._uses = {**known.readable.uses, **known.file.uses}

    def items(self) -> Iterator[Item]:
        cursor = self._cursor
        if cursor.quoted:
            yield from self._in_quotes()
        elif cursor.before() == "@":
            yield from self._ports(self._name_behind(2))
        elif cursor.before() == "." and not self._is_session_dot():
            yield from self._behind_dot()
        else:
            match cursor.inside:
                case "config":
                    yield from self._in_config(cursor.opened[-1].word)
                case "value":
                    yield from self._in_list()
                case "spawn":
                    yield from self._in_spawn(cursor.opened[-1].word)
                case "expr":
                    yield from self._in_expression()
                case "type":
                    if cursor.before() in (":", "!", "|", "(", "[") or (cursor.before() == "," and self._in_tuple()):
                        yield from self._types()
                case "session":
                    yield from self._in_session()
                case "ports":
                    yield from self._ports(self._name_behind(len(cursor.tokens) - cursor.opened[-1].at + 2))
                case "body" | "group":
                    yield from self._in_body() if cursor.body() else self._elements()
                case None:
                    yield from self._in_declaration()

    # --- names ---

    def _name_behind(self, back: int) -> str:
        """Return the name that ends at a token, counted from 1 before the cursor; with its module, if it has one."""
        name = self._cursor.word(back)
        if self._cursor.before(back + 1) == "." and self._cursor.word(back + 2)[:1].isupper():
            return f"{self._cursor.word(back + 2)}.{name}"
        return name

    def _types(self) -> Iterator[Item]:
        for file in (self._known.file, self._known.readable):
            for name, type_ in file.types.items():
                yield Item(name, "type", expansion(type_))
        for name, words in PRIMITIVE_WORDS.items():
            yield Item(name, "type", words)
        yield from self._modules()

    def _protocols(self) -> Iterator[Item]:
        for file in (self._known.file, self._known.readable):
            for decl in file.program.declarations:
                if isinstance(decl, syntax.ProtocolDecl):
                    yield Item(decl.name.text, "protocol")
        yield from self._modules()

    def _modules(self) -> Iterator[Item]:
        for space in self._uses:
            yield Item(space, "module", "module", f"{space}.")

    def _named(self, *, tools: bool) -> Iterator[Item]:
        for name, interface in self._processes.items():
            if "." not in name and (interface.kind == "tool") == tools and name != self._cursor.name():
                yield _process_item(name, interface)
        yield from self._modules()

    def _locals(self) -> Iterator[Item]:
        """Yield the ports and channels of the body."""
        name = self._cursor.name()
        interface = self._processes.get(name)
        types = {port.name: port.type for port in (*interface.inputs, *interface.outputs)} if interface else {}
        for port in _header(self._cursor.tokens[self._cursor.begin :]):
            yield Item(port, "port", show_stream(types[port]) if port in types else "port of this body")
        for file in (self._known.file, self._known.readable):
            for decl in file.program.declarations:
                if not isinstance(decl, syntax.BindingDecl) or decl.name.text != name:
                    continue
                if isinstance(decl.impl, syntax.PlumbImpl):
                    for statement in decl.impl.statements:
                        if isinstance(statement, syntax.ChannelDecl):
                            yield Item(statement.name.text, "channel", "channel")
        body = self._cursor.body()
        tokens = self._cursor.tokens[body.at :] if body else ()
        for word, channel, sign in zip(tokens, tokens[1:], tokens[2:], strict=False):
            if (word.kind, channel.kind, sign.kind) == ("let", "name", ":"):
                yield Item(channel.text, "channel", "channel")

    def _elements(self) -> Iterator[Item]:
        """Yield what may stand in a chain."""
        if self._cursor.body():
            yield from self._locals()
        yield from self._named(tools=False)
        for word, does in MORPHISM_WORDS.items():
            yield Item(word, "keyword", does)

    def _ports(self, name: str) -> Iterator[Item]:
        interface = self._processes.get(name)
        if interface is not None and interface.kind != "tool":
            for word, side in (("in", interface.inputs), ("out", interface.outputs)):
                for port in side:
                    yield Item(port.name, "port", f"{word} {show_stream(port.type)}")

    # --- declarations ---

    def _in_declaration(self) -> Iterator[Item]:
        cursor = self._cursor
        here = cursor.tokens[cursor.begin :]
        first = here[0].kind if here else ""
        match first:
            case "use" if len(here) == 1:
                yield from (Item(name, "module", "module") for name in self._known.modules)
            case "protocol" if cursor.before() in ("=", ".", "send", "recv"):
                yield from self._in_session()
            case "type" | "protocol" | "let" if len(here) == 1 or (first != "let" and len(here) == 2):
                return
            case "type" if cursor.before() in ("=", "|", "!"):
                yield from self._types()
            case "let" | "name" if not any(token.kind == "=" for token in here):
                if cursor.before() in (":", "->", "!", "|"):
                    yield from self._types()
                elif first == "name":
                    yield from _keywords(_DECLARATIONS)
            case "let" | "name" if cursor.before() == "=":
                yield from _keywords(_IMPLEMENTATIONS)
                yield from self._elements()
            case "let" | "name" if cursor.before() == ";":
                yield from self._elements()
            case _:
                yield from _keywords(_DECLARATIONS)

    def _in_session(self) -> Iterator[Item]:
        if self._cursor.before() in ("send", "recv", "!", "|"):
            yield from self._types()
        elif self._cursor.before() in ("=", ".", ":"):
            yield from _keywords(_SESSION)
            yield from self._protocols()

    def _is_session_dot(self) -> bool:
        """Say whether the dot is that between the steps of a protocol, which has a space on a side."""
        cursor = self._cursor
        first = cursor.tokens[cursor.begin].kind
        return first == "protocol" and (
            cursor.start > cursor.tokens[-1].span.end or cursor.tokens[-1].span.start > cursor.tokens[-2].span.end
        )

    # --- bodies ---

    def _in_body(self) -> Iterator[Item]:
        cursor = self._cursor
        match cursor.before():
            case ";" | "*" | "(" | "<->":
                yield from self._elements()
            case "spawn":
                yield from self._named(tools=False)
                yield from _keywords(MORPHISM_WORDS)
            case ":" | "!" | "|":
                if in_type(cursor.tokens[cursor.since :], in_body=True):
                    yield from self._types()
                else:
                    yield from self._protocols()
            case "=":
                yield Item("channel", "keyword", "let c : !T = channel")
            case "let":
                return
            case _ if cursor.inside == "body":
                yield from self._elements()
                yield Item("spawn", "keyword", "a new process on channels")
                yield Item("let", "keyword", "a channel: let c : !T = channel")

    def _in_spawn(self, name: str) -> Iterator[Item]:
        if self._cursor.before() in ("(", ","):
            for item in self._ports(name):
                yield Item(f"{item.label}=", "port", item.detail)
        yield from self._locals()

    def _in_tuple(self) -> bool:
        return self._cursor.tokens[self._cursor.opened[-1].at].kind == "("

    # --- what a message has ---

    def _behind_dot(self) -> Iterator[Item]:
        cursor = self._cursor
        space = cursor.word(2)
        if cursor.before(3) not in (".", "@") and space in self._uses:
            yield from self._exports(space)
        elif cursor.inside == "expr":
            path: list[str] = []
            back = 2
            while cursor.before(back) == "name":
                path.insert(0, cursor.word(back))
                if cursor.before(back + 1) != ".":
                    break
                back += 2
            yield from self._fields(self._probe.input_type(), path)
        elif cursor.inside in ("body", "group", None):
            if cursor.before(2) == "name" and cursor.before(3) not in (".", "@"):
                interface = self._processes.get(space)
                for port in interface.outputs if interface else ():
                    yield Item(port.name, "port", f"out {show_stream(port.type)}")
            yield from self._fields(self._probe.flow(cursor.tokens[-1].span.start, len(cursor.opened)), [])

    def _exports(self, space: str) -> Iterator[Item]:
        in_types = self._cursor.inside == "type" or in_type(
            self._cursor.tokens[self._cursor.since :], in_body=self._cursor.body() is not None
        )
        if not in_types:
            for name, interface in self._processes.items():
                if name.startswith(f"{space}."):
                    yield _process_item(name.removeprefix(f"{space}."), interface)
        file = self._known.files.get(self._uses[space])
        for name, type_ in file.types.items() if in_types and file else ():
            yield Item(name, "type", expansion(type_))

    def _in_expression(self) -> Iterator[Item]:
        if self._cursor.before() in _OPERAND_ENDS and self._cursor.word() != "not":
            return
        yield from self._fields(self._probe.input_type(), [])
        yield Item("value", "keyword", "the whole message")
        yield from (Item(word, "keyword") for word in ("true", "false", "null", "not"))

    def _fields(self, type_: Type | None, path: Iterable[str]) -> Iterator[Item]:
        for name in path:
            found = None if type_ is None else field_type(type_, name)
            type_ = found if found is not None or name != "value" else type_
        for record in record_variants(type_) if type_ is not None else ():
            for field in record.fields:
                yield Item(field.name, "field", f"{show(field.type)}{' (may be absent)' if field.optional else ''}")

    # --- configurations ---

    def _in_config(self, kind: str) -> Iterator[Item]:
        cursor = self._cursor
        if cursor.before() == ":":
            key = cursor.word(2)
            if key == "process" and kind == "tool":
                yield from self._named(tools=False)
            yield from (Item(value, "value") for value in VALUES.get(key, ()))
            return
        tokens, depth = cursor.tokens[cursor.since :], 0
        given = set()
        for token, after in pairwise(tokens):
            depth += (token.kind in ("{", "[")) - (token.kind in ("}", "]"))
            if depth == 0 and after.kind == ":":
                given.add(token.text)
        for key, words in KEY_WORDS[kind].items():
            if key not in given:
                yield Item(key, "key", words, f"{key}: ")

    def _in_list(self) -> Iterator[Item]:
        at = self._cursor.opened[-1].at
        if at >= 2 and self._cursor.tokens[at].kind == "[" and self._cursor.tokens[at - 2].text == "tools":
            yield from self._named(tools=True)

    def _in_quotes(self) -> Iterator[Item]:
        if self._cursor.inside == "config" and self._cursor.before(2) == ":":
            for value in VALUES.get(self._cursor.word(3), ()):
                if value.startswith('"'):
                    yield Item(value.strip('"'), "value")


def _process_item(name: str, interface: Interface) -> Item:
    shown = show if interface.kind == "tool" else show_stream
    sides = (interface.main_inputs(), interface.main_outputs())
    ins, outs = (", ".join(shown(port.type) for port in side) or "unit" for side in sides)
    return Item(name, "tool" if interface.kind == "tool" else "process", f"{ins} -> {outs} = {interface.kind}")


def _keywords(words: Mapping[str, str]) -> Iterator[Item]:
    for word, does in words.items():
        yield Item(word, "keyword", does)


def _header(tokens: tuple[Token, ...]) -> Iterator[str]:
    """Yield the ports in the header of a ``plumb``."""
    start = next((i for i, token in enumerate(tokens) if token.kind == "plumb"), len(tokens))
    for token in tokens[start + 1 :]:
        if token.kind == ")":
            return
        if token.kind == "name":
            yield token.text


assert set(_IMPLEMENTATIONS) == {*CONFIGURED, "plumb"}
