"""Program text in the one canonical style.

The printer walks the syntax tree and takes the tokens of the text in their order, each with the comments before it: so
no comment can get lost, strings and numbers stay spelt as they are, and brackets that the tree does not keep stay as
well. What it changes are spaces, line ends, commas that may be left out, and the old forms ``==``, ``→`` and a binding
without ``let``.

The author decides two things: an empty line stays (one of several), and what follows a ``{`` on a line of its own stays
so even if it would fit. Both are found again in the printed text, which therefore is printed as it is.
"""

from __future__ import annotations

__all__ = ["WIDTH", "format_source"]

from collections.abc import Callable, Sequence
from typing import TypeVar

from fabric.lang import syntax
from fabric.lang.diagnostic import Diagnostic, Report
from fabric.lang.layout import BLANK, LINE, SOFT, SPACE, Choose, Comment, Doc, Line, Nest, group, render
from fabric.lang.lexer import Lexed, Token
from fabric.lang.parser import read
from fabric.lang.source import Source

WIDTH = 100
"""Columns. What cannot be broken, such as a string, may be longer."""

_TAB = 8
_OPENING = frozenset({"{", "(", "["})
_NEW_SPELLING = {"→": "->", "==": "="}
_SAME_LEVEL = {"+": "+", "-": "+", "*": "*", "/": "*", "%": "*", "&&": "&&", "||": "||"}

_BRACKETED = (
    syntax.RecordType,
    syntax.ListType,
    syntax.Config,
    syntax.ConfigList,
    syntax.RecordExpr,
    syntax.ListExpr,
)
_BETWEEN = ","
_BEHIND = Choose("", ",")
_BETWEEN_ENTRIES = Choose(",", "")

_T = TypeVar("_T")


def format_source(source: Source) -> tuple[str | None, tuple[Diagnostic, ...]]:
    """Return a program's text as it should look; or None and the mistakes because of which it cannot be read."""
    report = Report(source)
    program, lexed = read(source, report)
    if report.has_errors:
        return None, tuple(found for found in report.diagnostics() if found.severity == "error")
    return render(_Printer(source, lexed).program(program), WIDTH), ()


class _Gaps:
    """What stands between the tokens of a text.

    Attributes:
        comments: for each token those before it.
        blank: for each token whether an empty line precedes it.
        ends_line: for each token whether a line ends directly behind it.
    """

    def __init__(self, source: Source, lexed: Lexed) -> None:
        self.comments: list[list[Comment]] = []
        self.blank: list[bool] = []
        self.ends_line: list[bool] = []
        text, start = source.text, source.start
        comments = iter([*lexed.comments, None])
        comment = next(comments)
        at, opened = 0, True
        for token in lexed.tokens:
            found: list[Comment] = []
            first_gap = True
            while True:
                ends_here = comment is None or comment.start > token.span.start
                until = (token.span if comment is None or ends_here else comment).start - start
                lines = text.count("\n", at, until) + (token.kind == "eof" and ends_here)
                if first_gap and self.comments:
                    self.ends_line.append(lines > 0)
                if lines and found:
                    found[-1] = _ending(found[-1])
                blank = lines > 1 and not opened
                first_gap = opened = False
                if comment is None or ends_here:
                    break
                at = comment.end - start
                made = _comment(text, until, at, begins_line=lines > 0 or not (self.comments or found), blank=blank)
                if found and not lines:
                    found[-1] = _joined(found[-1], made)
                else:
                    found.append(made)
                comment = next(comments)
            self.comments.append(found)
            self.blank.append(blank)
            at, opened = token.span.end - start, token.kind in _OPENING
        self.ends_line.append(True)


def _comment(text: str, start: int, end: int, *, begins_line: bool, blank: bool) -> Comment:
    lines = [line.rstrip() for line in text[start:end].split("\n")]
    lines[1:] = [_expanded(line) for line in lines[1:]]
    before = text[text.rfind("\n", 0, start) + 1 : start]
    column = len(before.expandtabs(_TAB)) if begins_line else None
    return Comment(tuple(lines), column, begins_line, False, blank)


def _expanded(line: str) -> str:
    bare = line.lstrip(" \t")
    return line[: len(line) - len(bare)].expandtabs(_TAB) + bare


def _joined(first: Comment, second: Comment) -> Comment:
    """Put two comments that stand on one line together."""
    lines = (*first.lines[:-1], f"{first.lines[-1]} {second.lines[0]}", *second.lines[1:])
    return Comment(lines, first.column, first.begins_line, False, first.blank)


def _ending(comment: Comment) -> Comment:
    return Comment(comment.lines, comment.column, comment.begins_line, True, comment.blank)


class _Printer:
    def __init__(self, source: Source, lexed: Lexed) -> None:
        self._source = source
        self._tokens = lexed.tokens
        self._gaps = _Gaps(source, lexed)
        self._at = 0
        self._comments = list(self._gaps.comments[0])  # before the next token, and not written yet

    # --- tokens and comments ---

    @property
    def _token(self) -> Token:
        return self._tokens[self._at]

    def _is(self, kind: str) -> bool:
        return self._tokens[self._at].kind == kind

    def _take(self) -> Doc:
        """Write the next token, behind the comments before it."""
        text = self._token.text
        comments = self._take_comments()
        self._drop()
        return (*comments, _NEW_SPELLING.get(text, text))

    def _drop(self) -> None:
        """Leave the next token out. Its comments stay for the one behind it."""
        self._at += 1
        if self._at < len(self._tokens):
            self._comments += self._gaps.comments[self._at]

    def _take_comments(self) -> tuple[Doc, ...]:
        comments = tuple(self._comments)
        self._comments.clear()
        return comments

    def _start(self) -> Doc:
        """Write what stands before an item: comments, and the author's empty line."""
        comments = self._take_comments()
        return (*comments, BLANK) if self._gaps.blank[self._at] else comments

    def _line(self, line: Line = LINE) -> Doc:
        """Write a place where a line may end, behind the comments that belong to what is before it."""
        before = []
        while self._comments and self._comments[0].ends_line and not self._comments[0].begins_line:
            before.append(self._comments.pop(0))
        return (*before, line)

    def _comma(self, comma: Doc) -> Doc:
        """Write a comma, whether there is one or not. Comments that end a line come behind it."""
        before: tuple[Doc, ...] = ()
        if self._is(","):
            if not any(comment.ends_line for comment in self._comments):
                before = self._take_comments()
            self._drop()
        return (*before, comma)

    def _bracketed(
        self,
        items: Sequence[_T],
        write: Callable[[_T], Doc],
        line: Line = SOFT,
        between: Doc = _BETWEEN,
        behind: Doc = _BEHIND,
        empty: Doc = "",
    ) -> Doc:
        """Write a bracket, items with commas, and the closing bracket."""
        broken = line is LINE and self._gaps.ends_line[self._at] and bool(items)
        before = self._take_comments()
        opened = self._take()
        if not items and not self._comments:
            return (before, opened, empty, self._take())
        if line is SOFT and len(items) == 1 and self._is_bracketed(items[0]):
            return (before, opened, write(items[0]), self._comma(""), *self._take_comments(), self._take())
        inside = [self._line(line)]
        for i, item in enumerate(items):
            last = i == len(items) - 1
            inside += [self._start(), write(item), self._comma(behind if last else between)]
            if not last:
                inside.append(self._line())
        inside += self._take_comments()
        return (before, group(opened, Nest(tuple(inside)), line, self._take(), broken=broken))

    def _is_bracketed(self, node: object) -> bool:
        """Say whether a node comes next, has brackets of its own, and so can break inside of them."""
        has_brackets = isinstance(node, _BRACKETED) and self._token.kind in _OPENING - {"("}
        return has_brackets and not self._comments

    def _open(self, inner: object) -> tuple[Doc, Doc, Doc]:
        """Take an opening bracket: comments before it, itself, and the place behind it where the line may end."""
        before, bracket = self._take_comments(), self._take()
        return before, bracket, "" if self._is_bracketed(inner) else self._line(SOFT)

    def _close(self, opened: tuple[Doc, Doc, Doc], inner: Doc) -> Doc:
        """Write one thing between brackets, of which the first has been taken."""
        before, bracket, line = opened
        if self._is(","):
            self._drop()
        if line == "":
            return (before, bracket, inner, *self._take_comments(), self._take())
        return (before, group(bracket, Nest((line, inner, *self._take_comments())), SOFT, self._take()))

    def _opened_before(self, node: syntax.TypeSyntax | syntax.Expression) -> list[tuple[Doc, Doc, Doc]]:
        """Take the parentheses around something, which the tree does not keep."""
        opened = []
        while self._token.span.start < node.span.start:
            if self._is("|"):  # before the first variant
                self._drop()
            else:
                opened.append(self._open(node))
        return opened

    # --- declarations ---

    def program(self, program: syntax.Program) -> Doc:
        parts: list[Doc] = []
        for i, decl in enumerate(program.declarations):
            parts += [self._line()] if i else []
            parts += [self._start(), self._declaration(decl)]
        return (*parts, *self._take_comments())

    def _declaration(self, decl: syntax.Declaration) -> Doc:
        match decl:
            case syntax.UseDecl():
                return (self._take(), SPACE, self._take())
            case syntax.TypeDecl(_, type_):
                head = (self._take(), SPACE, self._take(), SPACE, self._take())
                if isinstance(type_, syntax.SumType) and not self._is("("):
                    return group(head, Nest((self._line(), self._type(type_))))
                return (head, SPACE, self._type(type_))
            case syntax.ProtocolDecl(_, session):
                head = (self._take(), SPACE, self._take(), SPACE, self._take())
                if isinstance(session.tail, syntax.Choice) and not session.steps:
                    return (head, SPACE, self._session(session))
                return group(head, Nest((self._line(), self._session(session))))
            case syntax.BindingDecl():
                return self._binding(decl)

    def _binding(self, decl: syntax.BindingDecl) -> Doc:
        let = self._take() if self._is("let") else "let"
        head = (let, SPACE, self._take(), SPACE, self._take())
        types = (self._line(), self._type(decl.input), SPACE, self._take(), self._line(), self._type(decl.output))
        signature = group(head, Nest(types), SPACE, self._take())
        impl = decl.impl
        if isinstance(impl, syntax.ConfiguredImpl):
            return (signature, SPACE, self._take(), SPACE, self._config(impl.config, SPACE))
        if isinstance(impl, syntax.PlumbImpl):
            return (signature, SPACE, self._plumb(impl))
        if len(impl.elements) == 1:
            return (signature, SPACE, self._chain(impl))
        return (signature, group(Nest((self._line(), self._chain(impl)))))

    # --- types ---

    def _type(self, node: syntax.TypeSyntax) -> Doc:
        opened = self._opened_before(node)
        doc = self._bare_type(node)
        while opened:
            doc = self._close(opened.pop(), doc)
        return doc

    def _bare_type(self, node: syntax.TypeSyntax) -> Doc:
        match node:
            case syntax.NamedType(name):
                return self._qname(name)
            case syntax.RecordType(fields):
                return self._bracketed(fields, self._field, LINE)
            case syntax.ListType(item):
                return self._close(self._open(item), self._type(item))
            case syntax.ProductType(items):
                return self._bracketed(items, self._type, behind="")
            case syntax.StreamType(of):
                return (self._take(), self._type(of))
            case syntax.SumType(variants):
                if self._is("|"):
                    self._drop()
                parts = [self._type(variants[0])]
                for variant in variants[1:]:
                    parts += [SPACE, self._take(), self._line(), self._type(variant)]
                return group(*parts)

    def _field(self, field: syntax.FieldType) -> Doc:
        name = (self._take(), self._take()) if field.optional else self._take()
        return (name, self._take(), SPACE, self._type(field.type))

    def _qname(self, name: syntax.Name) -> Doc:
        return self._take() if name.module is None else (self._take(), self._take(), self._take())

    # --- configuration ---

    def _config(self, config: syntax.Config, empty: Doc = "") -> Doc:
        return self._bracketed(config.entries, self._entry, LINE, _BETWEEN_ENTRIES, "", empty)

    def _entry(self, entry: syntax.ConfigEntry) -> Doc:
        return (self._take(), self._take(), SPACE, self._config_value(entry.value))

    def _config_value(self, value: syntax.ConfigValue) -> Doc:
        match value:
            case syntax.Config():
                return self._config(value)
            case syntax.ConfigList(items):
                return self._bracketed(items, self._config_value)
            case syntax.ConfigName(name):
                return self._qname(name)
            case _ if self._is("-"):
                return (self._take(), self._take())
        long = "\n" in self._token.text
        return group(self._take(), broken=long)

    # --- wiring ---

    def _plumb(self, impl: syntax.PlumbImpl) -> Doc:
        word = self._take()
        ports = self._bracketed(impl.header, lambda _: self._take(), behind="")
        start = self._token.span.start - self._source.start
        lines = "\n" in self._source.text[start : impl.span.end - self._source.start]
        opened = self._take()
        if not impl.statements and not self._comments:
            return (word, ports, SPACE, opened, SPACE, self._take())
        inside = [self._line()]
        for i, statement in enumerate(impl.statements):
            inside += [self._line()] if i else []
            inside += [self._start(), self._statement(statement)]
        inside += self._take_comments()
        broken = len(impl.statements) > 1 or (lines and bool(impl.statements))
        return (word, ports, SPACE, group(opened, Nest(tuple(inside)), LINE, self._take(), broken=broken))

    def _statement(self, statement: syntax.Statement) -> Doc:
        match statement:
            case syntax.ChannelDecl(_, type_):
                head = (self._take(), SPACE, self._take(), SPACE, self._take(), SPACE)
                return (head, self._type(type_), SPACE, self._take(), SPACE, self._take())
            case syntax.Spawn(target, arguments):
                spawned = (self._take(), SPACE, self._element(target))
                return (spawned, self._bracketed(arguments, self._argument, behind=""))
            case syntax.SessionWire(left, right, protocol):
                ends = (self._wire_end(left), SPACE, self._take(), SPACE, self._wire_end(right))
                return (ends, SPACE, self._take(), SPACE, self._qname(protocol)) if protocol else ends
            case syntax.Chain():
                return self._chain(statement)

    def _argument(self, argument: syntax.Argument) -> Doc:
        return self._take() if argument.port is None else (self._take(), self._take(), self._take())

    def _wire_end(self, end: syntax.WireEnd) -> Doc:
        name = self._qname(end.name)
        if not self._is("@"):
            return name
        at = self._take()
        if self._is("("):
            return (name, at, self._bracketed(end.ports, lambda _: self._take(), behind=""))
        return (name, at, self._take())

    def _chain(self, chain: syntax.Chain) -> Doc:
        first, *others = chain.elements
        head = self._element(first)
        tail: list[Doc] = []
        for element in others:
            tail += [self._line(), self._take(), SPACE, Nest(self._element(element))]
        return group(head, Nest(tuple(tail)))

    def _element(self, element: syntax.Element) -> Doc:
        match element:
            case syntax.Ref():
                return self._ref(element)
            case syntax.Inline():
                return self._inline(element)
            case syntax.Group(branches):
                opened = self._open(None)
                inside = [self._chain(branches[0])]
                for branch in branches[1:]:
                    inside += [self._line(), self._take(), SPACE, Nest(self._chain(branch))]
                return self._close(opened, tuple(inside))

    def _ref(self, ref: syntax.Ref) -> Doc:
        name = self._qname(ref.name)
        if ref.port is not None:
            return (name, self._take(), self._take(), self._fields(ref.fields))
        # 'Mem.f' would be the f of a module
        apart = SPACE if ref.fields and ref.name.module is None and ref.name.text[0].isupper() else ""
        return (name, apart, self._fields(ref.fields))

    def _fields(self, fields: Sequence[syntax.Name]) -> Doc:
        return tuple((self._take(), self._take()) for _ in fields)

    def _inline(self, inline: syntax.Inline) -> Doc:
        word = self._take()
        if inline.expr is not None:
            return (word, self._close(self._open(inline.expr), self._expr(inline.expr)), self._fields(inline.fields))
        if inline.index is not None:
            return (word, self._take(), self._take(), self._take())
        if inline.source is not None:
            head = (word, self._take(), self._take(), self._take(), SPACE)
            return (head, self._qname(inline.source), self._take())
        return word

    # --- protocols ---

    def _session(self, session: syntax.Session) -> Doc:
        parts: list[Doc] = []
        for step in session.steps:
            parts += [self._take(), SPACE, self._type(step.type), SPACE, self._take(), self._line()]
        return (*parts, self._tail(session.tail))

    def _tail(self, tail: syntax.SessionEnd | syntax.Choice | syntax.SessionName) -> Doc:
        match tail:
            case syntax.SessionName(name):
                return self._qname(name)
            case syntax.SessionEnd():
                return self._take()
            case syntax.Choice(_, branches):
                word = () if self._is("{") else (self._take(), SPACE)
                return (word, self._bracketed(branches, self._branch, LINE))

    def _branch(self, branch: tuple[syntax.Name, syntax.Session]) -> Doc:
        head = (self._take(), self._take(), SPACE)
        return group(head, Nest(self._session(branch[1])))

    # --- expressions ---

    def _expr(self, node: syntax.Expression) -> Doc:
        opened = self._opened_before(node)
        doc = self._bare_expr(node)
        while opened:
            doc = self._close(opened.pop(), doc)
        return doc

    def _bare_expr(self, node: syntax.Expression) -> Doc:
        match node:
            case syntax.BinaryExpr():
                return self._binary(node)
            case syntax.UnaryExpr(_, of):
                space = SPACE if self._is("name") else ""  # 'not'
                return (self._take(), space, self._expr(of))
            case syntax.SelectExpr(of):
                return (self._expr(of), self._take(), self._take())
            case syntax.IndexExpr(of):
                return (self._expr(of), self._take(), self._take(), self._take())
            case syntax.RecordExpr(fields):
                return self._bracketed(fields, self._part, LINE)
            case syntax.ListExpr(items):
                return self._bracketed(items, self._expr)
            case syntax.TupleExpr(items):
                return self._bracketed(items, self._expr, behind="")
        return self._take()

    def _part(self, part: tuple[syntax.Name, syntax.Expression]) -> Doc:
        name = self._take()
        return (name, self._take(), SPACE, self._expr(part[1])) if self._is(":") else name

    def _binary(self, node: syntax.BinaryExpr) -> Doc:
        """Write operators of one level side by side: they break together."""
        level = _SAME_LEVEL.get(node.op)
        nodes = [node]
        while True:
            left = nodes[-1].left
            in_parentheses = left.span.start != node.span.start
            if not isinstance(left, syntax.BinaryExpr) or in_parentheses or _SAME_LEVEL.get(left.op) != level:
                break
            nodes.append(left)
        head = self._expr(nodes[-1].left)
        tail: list[Doc] = []
        for one in reversed(nodes):
            tail += [self._line(), self._take(), SPACE, self._expr(one.right)]
        return group(head, Nest(tuple(tail)))
