"""Tokens to syntax tree, by recursive descent; ``grammar.txt`` has the grammar.

``parse_x`` looks whether an x stands here and declines with None; ``expect_x`` has to find one. What is not found is
reported and :class:`Refused` is raised, which is caught in two places only: around a statement of a body and around a
declaration. There the parser skips to where the next one seems to start, so that one run reports several errors. The
places where one seems to start are guessed from keywords and line starts, which the grammar itself does not look at.

Nesting is bounded by :data:`fabric.lang.token_cursor.NESTING_MAX`, for types and chains by counting the descent, for
expressions by the height of the tree: those who walk it later recurse.
"""

from __future__ import annotations

__all__ = ["Part", "parse", "read", "read_part"]

from collections.abc import Callable
from typing import Any, Literal, TypeAlias, cast, get_args

from fabric.lang import syntax
from fabric.lang.diagnostic import Report
from fabric.lang.expression_parser import ExpressionParser
from fabric.lang.lexer import RESERVED, Lexed, Token, tokenize
from fabric.lang.slips import JOINERS, hint_for
from fabric.lang.source import Source, Span
from fabric.lang.syntax import Name
from fabric.lang.token_cursor import Refused, describe

LOOKAHEAD_MAX = 200
"""Tokens looked at to tell a declaration without 'let' from other text while skipping."""

_SYNTAX_CODES = frozenset({"E0101", "E0107", "E0108"})
_STRUCTURAL = frozenset({"id", "copy", "merge", "merge_all", "merge_any", "discard", "empty", "barrier"})
_PARENTHESISED = frozenset({"map", "filter", "project", "mux"})
assert set(get_args(syntax.InlineKind)) == _STRUCTURAL | _PARENTHESISED


def parse(source: Source, report: Report) -> syntax.Program:
    """Return the syntax tree of a source, without what could not be read; that goes to the report."""
    return read(source, report)[0]


def read(source: Source, report: Report) -> tuple[syntax.Program, Lexed]:
    """Return the tokens as well, for those who need to know how the tree was written."""
    lexed = tokenize(source, report)
    program = _Parser(lexed.tokens, report).program()
    if lexed.unreliable_from is not None:
        report.forget_errors_from(lexed.unreliable_from, _SYNTAX_CODES)
    return program, lexed


Part: TypeAlias = Literal["type", "expression", "implementation", "chain", "statement", "value", "protocol"]
"""What a text may be that is no whole program; several in a row only of statements."""


def read_part(source: Source, part: Part, report: Report) -> tuple[Any, ...]:
    """Return the nodes of a text that is a part of a program and nothing else; none if it cannot be read."""
    try:
        nodes = _Parser(tokenize(source, report).tokens, report).part(part)
    except Refused:
        return ()
    return () if report.has_errors else nodes


class _Parser(ExpressionParser):
    def __init__(self, tokens: tuple[Token, ...], report: Report) -> None:
        super().__init__(tokens, report)
        self._in_inner = False
        self._inner: list[syntax.Declaration] = []  # found inside of a body, where none may be

    # --- program ---

    def program(self) -> syntax.Program:
        declarations: list[syntax.Declaration] = []
        broken: set[str] = set()
        while not self._is("eof"):
            start = self._at
            try:
                declaration = self._expect_declaration()
                declarations += [*self._inner, declaration]
                self._inner.clear()
            except Refused:
                declarations += self._inner
                self._inner.clear()
                name = next((t for t in self._tokens[start : start + 2] if t.kind == "name"), None)
                broken.add(name.text if name is not None else "")
                if self._at == start:
                    self._next()
                while not self._is("eof") and not self._at_declaration():
                    self._next()
        return syntax.Program(tuple(declarations), frozenset(broken))

    def part(self, part: Part) -> tuple[Any, ...]:
        """Read all there is as one part of a program, or as statements."""
        rules: dict[Part, Callable[[], Any]] = {
            "type": self._expect_type,
            "expression": self._expect_expr,
            "implementation": self._expect_impl,
            "chain": self._expect_chain,
            "statement": self._expect_statement,
            "value": self._expect_config_value,
            "protocol": self._expect_session,
        }
        nodes = [rules[part]()]
        while part == "statement" and not self._is("eof"):
            nodes.append(self._expect_statement())
        if not self._is("eof"):
            raise self._refuse("nothing more", f"behind this {part}")
        return tuple(nodes)

    def _at_declaration(self) -> bool:
        """Say whether a declaration seems to start here; ``let`` may also start a channel."""
        match self._token.kind:
            case "type" | "protocol" | "use":
                return self._token.starts_line
            case "let":
                return self._arrow_follows(self._at + 1, len(self._tokens))
            case "name":
                return self._token.starts_line and self._arrow_follows(self._at, LOOKAHEAD_MAX)
        return False

    def _arrow_follows(self, at: int, limit: int) -> bool:
        """Say whether ``name : type ->`` stands at a token, looking at brackets and a few kinds of tokens only."""
        if at + 1 >= len(self._tokens) or self._tokens[at].kind != "name" or self._tokens[at + 1].kind != ":":
            return False
        depth = 0
        for i in range(at + 2, min(at + limit, len(self._tokens))):
            token = self._tokens[i]
            if token.kind in ("(", "{", "["):
                depth += 1
            elif token.kind in (")", "}", "]"):
                depth -= 1
                if depth < 0:
                    return False
            elif token.kind == "->" and depth == 0:
                return True
            elif token.kind not in ("name", "!", "|", ",", ":", ".", "?"):
                return False
        return False

    def _expect_declaration(self) -> syntax.Declaration:
        start = self._token
        match start.kind:
            case "use":
                return self._expect_use()
            case "type":
                self._next()
                name = self._expect_name("the name of a type")
                self._expect("=", f"after 'type {name.text}'")
                type_ = self._expect_type()
                return syntax.TypeDecl(name, type_, self._since(start.span))
            case "protocol":
                self._next()
                name = self._expect_name("the name of a protocol")
                self._expect("=", f"after 'protocol {name.text}'")
                session = self._expect_session()
                return syntax.ProtocolDecl(name, session, self._since(start.span))
            case "let":
                self._next()
                return self._expect_binding(start.span)
            case "name" if self._peek().kind == ":":
                self._report.add(
                    "W0110",
                    start.span,
                    f"a binding without 'let' is an old form: '{start.text}'",
                    help=f"write 'let {start.text} : ...'",
                )
                return self._expect_binding(start.span)
        found = "a closing bracket without an opening one" if start.kind in (")", "}", "]") else describe(start)
        self._report.add(
            "E0101",
            start.span,
            f"expected a declaration, found {found}",
            label="expected 'let', 'type', 'protocol' or 'use'",
            help="wiring stands inside a body: let main : !A -> !B = plumb(input, output) { ... }"
            if self._peek().kind in (";", "@")
            else hint_for("at the top", start) or self._report.suggest(start.text, ("let", "type", "protocol", "use")),
        )
        raise Refused

    def _expect_use(self) -> syntax.UseDecl:
        start = self._next()
        if path := self._parse("string"):
            return syntax.UseDecl(path.value, True, self._since(start.span))
        if self._token.kind in (".", "/"):
            raise self._refuse("the name of a module", "here", help='a path needs quotes: use "./lib.plumb"')
        name = self._expect_name("the name of a module")
        return syntax.UseDecl(name.text, False, self._since(start.span))

    def _expect_binding(self, start: Span) -> syntax.BindingDecl:
        name = self._expect_name("the name of a process")
        self._expect(":", f"after '{name.text}'", help=f"write 'let {name.text} : !A -> !B = ...'")
        input_ = self._expect_type()
        self._expect(
            "->",
            f"in the signature of '{name.text}'",
            help=hint_for(f"in the signature of '{name.text}'", self._token) or "a process has a signature: !A -> !B",
        )
        output = self._expect_type()
        self._expect("=", f"after the signature of '{name.text}'")
        impl = self._expect_impl()
        return syntax.BindingDecl(name, input_, output, impl, self._since(start))

    # --- types ---

    def _expect_type(self) -> syntax.TypeSyntax:
        return self._deeper(self._sum)

    def _sum(self) -> syntax.TypeSyntax:
        start = self._token.span
        self._parse("|")
        variants = [self._expect_stream_type()]
        while self._parse("|"):
            variants.append(self._expect_stream_type())
        return variants[0] if len(variants) == 1 else syntax.SumType(tuple(variants), self._since(start))

    def _expect_stream_type(self) -> syntax.TypeSyntax:
        if bang := self._parse("!"):
            of = self._deeper(self._expect_stream_type)
            return syntax.StreamType(of, self._since(bang.span))
        token = self._token
        match token.kind:
            case "name":
                name = self._expect_qname("a type")
                return syntax.NamedType(name, name.span)
            case "{":
                self._next()
                fields = self._list("}", token, self._expect_field, "in this record type")
                return syntax.RecordType(fields, self._since(token.span))
            case "[":
                self._next()
                item = self._expect_type()
                self._expect("]", "after the type of the list's items", opened=token)
                return syntax.ListType(item, self._since(token.span))
            case "(":
                self._next()
                items = self._list(")", token, self._expect_type, "in this type")
                if not items:
                    self._report.add(
                        "E0101",
                        self._since(token.span),
                        "'()' is no type",
                        help="a value without content has type 'unit'",
                    )
                    raise Refused
                return items[0] if len(items) == 1 else syntax.ProductType(items, self._since(token.span))
        raise self._refuse("a type", "here")

    def _expect_field(self) -> syntax.FieldType:
        name = self._expect_name("the name of a field")
        optional = self._parse("?") is not None
        self._expect(":", f"after the field '{name.text}'")
        type_ = self._expect_type()
        return syntax.FieldType(name, optional, type_, self._since(name.span))

    # --- implementations ---

    def _expect_impl(self) -> syntax.Impl:
        token = self._token
        if token.kind in ("agent", "tool"):
            self._next()
            return self._expect_configured(token)
        if token.kind == "name" and token.text in ("python", "worker", "handler") and self._peek().kind in ("{", "("):
            self._next()
            return self._expect_configured(token)
        if token.kind == "plumb":
            return self._expect_plumb()
        if token.kind in ("name", "("):
            return self._expect_chain()
        raise self._refuse(
            "an implementation",
            "after '='",
            help="such as agent { ... }, python { ... }, plumb(input, output) { ... }, map(...) or a ; b",
        )

    def _expect_configured(self, word: Token) -> syntax.ConfiguredImpl:
        config = self._expect_config(f"after '{word.text}'")
        kind = cast("Any", word.text)
        return syntax.ConfiguredImpl(kind, config, self._since(word.span))

    def _expect_config(self, where: str) -> syntax.Config:
        opened = self._expect("{", where)
        entries = []
        while not self._is("}"):
            if self._token.kind in RESERVED and self._peek().kind == ":":
                key = Name(self._token.text, self._next().span)
            elif self._is("name"):
                key = self._expect_name("a key")
            else:
                raise self._refuse("a key or '}'", "in this configuration", opened=opened)
            self._expect(":", f"after the key '{key.text}'")
            entries.append(syntax.ConfigEntry(key, self._deeper(self._expect_config_value)))
            self._parse(",")
        self._next()
        return syntax.Config(tuple(entries), self._since(opened.span))

    def _expect_config_value(self) -> syntax.ConfigValue:
        token = self._token
        match token.kind:
            case "string" | "number":
                self._next()
                return syntax.ConfigScalar(token.value, token.span)
            case "-" if self._peek().kind == "number":
                self._next()
                return syntax.ConfigScalar(-self._next().value, self._since(token.span))
            case "true" | "false":
                self._next()
                return syntax.ConfigScalar(token.kind == "true", token.span)
            case "name" if token.text == "null":
                self._next()
                return syntax.ConfigScalar(None, token.span)
            case "name":
                name = self._expect_qname("a value")
                return syntax.ConfigName(name, name.span)
            case "[":
                self._next()
                items = self._list("]", token, lambda: self._deeper(self._expect_config_value), "in this list")
                return syntax.ConfigList(items, self._since(token.span))
            case "{":
                return self._expect_config("here")
        raise self._refuse("a value", "here", help="a string, a number, true, false, null, a list or { key: value }")

    # --- wiring ---

    def _expect_plumb(self) -> syntax.PlumbImpl:
        start = self._next()
        opened = self._expect("(", "after 'plumb'", help="name the ports: plumb(input, output) { ... }")
        header = self._list(")", opened, lambda: self._expect_name("the name of a port"), "after a port's name")
        brace = self._expect("{", "after the header of 'plumb'")
        statements: list[syntax.Statement] = []
        damaged = False
        while not self._is("}"):
            inner = not self._in_inner and self._is("let") and self._is_indented() and self._at_declaration()
            if self._is("eof") or (not inner and self._at_declaration()):
                raise self._refuse("'}'", "at the end of the body", opened=brace)
            begin = self._at
            try:
                if inner:
                    self._inner.append(self._expect_inner())
                else:
                    statements.append(self._expect_statement())
            except Refused:
                damaged = True
                self._skip_to_statement(begin)
        self._next()
        return syntax.PlumbImpl(header, tuple(statements), self._since(start.span), damaged)

    def _is_indented(self) -> bool:
        """Say whether the line of the token does not begin with it: then no brace is missing before it."""
        span = self._token.span
        return self._report.sources.at(span).position(span.start)[1] > 1

    def _expect_inner(self) -> syntax.BindingDecl:
        """Read a declaration inside of a body as if it stood before it, and report it."""
        start = self._next()
        self._report.add(
            "E0101",
            start.span,
            "a process cannot be declared inside of a body",
            help=f"move 'let {self._token.text} ...' out of the body; the body mentions it by its name",
        )
        self._in_inner = True  # one level of this is a slip; in a second one a brace is missing
        try:
            return self._expect_binding(start.span)
        finally:
            self._in_inner = False

    def _skip_to_statement(self, begin: int) -> None:
        """Skip to the end of the body, or to a token that starts a line, outside brackets, and goes on no chain."""
        skipped = self._tokens[begin : self._at]
        parens = sum({"(": 1, "[": 1, ")": -1, "]": -1}.get(token.kind, 0) for token in skipped)
        braces = sum({"{": 1, "}": -1}.get(token.kind, 0) for token in skipped)
        if self._at == begin:
            parens += self._token.kind == "("
            self._next()
        while not self._is("eof"):
            token, previous = self._token, self._tokens[self._at - 1]
            goes_on = previous.kind in (";", "*", ",", "(", "{", "[") or not token.starts_line
            match token.kind:
                case "(" | "[":
                    if token.kind == "(" and parens <= 0 and braces <= 0 and not goes_on:
                        return
                    parens += 1
                case ")" | "]":
                    parens -= 1
                case "{":
                    braces += 1
                case "}" if braces <= 0:
                    return
                case "}":
                    braces -= 1
                case "let" | "spawn":
                    return
                case "name" if not goes_on:
                    return
            if self._at_declaration():
                return
            self._next()

    def _expect_statement(self) -> syntax.Statement:
        start = self._token
        if start.kind == "let":
            self._next()
            name = self._expect_name("the name of a channel")
            self._expect(":", f"after 'let {name.text}'")
            type_ = self._expect_type()
            self._expect("=", f"after the type of '{name.text}'")
            self._expect("channel", "here", help="inside a body 'let' declares a channel: let c : !T = channel")
            return syntax.ChannelDecl(name, type_, self._since(start.span))
        if start.kind == "spawn":
            return self._expect_spawn()
        if start.kind not in ("name", "("):
            if start.kind in ("agent", "tool"):
                raise self._refuse("a statement", "here", help=f"give the {start.kind} a name outside this body")
            raise self._refuse("a statement", "here", help="such as  a ; b ; c  or  spawn p(input=a, output=b)")
        if end := self._parse_wire_end():
            return self._expect_session_wire(end)
        chain = self._expect_chain()
        if self._is("<->"):
            message = "'<->' stands between two processes, not after a chain"
            self._report.add("E0101", self._token.span, message, help="write  a <-> b : Protocol  as a statement")
            raise Refused
        if self._token.kind in JOINERS:
            raise self._refuse("';'", "between processes", help="processes are joined by ';', as in  a ; b")
        return chain

    def _parse_wire_end(self) -> syntax.WireEnd | None:
        """Read the left side of a session wire; None if there is no ``<->`` behind it."""
        if not self._is("name"):
            return None
        ahead = 3 if self._peek(1).kind == "." and self._peek(2).kind == "name" else 1
        if self._peek(ahead).kind == "@":
            ahead += 1
            if self._peek(ahead).kind == "(":
                ahead += 1
                while self._peek(ahead).kind in ("name", ","):
                    ahead += 1
            ahead += 1
        return self._expect_wire_end() if self._peek(ahead).kind == "<->" else None

    def _expect_wire_end(self) -> syntax.WireEnd:
        name = self._expect_qname("a process")
        ports: tuple[Name, ...] = ()
        if self._parse("@"):
            if opened := self._parse("("):
                ports = self._list(")", opened, lambda: self._expect_name("the name of a port"), "after a port's name")
            else:
                ports = (self._expect_name("the name of a port"),)
        return syntax.WireEnd(name, ports, self._since(name.span))

    def _expect_session_wire(self, left: syntax.WireEnd) -> syntax.SessionWire:
        self._expect("<->", "behind the left side of a session wire")
        right = self._expect_wire_end()
        protocol = self._expect_qname("the name of a protocol") if self._parse(":") else None
        return syntax.SessionWire(left, right, protocol, self._since(left.span))

    def _expect_spawn(self) -> syntax.Spawn:
        start = self._next()
        target = self._parse_inline() or self._expect_ref()
        opened = self._expect("(", "after the process to spawn", help="give it channels: spawn p(input=a, output=b)")
        arguments = self._list(")", opened, self._expect_argument, "after an argument")
        return syntax.Spawn(target, arguments, self._since(start.span))

    def _expect_argument(self) -> syntax.Argument:
        name = self._expect_name("a channel")
        if not self._parse("="):
            return syntax.Argument(None, name, name.span)
        channel = self._expect_name("a channel")
        return syntax.Argument(name, channel, self._since(name.span))

    def _expect_chain(self) -> syntax.Chain:
        return self._deeper(self._chain)

    def _chain(self) -> syntax.Chain:
        start = self._token.span
        elements = [self._expect_element()]
        while self._parse(";"):
            elements.append(self._expect_element())
        return syntax.Chain(tuple(elements), self._since(start))

    def _expect_element(self) -> syntax.Element:
        opened = self._token
        if opened.kind == "(":
            self._next()
            branches = [self._expect_chain()]
            while self._parse("*"):
                branches.append(self._expect_chain())
            if not self._is(")"):
                raise self._refuse("'*' or ')'", "in this group", opened=opened)
            self._next()
            return syntax.Group(tuple(branches), self._since(opened.span))
        if inline := self._parse_inline():
            return inline
        if opened.kind != "name":
            raise self._refuse("a process", "here", help=hint_for("in a chain", opened))
        return self._expect_ref()

    def _expect_ref(self) -> syntax.Ref:
        name = self._expect_qname("a process")
        if self._parse("@"):
            port = self._expect_name("the name of a port")
            fields = self._fields()
            return syntax.Ref(name, self._since(name.span), port, fields)
        fields = self._fields()
        return syntax.Ref(name, self._since(name.span), None, fields)

    def _fields(self) -> tuple[Name, ...]:
        fields = []
        while self._parse("."):
            fields.append(self._expect_name("the name of a field"))
        return tuple(fields)

    def _parse_inline(self) -> syntax.Inline | None:
        token = self._token
        if token.kind != "name":
            return None
        word = Name(token.text, token.span)
        if token.text in _STRUCTURAL and self._peek().kind not in ("@", "."):
            self._next()
            return syntax.Inline(cast("syntax.InlineKind", token.text), word, token.span)
        if token.text not in _PARENTHESISED or self._peek().kind != "(":
            return None
        self._next()
        opened = self._next()
        expr, index, source = None, None, None
        match token.text:
            case "map" | "filter":
                expr = self._expect_expr()
            case "project":
                index = self._expect_index()
            case "mux":
                self._expect_name("the word 'source'")
                self._expect(":", "after 'source'", help="write mux(source: process)")
                source = self._expect_qname("a process")
        self._expect(")", f"after the argument of '{token.text}'", opened=opened)
        fields = self._fields() if expr is not None else ()
        kind = cast("syntax.InlineKind", token.text)
        return syntax.Inline(kind, word, self._since(token.span), expr, fields, index, source)

    def _expect_index(self) -> int | str:
        token = self._token
        if token.kind == "number" and isinstance(token.value, int):
            self._next()
            return token.value
        if token.kind in ("name", "string"):
            self._next()
            return token.text if token.kind == "name" else str(token.value)
        raise self._refuse(
            "a position or the name of a field", "in 'project'", help="positions count from 0: project(0)"
        )

    # --- protocols ---

    def _expect_session(self) -> syntax.Session:
        return self._deeper(self._session)

    def _session(self) -> syntax.Session:
        start = self._token.span
        steps = []
        while self._token.kind in ("send", "recv"):
            word = self._next()
            type_ = self._expect_stream_type()
            self._expect(".", f"after '{word.text}' and its type", help="a protocol ends with '. end' or '. loop'")
            direction = "send" if word.kind == "send" else "recv"
            steps.append(syntax.SessionStep(cast("Any", direction), type_, self._since(word.span)))
        tail = self._expect_session_tail()
        return syntax.Session(tuple(steps), tail, self._since(start))

    def _expect_session_tail(self) -> syntax.SessionEnd | syntax.Choice | syntax.SessionName:
        token = self._token
        if token.kind in ("end", "loop"):
            self._next()
            return syntax.SessionEnd("end" if token.kind == "end" else "loop", token.span)
        worded = token.kind == "name" and token.text in ("select", "offer") and self._peek().kind == "{"
        if worded:
            self._next()
        if opened := self._parse("{"):
            branches = self._list("}", opened, self._expect_branch, "after a branch")
            word = "offer" if worded and token.text == "offer" else "select"
            return syntax.Choice(cast("Any", word), branches, self._since(token.span))
        if token.kind == "name":
            name = self._expect_qname("a protocol")
            return syntax.SessionName(name, name.span)
        raise self._refuse("'send', 'recv', 'end', 'loop' or a choice", "in this protocol")

    def _expect_branch(self) -> tuple[Name, syntax.Session]:
        label = self._expect_name("a label")
        self._expect(":", f"after the label '{label.text}'")
        return label, self._expect_session()
