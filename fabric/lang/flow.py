"""What flows between the elements of a chain while it is walked.

After a mistake the walk goes on with a *poisoned* source or target, one without endpoint: it fits everything, and what
it would have fed counts as fed.
"""

from __future__ import annotations

__all__ = ["BARRIER", "Source", "Target", "as_ref", "is_poison", "poison", "remedy", "words"]

import msgspec

from fabric.lang import syntax
from fabric.lang.source import Span
from fabric.lang.typed import Endpoint
from fabric.lang.types import is_disjoint, is_subtype, record_variants
from fabric.wire.payload import JSON, Product, Record, Type, resolve, show, show_stream

_MADE_HERE = ("map", "filter")

BARRIER = "join several streams into tuples with a barrier: (a * b) ; barrier"
"""The remedy for all that goes to one place: it is said once."""


class Source(msgspec.Struct, frozen=True, gc=False):
    """What flows out of an element of a chain, at one port.

    Attributes:
        endpoint: None if poisoned, or an ``empty`` not made yet.
        span: where to put the caret.
        text: as written, for messages.
        declared: where its type is declared.
        is_empty: an ``empty`` that takes its type from what it feeds.
    """

    endpoint: Endpoint | None
    type: Type
    span: Span
    text: str
    declared: Span | None = None
    is_empty: bool = False


class Target(msgspec.Struct, frozen=True, gc=False):
    """Where messages go; ``what`` names the port in messages, as in ``input of 'editor'``."""

    endpoint: Endpoint | None
    type: Type
    span: Span
    owner: str
    what: str
    declared: Span | None = None


def poison(span: Span) -> Source:
    """Return a source that stands for a mistake."""
    return Source(None, JSON, span, "")


def is_poison(source: Source) -> bool:
    """Say whether a source stands for a mistake."""
    return source.endpoint is None and not source.is_empty


def as_ref(element: syntax.Element) -> syntax.Ref:
    """Return an element that is a name, perhaps a structural word used as one, as such."""
    assert not isinstance(element, syntax.Group)
    return element if isinstance(element, syntax.Ref) else syntax.Ref(element.word, element.span)


def words(element: syntax.Element) -> str:
    """Name an element for a message."""
    match element:
        case syntax.Group():
            return "the group"
        case syntax.Inline():
            return f"'{element.word.text}'"
    port = f"@{element.port.text}" if element.port else "".join(f".{field.text}" for field in element.fields)
    return f"'{element.name.full}{port}'"


def remedy(source: Source, target: Target) -> str | None:
    """Return what may have been meant: a field of the message, or one message out of a list or a tuple."""
    after = target.owner or target.what.removeprefix("output ").strip("'")
    before = source.text.strip("'")
    wider = _wider(source, target)
    if wider and before in _MADE_HERE:  # for whom it was made: most often the way back of a loop
        return wider
    for record in record_variants(source.type)[:1]:
        fits = [field for field in record.fields if is_subtype(field.type, target.type)]
        if fits and after:
            return f"did you mean  {before} ; map({fits[0].name}) ; {after} ?"
    inner, wanted = resolve(source.type), resolve(target.type)
    if isinstance(inner, Product) and any(is_subtype(item, target.type) for item in inner.items):
        position = next(i for i, item in enumerate(inner.items) if is_subtype(item, target.type))
        return f"did you mean  {before} ; project({position}) ; {after} ?"
    if isinstance(wanted, Product) and any(is_subtype(source.type, item) for item in wanted.items):
        return BARRIER
    if isinstance(wanted, Record) and len(wanted.fields) == 1 and is_subtype(source.type, wanted.fields[0].type):
        return f"did you mean  {before} ; map({{ {wanted.fields[0].name}: value }}) ; {after} ?"
    return wider


def _wider(source: Source, target: Target) -> str | None:
    """Return how the target could take both, if that can be and has a place to be written."""
    if target.declared is None or target.what.startswith("ctrl") or not is_disjoint(source.type, target.type):
        return None
    what = f"'{target.owner}'" if target.owner else target.what
    both = f"!({show(target.type)} | {show(source.type)})"
    return f"make a {show_stream(target.type)} of it, or let {what} take it as well: {both}"
