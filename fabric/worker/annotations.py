"""A function's annotations: what its argument is made into, and whether they fit what the program declares.

The types of the language are the program's; annotations have to agree with them, at the start, before any message. What
an annotation says beyond its type (a limit, a validator, the members of an enumeration) is looked at with each message.

msgspec makes the values. It cannot tell two classes of a union apart, nor does it know models of pydantic: there
pydantic does, which is loaded for that, or was by the user's module.
"""

from __future__ import annotations

__all__ = ["argument_reader", "check_result", "pydantic_hook"]

import collections.abc
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import msgspec

from fabric.errors import ConfigError, ValueRejected
from fabric.wire.absent import takes_null
from fabric.wire.payload import (
    JSON,
    PYTHON_TYPES,
    UNIT,
    Alias,
    Field,
    ListOf,
    Product,
    Record,
    Sum,
    Type,
    decode_json,
    resolve,
    show,
    validator,
)
from fabric.wire.spec import WorkerSpec

Read: TypeAlias = Callable[[bytes], Any]

_PLAIN = frozenset({str, int, bool, None, type(None), Any, object, list})
"""What values are without an annotation."""

_MAPPINGS = frozenset({dict, collections.abc.Mapping})
_NO_OBJECT = Alias("dict", Record(()))
"""What a dict is where no object is declared."""

_STREAMS = frozenset(
    {collections.abc.Iterator, collections.abc.Generator, collections.abc.AsyncIterator, collections.abc.AsyncGenerator}
)
_ITERABLES = frozenset({collections.abc.Iterable, collections.abc.AsyncIterable})
"""Of a generator function they are what it yields; of any other one list."""


def argument_reader(function: Callable[[Any], Any], spec: WorkerSpec) -> Read:
    """Return what makes a function's argument of JSON text. It raises ValueRejected: the argument refuses the value.

    Raises:
        ConfigError: the function cannot be called with one value, or its parameter is of another type than the program
            declares.
    """
    signature = _signature(function, spec)
    if signature is None:
        return decode_json
    try:
        bound = signature.bind(None)
    except TypeError:
        text = f"it takes {signature}, and is called with one value, the message"
        if isinstance(function, type):
            text += f"; a class that is a worker has a method __call__, and {function.__name__} has none"
        raise ConfigError(f"worker '{spec.name}': {spec.config['call']}: {text}") from None
    name = next(iter(bound.arguments))
    annotation = signature.parameters[name].annotation
    if annotation is inspect.Parameter.empty:
        return decode_json
    type_ = _type_of(annotation, spec.input, f"parameter '{name}'", spec)
    _compare(spec.input, type_, spec.input, type_, f"parameter '{name}'", spec)
    return _reader(annotation, type_, spec)


def check_result(function: Callable[[Any], Any], spec: WorkerSpec) -> None:
    """Compare what a function says that it returns, or yields, with what the program declares.

    A field with a default is always written, so here it is one that is there. ``None`` beside other types is no output.

    Raises:
        ConfigError: they do not fit.
    """
    signature = _signature(function, spec)
    if signature is None or signature.return_annotation is inspect.Signature.empty:
        return
    annotation = _result_of(function, signature.return_annotation)
    if annotation in (None, type(None), typing.Never, typing.NoReturn):
        return
    if typing.get_origin(annotation) in (typing.Union, types.UnionType) and not takes_null(spec.output):
        parts = [part for part in typing.get_args(annotation) if part is not type(None)]
        annotation = typing.Union[tuple(parts)]  # noqa: UP007 - of as many as there are
    type_ = _type_of(annotation, spec.output, "its result", spec)
    _compare(
        _written(type_, frozenset(_left_out(annotation, set())), spec.output),
        spec.output,
        spec.output,
        type_,
        "its result",
        spec,
    )


def pydantic_hook(value: Any) -> Any:
    """Return a model of pydantic as what JSON can say. Raises TypeError: it is none."""
    pydantic = sys.modules.get("pydantic")  # else nobody can have made one
    if pydantic is not None and isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    raise TypeError(f"objects of type {type(value).__name__} are no JSON")


# --- Annotations --------------------------------------------------------------------------------------------------


def _signature(function: Callable[[Any], Any], spec: WorkerSpec) -> inspect.Signature | None:
    try:
        inspect.signature(function)
    except (ValueError, TypeError):  # a function that is not written in Python need not have one
        return None
    try:
        return inspect.signature(function, eval_str=True)
    except Exception as error:  # noqa: BLE001 - a text of the user's was run
        text = (
            f"an annotation cannot be read: {type(error).__name__}: {error}; what it names has to be there when the"
            " program runs, not for a checker only, and a name in quotes stands alone: 'A | B', not A | 'B'"
        )
        raise ConfigError(f"worker '{spec.name}': {spec.config['call']}: {text}") from None


def _result_of(function: Callable[[Any], Any], annotation: Any) -> Any:
    """Return the type of one output."""
    origin, arguments = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
    if origin in (collections.abc.Awaitable, collections.abc.Coroutine):
        return _result_of(function, arguments[-1]) if arguments else Any
    called = function if inspect.isroutine(function) else type(function).__call__
    yields = inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called)
    if origin in _STREAMS or (yields and origin in _ITERABLES):
        return arguments[0] if arguments else Any
    return annotation


def _type_of(annotation: Any, declared: Type, what: str, spec: WorkerSpec) -> Type:
    try:
        if annotation in PYTHON_TYPES:
            return PYTHON_TYPES[annotation]
    except TypeError:  # it cannot be hashed
        pass
    try:
        return _read_type(annotation, declared)
    except ConfigError as error:
        raise ConfigError(f"worker '{spec.name}': {spec.config['call']}: {what}: {error}") from None


def _read_type(annotation: Any, declared: Type) -> Type:
    """Return the type of an annotation. A dict in it is any object that is declared where it stands.

    The language has no type of all objects: as json a dict would be a text, too.
    """
    from fabric.types import from_python  # 8 ms and 1 MiB, for workers with classes in their annotations
    from fabric.wire.relations import join

    origin, arguments = _taken_apart(annotation)
    if not _has_dict(annotation):
        return from_python(origin if origin in (list, tuple) and not arguments else annotation)
    if _is_dict(annotation):
        return _objects(declared)
    if origin is list or (origin is tuple and arguments[-1] is Ellipsis):
        return ListOf(_read_type(arguments[0], _item(declared)))
    if origin is tuple:
        return Product(tuple(_read_type(part, _item(declared, i)) for i, part in enumerate(arguments)))
    return join([_read_type(part, declared) for part in arguments]) or JSON


def _taken_apart(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return what is before the brackets and what is in them. ``typing.Dict`` has none, and is as good as ``dict``."""
    return typing.get_origin(annotation) or annotation, typing.get_args(annotation)


def _is_dict(annotation: Any) -> bool:
    origin, arguments = _taken_apart(annotation)
    try:
        return origin in _MAPPINGS and (not arguments or arguments[0] is str)
    except TypeError:  # it cannot be hashed
        return False


def _has_dict(annotation: Any) -> bool:
    """Say whether there is a dict in it, not counting those in classes."""
    origin, arguments = _taken_apart(annotation)
    around = origin in (list, tuple, typing.Union, types.UnionType)
    return _is_dict(annotation) or (around and any(map(_has_dict, arguments)))


def _objects(declared: Type) -> Type:
    """Return what objects may be where that is declared."""
    inner = resolve(declared)
    if inner == JSON or isinstance(inner, Record):
        return declared
    variants = tuple(v for v in inner.variants if isinstance(resolve(v), Record)) if isinstance(inner, Sum) else ()
    if len(variants) > 1:
        return Sum(variants)
    return variants[0] if variants else _NO_OBJECT


def _item(declared: Type, index: int | None = None) -> Type:
    """Return what is declared of the items of a list, or of an item of a tuple; json if it says nothing of them."""
    inner = resolve(declared)
    for variant in inner.variants if isinstance(inner, Sum) else (inner,):
        match resolve(variant):
            case ListOf(item) if index is None:
                return item
            case Product(items) if index is not None and index < len(items):
                return items[index]
    return JSON


def _compare(a: Type, b: Type, declared: Type, annotated: Type, what: str, spec: WorkerSpec) -> None:
    """Raise ConfigError unless values of ``a`` may come where ``b`` is expected."""
    from fabric.wire.relations import is_consistent, why_not

    if is_consistent(a, b):
        return
    expected, got = show(declared), show(annotated)
    if expected == got:  # two types of one name
        expected, got = show(resolve(declared)), show(resolve(annotated))
    lines = "".join(f"; {line}" for line in why_not(a, b))
    raise ConfigError(
        f"worker '{spec.name}': {spec.config['call']}: {what}: expected {expected}, as the program declares, got"
        f" {got}, as it is annotated{lines}"
    )


def _written(type_: Type, left_out: frozenset[tuple[str, str]], declared: Type, name: str = "") -> Type:
    """Return the type of what is written where a type is declared: with all fields, but for those that may be left out.

    ``None`` in a field of a class is left out where the program has an optional field that takes no null.
    """
    wanted = resolve(declared)
    match type_:
        case Alias(name, inner):
            return Alias(name, _written(inner, left_out, wanted, name))
        case Record(fields):
            known = _fields_of(wanted, {field.name for field in fields})
            is_class = (name, "") not in left_out
            return Record(
                tuple(
                    _written_field(field, (name, field.name) in left_out, left_out, known.get(field.name), is_class)
                    for field in fields
                )
            )
        case ListOf(item):
            return ListOf(_written(item, left_out, wanted.item if isinstance(wanted, ListOf) else JSON))
        case Product(items):
            others = wanted.items if isinstance(wanted, Product) and len(wanted.items) == len(items) else None
            return Product(
                tuple(_written(item, left_out, others[at] if others else JSON) for at, item in enumerate(items))
            )
        case Sum(variants):
            return Sum(tuple(_written(variant, left_out, wanted) for variant in variants))
    return type_


def _written_field(
    field: Field, may_be_left_out: bool, left_out: frozenset[tuple[str, str]], wanted: Field | None, is_class: bool
) -> Field:
    type_, optional = field.type, field.optional and may_be_left_out
    inner = resolve(type_)
    if (
        (field.optional and is_class and isinstance(inner, Sum) and UNIT in inner.variants)
        and (wanted is not None and wanted.optional)
        and not takes_null(wanted.type)
    ):
        from fabric.wire.relations import make_sum

        type_, optional = make_sum([part for part in inner.variants if part != UNIT]), True
    return Field(field.name, _written(type_, left_out, wanted.type if wanted else JSON), optional)


def _fields_of(wanted: Type, names: set[str]) -> dict[str, Field]:
    """Return the fields of the declared record that has all these names."""
    for variant in wanted.variants if isinstance(wanted, Sum) else (wanted,):
        record = resolve(variant)
        if isinstance(record, Record) and names <= {field.name for field in record.fields}:
            return {field.name: field for field in record.fields}
    return {}


def _left_out(annotation: Any, seen: set[Any]) -> Iterator[tuple[str, str]]:
    """Give class and field for each that need not be written: of a TypedDict, and of a struct that leaves out some.

    A TypedDict itself is given with no field: its values are dicts, in which ``None`` is a null.
    """
    for part in typing.get_args(annotation):
        yield from _left_out(part, seen)
    if not isinstance(annotation, type) or annotation in seen:
        return
    seen.add(annotation)
    hints: dict[str, Any] = {}
    if hasattr(annotation, "__annotations__"):
        hints = typing.get_type_hints(annotation, include_extras=True)
    if issubclass(annotation, msgspec.Struct):
        for field in msgspec.structs.fields(annotation):
            if annotation.__struct_config__.omit_defaults or field.default is msgspec.UNSET:
                yield annotation.__name__, field.encode_name
    elif hasattr(annotation, "__required_keys__"):
        yield annotation.__name__, ""
        for key in hints:
            yield annotation.__name__, key
    for hint in hints.values():
        yield from _left_out(hint, seen)


# --- Values -------------------------------------------------------------------------------------------------------


def _reader(annotation: Any, type_: Type, spec: WorkerSpec) -> Read:
    from fabric.wire.relations import is_subtype

    known = is_subtype(spec.input, type_)  # else json is declared somewhere: what comes is to be looked at
    plain = _is_plain(annotation, spec.input)
    if known and plain:
        return decode_json
    check = validator(type_).check
    make = decode_json if plain else _maker(annotation, spec)
    name = show(type_)

    def read(payload: bytes) -> Any:
        if not known:
            _, payload = check(payload)
        try:
            return make(payload)
        except ValueRejected:
            raise
        except Exception as error:  # validators and __post_init__ are the user's
            raise ValueRejected("$", name, f"what its annotation refuses: {error}") from error

    return read


def _is_plain(annotation: Any, declared: Type) -> bool:
    """Say whether values without a type are what the annotation wants."""
    try:
        if annotation in _PLAIN:
            return True
    except TypeError:  # it cannot be hashed
        return False
    origin, arguments = _taken_apart(annotation)
    if origin in (typing.Union, types.UnionType):
        numbers = {int, float} <= set(arguments)
        return all((part is float and numbers) or _is_plain(part, declared) for part in arguments)
    if origin is dict:  # where json is declared, or no type says what is in it, somebody has to look
        return _objects(declared) != JSON and (not arguments or (arguments[0] is str and arguments[1] in (Any, object)))
    return origin is list and all(_is_plain(part, _item(declared)) for part in arguments)


def _maker(annotation: Any, spec: WorkerSpec) -> Read:
    try:
        return msgspec.json.Decoder(annotation, dec_hook=_make_model).decode
    except TypeError:
        pass  # it cannot tell the parts of a union apart
    from pydantic import PydanticSchemaGenerationError, TypeAdapter

    try:
        return TypeAdapter(annotation).validate_json
    except PydanticSchemaGenerationError as error:
        text = f"neither msgspec nor pydantic makes values of {annotation}: {error}"
        raise ConfigError(f"worker '{spec.name}': {spec.config['call']}: {text}") from None


def _make_model(class_: Any, value: Any) -> Any:
    """Make what msgspec does not know: a model of pydantic."""
    return class_.model_validate(value) if hasattr(class_, "model_validate") else class_(value)
