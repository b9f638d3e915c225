"""Relations between payload types: which fits where, and what holds several.

``A <: B`` (:func:`is_subtype`) holds if every value of A is one of B. ``json`` is above all. Since validation is
strict, a record with more fields is *not* below one with fewer. *Consistent* (:func:`is_consistent`) is the same with
``json`` allowed on the left as well: the values are then checked one by one as they pass. Source: Siek and Taha 2006,
gradual typing.

The variants of a sum have to be disjoint, so that a value tells by itself which variant it is.

Here and not with the language, since workers compare types, too, and load no compiler.
"""

from __future__ import annotations

__all__ = [
    "TYPE_DEPTH_MAX",
    "TYPE_SIZE_MAX",
    "VARIANTS_MAX",
    "is_consistent",
    "is_disjoint",
    "is_subtype",
    "is_too_large",
    "join",
    "make_sum",
    "why_not",
]

from collections.abc import Iterable, Iterator

from fabric.wire.payload import INT, JSON, NUMBER, Field, ListOf, Prim, Product, Record, Sum, Type, resolve, show

TYPE_SIZE_MAX = 10_000
"""Nodes of a type with all names expanded. ``type B = (A, A) type C = (B, B)`` doubles at every step."""

TYPE_DEPTH_MAX = 80
"""Levels of a type with all names expanded; passes recurse over them."""

VARIANTS_MAX = 200
"""Variants of a sum; each is compared with each."""


def is_subtype(a: Type, b: Type) -> bool:
    """Say whether every value of ``a`` is a value of ``b``."""
    return _fits(a, b, gradual=False)


def is_consistent(a: Type, b: Type) -> bool:
    """Say whether values of ``a`` may be sent where ``b`` is expected, if need be after looking at each."""
    return _fits(a, b, gradual=True)


def _fits(a: Type, b: Type, *, gradual: bool) -> bool:
    if a is b:
        return True
    a, b = resolve(a), resolve(b)
    if a is b or b == JSON or (gradual and a == JSON):
        return True
    match a, b:
        case Sum(variants), _:
            return all(_fits(variant, b, gradual=gradual) for variant in variants)
        case _, Sum(variants):
            return any(_fits(a, variant, gradual=gradual) for variant in variants)
        case Prim(), Prim():
            return a == b or (a == INT and b == NUMBER)
        case ListOf(item), ListOf(other):
            return _fits(item, other, gradual=gradual)
        case Product(items), Product(others):
            return len(items) == len(others) and all(
                _fits(item, other, gradual=gradual) for item, other in zip(items, others, strict=True)
            )
        case Record(fields), Record(others_fields):
            own = {field.name: field for field in fields}
            names = {field.name for field in others_fields}
            return own.keys() <= names and all(
                (field.optional if field.name not in own else _field_fits(own[field.name], field, gradual))
                for field in others_fields
            )
    return False


def _field_fits(a: Field, b: Field, gradual: bool) -> bool:
    return (b.optional or not a.optional) and _fits(a.type, b.type, gradual=gradual)


def why_not(a: Type, b: Type) -> tuple[str, ...]:
    """Return lines that say why ``a`` does not fit ``b``; none if there is nothing to add to their names."""
    left, right = resolve(a), resolve(b)
    match left, right:
        case Record(fields), Record(others):
            return tuple(_record_reasons(show(a), fields, show(b), others))
        case Product(items), Product(other_items) if len(items) != len(other_items):
            return (f"{show(a)} has {len(items)} items, {show(b)} has {len(other_items)}",)
        case ListOf(item), ListOf(other_item):
            return why_not(item, other_item)
        case Sum(variants), _:
            misfits = [show(variant) for variant in variants if not is_consistent(variant, b)]
            return (f"of {show(a)} the target does not take: {', '.join(misfits)}",)
        case Record(), Sum(other_variants):
            records = [variant for variant in other_variants if isinstance(resolve(variant), Record)]
            return why_not(a, records[0]) if len(records) == 1 else ()
        case Product() | ListOf(), _ if not isinstance(right, Sum):
            return (f"{show(a)} is a list of values, {show(b)} is not",) if isinstance(right, Record) else ()
    if left == NUMBER and right == INT:
        return ("a number need not be a whole one",)
    return ()


def _record_reasons(a: str, fields: tuple[Field, ...], b: str, others: tuple[Field, ...]) -> Iterator[str]:
    own = {field.name: field for field in fields}
    names = {field.name for field in others}
    if missing := [f.name for f in others if not f.optional and f.name not in own]:
        has = ", ".join(own) or "no fields"
        yield f"missing fields: {', '.join(missing)}   ({a} has: {has})"
    if extra := [name for name in own if name not in names]:
        yield f"fields that {b} does not have: {', '.join(extra)}   (records are strict: no fields may be left over)"
    for field in others:
        mine = own.get(field.name)
        if mine is None:
            continue
        if not is_consistent(mine.type, field.type):
            yield f"field '{field.name}' is {show(mine.type)}, expected {show(field.type)}"
        elif mine.optional and not field.optional:
            yield f"field '{field.name}' may be absent, but {b} requires it"


def is_disjoint(a: Type, b: Type) -> bool:
    """Say whether no JSON value can be of both types."""
    a, b = resolve(a), resolve(b)
    match a, b:
        case Sum(variants), _:
            return all(is_disjoint(variant, b) for variant in variants)
        case _, Sum(variants):
            return all(is_disjoint(a, variant) for variant in variants)
    if JSON in (a, b):
        return False
    if _shape(a) != _shape(b):
        return True
    match a, b:
        case Record(fields), Record(others):
            return _records_disjoint(fields, others)
        case Product(items), Product(other_items):
            return len(items) != len(other_items) or any(map(is_disjoint, items, other_items))
    return False


def _records_disjoint(fields: tuple[Field, ...], others: tuple[Field, ...]) -> bool:
    own = {field.name: field for field in fields}
    their = {field.name: field for field in others}
    if any(not f.optional and f.name not in their for f in fields):
        return True
    if any(not f.optional and f.name not in own for f in others):
        return True
    return any(
        not field.optional and not their[name].optional and is_disjoint(field.type, their[name].type)
        for name, field in own.items()
        if name in their
    )


def _shape(type_: Type) -> str:
    match type_:
        case Prim(name):
            return "number" if name == "int" else name
        case Record():
            return "object"
    return "array"


def make_sum(types: Iterable[Type]) -> Type:
    """Return the flat sum of types that are known to be disjoint; of one type, itself."""
    types = list(types)
    if len(types) == 1:
        return types[0]
    flat: list[Type] = []
    for type_ in types:
        inner = resolve(type_)
        flat.extend(inner.variants if isinstance(inner, Sum) else (type_,))
    return Sum(tuple(flat))


def join(types: Iterable[Type]) -> Type | None:
    """Return a type above all of several: the widest of them, or their sum if they are disjoint, else None."""
    kept: list[Type] = []
    for type_ in types:
        if any(is_subtype(type_, other) for other in kept):
            continue
        kept = [other for other in kept if not is_subtype(other, type_)]
        kept.append(type_)
    if len(kept) > VARIANTS_MAX:
        return None
    if any(not is_disjoint(a, b) for i, a in enumerate(kept) for b in kept[:i]):
        return None
    return make_sum(kept) if kept else None


def is_too_large(type_: Type) -> bool:
    """Say whether a type that was inferred is larger than a declared one may be. Parts that it shares count anew."""
    known: dict[int, tuple[int, int]] = {}

    def measure(part: Type) -> tuple[int, int]:
        """Return size and depth; each object is looked at once, since ``(value, value)`` doubles at every step."""
        if id(part) not in known:
            inner = resolve(part)
            parts: Iterable[Type] = ()
            match inner:
                case Record(fields):
                    parts = [field.type for field in fields]
                case ListOf(item):
                    parts = [item]
                case Product(items) | Sum(items):
                    parts = items
            measures = [measure(of) for of in parts]
            known[id(part)] = 1 + sum(m[0] for m in measures), 1 + max((m[1] for m in measures), default=0)
        return known[id(part)]

    size, depth = measure(type_)
    return size > TYPE_SIZE_MAX or depth > TYPE_DEPTH_MAX
