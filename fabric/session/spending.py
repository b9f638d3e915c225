"""What calls of models are allowed to take, and took: a budget and a tally between the workers and the outbox.

The words of the workers are in :mod:`fabric.wire.calls`; what they may have is decided in
:mod:`fabric.session.budget`. What they report in their telemetry is counted apart from that
(:mod:`fabric.session.usage`): it is there without a budget, too.
"""

from __future__ import annotations

__all__ = ["Spending"]

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fabric.errors import ValueRejected
from fabric.plan.plan import Plan
from fabric.session.budget import Answer, Budget, BudgetStatus, Granted, Limits, Reserve
from fabric.session.events import Send
from fabric.session.money import RateOf, Tokens
from fabric.session.outbox import Outbox
from fabric.session.usage import TOKENS_MAX, Tally, Usage, read_usage
from fabric.wire.calls import RESERVE, SETTLE, Request, failed, parse_request, result
from fabric.wire.codec import encode
from fabric.wire.frame import Data
from fabric.wire.payload import encode_json

WARNED_AT = 0.8
"""The share of a limit at which it is noted that it comes near."""

_Count = Annotated[int, Meta(ge=0, le=TOKENS_MAX)]


class _Reserve(msgspec.Struct):
    provider: str
    model: str
    prompt_tokens: _Count
    max_tokens: Annotated[int, Meta(ge=1, le=TOKENS_MAX)]


class _Used(msgspec.Struct):
    prompt_tokens: _Count = 0
    completion_tokens: _Count = 0
    cache_read_tokens: _Count = 0
    cache_creation_tokens: _Count = 0


_decode_reserve = msgspec.json.Decoder(_Reserve).decode
_decode_used = msgspec.json.Decoder(_Used | Literal["all"] | None).decode


class Spending:
    """The budget and the usage of one session.

    Args:
        plan: what runs.
        limits: of the budget.
        rate_of: what models cost.
        out: takes what is sent and noted.
    """

    def __init__(self, plan: Plan, limits: Limits, rate_of: RateOf, out: Outbox) -> None:
        self._out = out
        self._budget = Budget(limits, rate_of)
        self._metered = {worker.name for worker in plan.workers if worker.spec.metered}
        self._tally = Tally(rate_of)
        self._nodes = {worker.name: worker.node for worker in plan.workers}
        self._models = {
            worker.name: (str(worker.spec.config.get("provider", "")), str(worker.spec.config.get("model", "")))
            for worker in plan.workers
        }
        self._thinking = {worker.name: worker.spec.config.get("thinking_budget", 0) for worker in plan.workers}
        self._told: set[str] = set()
        self._warned: set[str] = set()

    # --- how it stands ---

    @property
    def exhausted(self) -> str:
        """Why no calls are granted any more, in words; empty if it is not so."""
        return self._budget.exhausted

    @property
    def usage(self) -> tuple[Usage, ...]:
        """What was reported."""
        return self._tally.rows

    @property
    def context_tokens(self) -> dict[str, int]:
        """Of the prompt of each worker's last call."""
        return dict(self._tally.context_tokens)

    @property
    def status(self) -> BudgetStatus | None:
        """How the budget stands, if there is one."""
        status = self._budget.status
        return status if status.limits != Limits() else None

    def waits(self, worker: str) -> bool:
        """Whether a worker waits until others have settled."""
        return bool(self._metered) and self._budget.waits(worker)

    def take_told(self) -> set[str]:
        """Return the workers that have got an answer since the last time: what they do next is up to them."""
        told, self._told = self._told, set()
        return told

    # --- from workers ---

    def heard(self, worker: str, payload: bytes) -> bool:
        """Take what a metered worker says of its calls of models; return whether it is about these at all."""
        if worker not in self._metered:
            return False
        try:
            request = parse_request(payload)
        except ValueRejected:
            return False
        match request.name:
            case name if name == RESERVE:
                self._reserve(worker, request)
            case name if name == SETTLE:
                self._settle(worker, request)
            case _:
                return False
        return True

    def gone(self, worker: str) -> None:
        """The process of a worker is gone."""
        if worker in self._metered:
            self._answer(self._budget.gone(worker))

    def deaf(self, worker: str) -> None:
        """A worker hears no answers any more."""
        if worker in self._metered:
            self._answer(self._budget.deaf(worker))

    def close(self, why: str) -> None:
        """Grant nothing any more."""
        self._answer(self._budget.close(why))

    def stop(self) -> None:
        """The session has failed: nobody is answered any more."""
        self._budget.forget()

    def telemetry(self, worker: str, payload: bytes) -> None:
        """Count what a frame of telemetry says, if it is about usage."""
        found = read_usage(payload)
        if found is not None:
            provider, model = self._models[worker]
            self._tally.add(self._nodes[worker], provider, found[0] or model, found[1], asked=model)

    def paid_before(self, worker: str, payload: bytes) -> None:
        """Count what telemetry said in an earlier run of the session, of the budget as well."""
        self.telemetry(worker, payload)
        found = read_usage(payload)
        if found is not None and worker in self._metered:
            provider, model = self._models[worker]
            self._budget.used_before(worker, provider, model, found[1])

    def _reserve(self, worker: str, request: Request) -> None:
        try:
            asked = _decode_reserve(request.arguments)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            self._send(worker, failed(request.id, f"this is no reservation: {error}"))
            return
        call = (asked.provider, asked.model, asked.prompt_tokens, asked.max_tokens)
        self._answer(self._budget.reserve(Reserve(worker, request.id, *call, self._thinking[worker])))

    def _settle(self, worker: str, request: Request) -> None:
        used: Tokens | Literal["all"] | None = "all"
        try:
            said = _decode_used(request.arguments)
            used = Tokens(*msgspec.structs.astuple(said)) if isinstance(said, _Used) else said
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            self._out.note("warning", "budget.misread", worker=worker, detail=f"this is no settlement: {error}")
        answers = self._budget.settle(worker, request.id, used)
        if answers is None:
            detail = f"nothing is reserved under the id {request.id.decode()}"
            self._out.note("warning", "budget.misread", worker=worker, detail=detail)
            return
        self._answer(answers)

    def _answer(self, answers: Iterable[Answer]) -> None:
        for answer in answers:
            if isinstance(answer, Granted):
                content = encode_json({"max_tokens": answer.max_tokens})
                self._send(answer.worker, result(answer.id, content))
            else:
                self._send(answer.worker, failed(answer.id, answer.error))
        self._warn()

    def _send(self, worker: str, response: bytes) -> None:
        self._told.add(worker)
        self._out.do(Send(worker, "tool_resp", encode(Data("fabric", response))))

    def _warn(self) -> None:
        """Say once of each limit that it comes near."""
        status = self._budget.status
        limits = status.limits
        shares = (("calls", status.calls, limits.calls), ("tokens", status.tokens, limits.tokens))
        for kind, used, limit in (*shares, ("usd", status.usd, limits.usd)):
            if limit is not None and used >= WARNED_AT * limit and kind not in self._warned:
                self._warned.add(kind)
                self._out.note("warning", "budget.warned", kind=kind, used=used, limit=limit)
