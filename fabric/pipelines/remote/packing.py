"""Values on their way to a worker and back: what JSON cannot say is tagged, what a variable holds is named.

A value arrives as it was: a tuple as a tuple, a model of pydantic as one of the same class, validated anew. What cannot
arrive as it was is refused, with its place: nobody is to find a list where there was a set.

Whatever a variable of the environment holds that the pipeline's files name travels as the variable's name. So no key
is in a message, wherever an expression has put it, and none is kept by who keeps messages.

A tag is an object with the one key ``$``: ``{"$": [KIND, DATA]}``.
"""

from __future__ import annotations

__all__ = ["NAMED_MIN", "Packing", "Unpackable"]

import base64
import json
import math
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from fabric.pipelines.errors import StepExecutionError

NAMED_MIN = 6
"""Characters that a variable has to hold to travel by name. What is shorter is in many texts, and is no secret."""

DEPTH_MAX = 100
"""Of values in values. JSON readers stop at some depth, each at another."""

INT_MAX = 2**63
"""What lies beyond is no integer for many readers of JSON."""

_TAG = "$"


class Unpackable(StepExecutionError):
    """A value cannot go to a worker, or come from it, as it is."""


class Packing:
    """Packs values, and unpacks them. Made from the same pipeline on both sides, it is the same on both.

    Args:
        classes: models by tag: those of the steps' schemas.
        variables: what the environment holds, by name.
        package: of the modules beside the pipeline's file. One side may have imported them by their plain names.
    """

    def __init__(self, classes: Mapping[str, type[BaseModel]], variables: Mapping[str, str], package: str = "") -> None:
        self._package = package
        self._classes = dict(classes)
        self._tags = {class_: tag for tag, class_ in reversed(list(classes.items()))}
        self._names = {held: name for name, held in sorted(variables.items(), reverse=True) if len(held) >= NAMED_MIN}
        self._held = dict(variables)
        longest_first = sorted(self._names, key=lambda held: (-len(held), held))
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
        self._kinds: dict[str, Callable[[Any], Any]] = {
            "bytes": base64.b64decode,
            "dict": lambda pairs: {self.unpack(key): self.unpack(value) for key, value in pairs},
            "float": float,
            "int": int,
            "model": self._unpack_model,
            "text": lambda pieces: "".join(map(self._unpack_piece, pieces)),
            "tuple": lambda items: tuple(map(self.unpack, items)),
        }

    def pack(self, value: Any, where: str = "") -> Any:
        """Return a value as plain JSON values.

        Args:
            value: any.
            where: where it is, for the error: ``inputs.x``.

        Raises:
            Unpackable: it cannot be said.
        """
        return self._pack(value, where, 0)

    def pack_end(self, text: str, chars: int) -> Any:
        """Return the end of a text, packed: no half of what a variable holds is left at the cut."""
        cut = max(0, len(text) - chars)
        for found in self._pattern.finditer(text) if cut and self._pattern is not None else ():
            if found.start() < cut < found.end():
                cut = found.end()
        return self.pack(text[cut:])

    def _pack(self, value: Any, where: str, depth: int) -> Any:
        if depth > DEPTH_MAX:
            raise Unpackable(f"{where} is deeper than {DEPTH_MAX} values in values")
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is str:
            return self._pack_text(value)
        if kind is int:
            return value if -INT_MAX <= value < INT_MAX else _tagged("int", str(value))
        if kind is float:
            return value if math.isfinite(value) else _tagged("float", repr(value))
        if kind is bytes:
            return _tagged("bytes", base64.b64encode(value).decode())
        if kind in (list, tuple):
            items = [self._pack(item, f"{where}[{index}]", depth + 1) for index, item in enumerate(value)]
            return items if kind is list else _tagged("tuple", items)
        if kind is dict:
            return self._pack_dict(value, where, depth)
        if isinstance(value, BaseModel):
            return self._pack_model(value, where, depth)
        raise Unpackable(
            f"{where or 'it'} is a {kind.__name__}; expected text, a number, true, false, null, a list, a tuple,"
            " a dict, bytes or a model of pydantic"
        )

    def _pack_dict(self, value: dict[Any, Any], where: str, depth: int) -> Any:
        if _TAG not in value and all(type(key) is str and self._pack_text(key) is key for key in value):
            return {key: self._pack(item, f"{where}.{key}", depth + 1) for key, item in value.items()}
        pairs = [
            [self._pack(key, f"a key of {where or 'it'}", depth + 1), self._pack(item, f"{where}[{key!r}]", depth + 1)]
            for key, item in value.items()
        ]
        return _tagged("dict", pairs)

    def _pack_text(self, text: str) -> Any:
        if self._pattern is None:
            return text if _is_unicode(text) else _tagged("text", [_escaped(text)])
        pieces: list[Any] = []
        at = 0
        for found in self._pattern.finditer(text):
            pieces += [text[at : found.start()], ["env", self._names[found[0]]]]
            at = found.end()
        if not pieces:
            return text if _is_unicode(text) else _tagged("text", [_escaped(text)])
        pieces.append(text[at:])
        return _tagged("text", [_piece(piece) for piece in pieces if piece])

    def _unpack_piece(self, piece: Any) -> str:
        if isinstance(piece, str):
            return piece
        kind, text = piece
        if kind == "escaped":
            found = json.loads(text)
            assert isinstance(found, str)
            return found
        if text not in self._held:
            raise Unpackable(f"variable {text!r} is not set where the message is read, or holds less than was expected")
        return self._held[text]

    def _pack_model(self, value: BaseModel, where: str, depth: int) -> Any:
        class_ = type(value)
        tag = self._tags.get(class_) or self.class_name(class_)
        if tag is None:
            raise Unpackable(
                f"{where or 'it'} is a {class_.__qualname__}, a class that a worker cannot find: put it at the top of a"
                " module that the pipeline's files name"
            )
        try:
            text = value.model_dump_json(by_alias=True, round_trip=True, warnings="none")
            same = class_.model_validate_json(text) == value
        except Exception as error:  # a model's validators and serializers are the user's
            raise Unpackable(f"{where or 'it'} is a {class_.__qualname__} that JSON cannot say: {error}") from error
        if not same:
            raise Unpackable(
                f"{where or 'it'} is a {class_.__qualname__} that is another one when it is read back from JSON"
            )
        return _tagged("model", [tag, self._pack(json.loads(text), where, depth + 1)])

    def _unpack_model(self, data: Any) -> BaseModel:
        tag, packed = data
        class_ = self._classes.get(tag) or self.find_class(tag)
        if not (isinstance(class_, type) and issubclass(class_, BaseModel)):
            raise Unpackable(f"there is no model {tag!r} here")
        try:
            return class_.model_validate_json(json.dumps(self.unpack(packed)))
        except ValidationError as error:
            raise Unpackable(f"a {class_.__qualname__} was sent that is none here: {error}") from error

    def unpack(self, data: Any) -> Any:
        """Return the value of what was packed.

        Raises:
            Unpackable: it names what is not there.
        """
        if isinstance(data, list):
            return [self.unpack(item) for item in data]
        if isinstance(data, dict):
            if data.keys() == {_TAG}:
                kind, inner = data[_TAG]
                return self._kinds[kind](inner)
            return {key: self.unpack(item) for key, item in data.items()}
        return data

    def class_name(self, class_: type) -> str | None:
        """Return ``module:class`` of a class; ``None``: it cannot be found by that."""
        name = self.name_of(class_)
        return name if class_.__module__ != "__main__" and self.find_class(name) is class_ else None

    def name_of(self, class_: type) -> str:
        """Return ``module:class``, with the module's plain name."""
        module = class_.__module__.removeprefix(f"{self._package}.") if self._package else class_.__module__
        return f"{module}:{class_.__qualname__}"

    def find_class(self, name: str) -> Any:
        """Return what a name means, in the modules that are loaded; ``None``: nothing. Imports nothing."""
        module, _, path = name.partition(":")
        found: Any = sys.modules.get(f"{self._package}.{module}") or sys.modules.get(module)
        for part in path.split("."):
            found = getattr(found, part, None)
        return found


def _tagged(kind: str, data: Any) -> dict[str, Any]:
    return {_TAG: [kind, data]}


def _piece(piece: Any) -> Any:
    return piece if isinstance(piece, list) or _is_unicode(piece) else _escaped(piece)


def _escaped(text: str) -> list[str]:
    return ["escaped", json.dumps(text)]


def _is_unicode(text: str) -> bool:
    """Whether it can be encoded: half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
