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
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from fabric.errors import ConfigError, ValueRejected
from fabric.wire.payload import (
    BOOL,
    INT,
    JSON,
    NUMBER,
    STRING,
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

_PLAIN = frozenset({str, int, bool, None, type(None), Any, object, dict, list})
"""What values are without an annotation."""

_WORDS: dict[Any, Type] = {
    str: STRING,
    int: INT,
    float: NUMBER,
    bool: BOOL,
    None: UNIT,
    type(None): UNIT,
    Any: JSON,
    object: JSON,
    dict: JSON,
}

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
        raise ConfigError(f"worker '{spec.name}': {spec.config['call']}: {text}") from None
    name = next(iter(bound.arguments))
    annotation = signature.parameters[name].annotation
    if annotation is inspect.Parameter.empty:
        return decode_json
    type_ = _type_of(annotation, f"parameter '{name}'", spec)
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
    if typing.get_origin(annotation) in (typing.Union, types.UnionType) and not _takes_null(spec.output):
        parts = [part for part in typing.get_args(annotation) if part is not type(None)]
        annotation = typing.Union[tuple(parts)]  # noqa: UP007 - of as many as there are
    type_ = _type_of(annotation, "its result", spec)
    _compare(_present(type_), spec.output, spec.output, type_, "its result", spec)


def pydantic_hook(value: Any) -> Any:
    """Return a model of pydantic as what JSON can say. Raises TypeError: it is none."""
    pydantic = sys.modules.get("pydantic")  # else nobody can have made one
    if pydantic is not None and isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    raise TypeError(f"objects of type {type(value).__name__} are no JSON")


# --- Annotations --------------------------------------------------------------------------------------------------


def _signature(function: Callable[[Any], Any], spec: WorkerSpec) -> inspect.Signature | None:
    try:
        return inspect.signature(function, eval_str=True)
    except NameError as error:
        text = f"an annotation cannot be read: {error}; it has to be known when the program runs, not to a checker only"
        raise ConfigError(f"worker '{spec.name}': {spec.config['call']}: {text}") from None
    except (ValueError, TypeError):  # a function that is not written in Python need not have one
        return None


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


def _type_of(annotation: Any, what: str, spec: WorkerSpec) -> Type:
    try:
        if annotation in _WORDS:
            return _WORDS[annotation]
    except TypeError:  # it cannot be hashed
        pass
    from fabric.types import from_python  # 8 ms and 1 MiB, for workers with classes in their annotations

    try:
        return from_python(_widened(annotation))
    except ConfigError as error:
        raise ConfigError(f"worker '{spec.name}': {spec.config['call']}: {what}: {error}") from None


def _widened(annotation: Any) -> Any:
    """Return the annotation with ``dict`` for each ``dict[str, T]``, which the language calls json."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (dict, collections.abc.Mapping) and arguments[0] is str:
        return dict
    if origin in (list, tuple):
        return types.GenericAlias(origin, tuple(map(_widened, arguments)))
    if origin in (typing.Union, types.UnionType):
        return typing.Union[tuple(map(_widened, arguments))]  # noqa: UP007 - of as many as there are
    return annotation


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


def _takes_null(type_: Type) -> bool:
    inner = resolve(type_)
    return inner == UNIT or (isinstance(inner, Sum) and any(map(_takes_null, inner.variants)))


def _present(type_: Type) -> Type:
    """Return the type with fields that are all there."""
    match type_:
        case Alias(name, inner):
            return Alias(name, _present(inner))
        case Record(fields):
            return Record(tuple(Field(field.name, _present(field.type)) for field in fields))
        case ListOf(item):
            return ListOf(_present(item))
        case Product(items):
            return Product(tuple(map(_present, items)))
        case Sum(variants):
            return Sum(tuple(map(_present, variants)))
    return type_


# --- Values -------------------------------------------------------------------------------------------------------


def _reader(annotation: Any, type_: Type, spec: WorkerSpec) -> Read:
    from fabric.wire.relations import is_subtype

    known = is_subtype(spec.input, type_)  # else json is declared somewhere: what comes is to be looked at
    if known and _is_plain(annotation):
        return decode_json
    check = validator(type_).check
    make = decode_json if _is_plain(annotation) else _maker(annotation, spec)
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


def _is_plain(annotation: Any) -> bool:
    """Say whether values without a type are what the annotation wants."""
    try:
        if annotation in _PLAIN:
            return True
    except TypeError:  # it cannot be hashed
        return False
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        numbers = {int, float} <= set(arguments)
        return all((part is float and numbers) or _is_plain(part) for part in arguments)
    if origin is dict:  # no type says what is in it, so somebody has to look
        return arguments[0] is str and arguments[1] in (Any, object)
    return origin is list and all(map(_is_plain, arguments))


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
