"""Calls of the model as spans: ``chat MODEL``, from the first attempt until there is a reply, or none will come.

They are part of the span of the message for which the model is called, which the coordinator tells.
"""

from __future__ import annotations

__all__ = ["ModelCalls", "Tell"]

from collections.abc import Callable
from typing import TypeAlias

from fabric.tracing.span import CONTENT_CHARS_MAX, Attributes, Span
from fabric.wire.frame import Provenance
from fabric.wire.payload import encode_json, to_plain
from fabric.wire.spec import WorkerSpec
from fabric.wire.tracing import derived
from plumb_agent.messages import Reply, Request
from plumb_agent.providers import Provider, Remote

Tell: TypeAlias = Callable[[Span], None]

_REASONS = {"end_turn": "stop", "tool_use": "tool_call", "max_tokens": "length", "refusal": "content_filter"}
"""Why a model stopped, in the words of OpenTelemetry."""


class ModelCalls:
    """Tells of one agent's calls, one at a time.

    Args:
        spec: of the agent.
        provider: which it asks.
        new_id: makes span ids of so many bytes.
        tell: takes the spans.
        content: whether they say what was asked and answered.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        provider: Provider,
        new_id: Callable[[int], bytes],
        tell: Tell,
        *,
        content: bool = False,
    ) -> None:
        self._spec = spec
        self._provider = provider
        self._new_id = new_id
        self._tell = tell
        self._content = content
        self._origin: Provenance | None = None
        self._request: Request | None = None
        self._attempts = 0
        self._began_s = self._attempt_s = 0.0

    def asked(self, request: Request, origin: Provenance | None, now_s: float) -> None:
        """The model is asked, perhaps once more."""
        if self._request is None:
            self._origin, self._attempts, self._began_s = origin, 0, now_s
        self._request = request
        self._attempt_s = now_s
        self._attempts += 1

    def answered(self, reply: Reply, now_s: float) -> None:
        """It has replied."""
        usage = reply.usage
        told: Attributes = {
            "gen_ai.response.finish_reasons": (_REASONS[reply.stop_reason],),
            "gen_ai.usage.input_tokens": usage.prompt_tokens,
            "gen_ai.usage.output_tokens": usage.completion_tokens,
            "gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens,
            "gen_ai.usage.cache_creation.input_tokens": usage.cache_creation_tokens,
        }
        if reply.model:
            told["gen_ai.response.model"] = reply.model
        if isinstance(self._provider, Remote) and self._provider.first_chunk_s is not None:
            told["gen_ai.response.time_to_first_chunk"] = self._provider.first_chunk_s
        if self._content:
            told["gen_ai.output.messages"] = _shown([{"role": "assistant", "parts": to_plain(reply.blocks)}])
        self._over(told, now_s)

    def failed(self, code: str, text: str, now_s: float) -> None:
        """There will be no reply, if one was waited for."""
        self._over({"error.type": code}, now_s, error=text)

    def _over(self, told: Attributes, now_s: float, error: str | None = None) -> None:
        request, origin = self._request, self._origin
        self._request = None
        if request is None or origin is None:  # no call was under way, or nobody knows for what
            return
        self._tell(
            Span(
                f"chat {request.model}",
                origin.trace_id,
                self._new_id(8),
                derived(origin.span_id, self._spec.name),
                self._began_s,
                now_s,
                kind="client",
                attributes={**self._asked_for(request), **told},
                error=error,
            )
        )

    def _asked_for(self, request: Request) -> Attributes:
        asked: Attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": str(self._spec.config.get("provider", "")),
            "gen_ai.request.model": request.model,
            "gen_ai.request.max_tokens": request.max_tokens,
            "gen_ai.agent.name": self._spec.name,
        }
        if request.temperature is not None:
            asked["gen_ai.request.temperature"] = request.temperature
        if self._attempts > 1:
            asked["fabric.attempts"] = self._attempts
        if isinstance(self._provider, Remote):
            address, port = self._provider.address
            asked |= {"gen_ai.request.stream": True, "server.address": address, "server.port": port}
        if self._content:
            asked["gen_ai.system_instructions"] = _shown([to_plain(block) for block in request.system])
            asked["gen_ai.input.messages"] = _shown([to_plain(message) for message in request.messages])
        return asked


def _shown(value: object) -> str:
    return encode_json(value).decode()[:CONTENT_CHARS_MAX]
