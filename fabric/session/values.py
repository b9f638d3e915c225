"""What compiled expressions call: the operations of the language on values whose type only shows at run time.

Values look as ``fabric.wire.payload`` says. A static type spares most of these calls.
"""

from __future__ import annotations

__all__ = [
    "Absent",
    "EvaluationError",
    "arithmetic",
    "bounded",
    "compare",
    "equal",
    "finite",
    "int_modulo",
    "item",
    "member",
    "modulo",
    "negative",
    "present",
    "quotient",
    "truth",
    "variant_member",
]

import math
import operator
from typing import Any

import msgspec

from fabric.wire.payload import encode_json, to_plain


class EvaluationError(Exception):
    """An expression has no value for this message: an absent field, a division by zero, a number too large."""


class Absent(EvaluationError):
    """The variant at hand does not have the field. A filter drops such a message."""


INT_BITS_MAX = 14_000
"""What arithmetic may yield: about 4,200 digits. Python itself refuses to print more than 4,300."""


def present(value: Any, name: str) -> Any:
    """Return an optional field's value."""
    if value is msgspec.UNSET:
        raise EvaluationError(f"field '{name}' is absent")
    return value


def variant_member(value: Any, name: str) -> Any:
    """Return a field that some variants of a sum have."""
    found = getattr(value, f"f_{name}", msgspec.UNSET)
    if found is msgspec.UNSET:
        raise Absent(f"field '{name}' is absent")
    return found


def member(value: Any, name: str) -> Any:
    """Return a field of a ``json`` value."""
    if isinstance(value, dict) and name in value:
        return value[name]
    raise Absent(f"field '{name}' is absent")


def item(value: Any, index: int) -> Any:
    """Return an element of a list, a product or a ``json`` array, counted from 0."""
    if isinstance(value, list | tuple) and index < len(value):
        return value[index]
    raise EvaluationError(f"no element {index}")


def truth(value: Any) -> bool:
    """Return a ``json`` value that has to be a bool."""
    if isinstance(value, bool):
        return value
    raise EvaluationError(f"expected bool, got {_text(value)}")


def equal(left: Any, right: Any) -> bool:
    """Compare two JSON values of any types. 1 equals 1.0; true does not equal 1."""
    return _same(to_plain(left), to_plain(right))


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(value, right[key]) for key, value in left.items())
    return bool(left == right)


_ORDERS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_SUMS = {"+": operator.add, "-": operator.sub, "*": operator.mul}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def compare(op: str, left: Any, right: Any) -> bool:
    """Order two numbers or two strings."""
    if (_is_number(left) and _is_number(right)) or (isinstance(left, str) and isinstance(right, str)):
        return bool(_ORDERS[op](left, right))
    raise EvaluationError(f"cannot compare {_text(left)} {op} {_text(right)}")


def arithmetic(op: str, left: Any, right: Any) -> Any:
    """Add, subtract or multiply as ``number``; ``+`` joins two strings."""
    if op == "+" and isinstance(left, str) and isinstance(right, str):
        return left + right
    return finite(_SUMS[op](*_floats(op, left, right)))


def quotient(left: Any, right: Any) -> float:
    """Divide; the result is a ``number``."""
    dividend, divisor = _floats("/", left, right)
    if divisor == 0:
        raise EvaluationError("division by zero")
    return finite(dividend / divisor)


def modulo(left: Any, right: Any) -> float:
    """Return the remainder, with the sign of the divisor, as ``number``."""
    dividend, divisor = _floats("%", left, right)
    if divisor == 0:
        raise EvaluationError("division by zero")
    return dividend % divisor


def int_modulo(left: int, right: int) -> int:
    """Return the remainder of two ints, with the sign of the divisor."""
    if right == 0:
        raise EvaluationError("division by zero")
    return left % right


def negative(value: Any) -> Any:
    """Return a value that has to be a number, negated, as ``number``."""
    if _is_number(value):
        return -_floats("-", value, 0)[0]
    raise EvaluationError(f"cannot negate {_text(value)}")


def _floats(op: str, left: Any, right: Any) -> tuple[float, float]:
    if _is_number(left) and _is_number(right):
        try:
            return float(left), float(right)
        except OverflowError:
            raise EvaluationError("number out of range") from None
    raise EvaluationError(f"cannot compute {_text(left)} {op} {_text(right)}")


def finite(value: float) -> float:
    """Refuse what JSON cannot write."""
    if math.isfinite(value):
        return value
    raise EvaluationError("number out of range")


def bounded(value: int) -> int:
    """Refuse an integer that a loop has made too long to be meant."""
    if value.bit_length() <= INT_BITS_MAX:
        return value
    raise EvaluationError(f"integer of more than {INT_BITS_MAX} bits")


def _text(value: Any) -> str:
    text = encode_json(value).decode()
    return text if len(text) <= 40 else text[:37] + "..."
