"""The spans of a run: the run, its steps, and in them each question to a model. Pure.

    invoke_workflow NAME      the run
    └── step NAME             a piece of work of a step: those inside of other steps hang below the run, too
        └── chat MODEL        a question

The ids of steps and questions follow from that of the run. A question says how long it took, and nobody wrote down when
it began: those of a step stand one after the other from its start, without the pauses between them. A step that was
discarded, because an earlier one failed, is told of as such.
"""

from __future__ import annotations

__all__ = ["Piece", "RunFacts", "spans_of"]

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fabric.pipelines.results import AttemptLog, RunContext
from fabric.pipelines.work import Done, LlmWork, Work
from fabric.tracing.span import CONTENT_CHARS_MAX, Attributes, Span
from fabric.wire.tracing import derived


@dataclass(frozen=True)
class Piece:
    """A piece of work, from its start to its end; ``done`` is ``None`` if it was cancelled."""

    work: Work
    done: Done | None
    start_s: float
    end_s: float

    @property
    def attempts(self) -> Sequence[AttemptLog]:
        """The questions that were answered, also if it was cancelled then."""
        if not isinstance(self.work, LlmWork):
            return ()
        return self.work.asked if self.done is None else self.done.attempts


@dataclass(frozen=True)
class RunFacts:
    """A run that is over."""

    context: RunContext
    pieces: Sequence[Piece]
    start_s: float
    end_s: float


def spans_of(
    facts: RunFacts, pipeline: str, trace_id: bytes, span_id: bytes, parent: bytes = b"", *, content: bool = False
) -> list[Span]:
    """Return the spans of a run, the outer ones first.

    Args:
        facts: of the run.
        pipeline: what it is called.
        trace_id, span_id, parent: of the run's own span.
        content: whether what models said is told.
    """
    failure = facts.context.failure_state
    attributes: Attributes = {"gen_ai.operation.name": "invoke_workflow", "gen_ai.workflow.name": pipeline}
    if failure is not None:
        attributes["error.type"] = type(failure.exception).__name__
    error = None if failure is None else f"step {failure.step_name}: {failure.exception}"
    spans = [
        Span(
            f"invoke_workflow {pipeline}",
            trace_id,
            span_id,
            parent,
            facts.start_s,
            facts.end_s,
            attributes=attributes,
            error=error,
        )
    ]
    for number, piece in enumerate(facts.pieces):
        own = derived(span_id, f"{number} {piece.work.step.name}")
        spans.append(_step(piece, facts.context, Span("", trace_id, own, span_id, piece.start_s, piece.end_s)))
        if isinstance(piece.work, LlmWork):
            spans.extend(_questions(piece.work, piece.attempts, spans[-1], content))
    return spans


def _step(piece: Piece, context: RunContext, bare: Span) -> Span:
    step = piece.work.step
    counts = step.name in context.steps or any(name.startswith(f"{step.name}.") for name in context.steps)
    attributes: Attributes = {"fabric.step": step.name, "fabric.step.type": getattr(step, "kind", _kind(piece.work))}
    if not counts:
        attributes["fabric.discarded"] = True
    error = piece.done.error if piece.done is not None else None
    if error is not None:
        attributes["error.type"] = type(error).__name__
    return Span(
        f"step {step.name}",
        bare.trace_id,
        bare.span_id,
        bare.parent,
        bare.start_s,
        bare.end_s,
        attributes=attributes,
        error=None if error is None else str(error),
    )


def _kind(work: Work) -> str:
    return "llm" if isinstance(work, LlmWork) else "http"


def _questions(work: LlmWork, attempts: Iterable[AttemptLog], step: Span, content: bool) -> Iterable[Span]:
    start_s = step.start_s
    for log in attempts:
        end_s = min(start_s + log.elapsed_seconds, step.end_s)
        yield Span(
            f"chat {log.model}",
            step.trace_id,
            derived(step.span_id, str(log.attempt_number)),
            step.span_id,
            start_s,
            end_s,
            kind="client",
            attributes=_of_question(work, log, content),
            error=None if log.status == "success" else "; ".join(log.errors) or log.status,
        )
        start_s = end_s


def _of_question(work: LlmWork, log: AttemptLog, content: bool) -> Attributes:
    attributes: Attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": work.model.provider,
        "gen_ai.request.model": log.model,
        "fabric.attempt": log.attempt_number,
        "fabric.cached": log.cached,
    }
    for name, key in (("input", "prompt_tokens"), ("output", "completion_tokens")):
        if log.tokens is not None:
            attributes[f"gen_ai.usage.{name}_tokens"] = log.tokens[key]
    if log.cost_usd is not None:
        attributes["fabric.cost_usd"] = log.cost_usd
    if log.error_type is not None:
        attributes["error.type"] = log.error_type
    if content and log.raw_output is not None:
        attributes["gen_ai.output.messages"] = log.raw_output[:CONTENT_CHARS_MAX]
    return attributes
