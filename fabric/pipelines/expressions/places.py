"""Addresses and directories with values in them: a value cannot change what stands around it. Pure.

A text that is one expression as a whole is not written by these: who says all of an address means it.
"""

from __future__ import annotations

__all__ = ["address_of", "directory_of"]

import re
from collections.abc import Iterator, Sequence
from urllib.parse import quote, unquote

from fabric.pipelines.expressions.expression import Part

_PATH_BEGINS = re.compile(r"^[^/?#]*//[^/?#]*[/?#]")
_QUERY_BEGINS = re.compile(r"[?#]")
_SLASHES = re.compile(r"[/\\]")


def address_of(parts: Sequence[Part]) -> str:
    """Return an address. Values in its path and in its query are percent-encoded: a ``/`` of a value does not begin
    another segment, nor an ``&`` another parameter.

    What stands at the beginning, as ``{{ env.BASE }}/items``, or is all of the server's name stays as it is. A value
    that begins the path with its ``/`` has segments of its own.

    Raises:
        ValueError: a value would lead to another place above.
    """
    address = ""
    for number, part in enumerate(parts):
        text = part.text if part.literal else _value(part.text, address, parts[number + 1 :])
        address += text
    return address


def _value(value: str, before: str, after: Sequence[Part]) -> str:
    if _PATH_BEGINS.match(before):
        if not _QUERY_BEGINS.search(before):
            _expect_no_climbing(value, before, after)
        return quote(value, safe="")
    if "//" not in before or (before.endswith("//") and _ends_server(after)):
        return value
    if value.startswith("/"):
        _expect_no_climbing(value, before, after)
        return quote(value, safe="/")
    return quote(value, safe=":[]")


def _ends_server(after: Sequence[Part]) -> bool:
    return not after or after[0].text[:1] in ("/", "?", "#")


def _expect_no_climbing(value: str, before: str, after: Sequence[Part]) -> None:
    """Refuse ``..`` as a segment, also one that is made of a value and what stands beside it, or is encoded."""
    rest = "".join(part.text for part in after)
    left = before[before.rfind("/") + 1 :]
    whole = left + value + re.split(r"[/?#]", rest, maxsplit=1)[0]
    segments = _SLASHES.split(unquote(whole))
    if ".." in segments or segments == ["."]:
        raise ValueError(f"{value[:80]!r} does not fit into the path of 'url': it leads out of it")


def directory_of(parts: Sequence[Part]) -> str:
    """Return a directory. A value cannot leave the directory in front of it, and what stands alone between two ``/``
    is not nothing.

    Raises:
        ValueError: a value would.
    """
    for number, pieces in enumerate(_between_slashes(parts)):
        values = [piece.text for piece in pieces if not piece.literal]
        if not values:
            continue
        whole = "".join(piece.text for piece in pieces)
        names = [name.strip() for name in whole.split("/")]
        if all(name in ("", ".") for name in names):
            raise ValueError(f"'outputs.dir' has no value for this input: {_shown(parts)}")
        # What begins the directory may be anywhere; what follows it may not.
        free = number == 0 and not pieces[0].literal
        checked = "".join(piece.text for piece in pieces[1:]).split("/") if free else names
        if ".." in [name.strip() for name in checked]:
            raise ValueError(f"'outputs.dir' would leave its directory for this input: {_shown(parts)}")
    return "".join(part.text for part in parts)


def _between_slashes(parts: Sequence[Part]) -> Iterator[list[Part]]:
    """Return what stands between the slashes of the file; those of values do not count."""
    pieces: list[Part] = []
    for part in parts:
        first, *others = part.text.split("/") if part.literal else [part.text]
        pieces.append(Part(first, part.literal))
        for text in others:
            yield pieces
            pieces = [Part(text, True)]
    yield pieces


def _shown(parts: Sequence[Part]) -> str:
    return repr("".join(part.text for part in parts))
