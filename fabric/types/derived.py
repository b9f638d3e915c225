"""Python types as types of the language.

What comes out passes the checker: names are names of the language, sums are of variants that can be told apart, nothing
contains itself. A union becomes the smallest type that holds its parts: ``int | float`` is ``number``, ``Any | int`` is
``json``. What the language has no words for is widened if the values stay the same (``Literal["a", "b"]`` is
``string``), and refused if they would not be what they were (a set, a date).
"""

from __future__ import annotations

__all__ = ["from_python"]

import collections.abc
import dataclasses
import enum
import re
import sys
import types
import typing
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from fabric.errors import ConfigError
from fabric.lang.words import RESERVED
from fabric.wire.payload import (
    INT,
    JSON,
    PYTHON_TYPES,
    STRING,
    Alias,
    Field,
    ListOf,
    Product,
    Record,
    Type,
    show,
)
from fabric.wire.relations import is_too_large, join

_PLAIN: dict[Any, Type] = {
    **PYTHON_TYPES,
    dict: JSON,
    collections.abc.Mapping: JSON,
    list: ListOf(JSON),
    collections.abc.Sequence: ListOf(JSON),
    msgspec.Raw: JSON,
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_PRIMITIVES = frozenset(["string", "int", "number", "bool", "unit", "json"])
_SERIALIZERS = ("PlainSerializer", "WrapSerializer")
"""Notes of pydantic on a field that is written in some other way."""
_AROUND = ("Annotated", "Required", "NotRequired", "ReadOnly", "Final")
"""Say something of a type; the type is their first argument."""


def from_python(python_type: Any) -> Type:
    """Return the type of the language for a Python type.

    A pydantic model, a dataclass, a msgspec struct or a ``TypedDict`` becomes an ``Alias`` with the class's name. A
    field that has a default may be absent.

    Raises:
        ConfigError: the language has no such type; says which part of it.
    """
    reader = _Reader()
    try:
        type_ = reader.read(python_type, _shown(python_type))
    except RecursionError:
        raise ConfigError(f"{_shown(python_type)}: nested too deeply") from None
    if is_too_large(type_):
        raise ConfigError(f"{_shown(python_type)}: too large for a type, or nested too deeply")
    return type_


class _Reader:
    """Reads one type. ``where`` is always the part that is read, for messages."""

    def __init__(self) -> None:
        self._open: list[type] = []
        self._read: dict[str, tuple[Any, Type]] = {}

    def read(self, part: Any, where: str) -> Type:
        try:
            if part in _PLAIN:
                return _PLAIN[part]
        except TypeError:  # it cannot be hashed, so it is none of them
            pass
        origin, arguments = typing.get_origin(part), typing.get_args(part)
        if getattr(origin, "__name__", getattr(origin, "_name", None)) in _AROUND and not isinstance(origin, type):
            return self.read(arguments[0], where)
        if origin is typing.Annotated or (origin is None and hasattr(part, "__metadata__")):
            return self.read(part.__origin__, where)
        if origin is not None:
            return self._generic(part, origin, arguments, where)
        if isinstance(part, typing.NewType):
            return self.read(part.__supertype__, where)
        if type(part).__name__ == "TypeAliasType":
            return self._alias(part, where)
        if isinstance(part, type):
            return self._class(part, where)
        raise self._unknown(part, where)

    # --- what is written with brackets ---

    def _generic(self, part: Any, origin: Any, arguments: tuple[Any, ...], where: str) -> Type:
        if origin is typing.Literal:
            return self._union([type(value) for value in arguments], where)
        if origin in (typing.Union, types.UnionType):
            return self._union([each for each in arguments if each is not msgspec.UnsetType], where)
        if origin in (list, collections.abc.Sequence):
            return ListOf(self.read(arguments[0], f"{where}, its items"))
        if origin is tuple:
            return self._tuple(part, arguments, where)
        if origin in (dict, collections.abc.Mapping) and arguments[0] is str and _PLAIN.get(_key(arguments[1])) == JSON:
            return JSON
        raise self._unknown(part, where)

    def _union(self, parts: Iterable[Any], where: str) -> Type:
        variants = [self.read(part, where) for part in parts]
        joined = join(variants)
        if joined is None:
            shown = " | ".join(map(show, variants))
            raise ConfigError(
                f"{where}: the variants of {shown} cannot be told apart by what JSON they are; give one of them a"
                " required field that the others do not have"
            )
        return joined

    def _tuple(self, part: Any, arguments: tuple[Any, ...], where: str) -> Type:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return ListOf(self.read(arguments[0], f"{where}, its items"))
        if len(arguments) < 2 or Ellipsis in arguments:
            raise ConfigError(f"{where}: {_shown(part)} has fewer than two items; use list[T], or the item alone")
        return Product(tuple(self.read(each, f"{where}, item {i}") for i, each in enumerate(arguments)))

    # --- what has a name ---

    def _alias(self, part: Any, where: str) -> Type:
        if part.__name__ == "JsonValue":  # pydantic's, which contains itself
            return JSON
        return self._named(part, part.__name__, where, lambda: self.read(part.__value__, part.__name__))

    def _class(self, part: type, where: str) -> Type:
        if issubclass(part, enum.Enum):
            return self._union([type(member.value) for member in part] or [str], where)
        pydantic = sys.modules.get("pydantic")  # or else nothing can be a model
        if pydantic is not None and issubclass(part, pydantic.RootModel):
            root = part.model_fields["root"].annotation  # type: ignore[attr-defined]
            return self._named(part, part.__name__, where, lambda: self.read(root, part.__name__))
        read: typing.Callable[[], Iterable[Field]]
        if pydantic is not None and issubclass(part, pydantic.BaseModel):
            read = lambda: self._model_fields(part)  # noqa: E731
        elif pydantic is not None and hasattr(part, "__pydantic_fields__"):  # its own kind of dataclass
            read = lambda: self._pydantic_fields(part, part.__pydantic_fields__)  # noqa: E731
        elif issubclass(part, msgspec.Struct):
            read = lambda: self._struct_fields(part)  # noqa: E731
        elif dataclasses.is_dataclass(part):
            read = lambda: self._dataclass_fields(part)  # noqa: E731
        elif hasattr(part, "__required_keys__") and hasattr(part, "__total__"):
            read = lambda: self._typed_dict_fields(part)  # noqa: E731
        else:
            raise self._unknown(part, where)
        name = getattr(part, "__plumb_name__", part.__name__)  # None: fabric.types made it of a type without a name
        return self._named(part, name, where, lambda: Record(tuple(self._checked(part, read()))))

    def _named(self, part: Any, name: str | None, where: str, read: typing.Callable[[], Type]) -> Type:
        if part in self._open:
            raise ConfigError(
                f"{where}: {part.__name__} contains itself, and types of the language do not; use dict (json) for a"
                " part of any depth"
            )
        if name is not None:
            if not _NAME.fullmatch(name) or name in RESERVED or name in _PRIMITIVES:
                raise ConfigError(f"{where}: {name!r} cannot be the name of a type; give the class another name")
            known = self._read.get(name)
            if known is not None and known[0] is part:
                return known[1]
            if known is not None:
                raise ConfigError(f"{where}: two different types are called {name}; give one of them another name")
        self._open.append(part)
        type_ = read()
        self._open.pop()
        if name is not None:
            type_ = Alias(name, type_)
            self._read[name] = part, type_
        return type_

    # --- fields ---

    def _checked(self, part: type, fields: Iterable[Field]) -> Iterator[Field]:
        for field in fields:
            if not _NAME.fullmatch(field.name) or field.name in RESERVED:
                raise ConfigError(
                    f"{part.__name__}: {field.name!r} cannot be the name of a field; fields are words of letters,"
                    f" digits and '_', and none of {', '.join(sorted(RESERVED))}"
                )
            yield field

    def _model_fields(self, part: Any) -> Iterator[Field]:
        if not part.__pydantic_complete__:
            try:
                part.model_rebuild()
            except NameError as error:  # pydantic's own is one
                raise ConfigError(f"{part.__name__}: {error}") from None
        if part.model_config.get("extra") == "allow":
            raise ConfigError(
                f"{part.__name__}: extra='allow' lets it have any field; records have the declared ones only: use dict"
                " (json), or leave that out"
            )
        if computed := list(part.model_computed_fields):
            raise ConfigError(
                f"{part.__name__}: what it writes cannot be read again, because of the computed field {computed[0]!r};"
                " make it a plain property"
            )
        return self._pydantic_fields(part, part.model_fields)

    def _pydantic_fields(self, part: Any, fields: dict[str, Any]) -> Iterator[Field]:
        serializers = part.__pydantic_decorators__
        if serializers.model_serializers and not hasattr(part, "__plumb_name__"):  # else it is our own
            raise ConfigError(f"{part.__name__}: a model_serializer writes something else than its fields; remove it")
        changed = {name for each in serializers.field_serializers.values() for name in each.info.fields}
        for attribute, field in fields.items():
            if field.exclude or getattr(field, "exclude_if", None):
                raise ConfigError(
                    f"{part.__name__}.{attribute} is not written, because of its exclude; remove that, or the field"
                )
            if changed & {attribute, "*"} or any(type(note).__name__ in _SERIALIZERS for note in field.metadata):
                raise ConfigError(
                    f"{part.__name__}.{attribute}: its serializer may write another type than"
                    f" {_shown(field.annotation)}; remove it, and declare what is to be sent"
                )
            read = field.validation_alias or attribute
            written = field.serialization_alias or attribute
            if read != written:
                raise ConfigError(
                    f"{part.__name__}.{attribute} is read as {read!r} and written as {written!r}; give it one alias"
                )
            type_ = self.read(field.annotation, f"{part.__name__}.{attribute}")
            yield Field(read, type_, not field.is_required())

    def _struct_fields(self, part: Any) -> Iterator[Field]:
        config = part.__struct_config__
        if config.array_like:
            raise ConfigError(f"{part.__name__}: array_like structs are arrays; use tuple[A, B]")
        if config.tag is not None:
            yield Field(config.tag_field, INT if isinstance(config.tag, int) else STRING)
        self._hints(part)  # its message if a name in it is unknown
        for field in msgspec.structs.fields(part):
            yield Field(field.encode_name, self.read(field.type, f"{part.__name__}.{field.name}"), not field.required)

    def _dataclass_fields(self, part: Any) -> Iterator[Field]:
        hints = self._hints(part)
        for field in dataclasses.fields(part):
            optional = not (field.default is field.default_factory is dataclasses.MISSING)
            yield Field(field.name, self.read(hints[field.name], f"{part.__name__}.{field.name}"), optional)

    def _typed_dict_fields(self, part: Any) -> Iterator[Field]:
        for name, hint in self._hints(part).items():
            said = _required(hint)
            optional = name not in part.__required_keys__ if said is None else not said
            yield Field(name, self.read(hint, f"{part.__name__}.{name}"), optional)

    def _hints(self, part: type) -> dict[str, Any]:
        try:
            return typing.get_type_hints(part, include_extras=True)
        except NameError as error:
            raise ConfigError(f"{part.__name__}: {error}; its types have to be known where it is declared") from None

    def _unknown(self, part: Any, where: str) -> ConfigError:
        said = "" if where == _shown(part) else f"{where}: "
        return ConfigError(f"{said}{_shown(part)} is no type of the language; {_instead(part)}")


def _key(part: Any) -> Any:
    try:
        hash(part)
    except TypeError:
        return None
    return part


def _required(hint: Any) -> bool | None:
    """Return what ``Required`` or ``NotRequired`` around a type says: with annotations as text the class misses it."""
    while (origin := typing.get_origin(hint)) is not None:
        if origin is typing.Required:
            return True
        if origin is typing.NotRequired:
            return False
        if not hasattr(hint, "__metadata__"):
            break
        hint = hint.__origin__
    return None


def _shown(part: Any) -> str:
    if isinstance(part, type) and not typing.get_args(part):
        return part.__name__
    return repr(part).replace("typing.", "")


def _instead(part: Any) -> str:
    """Return what to use instead."""
    origin = typing.get_origin(part) or part
    if isinstance(part, str | typing.ForwardRef):
        return "a type is wanted here, not its name in quotes"
    if isinstance(origin, type):
        if issubclass(origin, collections.abc.Set):
            return "use list[T]: JSON has no sets"
        if issubclass(origin, collections.abc.Mapping):
            return "use a class with these fields, list[tuple[str, T]], or dict (json) for any keys"
        if issubclass(origin, tuple):
            return "use tuple[A, B], or a dataclass"
        if issubclass(origin, complex):
            return "use float"
        if issubclass(origin, collections.abc.Callable):  # type: ignore[arg-type]
            return "a message is a value"
    return "use str, int, float, bool, None, list[T], tuple[A, B], A | B, dict (json), or a class with such fields"
