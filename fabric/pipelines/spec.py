"""A pipeline as data: what ``loading`` makes of the files and ``runner`` carries out. Nothing here changes in a run.

Steps know each other by name. Names of the steps inside of a step are those of the pipeline, too, except that the two
branches of a ``condition`` may share them.
"""

from __future__ import annotations

__all__ = [
    "Attempts",
    "CacheSpec",
    "ConditionStep",
    "EnsembleStep",
    "Execution",
    "FunctionStep",
    "HttpStep",
    "Judge",
    "LlmStep",
    "Mark",
    "Member",
    "ModelSpec",
    "Outputs",
    "ParallelStep",
    "Pipeline",
    "Reference",
    "Sampling",
    "Step",
    "StepBase",
    "children_of",
    "has_effects",
    "substeps",
]

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import msgspec

from fabric.pipelines.expressions.expression import Bound, Expression
from fabric.pipelines.prompt import Prompt
from fabric.pipelines.schemas.schema import Schema
from fabric.pipelines.vocab import Vocabulary

OnError: TypeAlias = Literal["raise", "continue", "skip_remaining"]
Place: TypeAlias = Literal["local", "fabric"]

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")  # of HTTP: they ask, and change nothing

_NONE: Mapping[str, Any] = MappingProxyType({})


class Mark(msgspec.Struct, frozen=True):
    """A place in a file.

    Attributes:
        file: its path, as it was given.
        line, column: counted from 1; ``None``: the file as a whole.
        key_path: the same place as keys: ``steps[2](extract).inputs.x``.
    """

    file: str
    line: int | None = None
    column: int | None = None
    key_path: str = ""


class Reference(msgspec.Struct, frozen=True):
    """A function of the user's: ``module:function``, imported when the pipeline is loaded.

    Attributes:
        text: as it is written.
        function: what it names.
    """

    text: str
    function: Callable[..., Any]


class Sampling(msgspec.Struct, frozen=True):
    """How a model draws; ``None``: the model's own way, and nothing is sent."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None

    def over(self, other: Sampling) -> Sampling:
        """Return what is said here and, where nothing is said, what the other says."""
        own = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}
        return msgspec.structs.replace(other, **own)


class CacheSpec(msgspec.Struct, frozen=True):
    """Answers that are kept for the next run. A relative directory is one of the working directory."""

    enabled: bool = False
    dir: str = ".pyconveyor-cache"
    ttl_days: float | None = None


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A model and how it is reached.

    Attributes:
        name: its key in ``models``.
        provider: ``openai_compat``, ``anthropic``, ``mock`` or one that was registered.
        model: what its server calls it.
        timeout_s: of one question.
        max_retries, retry_delay_s: of questions that a server could not take; each pause is twice the one before.
        extra_params: go into the request as they are.
        required: whether steps of it fail if its environment is not set; otherwise they give ``None``.
        missing: variables of the environment that its block names, without a default, and that are not set.
        prices: US dollars for 1,000 tokens: ``input_per_1k``, ``output_per_1k``; empty: the table of prices is asked.
        replies: of a mock, played in this order; the last one is repeated.
        block: all of its keys as they are in the file, for providers that were registered.
    """

    name: str
    provider: str = "openai_compat"
    model: str = ""
    base_url: str | None = None
    api_key: str | None = None
    timeout_s: float = 120.0
    sampling: Sampling = Sampling()
    max_retries: int = 2
    retry_delay_s: float = 1.0
    extra_params: Mapping[str, Any] = _NONE
    json_mode: bool | Literal["auto"] = "auto"
    required: bool = True
    missing: tuple[str, ...] = ()
    prices: Mapping[str, float] = _NONE
    cache: CacheSpec = CacheSpec()
    replies: tuple[str, ...] = ('{"result": "mock"}',)
    block: Mapping[str, Any] = _NONE
    mark: Mark = Mark("")


class Attempts(msgspec.Struct, frozen=True, kw_only=True):
    """When a model is asked again, and what it is told then.

    Attributes:
        max_attempts: questions at most.
        error_feedback: whether it is told what was wrong.
        retry_hint: is added to that.
        retry_on: of ``parse``, ``schema``, ``timeout``, ``http_error``, ``rate_limit``.
        schema_strict: whether what the schema does not like is asked for again.
        feedback_chars_max: of its own answer that it is shown.
        error_template: writes the feedback instead of us.
    """

    max_attempts: int = 1
    error_feedback: bool = False
    retry_hint: str = ""
    retry_on: tuple[str, ...] = ("parse", "schema")
    schema_strict: bool = True
    feedback_chars_max: int = 4_000
    error_template: Prompt | None = None


class StepBase(msgspec.Struct, frozen=True, kw_only=True):
    """What all steps have.

    Attributes:
        condition: the step is skipped unless it holds; for a ``validate`` step: the step fails unless it holds.
        on_error: what becomes of the run if the step fails.
        on_failure: is called with the step's name, the exception and the RunContext.
        required: of a step inside of ``parallel``: whether that fails with it.
        save: file below the directory of ``outputs``; ``True``: by its name; ``False``: none.
        place: where it is carried out; ``None``: where the run says.
        worker: with ``place: fabric``, the name of the worker that carries it out.
    """

    name: str
    mark: Mark
    condition: Expression | None = None
    on_error: OnError = "raise"
    on_failure: Reference | None = None
    required: bool = True
    save: bool | str = True
    place: Place | None = None
    worker: str = "steps"


class LlmStep(StepBase, frozen=True, kw_only=True):
    """Asks a model.

    Attributes:
        model: a key of ``models``.
        prompt: an empty one if the file says none; ``None``: what it says is not there. Both are warned of.
        absent_prompt: the name of the file that is not there; asking fails.
        system: in front of it.
        schema: what the answer has to be; ``None``: whatever can be read.
        parser: reads the answer; ``None``: the JSON in it.
        vars: variables of the templates.
        sampling: over that of the model.
        extra_params: over those of the model.
        max_prompt_tokens: no model is asked with a longer one.
        inject_vocab_prompt: whether terms of vocabularies are added to the prompt.
    """

    model: str
    prompt: Prompt | None = None
    absent_prompt: str | None = None
    system: Prompt | None = None
    schema: Schema | None = None
    parser: Reference | None = None
    vars: Bound | None = None
    attempts: Attempts = Attempts()
    sampling: Sampling = Sampling()
    extra_params: Mapping[str, Any] = _NONE
    max_prompt_tokens: int | None = None
    inject_vocab_prompt: bool = True


class FunctionStep(StepBase, frozen=True, kw_only=True):
    """Calls a function with ``inputs`` as keyword arguments.

    ``io`` may have effects. ``validate`` fails if what it gives is not true; without a function its condition decides.
    """

    kind: Literal["transform", "io", "validate"]
    function: Reference | None = None
    inputs: Bound | None = None


class HttpStep(StepBase, frozen=True, kw_only=True):
    """Asks a web server.

    Attributes:
        method: in capitals; empty if it is an expression: ``request`` has a ``method`` then.
        request: ``url``, ``headers``, ``params`` and ``body`` as they are in the file; what it does not say is absent.
        expected_status: ``None``: any from 200 to 299.
    """

    method: str = "GET"
    request: Bound
    timeout_s: float = 30.0
    retries: int = 2
    backoff_s: float = 0.5
    expected_status: tuple[int, ...] | None = None
    response_format: Literal["json", "raw", "full"] = "json"


class ParallelStep(StepBase, frozen=True, kw_only=True):
    """Carries out steps at once; gives their values by name, in the order in which they are declared."""

    steps: tuple[Step, ...]


class ConditionStep(StepBase, frozen=True, kw_only=True):
    """Carries out one of two branches, in order; gives the last value of it."""

    decides: Expression
    then: tuple[Step, ...] = ()
    otherwise: tuple[Step, ...] = ()


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """Who is asked by an ensemble. ``ask`` is its own step, named ``ens.member``; what it does not say is shared."""

    name: str
    required: bool
    ask: LlmStep


class Judge(msgspec.Struct, frozen=True, kw_only=True):
    """Who merges what the members say. ``ask`` is named ``ens._judge``; without a prompt of its own it has ours."""

    decides: Literal["all_succeeded", "any_succeeded"]
    ask: LlmStep
    own_prompt: bool


class EnsembleStep(StepBase, frozen=True, kw_only=True):
    """Asks several models at once, and perhaps another one to merge what they say."""

    members: tuple[Member, ...]
    judge: Judge | None = None
    schema: Schema | None = None


Step: TypeAlias = LlmStep | FunctionStep | HttpStep | ParallelStep | ConditionStep | EnsembleStep


def children_of(step: Step) -> Sequence[Step]:
    """Return the steps of which one consists, in the order in which they are declared."""
    if isinstance(step, ParallelStep):
        return step.steps
    return (*step.then, *step.otherwise) if isinstance(step, ConditionStep) else ()


def substeps(step: Step) -> Iterator[Step]:
    """Return all steps inside of one, outer before inner, in the order in which they are declared."""
    for child in children_of(step):
        yield child
        yield from substeps(child)


def has_effects(step: Step) -> bool:
    """Whether a step itself does something that must not be done twice, nor in vain."""
    if isinstance(step, FunctionStep):
        return step.kind == "io"
    return isinstance(step, HttpStep) and step.method.upper() not in _SAFE_METHODS


class Outputs(msgspec.Struct, frozen=True, kw_only=True):
    """Where values are written after a run that did not fail.

    Attributes:
        dir: relative to the working directory.
        final_as: name of a file with the last value that is not ``None``.
    """

    dir: Bound
    final_as: str | None = None
    mark: Mark = Mark("")


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """How a run goes, if its caller does not say otherwise.

    Attributes:
        mode: ``dataflow``: steps that do not need each other run at once; ``sequential``: one after the other.
        speculate: whether a step may be begun before all steps in front of it have succeeded.
        max_concurrency: questions, requests and functions under way at once.
        place: of steps that do not say it.
        budget_usd: no model is asked when so much is spent.
    """

    mode: Literal["dataflow", "sequential"] = "dataflow"
    speculate: bool = True
    max_concurrency: int = 16
    place: Place = "local"
    budget_usd: float | None = None


class Pipeline(msgspec.Struct, frozen=True, kw_only=True):
    """A pipeline.

    Attributes:
        path: of its file.
        vocabularies: by file name, by label too where no file has that name.
        warnings: what is odd about the files, each with its place.
        environment: as it was when the files were read, ``.env`` beside them included.
        env: what expressions and templates may read of it, and what workers elsewhere are given: what the files name
            literally, ``${NAME}`` and ``env.NAME``.
    """

    path: Path
    models: Mapping[str, ModelSpec]
    steps: tuple[Step, ...]
    outputs: Outputs | None = None
    vocabularies: Mapping[str, Vocabulary] = _NONE
    execution: Execution = Execution()
    warnings: tuple[str, ...] = ()
    environment: Mapping[str, str] = _NONE
    env: Mapping[str, str] = _NONE

    def at(self, place: Place | None) -> Pipeline:
        """Return it with steps carried out there that do not say where; ``None``: where the file says."""
        if place is None:
            return self
        execution = msgspec.structs.replace(self.execution, place=place)
        return msgspec.structs.replace(self, execution=execution)
