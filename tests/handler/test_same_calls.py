"""Whatever is read and written, in whatever order: ours answers and writes what the public SDK does."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from sdks import SDKS, Caller, open_caller

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def callers() -> Iterator[dict[str, Caller]]:
    """A process for each SDK."""
    with ExitStack() as opened:
        yield {sdk: opened.enter_context(open_caller(sdk)) for sdk in SDKS}


texts = st.text(max_size=12)
names = st.sampled_from(["", "a", "b", "notes/x", "notes/deep/y", "über"])
metadata = st.dictionaries(texts, texts, max_size=2)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def entries(draw: st.DrawFn) -> dict[str, Any]:
    """Draw an entry of a log, with its body in the URL."""
    encoding = draw(st.sampled_from(["", "gzip", "zstd", "br"]))
    body = draw(st.binary(max_size=40) | json_values.map(lambda value: json.dumps(value).encode()))
    stored = {"gzip": gzip.compress, "zstd": zstandard.compress}.get(encoding, bytes)(body)
    told: dict[str, Any] = {"event": draw(st.sampled_from(["start", "fork", "wake", "push", "push", "push", "later"]))}
    if draw(st.booleans()):
        told["url"] = "data:;base64," + base64.b64encode(stored).decode()
        told["content-encoding"] = encoding
    for key, values in {
        "name": names,
        "content-type": texts,
        "schema-url": texts,
        "metadata": metadata | st.none(),
    }.items():
        if draw(st.booleans()):
            told[key] = draw(values)
    return told


memory = st.sampled_from(
    [{"event": "memory", "url": "http://127.0.0.1:9/n/notes/"}, {"event": "memory", "url": "data:,notes/deep/"}]
)
separators = st.sampled_from(["\n", "\r\n", "\n\n", "  \n \t\n"])


@st.composite
def logs(draw: st.DrawFn) -> str:
    """Draw a log as stdin tells it, with what it may have between its lines."""
    lines = draw(st.lists(entries() | entries() | memory, max_size=5))
    return "".join(json.dumps(line) + draw(separators) for line in lines).removesuffix(
        draw(st.sampled_from(["", "\n"]))
    )


bodies = st.binary(max_size=20).map(lambda body: {"hex": body.hex()})
fields = st.fixed_dictionaries({}, optional={"name": names, "metadata": metadata, "content_type": texts})
writes = st.one_of(
    st.tuples(
        st.just("write"),
        st.builds(
            lambda value, rest: {"value": value, **rest}, texts | bodies | st.lists(json_values, max_size=3), fields
        ),
    ),
    st.tuples(st.just("write_text"), st.builds(lambda text, rest: {"text": text, **rest}, texts, fields)),
    st.tuples(
        st.just("write_json"),
        st.builds(
            lambda data, rest: {"data": data, **rest}, json_values.filter(lambda v: not isinstance(v, str)), fields
        ),
    ),
    st.tuples(st.just("write_bytes"), st.builds(lambda data, rest: {"data": data, **rest}, bodies, fields)),
    st.tuples(
        st.just("write_remote"),
        st.fixed_dictionaries({"uri": texts}, optional={"name": names, "content_encoding": texts, "session": texts}),
    ),
    st.tuples(
        st.just("store"),
        st.fixed_dictionaries(
            {"data": bodies, "name": names, "fork": st.booleans()}, optional={"metadata": metadata, "schema_url": texts}
        ),
    ),
    st.tuples(st.just("pause"), st.fixed_dictionaries({"reason": texts})),
    st.tuples(
        st.just("sleep"),
        st.fixed_dictionaries({"seconds": st.floats(allow_nan=False, allow_infinity=False), "reason": texts}),
    ),
)
stored = names.filter(lambda name: not name.startswith("notes/"))  # those of a namespace would be fetched
looks = st.one_of(
    st.tuples(st.just("state"), st.just({})),
    st.tuples(st.just("named"), st.fixed_dictionaries({"name": names.filter(str.isascii)})),
    st.tuples(
        st.sampled_from(["load", "load_text", "load_json", "load_bytes"]), st.fixed_dictionaries({"name": stored})
    ),
    st.tuples(
        st.just("edit"),
        st.fixed_dictionaries(
            {
                "name": stored,
                "hex": st.binary(max_size=5).map(bytes.hex),
                "fields": st.just({}) | st.just({"metadata": {"k": "v"}}),
            }
        ),
    ),
)
first_look = st.lists(
    st.tuples(st.sampled_from(["read", "events"]), st.fixed_dictionaries({"n": st.integers(0, 6)})), max_size=1
)


@settings(max_examples=80)
@given(log=logs(), first=first_look, rest=st.lists(writes | writes | looks, max_size=8))
def test_calls_give_and_write_the_same(
    callers: dict[str, Caller], log: str, first: list[tuple[str, Any]], rest: list[tuple[str, Any]]
) -> None:
    """Any log, read to any place, and any calls: each answer, each error's class and all bytes are equal."""
    answers = {sdk: caller.call(log, [*first, *rest]) for sdk, caller in callers.items()}
    assert answers["fabric.handler"] == answers["0.16.7"] == answers["0.1.0"]
