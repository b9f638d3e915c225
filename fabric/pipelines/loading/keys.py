"""What a pipeline's file may say: every key of every block. ``loading`` reads by it, ``emit`` writes it out."""

from __future__ import annotations

__all__ = [
    "CACHE",
    "EXECUTION",
    "JUDGE",
    "MEMBER",
    "MODEL",
    "OUTPUTS",
    "PRICING",
    "PROVIDERS",
    "RETRY_ON",
    "ROOT",
    "STEPS",
    "STEP_TYPES",
    "Key",
    "Kind",
    "step_keys",
]

from typing import Literal, TypeAlias

import msgspec

Kind: TypeAlias = Literal[
    "text",
    "words",  # a list of texts
    "integer",
    "integers",
    "number",
    "flag",
    "map",
    "list",
    "steps",  # a list of steps, or a single one
    "expression",
    "reference",
    "schema",
    "file",
    "any",
]


class Key(msgspec.Struct, frozen=True):
    """A key of a block.

    Attributes:
        says: what it means, in a sentence; editors show it.
        least: numbers are not below it; with ``above``, not equal to it either.
    """

    name: str
    kind: Kind
    says: str
    required: bool = False
    choices: tuple[str, ...] = ()
    least: float | None = None
    above: bool = False


STEP_TYPES = ("llm", "ensemble", "transform", "validate", "io", "http", "parallel", "condition")
PROVIDERS = ("openai_compat", "anthropic", "mock")
RETRY_ON = ("parse", "schema", "timeout", "http_error", "rate_limit")

ROOT = (
    Key("models", "map", "Models by name; steps say which one they ask."),
    Key("steps", "list", "What is done, in order."),
    Key("parsers", "map", "Functions that read answers, by name: module:function."),
    Key("outputs", "map", "Where values are written after a run that did not fail."),
    Key("execution", "map", "How a run goes: what runs at once, where, and what it may cost."),
    Key("schema", "map", "A schema for the application; no step uses it by itself."),
    Key("schemas", "map", "Schemas for the application, by name; no step uses them by itself."),
)

_SAMPLING = (
    Key("temperature", "number", "How freely the model draws; 0: hardly.", least=0),
    Key("top_p", "number", "Share of the likeliest tokens that are drawn from.", least=0),
    Key("max_tokens", "integer", "Tokens of an answer at most.", least=1),
    Key("seed", "integer", "Where drawing begins, so that it can be repeated."),
)

MODEL = (
    Key("provider", "text", "How the model is reached: openai_compat, anthropic, mock, or one that was registered."),
    Key("model", "text", "What its server calls it."),
    Key("base_url", "text", "Address of the server."),
    Key("api_key", "text", "Key of the server; ${NAME} takes it from the environment."),
    Key("timeout", "number", "Seconds that one question may take.", least=0, above=True),
    *_SAMPLING,
    Key("max_retries", "integer", "Questions more, if the server could not take one.", least=0),
    Key("retry_delay", "number", "Seconds before the first of them; each pause is twice the one before.", least=0),
    Key("extra_params", "map", "Parameters that go into the request as they are."),
    Key("json_mode", "any", "Whether the server is asked for JSON: true, false or auto."),
    Key("required", "flag", "Whether its steps fail when its environment is not set; otherwise they give null."),
    Key("pricing", "map", "US dollars for 1,000 tokens."),
    Key("cache", "map", "Answers that are kept for the next run."),
    Key("mock_responses", "any", "What a mock answers, in order; the last one is repeated."),
    Key("responses", "any", "The same as mock_responses."),
    Key("response", "any", "What a mock answers, always."),
)

CACHE = (
    Key("enabled", "flag", "Whether answers are kept."),
    Key("dir", "text", "Where, from the working directory."),
    Key("ttl_days", "number", "Days for which an answer is taken.", least=0),
)

PRICING = (
    Key("input_per_1k", "number", "US dollars for 1,000 tokens of questions.", least=0),
    Key("output_per_1k", "number", "US dollars for 1,000 tokens of answers.", least=0),
)

OUTPUTS = (
    Key("dir", "text", "Directory, from the working directory; expressions may stand in it."),
    Key("final_as", "text", "Name of a file for the last value that is not null."),
)

EXECUTION = (
    Key("mode", "text", "dataflow: steps that do not need each other run at once.", choices=("dataflow", "sequential")),
    Key("speculate", "flag", "Whether a step may begin before all in front of it have succeeded."),
    Key("max_concurrency", "integer", "Questions, requests and functions under way at once.", least=1),
    Key("place", "text", "local: in this process; fabric: in workers.", choices=("local", "fabric")),
    Key("budget_usd", "number", "No model is asked when so many US dollars are spent.", least=0),
)

_STEP = (
    Key("name", "text", "Name of the step; others read steps.NAME.", required=True),
    Key("type", "text", "What the step does.", choices=STEP_TYPES),
    Key("condition", "expression", "The step is skipped unless this holds."),
    Key(
        "on_error",
        "text",
        "What becomes of the run if the step fails.",
        choices=("raise", "continue", "skip_remaining"),
    ),
    Key("on_failure", "reference", "module:function, called with the name, the exception and the context."),
    Key("required", "flag", "Inside of parallel: whether that fails when this step fails."),
    Key("optional", "flag", "The opposite of required."),
    Key("save", "any", "false: no file; a text: the name of the file."),
    Key("place", "text", "Where it is carried out, other than the rest.", choices=("local", "fabric")),
    Key("worker", "text", "With place: fabric, the worker that carries it out."),
)

_ATTEMPTS = (
    Key("max_attempts", "integer", "Questions at most; 3 with a schema, 1 without.", least=1),
    Key("error_feedback", "flag", "Whether the model is told what was wrong."),
    Key("retry_hint", "text", "Is added to what it is told."),
    Key("retry_on", "words", "What is asked again for.", choices=RETRY_ON),
    Key("schema_strict", "flag", "Whether an answer that the schema does not like is asked for again."),
    Key("max_feedback_tokens", "integer", "Characters of its own answer that it is shown at most.", least=0),
    Key("error_template", "file", "Template that writes the feedback."),
)

_PROMPT = (
    Key("prompt", "file", "Template of the question, from the directory of this file."),
    Key("prompt_string", "text", "The question, word for word."),
    Key("system", "text", "In front of the question: a text, or the name of a template."),
    Key("vars", "map", "Variables of the templates."),
    *_ATTEMPTS,
    *_SAMPLING,
    Key("extra_params", "map", "Parameters that go into the request as they are, over those of the model."),
    Key("max_prompt_tokens", "integer", "No longer question is asked; a token is taken for four characters.", least=1),
    Key("inject_vocab_prompt", "flag", "Whether the terms of vocabularies are added to the question."),
)

_MODEL_OF_STEP = Key("model", "text", "A name of models.", required=True)
_SCHEMA = Key("schema", "schema", "module:Class, a map of fields, or {$ref: FILE}.")

_LLM = (
    _MODEL_OF_STEP,
    _SCHEMA,
    Key("parser", "reference", "module:function, or a name of parsers: reads the answer."),
    *_PROMPT,
)

_FUNCTION = (
    Key("fn", "reference", "module:function to call.", required=True),
    Key("inputs", "map", "Its keyword arguments."),
)

_VALIDATE = (
    Key("fn", "reference", "module:function; the step fails unless it gives something true."),
    Key("inputs", "map", "Its keyword arguments."),
)

_HTTP = (
    Key("url", "text", "Address.", required=True),
    Key("method", "text", "GET, POST, …"),
    Key("headers", "map", "Headers of the request."),
    Key("params", "map", "Parameters of the query."),
    Key("body", "any", "Body of the request, sent as JSON."),
    Key("timeout_seconds", "number", "Seconds that the request may take.", least=0, above=True),
    Key("retries", "integer", "Requests more, after errors of the network and status 500 and above.", least=0),
    Key("backoff_seconds", "number", "Seconds before the first of them; each pause is twice the one before.", least=0),
    Key("expected_status", "integers", "Status that is taken; without it, any from 200 to 299."),
    Key("response_format", "text", "What the step gives.", choices=("json", "raw", "full")),
)

_PARALLEL = (Key("steps", "steps", "Steps that run at once.", required=True),)

_CONDITION = (
    Key("if", "expression", "Which branch is carried out.", required=True),
    Key("then", "steps", "If it holds."),
    Key("else", "steps", "If it does not."),
)

_ENSEMBLE = (
    Key("members", "list", "Who is asked.", required=True),
    Key("judge", "map", "Who merges what they say."),
    _SCHEMA,
    *_PROMPT,
)

MEMBER = (
    _MODEL_OF_STEP,
    Key("name", "text", "Name of the member; without it, that of the model."),
    Key("required", "flag", "Whether the ensemble fails with it."),
    Key("optional", "flag", "The opposite of required."),
    *_PROMPT,
)

JUDGE = (
    _MODEL_OF_STEP,
    Key("condition", "text", "When it is asked.", choices=("all_succeeded", "any_succeeded")),
    *_PROMPT,
)

STEPS: dict[str, tuple[Key, ...]] = {
    "llm": _LLM,
    "ensemble": _ENSEMBLE,
    "transform": _FUNCTION,
    "io": _FUNCTION,
    "validate": _VALIDATE,
    "http": _HTTP,
    "parallel": _PARALLEL,
    "condition": _CONDITION,
}


def step_keys(kind: str) -> tuple[Key, ...]:
    """Return all keys of a type of step."""
    return (*_STEP, *STEPS[kind])
