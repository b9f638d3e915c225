"""What an agent tells its model beside the conversation."""

from __future__ import annotations

__all__ = ["feedback", "runtime_context", "system_blocks"]

from collections.abc import Mapping
from datetime import UTC, datetime

from fabric.errors import ValueRejected
from fabric.wire.payload import encode_json, json_schema, show
from fabric.wire.spec import WorkerSpec
from plumb_agent.config import AgentConfig
from plumb_agent.messages import SystemBlock


def system_blocks(spec: WorkerSpec, config: AgentConfig) -> tuple[SystemBlock, ...]:
    """Return the parts that never change, in the order in which a provider may cache them."""
    blocks = [SystemBlock(config.prompt)] if config.prompt else []
    blocks += [SystemBlock(_document(document.name, document.text)) for document in spec.documents]
    schema = encode_json(json_schema(spec.output)).decode()
    instruction = (
        f"Your whole answer is read by a program as one JSON value of the type {show(spec.output)}, "
        f"which this JSON Schema describes:\n{schema}\n"
        "Answer with that value alone: no other words and no code fence around it."
    )
    return (*blocks, SystemBlock(instruction, cache_break=True))


def _document(name: str, text: str) -> str:
    for character, escape in (("&", "&amp;"), ("<", "&lt;"), ('"', "&quot;")):
        name = name.replace(character, escape)
    return f'<doc id="{name}">\n{text}\n</doc>'


def runtime_context(now_s: float, counts: Mapping[str, int]) -> SystemBlock:
    """Return the part that changes from call to call.

    Args:
        now_s: seconds since 1970, UTC.
        counts: further lines, by their labels.
    """
    time = datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    lines = [f"{label}: {count}" for label, count in counts.items()]
    return SystemBlock("\n".join(["[Runtime context]", f"Time: {time}", *lines]))


def feedback(refusal: ValueRejected) -> str:
    """Return what a model is told whose answer does not have the output's type."""
    return (
        f"The program could not use that answer: {refusal}. "
        "Answer again, with nothing but a JSON value of the type that was asked for."
    )
