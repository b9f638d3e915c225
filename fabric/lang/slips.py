"""What those mean who write it as in another language, or nearly right: hints for the parser's messages."""

from __future__ import annotations

__all__ = ["JOINERS", "hint_for"]

from fabric.lang.lexer import RESERVED, Token

JOINERS = ("->", ",", "|", ">", "=")
"""Signs between processes that mean the ``;`` of a chain."""

_HINTS: dict[tuple[str, str], str] = {
    # where, found
    ("in this record type", ";"): "fields are separated by ','",
    ("in this record type", "["): "a list of T is written [T]",
    ("in this record type", "?"): "the '?' of an optional field stands behind its name: a?: T",
    ("in this record", "="): "a field and its value are separated by ':'",
    ("after the argument of 'map'", ","): "several values make a record: map({ a, b })",
    ("after a port's name", ":"): "a header has names only; the types are those of the signature",
    ("after 'handler'", "("): 'write  handler { command: ["python", "handler.py"] }',
    ("after 'python'", "("): 'write  python { call: "package.module:function" }',
    ("after 'worker'", "("): 'write  worker { command: ["program", "argument"] }',
    ("in this configuration", "string"): "keys are written without quotes",
    ("in this configuration", ";"): "entries are separated by ',' or by nothing",
    ("in this configuration", "-"): 'a string needs quotes: "..."',
    ("in this configuration", "/"): 'a string needs quotes: "..."',
    ("in this configuration", "."): 'a string needs quotes: "..."',
    ("in this group", ","): "what stands side by side is joined by '*': (a * b)",
    ("in a chain", "{"): "to make a record write  map({ ... })",
    ("in a chain", "}"): "the last process of a chain has no ';' behind it",
    ("in a chain", ";"): "one ';' stands between two processes",
    ("in a chain", "eof"): "the last process of a chain has no ';' behind it",
    ("in a chain", "agent"): "declare it before this body, with a name:  let a : !A -> !B = agent { ... }",
    ("at the top", ";"): "a declaration has no ';' behind it",
    ("at the top", "agent"): "write  let name : !A -> !B = agent { ... }",
    ("at the top", "tool"): "write  let name : A -> B = tool { ... }",
}
_WORDS = {"and": "&&", "or": "||"}
_STARTERS = {"import": "use", "include": "use", "from": "use", "def": "let", "fn": "let", "const": "let", "var": "let"}


def hint_for(where: str, found: Token) -> str | None:
    """Return what may have been meant.

    Args:
        where: in the words of the message, or ``in a chain`` where a process is expected, or ``at the top``.
        found: what stands there instead.
    """
    if where.startswith("after the key") and found.kind == "=":
        return "a key and its value are separated by ':'"
    if where.startswith("after 'type") and found.kind == "{":
        return f"write  {where.removeprefix('after ').strip(chr(39))} = {{ ... }}"
    if where.startswith("in the signature of") and found.kind in (",", "="):
        return "several ports stand in parentheses: (!A, !B)" if found.kind == "," else "the arrow is written '->'"
    if where == "at the top" and found.text in _STARTERS:
        return f"write '{_STARTERS[found.text]}'"
    if where.startswith("after the argument") and found.text in _WORDS:
        return f"the logical '{found.text}' is written '{_WORDS[found.text]}'"
    hint = _HINTS.get((where, found.kind))
    if hint is None and where == "in a chain" and found.kind in RESERVED:
        return f"'{found.text}' is a reserved word"
    return hint
