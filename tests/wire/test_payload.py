"""Payload types and their validators."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.errors import ValueRejected
from fabric.lang.types import is_disjoint
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
    Prim,
    Product,
    Record,
    Sum,
    Type,
    decode_json,
    encode_json,
    json_schema,
    resolve,
    show,
    struct_of,
    to_plain,
    validator,
)


def record(**fields: Type) -> Record:
    """A record; a name that ends in an underscore is optional."""
    return Record(tuple(Field(name.rstrip("_"), type_, name.endswith("_")) for name, type_ in fields.items()))


POINT = record(x=INT, y=INT)
DRAFT = Alias("Draft", record(text=STRING, note_=STRING))
VERDICT = Sum((record(ok=BOOL), record(why=STRING, score_=NUMBER)))
TUPLES = Sum((Product((INT, INT)), Product((INT, INT, INT))))
MIXED = Sum((STRING, INT, UNIT, ListOf(STRING), POINT))

# --- Accepted: the value, and the bytes that are passed on -----------------------------------------------------------

BIG = 10**40 + 1


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        (STRING, '"a"', "a"),
        (STRING, '"\\ud83d\\ude00 \\u0000 é"', "😀 \0 é"),
        (INT, "3", 3),
        (INT, " -7 ", -7),
        (INT, str(BIG), BIG),
        (INT, str(-BIG), -BIG),
        (INT, "9" * 4300, 10**4300 - 1),
        (NUMBER, "3", 3),
        (NUMBER, "3.0", 3.0),
        (NUMBER, str(BIG), BIG),
        (NUMBER, "-2.50e1", -25.0),
        (BOOL, "true", True),
        (UNIT, "null", None),
        (JSON, '{"a": [1, 2.0, null]}', {"a": [1, 2.0, None]}),
        (JSON, f"[{BIG}]", [BIG]),
        (JSON, '{"a":1,"a":2}', {"a": 2}),
        (POINT, '{"y":2,"x":1}', {"x": 1, "y": 2}),
        (record(), "{}", {}),
        (DRAFT, '{"text":"a"}', {"text": "a"}),
        (DRAFT, '{"text":"a","note":"b"}', {"text": "a", "note": "b"}),
        (record(a_=UNIT), '{"a":null}', {"a": None}),
        (record(a_=UNIT), "{}", {}),
        (record(a=JSON), '{"a":{"b":[null]}}', {"a": {"b": [None]}}),
        (ListOf(INT), "[]", []),
        (ListOf(ListOf(STRING)), '[["a"],[]]', [["a"], []]),
        (Product((INT, STRING)), '[1,"a"]', [1, "a"]),
        (VERDICT, '{"ok":true}', {"ok": True}),
        (VERDICT, '{"score":1.0,"why":"a"}', {"why": "a", "score": 1.0}),
        (VERDICT, '{"why":"a","score":1}', {"why": "a", "score": 1}),
        (TUPLES, "[1,2]", [1, 2]),
        (TUPLES, "[1,2,3]", [1, 2, 3]),
        (MIXED, "null", None),
        (MIXED, "4", 4),
        (MIXED, '["a"]', ["a"]),
        (MIXED, '{"x":1,"y":2}', {"x": 1, "y": 2}),
        (Sum((Product((INT, STRING)), Product((STRING, INT)))), '["a",1]', ["a", 1]),
        (Sum((record(kind=INT, a=JSON), record(kind=STRING, a=JSON))), '{"kind":"b","a":1.0}', {"kind": "b", "a": 1.0}),
    ],
    ids=str,
)
def test_a_value_of_the_type_is_passed_on_as_it_is(type_: Type, text: str, value: Any):
    """White space, order of fields, spelling of numbers: all as the sender wrote it."""
    found, payload = validator(type_).check(text.encode())
    assert payload == text.encode()
    assert to_plain(found) == value
    assert validator(type_).decode(text.encode()) == found


@pytest.mark.parametrize(
    ("type_", "text", "passed_on"),
    [
        (INT, "3.0", "3"),
        (INT, "-0.0", "0"),
        (INT, "1e2", "100"),
        (ListOf(INT), "[1, 2.0]", "[1,2]"),
        (record(a=INT, b=NUMBER), '{"b": 2.0, "a": 1.0}', '{"a":1,"b":2.0}'),
        (Sum((record(a=INT), record(b=JSON))), '{"a":1.0}', '{"a":1}'),
        (Sum((record(a=INT), record(b=JSON))), '{"b": 1.0}', '{"b": 1.0}'),
        (Product((INT, INT)), "[1.0,2]", "[1,2]"),
        (MIXED, "3.0", "3"),
        (INT, "9e15", "9000000000000000"),
        (INT, "9007199254740992.0", "9007199254740992"),
        (record(a=INT), '{"a":"x","a":1}', '{"a":1}'),  # the last key counts, and is what goes on
    ],
    ids=str,
)
def test_an_integer_written_as_a_fraction_is_rewritten(type_: Type, text: str, passed_on: str):
    """Where the type says ``int``, and nowhere else."""
    assert validator(type_).check(text.encode())[1].decode() == passed_on


# --- Refused: the words ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "text", "message"),
    [
        (STRING, "1", "expected string, got integer 1"),
        (INT, "true", "expected int, got true"),
        (INT, "0.5", "expected int, got number 0.5"),
        (INT, '"3"', 'expected int, got string "3"'),
        (INT, "9007199254740994.0", "expected int, got number 9007199254740994.0"),
        (INT, "-1e22", "expected int, got number -1e22"),
        (NUMBER, "false", "expected number, got false"),
        (BOOL, "1", "expected bool, got integer 1"),
        (UNIT, "{}", "expected unit, got object {}"),
        (UNIT, "[]", "expected unit, got array of 0"),
        (STRING, "null", "expected string, got null"),
        (INT, f'"{"a" * 50}"', f'expected int, got string "{"a" * 36}...'),
        (POINT, '{"x":1}', "expected object { x: int, y: int }, got no field 'y'"),
        (POINT, '{"x":1,"y":2,"z":3}', "expected object { x: int, y: int }, got unknown field 'z'"),
        (POINT, '{"x":1,"y":null}', "expected int, got null at $.y"),
        (POINT, "[1,2]", "expected object { x: int, y: int }, got array of 2"),
        (DRAFT, '{"text":"a","note":null}', "expected string, got null at $.note"),
        (ListOf(DRAFT), '[{"text":"a"},{"text":7}]', "expected string, got integer 7 at $[1].text"),
        (ListOf(DRAFT), '{"text":7}', "expected array [{ text: string, note?: string }], got object with 'text'"),
        (Product((INT, STRING)), "[1]", "expected array (int, string), got array of 1"),
        (Product((INT, STRING)), "[1,2]", "expected string, got integer 2 at $[1]"),
        (TUPLES, "[1]", "expected (int, int) | (int, int, int), got array of 1"),
        (TUPLES, '[1,"a"]', 'expected int, got string "a" at $[1]'),
        (VERDICT, '{"ok":1}', "expected bool, got integer 1 at $.ok"),
        (
            VERDICT,
            '{"ok":true,"why":"a"}',
            "expected { ok: bool } | { why: string, score?: number }, got object with 'ok', 'why'",
        ),
        (VERDICT, "3", "expected { ok: bool } | { why: string, score?: number }, got integer 3"),
        (
            record(a=record(b=ListOf(Product((INT, record(c=BOOL)))))),
            '{"a":{"b":[[1,{"c":true}],[2,{"c":null}]]}}',
            "expected bool, got null at $.a.b[1][1].c",
        ),
    ],
    ids=str,
)
def test_a_refusal_says_where_what_was_expected_and_what_came(type_: Type, text: str, message: str):
    """In the words of the language, not of Python."""
    with pytest.raises(ValueRejected) as caught:
        validator(type_).check(text.encode())
    assert str(caught.value) == message


NOT_JSON = {
    "nothing": b"",
    "white space": b" \n",
    "NaN": b"NaN",
    "Infinity": b"Infinity",
    "-Infinity": b"-Infinity",
    "NaN inside": b"[NaN]",
    "too large a number": b"1e999",
    "too long an integer": b"9" * 4301,
    "a byte order mark": b"\xef\xbb\xbf1",
    "UTF-16": "[1]".encode("utf-16"),
    "an escaped lone surrogate": b'"\\ud800"',
    "a lone surrogate": b'"\xed\xa0\x80"',
    "no UTF-8": b'"\xff"',
    "a lone surrogate as a key": b'{"\\ud800":1}',
    "trailing text": b"1 1",
    "a trailing comma": b"[1,]",
    "two values": b"{}{}",
    "a leading zero": b"01",
    "a leading plus": b"+1",
    "single quotes": b"'a'",
    "a bare line feed in a string": b'"a\nb"',
    "a cut string": b'"a',
    "a comment": b"1 // one",
    "a marker": b"\x01ack/judge/1/1",
    "100,000 arrays": b"[" * 100_000 + b"]" * 100_000,
    "100,000 objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "100,000 arrays in a field": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


@pytest.mark.parametrize("type_", [STRING, INT, NUMBER, JSON, record(a=JSON), ListOf(JSON), VERDICT], ids=show)
@pytest.mark.parametrize("payload", NOT_JSON.values(), ids=NOT_JSON.keys())
def test_what_is_no_json_is_refused_for_every_type(payload: bytes, type_: Type):
    """One error, whatever is wrong with the text."""
    with pytest.raises(ValueRejected, match=r"expected JSON, got (malformed text|a value nested too deeply)"):
        validator(type_).check(payload)


@pytest.mark.parametrize("type_", [JSON, record(a=JSON), Sum((record(a=JSON), record(b=INT)))], ids=show)
def test_deep_values_are_accepted_or_refused(type_: Type):
    """At every depth about Python's limit; with a whole float inside, which is searched for and found."""
    for depth in range(1, 1100):
        inner = b"[" * depth + b"1.0" + b"]" * depth
        payload = inner if type_ == JSON else b'{"a":' + inner + b"}"
        try:
            passed_on = validator(type_).check(payload)[1]
        except ValueRejected:
            passed_on = None
        assert passed_on == payload or (passed_on is None and depth > 500)  # the tests' own stack takes a part


def test_a_computed_value_is_checked_like_one_that_was_read():
    """``coerce`` takes plain values: integral floats become integers there, too."""
    assert to_plain(validator(ListOf(POINT)).coerce([{"x": 1.0, "y": 2}])) == [{"x": 1, "y": 2}]
    with pytest.raises(ValueRejected, match=r"expected int, got null at \$\[0\]\.x"):
        validator(ListOf(POINT)).coerce([{"x": None, "y": 2}])


# --- Types -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        (STRING, "string"),
        (DRAFT, "Draft"),
        (resolve(DRAFT), "{ text: string, note?: string }"),
        (ListOf(DRAFT), "[Draft]"),
        (Product((INT, DRAFT)), "(int, Draft)"),
        (VERDICT, "{ ok: bool } | { why: string, score?: number }"),
        (record(), "{}"),
    ],
    ids=str,
)
def test_a_type_is_shown_as_a_program_writes_it(type_: Type, text: str):
    """An alias by its name."""
    assert show(type_) == text


def test_equal_records_have_one_class_whatever_their_names():
    """So a value that was validated for one channel fits into the next."""
    draft = resolve(DRAFT)
    assert isinstance(draft, Record)
    assert struct_of(Record((Field("d", DRAFT),))) is struct_of(Record((Field("d", draft),)))
    assert struct_of(POINT) is not struct_of(record(x=INT, y_=INT))
    assert validator(POINT).decode(b'{"x":1,"y":2}') == struct_of(POINT)(f_x=1, f_y=2)


def test_a_value_may_have_a_field_of_any_name():
    """A field's attribute has a prefix, so no word of Python or msgspec is taken."""
    names = ("class", "self", "None", "__init__", "rename", "f_a", "_")
    type_ = Record(tuple(Field(name, INT) for name in names))
    text = json.dumps(dict.fromkeys(names, 1)).encode()
    value, payload = validator(type_).check(text)
    assert payload == text
    assert to_plain(value) == dict.fromkeys(names, 1)


def test_a_type_as_json_schema():
    """For models: the 2020-12 dialect."""
    type_ = record(a=Product((INT, DRAFT)), b_=VERDICT, c=ListOf(JSON), d=UNIT)
    draft = {
        "type": "object",
        "properties": {"text": {"type": "string"}, "note": {"type": "string"}},
        "required": ["text"],
        "additionalProperties": False,
    }
    pair = {"type": "array", "prefixItems": [{"type": "integer"}, draft], "items": False, "minItems": 2}
    ok = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}},
        "required": ["ok"],
        "additionalProperties": False,
    }
    why = {
        "type": "object",
        "properties": {"why": {"type": "string"}, "score": {"type": "number"}},
        "required": ["why"],
        "additionalProperties": False,
    }
    assert json_schema(type_) == {
        "type": "object",
        "properties": {
            "a": pair,
            "b": {"oneOf": [ok, why]},
            "c": {"type": "array", "items": {}},
            "d": {"type": "null"},
        },
        "required": ["a", "c", "d"],
        "additionalProperties": False,
    }


def test_integers_keep_their_digits_when_written():
    """Beyond 64 bits, both signs."""
    assert encode_json([2**64, -(2**63) - 1, 10**400]) == f"[{2**64},{-(2**63) - 1},{10**400}]".encode()
    assert decode_json(str(10**400)) == 10**400


# --- Properties ------------------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
NAMES = st.sampled_from("abcd")
NUMBERS = st.integers() | st.integers(-(10**50), 10**50) | st.floats(allow_nan=False, allow_infinity=False)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.integers(-3, 3).map(float) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


def disjoint_sum(candidates: list[Type]) -> Type:
    """Return the sum of those that are disjoint from the ones before, flat, as the checker makes it."""
    kept: list[Type] = []
    for candidate in candidates:
        variants = candidate.variants if isinstance(candidate, Sum) else (candidate,)
        kept += [v for v in variants if all(is_disjoint(v, other) for other in kept)]
    return Sum(tuple(kept)) if len(kept) > 1 else kept[0]


def composed(inner: st.SearchStrategy[Type]) -> st.SearchStrategy[Type]:
    """Types made of types."""
    fields = st.lists(st.builds(Field, NAMES, inner, st.booleans()), max_size=3, unique_by=lambda field: field.name)
    return (
        inner.map(ListOf)
        | st.lists(inner, min_size=2, max_size=3).map(lambda items: Product(tuple(items)))
        | fields.map(lambda fields: Record(tuple(fields)))
        | st.lists(fields.map(lambda fields: Record(tuple(fields))) | inner, min_size=2, max_size=4).map(disjoint_sum)
        | inner.filter(lambda type_: not isinstance(type_, Sum)).map(lambda type_: Alias("Named", type_))
    )


TYPES: st.SearchStrategy[Type] = st.recursive(
    st.sampled_from([STRING, INT, NUMBER, BOOL, UNIT, JSON]), composed, max_leaves=8
)


def fits(type_: Type, value: Any) -> bool:
    """Say whether a plain value is of a type: what a reader of the language's description would write."""
    match type_:
        case Prim("string"):
            return type(value) is str
        case Prim("int"):
            return type(value) is int or (type(value) is float and value == int(value) and abs(value) <= 2**53)
        case Prim("number"):
            return type(value) in (int, float)
        case Prim("bool"):
            return type(value) is bool
        case Prim("unit"):
            return value is None
        case Prim("json"):
            return True
        case Record(fields):
            return type(value) is dict and (
                all(f.optional or f.name in value for f in fields)
                and all(any(f.name == name and fits(f.type, part) for f in fields) for name, part in value.items())
            )
        case ListOf(item):
            return type(value) is list and all(fits(item, part) for part in value)
        case Product(items):
            return type(value) is list and len(value) == len(items) and all(map(fits, items, value))
        case Sum(variants):
            return any(fits(variant, value) for variant in variants)
        case Alias(_, inner):
            return fits(inner, value)
    raise AssertionError(type_)


def normal(type_: Type, value: Any) -> Any:
    """Return a value that fits with its ints as ints."""
    match type_:
        case Prim("int"):
            return int(value)
        case Record(fields):
            types = {f.name: f.type for f in fields}
            return {name: normal(types[name], part) for name, part in value.items()}
        case ListOf(item):
            return [normal(item, part) for part in value]
        case Product(items):
            return list(map(normal, items, value))
        case Sum(variants):
            return next(normal(variant, value) for variant in variants if fits(variant, value))
        case Alias(_, inner):
            return normal(inner, value)
    return value


def values_of(type_: Type) -> st.SearchStrategy[Any]:
    """Plain values of a type."""
    match type_:
        case Prim("int"):
            return st.integers() | st.integers(-5, 5).map(float)
        case Prim("number"):
            return NUMBERS
        case Prim("json"):
            return VALUES
        case Prim(name):
            return {"string": TEXTS, "bool": st.booleans(), "unit": st.none()}[name]
        case Record(fields):
            required = {f.name: values_of(f.type) for f in fields if not f.optional}
            return st.fixed_dictionaries(required, optional={f.name: values_of(f.type) for f in fields if f.optional})
        case ListOf(item):
            return st.lists(values_of(item), max_size=3)
        case Product(items):
            return st.tuples(*map(values_of, items)).map(list)
        case Sum(variants):
            return st.one_of(*map(values_of, variants))
        case Alias(_, inner):
            return values_of(inner)
    raise AssertionError(type_)


def spoiled(value: Any) -> st.SearchStrategy[Any]:
    """Values that differ from this one in one place, at any depth."""
    others = VALUES
    match value:
        case list() if value:
            at = st.integers(0, len(value) - 1)
            others |= at.flatmap(lambda i: spoiled(value[i]).map(lambda new: [*value[:i], new, *value[i + 1 :]]))
            others |= at.map(lambda i: value[:i] + value[i + 1 :]) | VALUES.map(lambda new: [*value, new])
        case dict() if value:
            name = st.sampled_from(sorted(value))
            others |= name.flatmap(lambda n: spoiled(value[n]).map(lambda new: {**value, n: new}))
            others |= name.map(lambda n: {k: v for k, v in value.items() if k != n})
            others |= st.tuples(NAMES, VALUES).map(lambda pair: {**value, pair[0]: pair[1]})
    return others


TYPED_VALUES = TYPES.flatmap(lambda type_: st.tuples(st.just(type_), values_of(type_)))
TYPED_OR_NOT = TYPED_VALUES.flatmap(
    lambda pair: st.tuples(st.just(pair[0]), VALUES | st.just(pair[1]) | spoiled(pair[1]))
)
ROOMY = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")])


def canonical(value: Any) -> str:
    """Return JSON text in which 1, 1.0 and true differ and the order of fields does not matter."""
    return json.dumps(value, sort_keys=True)


@settings(deadline=None, max_examples=300)
@given(TYPED_VALUES, ROOMY)
def test_every_value_of_a_type_is_accepted(typed: tuple[Type, Any], separators: tuple[str, str]):
    """The bytes go on unchanged, unless an integer was written as 3.0: then the same value does."""
    type_, plain = typed
    payload = json.dumps(plain, separators=separators, ensure_ascii=False).encode()
    value, passed_on = validator(type_).check(payload)
    expected = normal(type_, plain)
    assert canonical(json.loads(encode_json(value))) == canonical(expected)
    if canonical(expected) == canonical(plain):
        assert passed_on == payload
    else:
        assert canonical(json.loads(passed_on)) == canonical(expected)
    assert encode_json(validator(type_).coerce(plain)) == encode_json(value)


@settings(deadline=None, max_examples=500)
@given(TYPED_OR_NOT)
def test_a_value_is_refused_exactly_if_it_does_not_fit(typed: tuple[Type, Any]):
    """As a description of the types says that is a tenth as long and has no fast way."""
    type_, plain = typed
    payload = json.dumps(plain).encode()
    try:
        validator(type_).check(payload)
        accepted = True
    except ValueRejected:
        accepted = False
    assert accepted == fits(type_, plain)


@settings(deadline=None)
@given(TYPES, st.binary())
def test_any_bytes_are_accepted_or_refused(type_: Type, payload: bytes):
    """There is one kind of error."""
    try:
        validator(type_).check(payload)
    except ValueRejected:
        return
    assert fits(type_, json.loads(payload))


@settings(deadline=None)
@given(TYPES)
def test_a_type_travels_as_json(type_: Type):
    """In the spec of a worker."""
    assert msgspec.json.decode(msgspec.json.encode(type_), type=Type) == type_


# --- Values that somebody's code made -----------------------------------------------------------------------------

MADE: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3)
    | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.sampled_from(["x", "y", "ok", "why", "score"]) | st.integers(), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(deadline=None)
@given(MADE, st.sampled_from([STRING, INT, NUMBER, JSON, UNIT, POINT, VERDICT, TUPLES, MIXED, ListOf(NUMBER)]))
def test_a_made_value_is_written_as_its_text_is_checked(value: Any, type_: Type):
    """The short way neither accepts more nor writes anything else: no date for an int, 3 for 3.0."""

    def outcome(write: Any) -> Any:
        try:
            return write()
        except (ValueRejected, TypeError, ValueError) as error:
            return type(error)

    checker = validator(type_)
    assert outcome(lambda: checker.encode(value)) == outcome(lambda: checker.check(encode_json(value))[1])


def test_made_numbers_that_json_does_not_have_are_refused():
    """They would be written as null; wherever they are, and whatever the type."""
    for value in (float("nan"), float("inf")):
        for type_, made in ((NUMBER, value), (JSON, {"a": [(None, value)]})):
            with pytest.raises(ValueError, match="NaN and infinity are no numbers"):
                validator(type_).encode(made)
