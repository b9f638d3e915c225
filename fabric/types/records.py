"""Records as pydantic models. Importing this imports pydantic.

Pydantic converts where it can: ``"1"`` and ``True`` are an ``int`` to it. The fabric does not, so what the fields of a
model are made of is marked.
"""

from __future__ import annotations

__all__ = ["RecordModel", "python_type"]

import keyword
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Union

import msgspec
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Strict,
    create_model,
    model_serializer,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from fabric.wire import payload
from fabric.wire.payload import EXACT_FLOAT_MAX, Alias, ListOf, Prim, Product, Record, Sum, Type, to_plain


def _whole(value: Any) -> Any:
    """Return a whole number that is written as ``3.0`` as an ``int``."""
    is_whole = type(value) is float and value.is_integer() and abs(value) <= EXACT_FLOAT_MAX
    return int(value) if is_whole else value


class _Number:
    """Marks a ``float`` of which integers keep their digits; Python takes them for one anyway."""

    @staticmethod
    def __get_pydantic_core_schema__(source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        real = core_schema.float_schema(strict=True, allow_inf_nan=False)
        return core_schema.union_schema([core_schema.int_schema(strict=True), real])

    @staticmethod
    def __get_pydantic_json_schema__(schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "number"}


_MARKED: dict[str, Any] = {
    "string": Annotated[str, Strict()],
    "int": Annotated[int, Strict(), BeforeValidator(_whole)],
    "number": Annotated[float, _Number],
    "bool": Annotated[bool, Strict()],
    "unit": None,
    "json": Any,
}
_BARE: dict[str, Any] = {"string": str, "int": int, "number": float, "bool": bool, "unit": type(None), "json": Any}


def _written(model: RecordModel | None, dump: Any) -> dict[str, Any] | None:
    """Return a record's fields by their names in the program, without those that are absent."""
    if model is None:  # it is itself absent, which whoever dumps it sees to
        return None
    dumped = dump(model)
    found = {}
    for attribute, field in type(model).model_fields.items():
        name = field.alias or attribute
        key = name if name in dumped else attribute
        if key in dumped and (field.is_required() or attribute in model.model_fields_set):
            found[name] = dumped[key]
    return found


class RecordModel(BaseModel):
    """What the models of records have in common. ``None`` as its name: the program gives the type none.

    They can be pickled, wherever fabric is.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", validate_assignment=True, protected_namespaces=())
    __plumb_name__: ClassVar[str | None] = None

    __plumb_type__: ClassVar[Type]

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle it with its type: no module has its class. One that a user has made of it is in his module."""
        if "__plumb_type__" not in vars(type(self)):
            return super().__reduce_ex__(protocol)
        return _unfilled, (to_plain(self.__plumb_type__),), self.__getstate__()

    _written = model_serializer(mode="wrap")(lambda self, dump: _written(self, dump))


@lru_cache(maxsize=4096)
def python_type(type_: Type, strict: bool) -> Any:
    """Return the Python type of a payload type."""
    match type_:
        case Alias(_, Alias() as inner):  # that of another file
            return python_type(inner, strict)
        case Alias(name, Record() as record):
            return _model(name, record)
        case Alias(_, inner):
            return python_type(inner, strict)
        case Prim(name):
            return (_MARKED if strict else _BARE)[name]
        case Record():
            return _model(None, type_)
        case ListOf(item):
            return list[python_type(item, strict)]  # type: ignore[misc]
        case Product(items):
            return tuple[tuple(python_type(item, strict) for item in items)]  # type: ignore[misc]
        case Sum(variants):
            return Union[tuple(python_type(variant, strict) for variant in variants)]  # noqa: UP007


@lru_cache(maxsize=4096)
def _model(name: str | None, record: Record) -> type[RecordModel]:
    """Return the model of a record; the same class for equal ones, wherever they stand."""
    taken = {field.name for field in record.fields}
    fields: dict[str, Any] = {}
    for field in record.fields:
        attribute = _attribute(field, taken)
        alias = None if attribute == field.name else field.name
        absent = Field(alias=alias, default_factory=lambda: None)  # no default: that would be in the JSON schema
        fields[attribute] = Annotated[python_type(field.type, True), absent if field.optional else Field(alias=alias)]
        taken.add(attribute)
    model = create_model(name or "Record", __base__=RecordModel, __module__=__name__, **fields)
    model.__plumb_name__ = name
    model.__plumb_type__ = record if name is None else Alias(name, record)
    return model


def _unfilled(data: dict[str, Any]) -> RecordModel:
    """Return a model of a type, for its values to be put into."""
    model: type[RecordModel] = python_type(msgspec.convert(data, Type), True)
    return model.__new__(model)


def _attribute(field: payload.Field, taken: set[str]) -> str:
    """Return what the attribute of a field is called: as the field, unless Python or pydantic means something else."""
    name = field.name
    if name.startswith("_"):  # private to pydantic
        name = f"f{name}"
    elif keyword.iskeyword(name) or hasattr(RecordModel, name):
        name = f"{name}_"
    while name != field.name and name in taken:
        name += "_"
    return name
