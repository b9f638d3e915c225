"""Programs that check, made by chance from a seed: types, bindings of every kind, bodies in bodies, several files.

A body is made forwards: it has feeds, each a name or the beginning of a chain with the type that it gives, and every
step takes some and makes others. What is connected has equal types, so there is nothing to try and throw away.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeAlias

import msgspec
from hypothesis import strategies as st

from fabric.lang.format import format_source
from fabric.lang.source import Source


class Prim(msgspec.Struct, frozen=True):
    name: str


class Rec(msgspec.Struct, frozen=True):
    """Fields: name, type, whether it may be absent."""

    fields: tuple[tuple[str, Type, bool], ...]


class Many(msgspec.Struct, frozen=True):
    of: Type


class Tup(msgspec.Struct, frozen=True):
    items: tuple[Type, ...]


class Either(msgspec.Struct, frozen=True):
    """Variants that are told apart by a required field that no other has."""

    variants: tuple[Rec, ...]


Type: TypeAlias = Prim | Rec | Many | Tup | Either

STRING, INT, NUMBER, BOOL, UNIT, JSON = map(Prim, ("string", "int", "number", "bool", "unit", "json"))
DIAL = Rec((("set_temp", NUMBER, False),))
FIELDS = ("a", "b", "c", "text", "mark", "title", "why")


class Program(msgspec.Struct, frozen=True):
    """A program: its main file's text, and those of the files that it uses, by name."""

    main: str
    files: dict[str, str]


class Process(msgspec.Struct, frozen=True):
    name: str
    input: Type
    output: Type
    is_agent: bool = False


class Feed(msgspec.Struct, frozen=True):
    """Where messages come from in a body: the beginning of a chain, and their type."""

    text: str
    type: Type


class _File:
    """The declarations of one file. ``known``: names of types, of this file and of those that it uses."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.uses: list[str] = []
        self.declarations: list[str] = []
        self.known: dict[str, Type] = {}
        self.given: list[Process] = []  # by files that this one uses
        self.tools: list[str] = []
        self._count = 0

    def fresh(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count}"

    def declare(self, line: str) -> None:
        """Declarations may stand in any order."""
        self.declarations.insert(self.rng.randrange(len(self.declarations) + 1), line)

    # --- types ---

    def type(self, depth: int = 2) -> Type:
        rng = self.rng
        if self.known and rng.random() < 0.3:
            return rng.choice(list(self.known.values()))
        if depth == 0 or rng.random() < 0.4:
            return rng.choice((STRING, INT, NUMBER, BOOL, UNIT, JSON))
        match rng.randrange(6):
            case 0:
                return Many(self.type(depth - 1))
            case 1:
                return Tup(tuple(self.type(depth - 1) for _ in range(rng.choice((2, 2, 3)))))
            case 2:
                return Either(tuple(self.record(depth - 1, f"is_{i}") for i in range(rng.choice((2, 2, 3)))))
        return self.record(depth)

    def record(self, depth: int = 1, tag: str | None = None) -> Rec:
        names = self.rng.sample(FIELDS, self.rng.randrange(4))
        fields = [(name, self.type(depth - 1) if depth else STRING, self.rng.random() < 0.2) for name in names]
        return Rec(((tag, BOOL, False), *fields) if tag else tuple(fields))

    def name_type(self) -> None:
        type_ = self.type()
        name = self.fresh("T")
        self.declare(f"type {name} = {self.show(type_)}")
        self.known[name] = type_

    def show(self, type_: Type) -> str:
        """Write a type, by a name that it has or in full."""
        names = [name for name, known in self.known.items() if known == type_]
        if names and self.rng.random() < 0.8:
            return self.rng.choice(names)
        match type_:
            case Prim(name):
                return name
            case Rec(fields):
                inside = ", ".join(f"{n}{'?' * optional}: {self.show(t)}" for n, t, optional in fields)
                return f"{{ {inside} }}"
            case Many(of):
                return f"[{self.show(of)}]"
            case Tup(items):
                return f"({', '.join(map(self.show, items))})"
            case Either(variants):
                return f"({' | '.join(map(self.show, variants))})"

    # --- expressions ---

    def expr(self, wanted: Type, given: Type, depth: int = 2) -> str:
        """Write an expression of a type, over a message of another."""
        rng = self.rng
        found = [path for path, type_ in _paths(given) if type_ == wanted]
        if found and rng.random() < 0.5:
            return rng.choice(found)
        if depth > 0 and rng.random() < 0.4 and isinstance(wanted, Prim):
            return self.operation(wanted, given, depth - 1)
        match wanted:
            case Prim("string"):
                return rng.choice(('"x"', '"with \\"quotes\\" and \\u00e9"', '""', '"two\nlines"'))
            case Prim("int"):
                return rng.choice(("0", "7", "-1", "12345678901234567890"))
            case Prim("number"):
                return rng.choice(("0.5", "1e3", "3", "-2.25E-2"))
            case Prim("bool"):
                return rng.choice(("true", "false"))
            case Prim("unit"):
                return "null"
            case Prim():
                return self.expr(rng.choice((STRING, INT, Many(INT))), given, depth - 1)
            case Rec(fields):
                named = [f for f in fields if not f[2] or rng.random() < 0.5]
                inside = ", ".join(f"{name}: {self.expr(type_, given, depth - 1)}" for name, type_, _ in named)
                return f"{{ {inside} }}"
            case Many(of):
                count = rng.choice((1, 1, 3)) if isinstance(of, Prim) and of != JSON else 1
                return f"[{', '.join(self.expr(of, given, depth - 1) for _ in range(count))}]"
            case Tup(items):
                return f"({', '.join(self.expr(item, given, depth - 1) for item in items)})"
            case Either(variants):
                return self.expr(rng.choice(variants), given, depth - 1)

    def operation(self, wanted: Prim, given: Type, depth: int) -> str:
        rng = self.rng

        def of(type_: Type) -> str:
            text = self.expr(type_, given, depth)
            return text if rng.random() < 0.2 else f"({text})"

        match wanted.name:
            case "string":
                return f"{of(STRING)} + ({self.expr(STRING, given, depth)})"
            case "int":
                return f"({of(INT)}) {rng.choice('+-*')} ({of(INT)})"
            case "number":
                return f"({of(NUMBER)}) {rng.choice('+-*/%')} ({of(INT)})"
            case "bool":
                return self.condition(given, depth)
        return self.expr(wanted, given, 0)

    def condition(self, given: Type, depth: int = 1) -> str:
        rng = self.rng
        kinds = rng.choice((INT, NUMBER, STRING))
        left, right = (self.expr(kinds, given, 0) for _ in range(2))
        match rng.randrange(5 if depth > 0 else 2):
            case 0:
                return f"{left} {rng.choice(('=', '!=', '==') if given != JSON else ('=',))} {right}"
            case 1:
                return f"{left} {rng.choice(('<', '<=', '>', '>='))} {right}"
            case 2:
                return f"{rng.choice(('!', 'not '))}({self.condition(given, depth - 1)})"
        sides = (f"({self.condition(given, depth - 1)})" for _ in range(2))
        return rng.choice((" && ", " || ")).join(sides)

    # --- bindings ---

    def config(self, *entries: str) -> str:
        if not entries:
            return "{ }"
        between = self.rng.choice((", ", " ", "\n  "))
        return f"{{{between.strip(', ') or ' '}{between.join(entries)} }}"

    def stage(self, input_: Type, output: Type | None = None, *, drops: bool = True) -> Process:
        """Return a process from a type to another; to this one, if it is given."""
        rng = self.rng
        if output is None:
            fitting = [process for process in self.given if process.input == input_]
            if fitting and rng.random() < 0.5:
                return rng.choice(fitting)
        kind = rng.choice(("agent", "agent", "python", "worker", "handler", "map", "id", "filter", "chain", "tooled"))
        if (output not in (None, input_) or not drops) and kind in ("id", "filter"):
            kind = "map"
        if kind in ("id", "filter"):
            output = input_
        result = self.type() if output is None else output
        name = self.fresh("p")
        is_agent = kind in ("agent", "tooled")
        ctrl = is_agent and rng.random() < 0.3
        inputs = f"(!{self.show(input_)}, !{self.show(DIAL)})" if ctrl else f"!{self.show(input_)}"
        outputs = f"(!{self.show(result)}, !json)" if is_agent and rng.random() < 0.2 else f"!{self.show(result)}"
        self.declare(f"let {name} : {inputs} -> {outputs} = {self.implementation(kind, input_, result)}")
        return Process(name, input_, result, is_agent)

    def implementation(self, kind: str, input_: Type, output: Type) -> str:
        rng = self.rng
        options = rng.sample(("max_retries: 2", 'prompt: "Be brief,\nplease."', "amnesiac: true", 'env: ["HOME"]'), 2)
        match kind:
            case "agent":
                return "agent " + self.config('provider: "scripted"', 'script: "./replies.jsonl"', *options)
            case "tooled":
                tools = ", ".join(self.tool() for _ in range(rng.choice((1, 2))))
                return "agent " + self.config('provider: "scripted"', 'script: "s.m:f"', f"tools: [{tools}]")
            case "python":
                return "python " + self.config('call: "module:function"', *rng.choice(((), ("state: true",))))
            case "handler":
                return "handler " + self.config('command: ["python", "h.py",]', *rng.choice(((), ("timeout: 5",))))
            case "worker":
                return "worker " + self.config('command: ["./work", "-v",]', *rng.choice(((), ('transport: "stdio"',))))
            case "map":
                return f"map({self.expr(output, input_)})"
            case "filter":
                return f"filter({self.condition(input_)})"
            case "chain":
                between = self.stage(input_)
                return f"{between.name} ; {self.stage(between.output, output).name}"
        return kind

    def tool(self) -> str:
        name = self.fresh("tool_")
        input_, output = self.type(1), self.type(1)
        if self.rng.random() < 0.4:
            self.declare(
                f"let {name} : {{ path?: string }} -> [{{ path: string, folder: bool, bytes: int }}] = tool {{"
                ' builtin: "fs.list" }'
            )
            return name
        process = self.fresh("f")
        self.declare(f'let {process} : !{self.show(input_)} -> !{self.show(output)} = python {{ call: "m:f" }}')
        told = self.rng.choice(("", ' description: "Does \\"it\\"."'))
        self.declare(f"let {name} : {self.show(input_)} -> {self.show(output)} = tool {{ process: {process}{told} }}")
        return name

    def body(self, name: str, depth: int) -> tuple[tuple[Type, ...], tuple[Type, ...]]:
        """Declare a plumb binding; return the types of its inputs and outputs."""
        return _Body(self, depth).declare(name)

    def protocol(self) -> None:
        """Declare a protocol that no wire uses. Protocols on wires belong in a step of ``_Body``."""
        steps = [f"{self.rng.choice(('send', 'recv'))} {self.show_atom()} ." for _ in range(self.rng.randrange(1, 4))]
        tail = self.rng.choice(("end", "loop", "select { more: recv int . loop, done: end }"))
        self.declare(f"protocol {self.fresh('P')} = {' '.join(steps)} {tail}")

    def show_atom(self) -> str:
        return self.show(self.record())

    def text(self) -> str:
        return "\n".join([*(f"use {name}" for name in self.uses), *self.declarations, ""])


def _paths(given: Type) -> list[tuple[str, Type]]:
    """Return what an expression can read, with the types."""
    found = [("value", given)]
    match given:
        case Rec(fields):
            for name, type_, optional in fields:
                if not optional:
                    found += _below(name, type_)
        case Tup(items):
            found += [(f"value[{i}]", item) for i, item in enumerate(items)]
        case Many(of):
            found.append(("value[0]", of))
    return found


def _below(path: str, type_: Type) -> list[tuple[str, Type]]:
    found = [(path, type_)]
    match type_:
        case Rec(fields):
            found += [(f"{path}.{name}", of) for name, of, optional in fields if not optional]
        case Tup(items):
            found += [(f"{path}[{i}]", item) for i, item in enumerate(items)]
    return found


class _Body:
    """The inside of one plumb binding."""

    def __init__(self, file: _File, depth: int) -> None:
        self.file = file
        self.rng = file.rng
        self.depth = depth
        self.lines: list[str] = []
        self.inputs: list[Feed] = [Feed(f"i{n}", file.type()) for n in range(self.rng.choice((1, 1, 1, 2)))]
        self.feeds = list(self.inputs)
        self.read: set[str] = set()
        self.steps: list[Callable[[], None]] = [
            self.add_chain,
            self.add_chain,
            self.add_loop,
            self.add_fork,
            self.add_copies,
            self.add_fan_in,
            self.add_merge,
            self.add_channel,
            self.add_spawn,
            self.add_spawned_copy,
            self.add_nested,
        ]

    def declare(self, name: str) -> tuple[tuple[Type, ...], tuple[Type, ...]]:
        rng = self.rng
        for _ in range(rng.randrange(1, 5)):
            rng.choice(self.steps)()
        outputs = []
        for n in range(rng.choice((1, 1, 1, 2))):
            feed = self.pick()
            outputs.append(feed.type)
            self.lines.append(f"{feed.text} ; o{n}")
        self.lines += [f"{feed.text} ; discard" for feed in self.inputs if feed.text not in self.read]
        inputs = [feed.type for feed in self.inputs]
        ports = [*(feed.text for feed in self.inputs), *(f"o{n}" for n in range(len(outputs)))]
        rng.shuffle(self.lines)
        between = rng.choice(("\n  ", "\n  ", "  ", "\n\n\n(* a remark *)\n"))
        self.file.declare(
            f"let {name} : {self.side(inputs)} -> {self.side(outputs)} = plumb({', '.join(ports)}) {{"
            f"{between}{between.join(self.lines)}\n}}"
        )
        return tuple(inputs), tuple(outputs)

    def side(self, types: list[Type]) -> str:
        shown = [f"!{self.file.show(type_)}" for type_ in types]
        return shown[0] if len(shown) == 1 else f"({', '.join(shown)})"

    def pick(self) -> Feed:
        feed = self.rng.choice(self.feeds)
        self.read.add(feed.text.split(" ", 1)[0])
        return feed

    def through(self, feed: Feed) -> Feed:
        """Let a feed go through a few morphisms, which keeps its messages, drops some or makes others of them."""
        text, type_ = feed.text, feed.type
        for _ in range(self.rng.choice((0, 0, 1, 1, 2))):
            match self.rng.randrange(5), type_:
                case 0, Either(variants):
                    n = self.rng.randrange(len(variants))
                    text, type_ = f"{text} ; filter(is_{n})", variants[n]
                case 0, Tup(items):
                    n = self.rng.randrange(len(items))
                    text, type_ = f"{text} ; project({n})", items[n]
                case 0, Rec(fields) if any(not optional for _, _, optional in fields):
                    name, of, _ = self.rng.choice([f for f in fields if not f[2]])
                    text, type_ = f"{text} ; filter({self.file.condition(type_)}).{name}", of
                case 1, _:
                    text = f"{text} ; filter({self.file.condition(type_)})"
                case 2, _:
                    text = f"{text} ; id"
                case _, _:
                    wanted = self.file.type()
                    if isinstance(wanted, Either):
                        wanted = self.rng.choice(wanted.variants)
                    text, type_ = f"{text} ; map({self.file.expr(wanted, type_)})", wanted
        return Feed(text, type_)

    def add(self, text: str, type_: Type) -> None:
        self.feeds.append(Feed(text, type_))

    # --- steps ---

    def add_chain(self) -> None:
        feed = self.through(self.pick())
        process = self.used_once(self.file.stage(feed.type))
        if process is None:
            return
        self.lines.append(f"{feed.text} ; {process.name}")
        self.add(process.name, process.output)
        if process.is_agent and self.rng.random() < 0.3:
            self.lines.append(f'{process.name}@telemetry ; filter(kind = "usage") ; discard')

    def used_once(self, process: Process) -> Process | None:
        """Return a process that no line names yet: what is fed by chance from two sides may never end."""
        return None if any(process.name in line.split() for line in self.lines) else process

    def add_loop(self) -> None:
        feed = self.pick()
        turns = Rec((("turn", INT, False), ("of", feed.type, False)))
        process = self.file.stage(turns, turns, drops=False)
        again = self.rng.choice(("map({ turn: turn + 1, of })", "map({ turn: turn + 1, of: of })"))
        self.lines.append(f"{feed.text} ; map({{ turn: 0, of: value }}) ; {process.name}")
        self.lines.append(f"{process.name} ; filter(turn < 3) ; {again} ; {process.name}")
        self.add(f"{process.name} ; filter(turn >= 3).of", feed.type)

    def add_fork(self) -> None:
        feed = self.pick()
        sides = [self.file.stage(feed.type, drops=False) for _ in range(self.rng.choice((2, 2, 3)))]
        if len({side.name for side in sides}) < len(sides) or None in map(self.used_once, sides):
            return
        both = Tup(tuple(side.output for side in sides))
        joined = self.file.stage(both)
        self.lines.append(f"{feed.text} ; ({' * '.join(s.name for s in sides)}) ; barrier ; {joined.name}")
        self.add(joined.name, joined.output)

    def add_copies(self) -> None:
        feed = self.pick()
        one, other = self.file.stage(feed.type, INT), self.file.stage(feed.type, INT)
        self.lines.append(f"{feed.text} ; copy ; ({one.name} * {other.name} ; filter(value > 0))")
        self.add(one.name, INT)
        self.add(other.name, INT)

    def add_fan_in(self) -> None:
        feeds = [self.pick() for _ in range(2)]
        process = self.file.stage(STRING)
        if self.used_once(process) is None:
            return
        self.lines += [f"{feed.text} ; map({self.file.expr(STRING, feed.type)}) ; {process.name}" for feed in feeds]
        self.add(process.name, process.output)

    def add_merge(self) -> None:
        feeds = [self.pick() for _ in range(2)]
        sides = " * ".join(f"{feed.text} ; map({self.file.expr(INT, feed.type)})" for feed in feeds)
        process = self.file.stage(INT)
        if self.used_once(process) is None:
            return
        self.lines.append(f"({sides}) ; {self.rng.choice(('merge', 'merge_all', 'merge_any'))} ; {process.name}")
        self.add(process.name, process.output)

    def channel(self, type_: Type) -> str:
        name = self.file.fresh("c")
        self.lines.append(f"let {name} : !{self.file.show(type_)} = channel")
        return name

    def add_channel(self) -> None:
        feed = self.through(self.pick())
        name = self.channel(feed.type)
        self.lines.append(f"{feed.text} ; {name}")
        self.add(name, feed.type)

    def add_spawn(self) -> None:
        feed = self.pick()
        process = self.file.stage(feed.type)
        if process in self.file.given:  # which a chain may name
            return
        source, target = self.channel(feed.type), self.channel(process.output)
        self.lines.append(f"{feed.text} ; {source}")
        self.lines.append(f"spawn {process.name}(input={source}, output={target})")
        self.add(target, process.output)

    def add_spawned_copy(self) -> None:
        feed = self.through(self.pick())
        source, one, other = (self.channel(feed.type) for _ in range(3))
        self.lines += [f"{feed.text} ; {source}", f"spawn copy({source}, {one}, {other})"]
        self.add(one, feed.type)
        self.add(other, feed.type)

    def add_nested(self) -> None:
        if self.depth == 0:
            return
        name = self.file.fresh("b")
        inputs, outputs = self.file.body(name, self.depth - 1)
        for n, type_ in enumerate(inputs):
            feed = self.pick()
            port = name if len(inputs) == 1 else f"{name}@i{n}"
            self.lines.append(f"{feed.text} ; map({self.file.expr(type_, feed.type)}) ; {port}")
        for n, type_ in enumerate(outputs):
            self.add(name if len(outputs) == 1 else f"{name}@o{n}", type_)


def program(rng: random.Random) -> Program:
    """Return a program that checks without errors."""
    files: dict[str, str] = {}
    main = _File(rng)
    for stem in ("lib", "shelf")[: rng.choice((0, 0, 1, 1, 2))]:
        library = _File(rng)
        _fill(library)
        given = [library.stage(library.type(), drops=False) for _ in range(2)]
        module = stem.capitalize()
        main.uses.append(rng.choice((stem, f'"./{stem}.plumb"')))
        main.known |= {f"{module}.{name}": type_ for name, type_ in library.known.items()}
        main.given += [Process(f"{module}.{p.name}", p.input, p.output) for p in given]
        files[stem] = library.text()
    _fill(main)
    main.body("main", 2)
    text = main.text()
    if rng.random() < 0.3:
        text = format_source(Source("main.plumb", text))[0] or text
    return Program(text, files)


def _fill(file: _File) -> None:
    for _ in range(file.rng.randrange(4)):
        file.name_type()
    if file.rng.random() < 0.3:
        file.protocol()


programs = st.integers(0, 2**32).map(lambda seed: program(random.Random(seed)))
"""The same, for hypothesis."""
