"""Calls of a worker's function as spans."""

from __future__ import annotations

from itertools import count

from fabric.tracing.span import Span
from fabric.wire.frame import Data, Provenance
from fabric.wire.payload import STRING
from fabric.wire.spec import WorkerSpec
from fabric.wire.tracing import derived
from fabric.worker.function_calls import FunctionCalls

SPEC = WorkerSpec("words", "python", STRING, STRING, {"call": "text:words"})


def test_a_call_is_a_part_of_the_work_on_its_message():
    """With the time that the function took; one that declined has failed."""
    spans: list[Span] = []
    ticks = count(1.0)
    calls = FunctionCalls(SPEC, spans.append, lambda: next(ticks), lambda size: b"n" * size)
    message = Data("i", b'"x"', Provenance(b"T" * 16, b"S" * 8, 1))
    calls.begun(message)
    calls.over()
    calls.begun(message)
    calls.over("boom")
    known = {"code.function.name": "text:words", "fabric.worker": "words"}
    parent = derived(b"S" * 8, "words")
    assert spans == [
        Span("call text:words", b"T" * 16, b"n" * 8, parent, 1.0, 2.0, attributes=known),
        Span(
            "call text:words",
            b"T" * 16,
            b"n" * 8,
            parent,
            3.0,
            4.0,
            attributes={**known, "error.type": "_OTHER"},
            error="boom",
        ),
    ]


def test_a_call_with_a_bare_message_is_not_told():
    """Nobody knows what it is a part of."""
    spans: list[Span] = []
    calls = FunctionCalls(SPEC, spans.append)
    calls.begun(Data("i", b'"x"'))
    calls.over()
    assert spans == []
