"""A program as a model of Pydantic AI.

    async with PlumbingModel("pipeline.plumb") as model:
        agent = Agent(model)
        result = await agent.run("hello")

The program says itself what its agents are told, what they may call and how warm they are. So what an agent of Pydantic
AI would have to say to a model is refused: system prompts and instructions, tools, outputs other than text, settings,
messages that are not text, and feedback ("try again"), which would be one more thing that a user said. Each is a
:class:`PlumbingModelError`.

One program runs for as long as the model is open, and remembers the conversation as its own agents do. The history
that Pydantic AI keeps is not sent, unless ``pass_history`` asks for it. Requests are taken one at a time, in the order
in which they come. An answer is there when nothing that the message brought about is left to be done.
"""

from __future__ import annotations

__all__ = ["PlumbingModel"]

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import anyio
import anyio.to_thread
import msgspec

from fabric.client import CheckResult, Pipeline, check, run
from fabric.client.approving import Approve
from fabric.client.arguments import folders_of
from fabric.client.results import Spec
from fabric.errors import PipelineError, PlumbingModelError
from fabric.lang.source import Source
from fabric.wire.payload import STRING, Field, ListOf, Record, show
from fabric.wire.relations import is_subtype

try:
    from pydantic_ai import RunContext
    from pydantic_ai.messages import (
        ModelMessage,
        ModelRequest,
        ModelResponse,
        ModelResponseStreamEvent,
        TextPart,
        ThinkingPart,
        UserPromptPart,
    )
    from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse
    from pydantic_ai.settings import ModelSettings
    from pydantic_ai.usage import RequestUsage
except ModuleNotFoundError as _error:
    if _error.name is None or _error.name.partition(".")[0] != "pydantic_ai":
        raise
    raise ModuleNotFoundError(
        "fabric.provider needs Pydantic AI: pip install 'plumb-fabric[pydantic-ai]'", name="pydantic_ai"
    ) from None

CONVERSATION = ListOf(Record((Field("role", STRING), Field("content", STRING))))
"""How a history is sent to a program that does not take a text; roles are ``user`` and ``assistant``."""

_KEPT_BY_PYDANTIC_AI = frozenset(["request_timeout", "first_event_timeout", "framing_announcement"])
"""Settings that are not for the model."""


class _Turn(msgspec.Struct, frozen=True):
    """What somebody said. ``role``: ``user`` or ``assistant``."""

    role: str
    content: str


class PlumbingModel(Model[Any]):
    """A program of type ``!string -> !string`` as a model; ``async with`` it. It may be opened again when it is closed.

    Args:
        program: as for :func:`fabric.run`.
        pass_history: send the whole conversation with every turn, instead of the last message. A program that takes
            ``string`` gets a transcript; one that takes ``[{ role: string, content: string }]`` or ``json`` gets that.
        auto_approve, search_path, binary, env, approve: as for :func:`fabric.run`.
    """

    def __init__(
        self,
        program: Spec,
        pass_history: bool = False,
        auto_approve: bool = False,
        search_path: Iterable[str | Path] | None = None,
        binary: str | None = None,
        env: Mapping[str, str] | None = None,
        *,
        approve: Approve | None = None,
    ) -> None:
        super().__init__()
        self._program = program
        self._pass_history = pass_history
        self._auto_approve = auto_approve
        self._folders = folders_of(search_path)
        self._binary = binary
        self._env = env
        self._approve = approve
        self._opened = 0
        self._opening = anyio.Lock()
        self._pipeline: Pipeline | None = None
        self._turns: anyio.Lock
        self._as_list = False

    @property
    def model_name(self) -> str:
        """The name of the program's file, without its ending."""
        return Path(self._program.path if isinstance(self._program, Source) else self._program).stem

    @property
    def system(self) -> str:
        """Who answers."""
        return "fabric"

    # --- its program ---

    async def __aenter__(self) -> PlumbingModel:
        """Start the program.

        Raises:
            CheckError, RunError: it cannot be started.
            PlumbingModelError: it does not take and give text.
        """
        async with self._opening:  # whoever comes second waits until the program runs, or starts it himself
            if not self._opened:  # else it is an agent's that is itself opened
                await self._start()
            self._opened += 1
        return self

    async def _start(self) -> None:
        checked = partial(check, self._program, self._folders, env=self._env)
        self._as_list = _takes_a_list(await anyio.to_thread.run_sync(checked), self._pass_history)
        self._turns = anyio.Lock()
        self._pipeline = await run(
            self._program,
            auto_approve=self._auto_approve,
            verbose=False,
            search_path=self._folders,
            binary=self._binary,
            env=self._env,
            approve=self._approve,
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the program."""
        self._opened -= 1
        if self._opened == 0 and self._pipeline is not None:
            pipeline, self._pipeline = self._pipeline, None
            await pipeline.__aexit__(kind, error, trace)

    # --- what Pydantic AI asks ---

    def prepare_messages(
        self, messages: list[ModelMessage], model_request_parameters: ModelRequestParameters | None = None
    ) -> list[ModelMessage]:
        """Leave them as they are: what is explained to models there would be words of the user to a program."""
        return messages

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """Send a turn, and return the answer. Several outputs are paragraphs of it."""
        text = await self._answer(messages, model_settings, model_request_parameters)
        return ModelResponse(
            [TextPart(text)], usage=_unmeasured(), model_name=self.model_name, provider_name=self.system
        )

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        """Do as :meth:`request`; the answer comes in one piece."""
        text = await self._answer(messages, model_settings, model_request_parameters)
        yield _Answer(model_request_parameters, text, self.model_name, self.system)

    async def _answer(
        self,
        messages: Sequence[ModelMessage],
        settings: ModelSettings | None,
        parameters: ModelRequestParameters,
    ) -> str:
        _refuse_parameters(parameters)
        _refuse_settings({**(self.settings or {}), **(settings or {})})
        message = self._message(messages)
        pipeline = self._pipeline
        if pipeline is None:
            raise PlumbingModelError(
                f"the program {self.model_name} does not run: use its model inside of"
                " `async with PlumbingModel(...) as model:`"
            )
        try:
            async with self._turns:
                outputs = await pipeline.call(message)
        except PipelineError as error:
            raise PlumbingModelError(f"{self.model_name}: {error.detail}", error) from error
        if not outputs:
            raise PlumbingModelError(f"{self.model_name} gave no output for this message, and a model has to answer")
        return "\n\n".join(outputs)

    def _message(self, messages: Sequence[ModelMessage]) -> Any:
        """Return what is sent to the program.

        Raises:
            PlumbingModelError: it cannot be sent.
        """
        if not self._pass_history:
            (turn,) = _turns_of(messages[-1:])
            if not turn.content:
                raise PlumbingModelError("there is nothing to send to the program: the last message has no text")
            return turn.content
        turns = [turn for message in messages for turn in _turns_of([message])]
        if self._as_list:
            return [{"role": turn.role, "content": turn.content} for turn in turns]
        return "\n\n".join(f"{turn.role.capitalize()}: {turn.content}" for turn in turns)


def _takes_a_list(result: CheckResult, pass_history: bool) -> bool:
    """Say whether a program takes a conversation as a list.

    Raises:
        PlumbingModelError: it does not take and give text.
    """
    module = result.compiled.module
    main = module.bindings[module.main]
    inputs = [port.type for port in main.inputs]
    outputs = [port.type for port in main.outputs if port.name not in ("ctrl_out", "telemetry")]
    (binding,) = (binding for binding in result.bindings if binding.name == result.main)
    has = f"'{binding.name}' is of type {binding.input} -> {binding.output}"
    if len(inputs) != 1 or len(outputs) != 1:
        raise PlumbingModelError(f"a model has one input and one output, !string -> !string; {has}")
    if not is_subtype(outputs[0], STRING):
        raise PlumbingModelError(
            f"a model answers with a text, and this program's output is {show(outputs[0])}: make it a string, as with"
            f" map(field); {has}"
        )
    (given,) = inputs
    if pass_history and is_subtype(CONVERSATION, given):
        return True
    if is_subtype(STRING, given):
        return False
    wanted = f"string, {show(CONVERSATION)} or json" if pass_history else "string"
    raise PlumbingModelError(f"a model has to take {wanted}; {has}")


def _unmeasured() -> RequestUsage:
    """Return the usage of a request of which it is not known: agents tell theirs a little later, or not at all."""
    usage = RequestUsage()
    if hasattr(usage, "unmeasured_requests"):  # older ones do not count them
        usage.unmeasured_requests = 1
    return usage


# --- what cannot be asked -----------------------------------------------------------------------------------------


def _refuse_parameters(parameters: ModelRequestParameters) -> None:
    if parameters.output_tools or parameters.output_mode != "text" or not parameters.allow_text_output:
        raise PlumbingModelError(
            "an agent on a program answers with text: leave out output_type, or call the program itself, with"
            " fabric.types.output_type for its outputs"
        )
    tools = [*(tool.name for tool in parameters.function_tools), *(tool.kind for tool in parameters.native_tools)]
    if tools:
        raise PlumbingModelError(
            f"the program says what its agents may call; these tools would not be: {', '.join(tools)}"
        )
    if parameters.instruction_parts:
        raise _system_prompt()


def _refuse_settings(settings: Mapping[str, Any]) -> None:
    names = sorted(name for name in settings if name not in _KEPT_BY_PYDANTIC_AI)
    if names:
        raise PlumbingModelError(
            f"the program says how its agents ask their models; model settings would change nothing: {', '.join(names)}"
        )


def _system_prompt() -> PlumbingModelError:
    return PlumbingModelError(
        "the program has the prompts of its agents: leave out system_prompt and instructions, or write them into the"
        " program"
    )


def _turns_of(messages: Iterable[ModelMessage]) -> Iterator[_Turn]:
    """Give what was said in messages.

    Raises:
        PlumbingModelError: something else is in them.
    """
    for message in messages:
        if isinstance(message, ModelRequest):
            yield _Turn("user", "\n\n".join(_asked(message)))
        else:
            yield _Turn("assistant", "\n\n".join(_answered(message)))


def _asked(request: ModelRequest) -> Iterator[str]:
    if request.instructions:
        raise _system_prompt()
    for part in request.parts:
        if isinstance(part, UserPromptPart):
            yield from _texts(part)
        elif part.part_kind in ("system-prompt", "instruction-baseline", "instruction-delta"):
            raise _system_prompt()
        elif part.part_kind in ("retry-prompt", "retry-feedback"):
            raise PlumbingModelError("a program cannot be asked to try again: it would take that for the next message")
        else:
            raise PlumbingModelError(f"a program is sent the user's words; this request has a part '{part.part_kind}'")


def _texts(prompt: UserPromptPart) -> Iterator[str]:
    for item in [prompt.content] if isinstance(prompt.content, str) else prompt.content:
        if isinstance(item, str):
            yield item
        elif isinstance(text := getattr(item, "content", None), str):  # a text that somebody put a note to
            yield text
        elif getattr(item, "kind", None) != "cache-point":
            raise PlumbingModelError(f"a program is sent text; this message has a {type(item).__name__}")


def _answered(response: ModelResponse) -> Iterator[str]:
    for part in response.parts:
        if isinstance(part, TextPart):
            yield part.content
        elif not isinstance(part, ThinkingPart):  # which is not said to anybody
            raise PlumbingModelError(f"a conversation is made of text; this one has a part '{part.part_kind}'")


@dataclass
class _Answer(StreamedResponse):
    """An answer that is there already, as a stream."""

    text: str
    name: str
    provider: str
    at: datetime = field(default_factory=lambda: datetime.now(timezone.utc))  # noqa: UP017

    async def _get_event_iterator(self) -> AsyncIterator[ModelResponseStreamEvent]:
        self._usage = _unmeasured()
        yield self._parts_manager.handle_part(vendor_part_id=None, part=TextPart(self.text))

    @property
    def model_name(self) -> str:
        return self.name

    @property
    def provider_name(self) -> str:
        return self.provider

    @property
    def provider_url(self) -> None:
        return None

    @property
    def timestamp(self) -> datetime:
        return self.at
