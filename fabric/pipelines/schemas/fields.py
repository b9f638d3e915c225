"""Maps of fields in a pipeline's file, read: what type each field has, and by what rules. Pure; makes no classes.

``title: str`` is the short form, a map with ``type`` the rich one. All that is wrong with a map is found at once.
"""

from __future__ import annotations

__all__ = ["FIELD_KEYS", "PRIMITIVES", "FieldSpec", "FieldsRead", "Oddity", "OnFail", "Rules", "read_fields"]

import re
import reprlib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Literal, TypeAlias

import msgspec

from fabric.pipelines.errors import SchemaRefError

OnFail: TypeAlias = Literal["error", "null", "warn"]

PRIMITIVES: Mapping[str, type] = {"str": str, "int": int, "float": float, "bool": bool}

FIELD_KEYS = (
    "type",
    "description",
    "pattern",
    "min_length",
    "max_length",
    "min_items",
    "max_items",
    "on_fail",
    "vocab",
    "items",
)

# Of nested lists of records; deeper ones are a mistake, or an attack.
DEPTH_MAX = 32
# Models are asked for it, and errors show it.
NAME_CHARS_MAX = 200
# Of all records together: aliases of YAML can say a billion of them in a page.
FIELDS_MAX = 10_000

_LIST = re.compile(r"^list\[\s*(\w+)\s*\]$")
_DICT = re.compile(r"^dict\[\s*(\w+)\s*,\s*(\w+)\s*\]$")
_TOO_MANY = f"a schema may have {FIELDS_MAX} fields, those of its records counted"
_TYPES = "str, int, float, bool, list[...] and dict[str, ...] of these, each also with ' | None'"


class Rules(msgspec.Struct, frozen=True):
    """What a value has to be beside its type, and what becomes of one that is not.

    Attributes:
        pattern: matches a text as a whole.
        min_length, max_length: of a text, in characters.
        min_items, max_items: of a list.
    """

    pattern: str | None = None
    min_length: int | None = None
    max_length: int | None = None
    min_items: int | None = None
    max_items: int | None = None
    on_fail: OnFail = "error"

    def __bool__(self) -> bool:
        rules = (self.pattern, self.min_length, self.max_length, self.min_items, self.max_items)
        return any(rule is not None for rule in rules)


class FieldSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A field.

    Attributes:
        outer: what holds the values: a list, a dict with texts as keys, or nothing.
        inner: type of a value; fields: it is a record with these.
        optional: whether it may be null, and left out.
        vocab: name of a vocabulary, or the map of one.
        place: in the map of fields: ``entries.items.code``.
    """

    name: str
    outer: Literal["list", "dict", ""] = ""
    inner: Literal["str", "int", "float", "bool"] | tuple[FieldSpec, ...] = "str"
    optional: bool = False
    description: str | None = None
    rules: Rules = Rules()
    vocab: str | Mapping[str, Any] | None = None
    place: str = ""

    @property
    def says_text(self) -> bool:
        """Whether its values, or those in it, are texts."""
        return self.inner == "str"


class Oddity(msgspec.Struct, frozen=True):
    """What a map says without any effect.

    Attributes:
        place: in the map of fields.
        suggestion: what was meant, perhaps.
    """

    place: str
    message: str
    suggestion: str | None = None


class FieldsRead(msgspec.Struct, frozen=True):
    """The fields of a map, all that is wrong with it, and all that is odd about it."""

    fields: tuple[FieldSpec, ...]
    errors: Sequence[SchemaRefError]
    odd: Sequence[Oddity]


def read_fields(fields: Any, taken: Sequence[str] = ()) -> FieldsRead:
    """Return the fields of a map.

    Args:
        fields: of the file.
        taken: names that no field can have.
    """
    reading = _Reading(frozenset(taken))
    return FieldsRead(reading.fields(fields, "", 0), reading.errors, reading.odd)


class _Reading:
    """One map being read."""

    def __init__(self, taken: frozenset[str]) -> None:
        self.errors: list[SchemaRefError] = []
        self.odd: list[Oddity] = []
        self.taken = taken
        self.count = 0

    def wrong(self, place: str, message: str, suggestion: str | None = None) -> None:
        self.errors.append(SchemaRefError(message, key_path=place, suggestion=suggestion))

    def fields(self, fields: Any, place: str, depth: int) -> tuple[FieldSpec, ...]:
        if not isinstance(fields, Mapping):
            self.wrong(place, f"a schema must be a map of fields, got {_kind(fields)}")
            return ()
        if depth > DEPTH_MAX:
            self.wrong(place, f"lists of records may be nested {DEPTH_MAX} deep; use a model of pydantic")
            return ()
        self.count += len(fields)
        if self.count > FIELDS_MAX:
            if not any(error.message == _TOO_MANY for error in self.errors):
                self.wrong(place, _TOO_MANY)
            return ()
        return tuple(
            spec
            for name, said in fields.items()
            if (spec := self.field(name, said, f"{place}.{name}" if place else str(name), depth)) is not None
        )

    def field(self, name: Any, said: Any, place: str, depth: int) -> FieldSpec | None:
        if not self.name_fits(name, place):
            return None
        if isinstance(said, str):
            return self.typed(name, said, {}, place, depth)
        if not isinstance(said, Mapping):
            self.wrong(place, f"field {name!r} must be a string or mapping, got {_kind(said)}")
            return None
        if "type" not in said:
            close = get_close_matches("type", [str(key) for key in said], 1)
            hint = f"; is {close[0]!r} a slip of the pen?" if close else ""
            self.wrong(place, f"field {name!r} is missing the required 'type' key{hint}")
            return None
        if not isinstance(said["type"], str):
            self.wrong(f"{place}.type", f"field {name!r}: 'type' must be a string, got {_kind(said['type'])}")
            return None
        return self.typed(name, said["type"], said, place, depth)

    def name_fits(self, name: Any, place: str) -> bool:
        if not isinstance(name, str):
            shown = str(name).lower() if isinstance(name, bool) else "null" if name is None else str(name)
            self.wrong(place, f"a field's name must be a text, got {_kind(name)}: write it in quotes: '{shown}'")
        elif not name or name.startswith("_"):
            self.wrong(place, f"a field's name must not be empty or begin with an underscore, got {name!r}")
        elif len(name) > NAME_CHARS_MAX:
            self.wrong("", f"a field's name has at most {NAME_CHARS_MAX} characters, got {len(name):,}: {name!r:.40}")
        elif name in self.taken:
            self.wrong(place, f"no field can be called {name!r}: pydantic's models use that name", f"{name}_")
        else:
            return True
        return False

    def look_for_slips(self, name: str, said: Mapping[str, Any], place: str) -> None:
        for key in said:
            if key not in FIELD_KEYS:
                close = get_close_matches(str(key), FIELD_KEYS, 1)
                message = f"field {name!r}: unknown key {reprlib.repr(key)}; there are {', '.join(FIELD_KEYS)}"
                self.odd.append(Oddity(f"{place}.{key}", message, close[0] if close else None))

    def refuse_idle_rules(self, spec: FieldSpec) -> None:
        """Find rules that no value of a field can break, and those that none can keep."""
        idle = [] if spec.says_text else ["pattern", "min_length", "max_length"]
        idle += [] if spec.outer == "list" else ["min_items", "max_items"]
        for key in idle:
            if getattr(spec.rules, key) is not None:
                what = "is no list" if key.endswith("items") else "has no texts"
                self.wrong(f"{spec.place}.{key}", f"field {spec.name!r}: {key!r} has no effect: the field {what}")
        for what in ("length", "items"):
            least, most = getattr(spec.rules, f"min_{what}"), getattr(spec.rules, f"max_{what}")
            if least is not None and most is not None and least > most:
                self.wrong(
                    f"{spec.place}.min_{what}",
                    f"field {spec.name!r}: 'min_{what}' {least} is above 'max_{what}' {most}: no value fits",
                )

    def typed(self, name: str, text: str, said: Mapping[str, Any], place: str, depth: int) -> FieldSpec | None:
        self.look_for_slips(name, said, place)
        base = text.strip()
        other, bar, last = base.rpartition("|")
        optional = bool(bar) and last.strip() == "None"
        if optional:
            base = other.strip()
        if base == "list":
            kind = self.listed(name, said, place, depth)
        else:
            kind = self.plain(name, text, base, place)
            if kind and said.get("items") is not None:
                self.wrong(f"{place}.items", f"field {name!r}: 'items' goes with 'type: list', got 'type: {text:.80}'")
        rules = self.rules(name, said, place)
        if kind is None:
            return None
        outer, inner = kind
        description = said.get("description")
        if description is not None and not isinstance(description, str):
            self.wrong(
                f"{place}.description", f"field {name!r}: 'description' must be a string, got {_kind(description)}"
            )
            description = None
        spec = FieldSpec(
            name=name,
            outer=outer,
            inner=inner,
            optional=optional,
            description=description,
            rules=rules,
            vocab=self.vocab(name, said.get("vocab"), inner, place),
            place=place,
        )
        self.refuse_idle_rules(spec)
        return spec

    def plain(self, name: str, text: str, base: str, place: str) -> tuple[Any, Any] | None:
        if base in PRIMITIVES:
            return "", base
        if (found := _LIST.match(base)) and found[1] in PRIMITIVES:
            return "list", found[1]
        if (found := _DICT.match(base)) and found[1] == "str" and found[2] in PRIMITIVES:
            return "dict", found[2]
        close = get_close_matches(base[:80], ["str", "int", "float", "bool", "list[str]", "dict[str, str]"], 1)
        self.wrong(
            place,
            f"field {name!r} has the unsupported type {text!r:.80}; there are {_TYPES}; "
            "'list' with 'items' is a list of records; for others use a model of pydantic",
            _OTHER_NAMES.get(base.lower()) or (close[0] if close else None),
        )
        return None

    def listed(self, name: str, said: Mapping[str, Any], place: str, depth: int) -> tuple[Any, Any] | None:
        items = said.get("items")
        if isinstance(items, str):
            if items.strip() in PRIMITIVES:
                return "list", items.strip()
            wanted = "a map of fields, str, int, float or bool"
            self.wrong(
                f"{place}.items", f"field {name!r} has the unsupported items type {items!r:.80}; expected {wanted}"
            )
            return None
        if isinstance(items, Mapping):
            return "list", self.fields(items, f"{place}.items", depth + 1)
        if items is None:
            self.wrong(place, f"field {name!r} is a list of what? say 'list[str]', or 'items:' with a map of fields")
        else:
            self.wrong(
                f"{place}.items", f"field {name!r}: 'items' must be a map of fields or a type, got {_kind(items)}"
            )
        return None

    def rules(self, name: str, said: Mapping[str, Any], place: str) -> Rules:
        found: dict[str, Any] = {}
        for key in ("min_length", "max_length", "min_items", "max_items"):
            value = said.get(key)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
                self.wrong(
                    f"{place}.{key}", f"field {name!r}: {key!r} must be a whole number from 0, got {_kind(value)}"
                )
            else:
                found[key] = value
        if (pattern := said.get("pattern")) is not None:
            found["pattern"] = self.pattern(name, pattern, place)
        on_fail = said.get("on_fail", "error")
        on_fail = "null" if on_fail is None else on_fail
        if on_fail not in ("error", "null", "warn"):
            close = get_close_matches(str(on_fail), ["error", "null", "warn"], 1)
            self.wrong(
                f"{place}.on_fail",
                f"field {name!r}: 'on_fail' must be error, null or warn, got {_kind(on_fail)}",
                close[0] if close else None,
            )
            on_fail = "error"
        return Rules(**found, on_fail=on_fail)

    def pattern(self, name: str, pattern: Any, place: str) -> str | None:
        try:
            re.compile(pattern)
        except (re.error, TypeError, RecursionError, OverflowError) as error:
            self.wrong(f"{place}.pattern", f"field {name!r}: {reprlib.repr(pattern)} is no regular expression: {error}")
            return None
        return str(pattern)

    def vocab(self, name: str, vocab: Any, inner: Any, place: str) -> str | Mapping[str, Any] | None:
        if vocab is None:
            return None
        if not isinstance(vocab, (str, Mapping)):
            self.wrong(f"{place}.vocab", f"field {name!r}: 'vocab' must be a file's name or a map, got {_kind(vocab)}")
        elif inner != "str":
            self.wrong(f"{place}.vocab", f"field {name!r}: 'vocab' goes with texts and lists of texts")
        else:
            return vocab
        return None


_OTHER_NAMES = {
    "string": "str",
    "text": "str",
    "integer": "int",
    "number": "float",
    "double": "float",
    "boolean": "bool",
    "array": "list[str]",
    "object": "dict[str, str]",
    "dict": "dict[str, str]",
}


def _kind(data: object) -> str:
    # reprlib: a text of a map with aliases of aliases would never end
    return "nothing" if data is None else f"{reprlib.repr(data)} ({type(data).__name__})"
