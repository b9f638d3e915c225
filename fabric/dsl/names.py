"""Names, looked at when they are given: an error is raised at the line of Python that gave a wrong one."""

from __future__ import annotations

__all__ = ["is_name", "is_unicode", "name_at", "qname_at", "split_ref"]

import re

from fabric.errors import ConfigError
from fabric.lang.lexer import RESERVED
from fabric.lang.source import Span
from fabric.lang.syntax import Name

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REF = re.compile(r"(?P<name>\w+)(?P<port>@\w+)?(?P<fields>(\.\w+)*)", re.ASCII)


def is_name(text: str) -> bool:
    """Say whether a text can be a name."""
    return _NAME.fullmatch(text) is not None and text not in RESERVED


def is_unicode(text: str) -> bool:
    """Say whether a text can be written: Python's may have halves of surrogate pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def name_at(text: object, what: str, at: Span) -> Name:
    """Return a name.

    Args:
        what: as in ``the name of a port``; for the error.

    Raises:
        ConfigError: it is none, or a reserved word.
        TypeError: it is no text.
    """
    if not isinstance(text, str):
        raise TypeError(f"{what} is a str, got {type(text).__name__}: {text!r}")
    if text in RESERVED:
        other = "kind" if text == "type" else f"{text}_"
        raise ConfigError(f"'{text}' is a reserved word and cannot be {what}: choose another, such as '{other}'")
    if _NAME.fullmatch(text) is None:
        raise ConfigError(f"{text!r} cannot be {what}: a name has letters, digits and '_', and begins with no digit")
    return Name(text, at)


def qname_at(text: object, what: str, at: Span) -> Name:
    """Return a name, which may be one of another module: ``Mem.compact``."""
    module, dot, last = text.partition(".") if isinstance(text, str) else ("", "", "")
    if not dot:
        return name_at(text, what, at)
    if not module[:1].isupper():
        hint = f"{module[:1].upper()}{module[1:]}.{last}"
        raise ConfigError(f"{text!r} cannot be {what}: a module's name begins with a capital, as in {hint!r}")
    return Name(name_at(last, what, at).text, at, name_at(module, "the name of a module", at).text)


def split_ref(text: str, at: Span) -> tuple[Name, Name | None, tuple[Name, ...]] | None:
    """Take ``Mem.writer@port.field`` apart: name, port, fields. None if it looks like something else."""
    found = _REF.fullmatch(text)
    if found is None:
        return None
    name, fields = found["name"], [field for field in found["fields"].split(".") if field]
    if name[0].isupper() and fields and found["port"] is None:
        name = f"{name}.{fields.pop(0)}"
    port = name_at(found["port"][1:], "the name of a port", at) if found["port"] else None
    return qname_at(name, "the name of a process", at), port, _fields(fields, at)


def _fields(fields: list[str], at: Span) -> tuple[Name, ...]:
    return tuple(name_at(field, "the name of a field", at) for field in fields)
