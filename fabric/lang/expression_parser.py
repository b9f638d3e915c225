"""The expressions inside ``map`` and ``filter``, by precedence climbing.

Source: Pratt, Top down operator precedence, 1973.
"""

from __future__ import annotations

__all__ = ["COMPARE_LEVEL", "LEVELS", "NOT_LEVEL", "UNARY_LEVEL", "ExpressionParser"]

from typing import cast

from fabric.lang import syntax
from fabric.lang.diagnostic import Report
from fabric.lang.lexer import Token
from fabric.lang.syntax import Name
from fabric.lang.token_cursor import NESTING_MAX, Refused, TokenCursor

LEVELS = {"||": 1, "&&": 2} | dict.fromkeys(["=", "==", "!=", "<", "<=", ">", ">="], 4)
LEVELS |= dict.fromkeys(["+", "-"], 5) | dict.fromkeys(["*", "/", "%"], 6)
"""How tightly the operators between two operands bind."""

NOT_LEVEL, COMPARE_LEVEL, UNARY_LEVEL = 3, 4, 7


class ExpressionParser(TokenCursor):
    """Reads expressions. The height of the tree bounds their nesting, since ``a + b + c`` makes a tall one."""

    def __init__(self, tokens: tuple[Token, ...], report: Report) -> None:
        super().__init__(tokens, report)
        self._height = 0  # of the expression that was read last

    def _expect_expr(self, level: int = 1) -> syntax.Expression:
        return self._deeper(lambda: self._binary(level))

    def _grow(self, *heights: int) -> None:
        self._height = max(heights, default=0) + 1
        if self._height > NESTING_MAX:
            raise self._too_deep(self._tokens[self._at - 1].span)

    def _binary(self, level: int) -> syntax.Expression:
        start = self._token.span
        left = self._expect_operand(level)
        while True:
            operator = self._token
            own_level = LEVELS.get(operator.kind)
            if own_level is None or own_level < level:
                return left
            height = self._height
            self._next()
            right = self._expect_expr(own_level + 1)
            self._grow(height, self._height)
            op = cast("syntax.BinaryOp", "=" if operator.kind == "==" else operator.kind)
            left = syntax.BinaryExpr(op, left, right, operator.span, self._since(start))
            if own_level == COMPARE_LEVEL and LEVELS.get(self._token.kind) == COMPARE_LEVEL:
                self._report.add(
                    "E0101",
                    self._token.span,
                    "comparisons cannot be chained",
                    help="join them with '&&', as in  0 <= n && n < 10",
                )
                raise Refused

    def _expect_operand(self, level: int) -> syntax.Expression:
        token = self._token
        if token.kind == "!" or self._is_word("not"):
            self._next()
            of = self._expect_expr(NOT_LEVEL if level <= NOT_LEVEL else UNARY_LEVEL)
            self._grow(self._height)
            return syntax.UnaryExpr("!", of, self._since(token.span))
        if token.kind == "-":
            self._next()
            of = self._expect_expr(UNARY_LEVEL)
            self._grow(self._height)
            return syntax.UnaryExpr("-", of, self._since(token.span))
        left = self._expect_primary()
        while True:
            height = self._height
            if self._parse("."):
                left = syntax.SelectExpr(left, self._expect_name("the name of a field"), self._since(token.span))
            elif opened := self._parse("["):
                index = self._token
                if index.kind != "number" or not isinstance(index.value, int):
                    raise self._refuse("a position", "between '[' and ']'", help="positions count from 0: value[0]")
                self._next()
                self._expect("]", "after the position", opened=opened)
                left = syntax.IndexExpr(left, index.value, self._since(token.span))
            else:
                return left
            self._grow(height)

    def _expect_primary(self) -> syntax.Expression:
        token = self._token
        self._height = 1
        match token.kind:
            case "string" | "number":
                self._next()
                return syntax.LiteralExpr(token.value, token.span)
            case "true" | "false":
                self._next()
                return syntax.LiteralExpr(token.kind == "true", token.span)
            case "name" if token.text == "null":
                self._next()
                return syntax.LiteralExpr(None, token.span)
            case "{":
                self._next()
                tallest = [0]
                fields = self._list("}", token, lambda: self._expect_part(tallest), "in this record")
                self._grow(*tallest)
                return syntax.RecordExpr(fields, self._since(token.span))
            case "[" | "(":
                return self._expect_bracketed(token)
        name = self._expect_name("a value or the name of a field")
        if self._is("("):
            self._report.add("E0101", name.span, f"there are no functions to call: '{name.text}(...)'")
            raise Refused
        return syntax.NameExpr(name, name.span)

    def _expect_part(self, heights: list[int]) -> tuple[Name, syntax.Expression]:
        name = self._expect_name("the name of a field")
        if not self._parse(":"):
            return name, syntax.NameExpr(name, name.span)
        expr = self._expect_expr()
        heights.append(self._height)
        return name, expr

    def _expect_bracketed(self, opened: Token) -> syntax.Expression:
        self._next()
        heights = [0]

        def item() -> syntax.Expression:
            expr = self._expect_expr()
            heights.append(self._height)
            return expr

        close = "]" if opened.kind == "[" else ")"
        items = self._list(close, opened, item, "in this expression")
        if opened.kind == "(" and len(items) == 1:
            return items[0]
        if opened.kind == "(" and not items:
            raise self._refuse("an expression", "between '(' and ')'")
        self._grow(*heights)
        span = self._since(opened.span)
        return syntax.ListExpr(items, span) if opened.kind == "[" else syntax.TupleExpr(items, span)
