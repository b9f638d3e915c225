"""What those mean who write it as in another language, or nearly right: hints for the parser's messages."""

from __future__ import annotations

__all__ = ["JOINERS", "hint_for"]

from fabric.lang.lexer import RESERVED, Token

JOINERS = ("->", ",", "|", ">")
"""Signs between processes that mean the ``;`` of a chain."""

_HINTS: dict[tuple[str, str], str] = {
    # where, found
    ("in this record type", ";"): "fields are separated by ','",
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
}
_WORDS = {"and": "&&", "or": "||"}


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
    if where.startswith("after the argument") and found.text in _WORDS:
        return f"the logical '{found.text}' is written '{_WORDS[found.text]}'"
    hint = _HINTS.get((where, found.kind))
    if hint is None and where == "in a chain" and found.kind in RESERVED:
        return f"'{found.text}' is a reserved word"
    return hint
