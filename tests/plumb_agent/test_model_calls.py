"""Calls of the model as spans."""

from __future__ import annotations

from fabric.tracing.span import Span
from fabric.wire.frame import Provenance
from fabric.wire.payload import STRING
from fabric.wire.spec import WorkerSpec
from fabric.wire.tracing import derived
from plumb_agent.messages import History, Message, Reply, Request, TextBlock, Usage
from plumb_agent.model_calls import ModelCalls
from plumb_agent.providers.eliza import Eliza

ORIGIN = Provenance(b"T" * 16, b"S" * 8, 1)
REQUEST = Request((), History([Message("user", '"secret"')]), '"secret"', "m", temperature=0.5, max_tokens=100)
REPLY = Reply((TextBlock("hush"),), Usage(5, 3, 2, 1), "max_tokens", "m-2")


def calls(spans: list[Span], *, content: bool = False) -> ModelCalls:
    spec = WorkerSpec("judge", "agent", STRING, STRING, {"provider": "eliza"})
    return ModelCalls(spec, Eliza("doctor"), lambda size: b"n" * size, spans.append, content=content)


def test_a_call_is_a_part_of_the_work_on_its_message():
    """From its first attempt to its reply; what it took, and not what was said."""
    spans: list[Span] = []
    watched = calls(spans)
    watched.asked(REQUEST, ORIGIN, 1.0)
    watched.asked(REQUEST, ORIGIN, 3.0)
    watched.answered(REPLY, 4.5)
    assert spans == [
        Span(
            "chat m",
            b"T" * 16,
            b"n" * 8,
            derived(b"S" * 8, "judge"),
            1.0,
            4.5,
            "client",
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "eliza",
                "gen_ai.request.model": "m",
                "gen_ai.request.max_tokens": 100,
                "gen_ai.agent.name": "judge",
                "gen_ai.request.temperature": 0.5,
                "fabric.attempts": 2,
                "gen_ai.response.finish_reasons": ("length",),
                "gen_ai.usage.input_tokens": 5,
                "gen_ai.usage.output_tokens": 3,
                "gen_ai.usage.cache_read.input_tokens": 2,
                "gen_ai.usage.cache_creation.input_tokens": 1,
                "gen_ai.response.model": "m-2",
            },
        )
    ]


def test_the_next_call_begins_anew():
    """With attempts of its own."""
    spans: list[Span] = []
    watched = calls(spans)
    for at_s in (1.0, 5.0):
        watched.asked(REQUEST, ORIGIN, at_s)
        watched.answered(REPLY, at_s + 1)
    assert [(span.start_s, span.end_s, "fabric.attempts" in span.attributes) for span in spans] == [
        (1.0, 2.0, False),
        (5.0, 6.0, False),
    ]


def test_a_call_that_gives_no_reply_has_failed():
    """Once; where no call was under way there is nothing to tell."""
    spans: list[Span] = []
    watched = calls(spans)
    watched.failed("input_type_mismatch", "no string", 0.5)
    watched.asked(REQUEST, ORIGIN, 1.0)
    watched.failed("provider_unavailable", "nobody is there", 2.0)
    watched.failed("provider_unavailable", "nobody is there", 2.0)
    (span,) = spans
    assert (span.error, span.attributes["error.type"]) == ("nobody is there", "provider_unavailable")


def test_what_was_said_is_told_where_it_is_wanted():
    """As JSON text."""
    spans: list[Span] = []
    watched = calls(spans, content=True)
    watched.asked(REQUEST, ORIGIN, 1.0)
    watched.answered(REPLY, 2.0)
    assert "secret" in str(spans[0].attributes["gen_ai.input.messages"])
    assert "hush" in str(spans[0].attributes["gen_ai.output.messages"])


def test_a_call_for_a_bare_message_is_not_told():
    """Nobody knows what it is a part of."""
    spans: list[Span] = []
    watched = calls(spans)
    watched.asked(REQUEST, None, 1.0)
    watched.answered(REPLY, 2.0)
    assert spans == []
