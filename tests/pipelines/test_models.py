"""Models are asked: mocks, providers that were registered, servers; answers are kept, and cost."""

from __future__ import annotations

import json
import math
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import openai
import pytest
import trio
from pydantic import BaseModel, field_validator

from fabric.errors import ConfigError
from fabric.pipelines.asking.attempts import RETRY_AFTER_S_MAX
from fabric.pipelines.asking.clients import CLIENTS_MAX, Clients, register_provider, stateful_identity
from fabric.pipelines.asking.models import open_models
from fabric.pipelines.asking.prices import Pricing
from fabric.pipelines.errors import BudgetExceeded, ParseError, SchemaValidationError
from fabric.pipelines.prompt import Prompt
from fabric.pipelines.schemas.schema import map_schema, model_schema
from fabric.pipelines.spec import Attempts, CacheSpec, LlmStep, Mark, ModelSpec, Reference, Sampling
from fabric.pipelines.work import Done, LlmWork
from fabric.testing import Answer, Failure, Text, scripted_model
from fabric.testing.models import ScriptedModel
from plumb_agent.providers import ProviderFailed

ASK = [{"role": "user", "content": "Extract."}]
A = map_schema("A", {"a": "int"}, {})


def step(**said: Any) -> LlmStep:
    return LlmStep(**{"name": "x", "mark": Mark("p.yaml"), "model": "m", "schema": A} | said)


def rules(**said: Any) -> Attempts:
    return Attempts(**{"max_attempts": 3, "error_feedback": True} | said)


def mock(*replies: str, **said: Any) -> ModelSpec:
    return ModelSpec(**{"name": "m", "provider": "mock", "model": "mm", "replies": replies} | said)


def work(model: ModelSpec, **said: Any) -> LlmWork:
    parts = {name: said.pop(name) for name in tuple(said) if name in LlmWork.__dataclass_fields__}
    return LlmWork(**{"step": step(**said), "model": model, "messages": ASK} | parts)


async def perform(*works: LlmWork, clients: Clients | None = None, **environment: str) -> list[Done]:
    async with open_models(clients, environment=environment) as models:
        return [await models.perform(one) for one in works]


# --- Providers that were registered -----------------------------------------------------------------------------------


class Tape:
    """A client of OpenAI's shape. Plays replies; exceptions are raised."""

    def __init__(self, *replies: Any, usage: Any = None) -> None:
        self.replies = replies
        self.usage = usage
        self.calls: list[dict[str, Any]] = []
        self.made: list[dict[str, Any]] = []
        self.chat = SimpleNamespace(completions=self)

    def create(self, **arguments: Any) -> Any:
        self.calls.append(arguments)
        reply = self.replies[min(len(self.calls), len(self.replies)) - 1]
        if isinstance(reply, Exception):
            raise reply
        if callable(reply):
            reply = reply()
        choice = SimpleNamespace(message=SimpleNamespace(content=reply), finish_reason="stop")
        return SimpleNamespace(choices=[choice], usage=self.usage)


class Status(Exception):
    def __init__(self, status: int, retry_after: str | None = None) -> None:
        super().__init__(f"HTTP {status}")
        headers = {} if retry_after is None else {"Retry-After": retry_after}
        self.status_code = status
        self.response = SimpleNamespace(headers=headers, status_code=status)


class Registered:
    """Registers tapes by names that no other test has."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.count = 0

    def __call__(
        self, *replies: Any, concurrent: bool = False, usage: Any = None, **said: Any
    ) -> tuple[ModelSpec, Tape]:
        tape = Tape(*replies, usage=usage)
        self.count += 1
        name = f"{self.prefix}_{self.count}"

        @register_provider(name, concurrent=concurrent)
        def make(**keys: Any) -> Tape:
            tape.made.append(keys)
            return tape

        spec = ModelSpec(
            **{"name": "m", "provider": name, "model": "mm", "max_retries": 0, "retry_delay_s": 0.0} | said
        )
        return spec, tape


@pytest.fixture
def registered(request: pytest.FixtureRequest) -> Registered:
    return Registered(request.node.name)


@pytest.fixture
def server() -> Iterator[Callable[[Any], ScriptedModel]]:
    with scripted_model() as model:
        yield lambda script: model.on(script)


def served(server: ScriptedModel, provider: str = "openai_compat", **said: Any) -> ModelSpec:
    known = {"name": "m", "provider": provider, "model": "mm", "base_url": server.url, "retry_delay_s": 0.0}
    return ModelSpec(**known | said)


# --- Mocks ------------------------------------------------------------------------------------------------------------


async def test_a_mock_plays_its_replies_and_repeats_the_last() -> None:
    """Where it goes on is said by the work, so it keeps nothing from run to run."""
    model = mock('{"a": 1}', '{"a": 2}')
    done = await perform(*(work(model, reply_number=number) for number in (0, 1, 2)))
    assert [one.value.a for one in done] == [1, 2, 2]
    assert [one.replies for one in done] == [1, 1, 1]


async def test_a_mock_that_is_asked_again_plays_the_next_reply() -> None:
    """A parse error, a schema error, an answer: three attempts, with what was wrong in each."""
    (done,) = await perform(work(mock("no", '{"a": "b"}', '{"a": 3}'), attempts=rules()))
    assert done.value.a == 3
    assert done.replies == 3
    assert [(log.status, log.raw_output) for log in done.attempts] == [
        ("parse_error", "no"),
        ("schema_error", '{"a": "b"}'),
        ("success", '{"a": 3}'),
    ]
    assert done.attempts[1].errors[0].startswith("a: ")
    assert [log.cost_usd for log in done.attempts] == [0.0, 0.0, 0.0]


async def test_the_last_error_is_that_of_the_step() -> None:
    """Exhaustion is a ParseError or a SchemaValidationError, and the attempts stay."""
    unread, invalid = await perform(work(mock("no"), attempts=rules()), work(mock("{}"), attempts=rules()))
    assert isinstance(unread.error, ParseError)
    assert isinstance(invalid.error, SchemaValidationError)
    assert invalid.error.validation_error is not None
    assert len(unread.attempts) == len(invalid.attempts) == 3


async def test_without_a_schema_the_value_is_what_was_read() -> None:
    """Any JSON is a value then."""
    (done,) = await perform(work(mock("[1]"), schema=None))
    assert done.value == [1]


async def test_a_parser_reads_in_place_of_us() -> None:
    """Its result goes to the schema; what it raises is a parse error that names it."""
    unwrap = Reference("steps:unwrap", lambda raw: json.loads(raw)["data"])
    good, bad = await perform(*(work(mock(text), parser=unwrap) for text in ('{"data": {"a": 5}}', "{}")))
    assert good.value.a == 5
    assert isinstance(bad.error, ParseError)
    assert "steps:unwrap" in str(bad.error)
    assert isinstance(bad.error.__cause__, KeyError)


async def test_a_schema_that_is_not_strict_lets_pass() -> None:
    """The value is the parsed dict; what is wrong with it is kept, and said."""
    (done,) = await perform(work(mock('{"a": "b"}'), attempts=rules(schema_strict=False)))
    assert done.value == {"a": "b"}
    assert len(done.attempts) == 1
    assert done.attempts[0].status == "success"
    assert done.attempts[0].errors[0].startswith("a: ")
    assert done.warnings[0].startswith("x: a: ")


async def test_without_a_strict_schema_the_value_is_a_map() -> None:
    """Also where the answer is what the schema wants: nobody has to look which of the two it is."""
    (done,) = await perform(work(mock('{"a": 1, "more": 2}'), attempts=rules(schema_strict=False)))
    assert done.value == {"a": 1, "more": 2}
    assert (done.warnings, done.attempts[0].errors) == ([], [])


async def test_a_validator_that_breaks_is_an_attempt_that_failed() -> None:
    """What a schema of the user's raises ends the step, not the run."""

    class Fragile(BaseModel):
        a: int

        @field_validator("a")
        @classmethod
        def look(cls, value: int) -> int:
            raise LookupError("no such table")

    (done,) = await perform(work(mock('{"a": 1}'), schema=model_schema(Fragile)))
    assert isinstance(done.error, SchemaValidationError)
    assert "no such table" in str(done.error)


# --- Registered -------------------------------------------------------------------------------------------------------


async def test_a_factory_gets_the_whole_block(registered: Registered) -> None:
    """Keys that only the provider knows, too; what it was not told to take it does not get."""
    block = {"provider": "p", "base_url": "http://b", "api_key": "k", "custom_field": 5}
    spec, tape = registered('{"a": 3}', base_url="http://b", api_key="k", block=block)
    (done,) = await perform(work(spec))
    assert done.value.a == 3
    assert tape.made == [{"base_url": "http://b", "api_key": "k", "model": "mm", "custom_field": 5}]


async def test_a_factory_without_keywords_gets_what_it_takes(registered: Registered) -> None:
    """One that was written for ``base_url`` and ``api_key`` alone goes on working."""
    spec, tape = registered('{"a": 3}')
    register_provider(spec.provider)(lambda base_url, api_key: tape)
    (done,) = await perform(work(spec))
    assert done.value.a == 3


async def test_a_client_is_made_once_for_each_way_to_reach_it(registered: Registered) -> None:
    """The same model over again is the same client; with another key it is another one."""
    spec, tape = registered('{"a": 3}', api_key="one")
    other = ModelSpec(name="m", provider=spec.provider, model="mm", api_key="two")
    clients = Clients()
    await perform(work(spec), work(spec), clients=clients)
    await perform(work(spec), work(other), clients=clients)
    assert [made["api_key"] for made in tape.made] == ["one", "two"]


async def test_clients_of_overrides_are_not_kept_for_ever(registered: Registered) -> None:
    """However many keys there are, so many clients; the one that was not asked for longest is made anew."""
    spec, tape = registered('{"a": 3}', api_key="own")
    clients = Clients()
    keys = ["own", *(f"{n}" for n in range(CLIENTS_MAX - 1)), "own", "one more", "own", "0"]
    await perform(*(work(msgspec.structs.replace(spec, api_key=key)) for key in keys), clients=clients)
    made = [made["api_key"] for made in tape.made]
    assert made == [*keys[:CLIENTS_MAX], "one more", "0"]


async def test_questions_that_were_left_alone_keep_no_others_waiting(registered: Registered) -> None:
    """More of them than trio has threads for, and more at once."""
    together = threading.Barrier(60, timeout=60.0)
    stuck, _ = registered(lambda: together.wait(), concurrent=True, timeout_s=0.01)
    later, _ = registered(lambda: (together.wait(), '{"a": 3}')[1], concurrent=True)
    async with open_models(environment={}) as models, trio.open_nursery() as nursery:
        for done in [await models.perform(work(stuck)) for _ in range(45)]:
            assert isinstance(done.error, TimeoutError)
        for _ in range(15):
            nursery.start_soon(models.perform, work(later))
    assert not together.broken


async def test_what_a_client_is_called_with(registered: Registered) -> None:
    """The step's sampling goes over the model's; what nobody says is not sent; further parameters go along."""
    spec, tape = registered('{"a": 3}', sampling=Sampling(temperature=0.5, seed=42), extra_params={"effort": "low"})
    await perform(work(spec, sampling=Sampling(temperature=0.0), extra_params={"user": "u"}))
    assert tape.calls == [
        {
            "model": "mm",
            "messages": ASK,
            "timeout": 120.0,
            "temperature": 0.0,
            "seed": 42,
            "effort": "low",
            "user": "u",
        }
    ]


async def test_feedback_is_a_turn_of_the_conversation(registered: Registered) -> None:
    """First the messages, then the answer, then what is wrong with it and the hint."""
    spec, tape = registered("z" * 500, '{"a": 3}')
    attempts = rules(feedback_chars_max=40, retry_hint="ONLY-JSON")
    await perform(work(spec, attempts=attempts))
    first, second = (call["messages"] for call in tape.calls)
    assert first == ASK
    assert [message["role"] for message in second] == ["user", "assistant", "user"]
    told = second[-1]["content"]
    assert "not valid JSON" in told
    assert "truncated" in told
    assert told.count("z") < 200
    assert told.endswith("ONLY-JSON")


async def test_places_in_feedback_are_paths(registered: Registered) -> None:
    """``entries[0].n`` says where in a list."""
    spec, tape = registered('{"entries": [{"n": "x"}]}', '{"entries": []}')
    schema = map_schema("S", {"entries": {"type": "list", "items": {"n": "int"}}}, {})
    (done,) = await perform(work(spec, schema=schema, attempts=rules()))
    assert done.error is None
    assert "- entries[0].n: " in tape.calls[1]["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("error", "category", "transient"),
    [
        (Status(429), "rate_limit", True),
        (Status(503), "http_error", True),
        (Status(408), "timeout", True),
        (Status(401), "error", False),
        (TimeoutError("slow"), "timeout", True),
        (ConnectionResetError("gone"), "http_error", True),
        (KeyError("bug"), "error", False),
    ],
    ids=str,
)
async def test_what_an_exception_of_a_client_means(
    registered: Registered, error: Exception, category: str, transient: bool
) -> None:
    """Its status decides, or what it is; what may pass is asked again, and what stays is the step's own exception."""
    spec, tape = registered(error, max_retries=1)
    (done,) = await perform(work(spec))
    assert done.error is error
    assert done.attempts[0].error_type == category
    assert len(tape.calls) == (2 if transient else 1)


async def test_a_named_category_makes_another_attempt(registered: Registered) -> None:
    """``retry_on: [rate_limit]``, with no retries of the transport."""
    spec, _ = registered(Status(429), '{"a": 3}')
    (done,) = await perform(work(spec, attempts=rules(retry_on=("parse", "schema", "rate_limit"))))
    assert done.value.a == 3
    assert [log.error_type for log in done.attempts] == ["rate_limit", None]


async def test_retry_after_is_waited_for(registered: Registered, autojump_clock: trio.testing.MockClock) -> None:
    """The server says 30 s, not our own 1 s."""
    # Without a deadline: threads are nothing to a clock that jumps when nobody in the loop has anything to do.
    spec, _ = registered(Status(429, "30"), '{"a": 3}', max_retries=1, retry_delay_s=1.0, timeout_s=math.inf)
    (done,) = await perform(work(spec))
    assert done.value.a == 3
    assert trio.current_time() >= 30


async def test_retry_after_may_be_a_date(registered: Registered, autojump_clock: trio.testing.MockClock) -> None:
    """As HTTP allows; a date that has passed is now, and not our own pause."""
    dates = Status(429, "Fri, 31 Dec 9999 23:59:59 GMT"), Status(429, "Sun, 06 Nov 1994 08:49:37 GMT")
    spec, _ = registered(*dates, '{"a": 3}', max_retries=2, retry_delay_s=7.0, timeout_s=math.inf)
    (done,) = await perform(work(spec))
    assert done.value.a == 3
    assert RETRY_AFTER_S_MAX <= trio.current_time() < RETRY_AFTER_S_MAX + 7


async def test_a_client_that_does_not_answer_is_left_alone(registered: Registered) -> None:
    """Nobody can end a thread: the question is over when its time is, and the answer goes nowhere."""
    go_on = threading.Event()

    def wait() -> str:
        go_on.wait(30)
        return "{}"

    spec, _ = registered(wait, timeout_s=0.01)
    try:
        (done,) = await perform(work(spec))
    finally:
        go_on.set()
    assert isinstance(done.error, TimeoutError)
    assert done.attempts[0].error_type == "timeout"
    assert done.attempts[0].cost_usd is None


async def test_clients_are_asked_in_threads(registered: Registered) -> None:
    """Two questions are under way at once: each waits for the other to have begun."""
    both = threading.Barrier(2, timeout=30)

    def meet() -> str:
        both.wait()
        return '{"a": 1}'

    spec, _ = registered(meet, concurrent=True)
    done: list[Done] = []
    async with open_models(environment={}) as models, trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(lambda: _append(done, models.perform(work(spec))))
    assert [one.error for one in done] == [None, None]


async def _append(to: list[Done], one: Any) -> None:
    to.append(await one)


async def test_tokens_are_those_that_the_client_says(registered: Registered) -> None:
    """An attempt that failed has some, too; a client that counts nothing has none."""
    usage = SimpleNamespace(prompt_tokens=7, completion_tokens=3, total_tokens=10)
    counted, _ = registered("bad", '{"a": 3}', usage=usage)
    silent, _ = registered('{"a": 3}')
    one, two = await perform(work(counted, attempts=rules()), work(silent))
    assert [log.tokens for log in one.attempts] == [
        {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    ] * 2
    assert two.attempts[0].tokens is None


@pytest.mark.parametrize("response", [None, SimpleNamespace(choices=[]), "text"], ids=repr)
async def test_a_response_of_another_shape_is_an_error(registered: Registered, response: Any) -> None:
    """It says what was expected."""
    spec, tape = registered("x")
    tape.chat = SimpleNamespace(completions=SimpleNamespace(create=lambda **_: response))
    (done,) = await perform(work(spec))
    assert isinstance(done.error, TypeError)
    assert "choices[0].message.content" in str(done.error)


async def test_an_unknown_provider_is_an_error_of_the_step() -> None:
    """It says which there are."""
    (done,) = await perform(work(ModelSpec(name="m", provider="nobody")))
    assert isinstance(done.error, ValueError)
    assert "openai_compat" in str(done.error)


def test_built_in_providers_cannot_be_replaced() -> None:
    """A file that says ``mock`` means ours."""
    with pytest.raises(ValueError, match="built in"):
        register_provider("mock")(dict)


def test_who_is_stateful(registered: Registered) -> None:
    """Mocks, and what was not registered as concurrent; two models with the same replies are two of them."""
    plain, _ = registered("x")
    concurrent, _ = registered("x", concurrent=True)
    assert stateful_identity(concurrent) is None
    assert stateful_identity(ModelSpec(name="m", provider="openai_compat")) is None
    assert stateful_identity(plain) is not None
    assert stateful_identity(mock("x")) == stateful_identity(mock("x"))
    assert stateful_identity(mock("x")) != stateful_identity(mock("x", name="n"))


# --- Servers ----------------------------------------------------------------------------------------------------------

both_apis = pytest.mark.parametrize("provider", ["openai_compat", "anthropic"])


@both_apis
async def test_a_server_is_asked(server: Callable[[Any], ScriptedModel], provider: str) -> None:
    """Its answer comes in one piece, with its tokens; what nobody said is not in the request."""
    model = server([Answer({"a": 3}, input_tokens=11, output_tokens=4)])
    messages = [{"role": "system", "content": "Be brief."}, *ASK]
    (done,) = await perform(work(served(model, provider), messages=messages))
    assert done.value.a == 3
    assert done.attempts[0].tokens == {"prompt_tokens": 11, "completion_tokens": 4, "total_tokens": 15}
    (request,) = model.requests
    assert (request.system, request.prompt, request.stream) == ("Be brief.", "Extract.", False)
    expected = {"model", "messages"} if provider == "openai_compat" else {"model", "messages", "max_tokens", "system"}
    assert set(request.body) == expected


@both_apis
async def test_what_a_server_is_told(server: Callable[[Any], ScriptedModel], provider: str) -> None:
    """Sampling and further parameters; Anthropic's API knows no seed."""
    model = server([{"a": 3}])
    sampling = Sampling(temperature=0.0, top_p=0.5, max_tokens=99, seed=42)
    spec = served(model, provider, sampling=sampling, extra_params={"metadata": {"user_id": "u"}})
    await perform(work(spec))
    (request,) = model.requests
    said = {name: request.body.get(name) for name in ("temperature", "top_p", "max_tokens", "seed", "metadata")}
    assert said == {
        "temperature": 0.0,
        "top_p": 0.5,
        "max_tokens": 99,
        "seed": 42 if provider == "openai_compat" else None,
        "metadata": {"user_id": "u"},
    }


@both_apis
async def test_a_conversation_with_a_server(server: Callable[[Any], ScriptedModel], provider: str) -> None:
    """The feedback is a turn behind the model's own."""
    model = server([Text("no"), {"a": 3}])
    (done,) = await perform(work(served(model, provider), attempts=rules()))
    assert done.value.a == 3
    assert [message["role"] for message in model.requests[1].body["messages"]] == ["user", "assistant", "user"]
    assert "cache_control" not in json.dumps(model.requests[1].body)


@both_apis
async def test_a_busy_server_is_asked_again(server: Callable[[Any], ScriptedModel], provider: str) -> None:
    """Within the attempt, as ``max_retries`` says."""
    model = server([Failure(503, "busy"), Failure(429, "slower", retry_after_s=0.0), {"a": 3}])
    (done,) = await perform(work(served(model, provider)))
    assert done.value.a == 3
    assert [line.partition(":")[0] for line in done.attempts[0].transport_errors] == ["http_error", "rate_limit"]


@both_apis
async def test_a_server_that_refuses_is_not_asked_again(server: Callable[[Any], ScriptedModel], provider: str) -> None:
    """Its words are those of the step's exception."""
    model = server([Failure(400, "no such model")])
    (done,) = await perform(work(served(model, provider)))
    assert isinstance(done.error, ProviderFailed)
    assert "no such model" in str(done.error)
    assert len(model.requests) == 1


@both_apis
async def test_an_answer_that_was_cut_off_is_said_to_be(server: Callable[[Any], ScriptedModel], provider: str) -> None:
    """Not a parse error without a reason; and no record inside of it is taken for the answer."""
    model = server([Answer(Text('{"entries": [{"a": 1}, {"a"'), stop="max_tokens")])
    (done,) = await perform(work(served(model, provider)))
    assert isinstance(done.error, ParseError)
    assert "cut off at max_tokens" in str(done.error)
    assert done.attempts[0].error_type == "parse_error"
    assert "cut off at max_tokens" in done.attempts[0].errors[0]


async def test_a_server_is_asked_many_questions_at_once(server: Callable[[Any], ScriptedModel]) -> None:
    """Each over a connection of its own."""
    model = server({"a": 3})
    spec = served(model)
    done: list[Done] = []
    async with open_models(environment={}) as models, trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(lambda: _append(done, models.perform(work(spec))))
    assert [one.value.a for one in done] == [3] * 8


async def test_json_is_asked_for_where_that_is_plain(server: Callable[[Any], ScriptedModel]) -> None:
    """With a schema, without a parser, and where the prompt says JSON; or where the model's block says so."""
    model = server({"a": 3})
    messages = [{"role": "user", "content": "Return JSON."}]
    parser = Reference("s:p", json.loads)
    await perform(
        work(served(model), messages=messages),
        work(served(model)),
        work(served(model), messages=messages, schema=None),
        work(served(model), messages=messages, parser=parser),
        work(served(model, json_mode=False), messages=messages),
        work(served(model, json_mode=True)),
    )
    formats = [request.body.get("response_format") for request in model.requests]
    assert formats == [{"type": "json_object"}, None, None, None, None, {"type": "json_object"}]


async def test_a_server_that_knows_no_json_mode_is_asked_without(server: Callable[[Any], ScriptedModel]) -> None:
    """At once, and it is remembered; that is no attempt, and no retry."""
    model = server([Failure(400, "'response_format.type' must be 'json_schema' or 'text'"), {"a": 3}, {"a": 4}])
    spec = served(model, json_mode=True, max_retries=0)
    done = await perform(work(spec), work(spec))
    assert [one.value.a for one in done] == [3, 4]
    assert [len(one.attempts) for one in done] == [1, 1]
    assert [("response_format" in request.body) for request in model.requests] == [True, False, False]


@both_apis
async def test_the_environment_says_where_a_server_is(server: Callable[[Any], ScriptedModel], provider: str) -> None:
    """As the vendors' own clients have it, where the model says nothing."""
    model = server({"a": 3})
    prefix = "OPENAI" if provider == "openai_compat" else "ANTHROPIC"
    environment = {f"{prefix}_BASE_URL": model.url, f"{prefix}_API_KEY": "k" * 20}
    (done,) = await perform(work(served(model, provider, base_url=None)), **environment)
    assert done.value.a == 3


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({}, "has no 'api_key'"),
        ({"base_url": "${HERE}"}, "'base_url' is ${HERE}"),
        ({"base_url": "ftp://x"}, "'base_url' must be an http or https URL"),
        ({"api_key": "two words"}, "has a space"),
        ({"base_url": "http://user:secret@x"}, "user or a password"),
    ],
    ids=str,
)
async def test_what_cannot_be_asked_is_said(said: dict[str, Any], words: str) -> None:
    """Before anything is opened, with what to do; and no secret is in it."""
    (done,) = await perform(work(ModelSpec(name="m", model="mm", **said)))
    assert isinstance(done.error, ConfigError)
    assert words in str(done.error)
    assert "secret" not in str(done.error)
    assert done.attempts[0].status == "error"


@pytest.mark.parametrize(
    "extra", [{"a": object()}, {"a": "\udc80"}, {1: "a", "b": 2**70}], ids=["object", "text", "key"]
)
async def test_a_question_that_is_not_json(server: Callable[[Any], ScriptedModel], extra: Any) -> None:
    """It is the failure of the step, not of the run; or it is sent, as far as JSON goes."""
    model = server({"a": 3})
    (done,) = await perform(work(served(model), extra_params=extra))
    assert (done.error is None) == (len(model.requests) == 1)
    assert done.error is None or "cannot be written as JSON" in str(done.error)


async def test_a_server_that_is_not_there(caplog: pytest.LogCaptureFixture) -> None:
    """Its retries are spent, and the log says each; the last one is told as the failure of the step."""
    spec = ModelSpec(name="m", model="mm", base_url="http://127.0.0.1:9", max_retries=1, retry_delay_s=0.0)
    (done,) = await perform(work(spec))
    assert isinstance(done.error, ProviderFailed)
    assert done.attempts[0].error_type == "http_error"
    assert len(done.attempts[0].transport_errors) == 1
    told = [record.message for record in caplog.records if record.name == "fabric.pipelines"]
    assert told == [f"step 'x': model 'm': {done.attempts[0].transport_errors[0]}; it is asked again"]


async def test_a_server_that_does_not_answer(tmp_path: Path) -> None:
    """The time of a question is over; what it may have cost nobody knows."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        spec = ModelSpec(name="m", model="mm", base_url=url, timeout_s=0.05, max_retries=0)
        (done,) = await perform(work(spec))
    assert isinstance(done.error, ProviderFailed)
    assert (done.attempts[0].error_type, done.attempts[0].cost_usd) == ("timeout", None)


# --- Clients of other people, registered ------------------------------------------------------------------------------


async def test_a_client_of_openai_will_do(server: Callable[[Any], ScriptedModel]) -> None:
    """Its answers, its tokens, and what its exceptions mean."""
    model = server([{"a": 3}, Failure(429, "slower", retry_after_s=0.0), Failure(503, "busy"), Failure(401, "who?")])

    @register_provider("openai_sdk")
    def make(base_url: str, api_key: str) -> openai.OpenAI:
        return openai.OpenAI(base_url=base_url, api_key=api_key, max_retries=0)

    spec = served(model, "openai_sdk", base_url=f"{model.url}/v1", api_key="k" * 20, max_retries=0)
    gone = served(model, "openai_sdk", base_url="http://127.0.0.1:9/v1", api_key="k", max_retries=0)
    good, *bad = await perform(*(work(one) for one in (spec, spec, spec, spec, gone)))
    assert good.value.a == 3
    assert good.attempts[0].tokens is not None
    assert [one.attempts[0].error_type for one in bad] == ["rate_limit", "http_error", "error", "http_error"]
    assert isinstance(bad[0].error, openai.RateLimitError)


# --- Costs ------------------------------------------------------------------------------------------------------------

USAGE = SimpleNamespace(prompt_tokens=1000, completion_tokens=500, total_tokens=1500)
PRICES = {"input_per_1k": 0.25, "output_per_1k": 1.0}


async def test_pricing_is_the_cost(registered: Registered) -> None:
    """Dollars for a thousand tokens; without a price nobody knows."""
    priced, _ = registered('{"a": 3}', usage=USAGE, prices=PRICES)
    unpriced, _ = registered('{"a": 3}', usage=USAGE)
    one, two = await perform(work(priced), work(unpriced))
    assert (one.attempts[0].cost_usd, two.attempts[0].cost_usd) == (0.75, None)


async def test_the_table_of_prices_knows_the_vendors(server: Callable[[Any], ScriptedModel]) -> None:
    """A model of Anthropic's has a price without ``pricing``; on a server of one's own OpenAI's names have none."""
    model = server([Answer({"a": 3}, input_tokens=1_000_000, output_tokens=0)] * 2)
    known = served(model, "anthropic", model="claude-3-5-haiku-latest")
    own = served(model, model="gpt-4o-mini")
    one, two = await perform(work(known), work(own))
    assert one.attempts[0].cost_usd == pytest.approx(0.8)
    assert two.attempts[0].cost_usd is None


@pytest.mark.parametrize(("said", "cost"), [("input = 2.0\noutput = 0.0", 2.0), ("input = true", None)])
async def test_the_project_may_say_prices(
    server: Callable[[Any], ScriptedModel],
    tmp_path: Path,
    said: str,
    cost: float | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """``fabric.toml`` has them for any fabric, in dollars for a million tokens; one that is wrong is warned of."""
    (tmp_path / "fabric.toml").write_text(f'[prices."mm"]\n{said}\n')
    model = server([Answer({"a": 3}, input_tokens=1_000_000, output_tokens=0)])
    async with open_models(pricing=Pricing(tmp_path), environment={}) as models:
        done = await models.perform(work(served(model)))
    assert done.attempts[0].cost_usd == cost
    assert ("prices are not known" in caplog.text) == (cost is None)


async def test_a_budget_ends_the_conversation(registered: Registered) -> None:
    """The second question is not asked when the first has spent it."""
    spec, tape = registered("no", usage=USAGE, prices=PRICES)
    (done,) = await perform(work(spec, attempts=rules(), budget_usd=0.5))
    assert isinstance(done.error, BudgetExceeded)
    assert (len(tape.calls), len(done.attempts)) == (1, 1)


# --- Kept answers -----------------------------------------------------------------------------------------------------


def kept(path: Path) -> CacheSpec:
    return CacheSpec(enabled=True, dir=str(path / "kept"))


async def test_an_answer_is_kept(registered: Registered, tmp_path: Path) -> None:
    """The second run asks nobody; its attempt says so, has the tokens of then, and costs nothing."""
    spec, tape = registered('{"a": 1}', '{"a": 2}', usage=USAGE, prices=PRICES, cache=kept(tmp_path))
    one, two = await perform(work(spec), work(spec))
    assert [one.value.a, two.value.a] == [1, 1]
    assert len(tape.calls) == 1
    assert [(done.cache_hits, done.cache_misses) for done in (one, two)] == [(0, 1), (1, 0)]
    log = two.attempts[0]
    assert (log.cached, log.cost_usd, log.raw_output) == (True, 0.0, '{"a": 1}')
    assert log.tokens == {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}


async def test_refreshing_asks_and_keeps(registered: Registered, tmp_path: Path) -> None:
    """``refresh_cache`` takes nothing from the cache and replaces what is there."""
    spec, _ = registered('{"a": 1}', '{"a": 2}', '{"a": 3}', cache=kept(tmp_path))
    done = await perform(work(spec), work(spec, refresh_cache=True), work(spec))
    assert [one.value.a for one in done] == [1, 2, 2]


async def test_without_the_cache_nothing_is_read_or_written(registered: Registered, tmp_path: Path) -> None:
    """``use_cache: false`` leaves it alone."""
    spec, _ = registered('{"a": 1}', '{"a": 2}', cache=kept(tmp_path))
    done = await perform(work(spec, use_cache=False), work(spec))
    assert [one.value.a for one in done] == [1, 2]


async def test_an_answer_that_does_not_count_is_not_kept(registered: Registered, tmp_path: Path) -> None:
    """What counted in the end is kept for the first question."""
    spec, tape = registered("no", '{"a": 2}', cache=kept(tmp_path))
    failed, *_ = await perform(work(spec))
    assert failed.error is not None
    assert not (tmp_path / "kept").exists() or not list((tmp_path / "kept").iterdir())
    again, once_more = await perform(work(spec, attempts=rules()), work(spec))
    assert [again.value.a, once_more.value.a] == [2, 2]
    assert len(tape.calls) == 2


async def test_a_kept_answer_that_does_not_fit_any_more_is_asked_for_again(
    registered: Registered, tmp_path: Path
) -> None:
    """The schema has changed; that is a miss, and costs no attempt."""
    spec, _ = registered('{"a": 1}', '{"b": 2}', cache=kept(tmp_path))
    other = map_schema("B", {"b": "int"}, {})
    _, changed = await perform(work(spec), work(spec, schema=other))
    assert changed.value.b == 2
    assert len(changed.attempts) == 1
    assert (changed.cache_hits, changed.cache_misses) == (0, 1)


async def test_a_mock_whose_answer_was_kept_plays_nothing(tmp_path: Path) -> None:
    """The reply stays for the next question."""
    model = mock('{"a": 1}', '{"a": 2}', cache=kept(tmp_path))
    _, again = await perform(work(model), work(model))
    assert (again.value.a, again.replies) == (1, 0)


@pytest.mark.parametrize(
    "other",
    [
        {"sampling": Sampling(temperature=1.0)},
        {"base_url": "http://elsewhere"},
        {"extra_params": {"effort": "high"}},
        {"model": "other"},
        {"block": {"deployment": "west"}},
    ],
    ids=str,
)
async def test_whatever_an_answer_depends_on_is_in_its_key(
    registered: Registered, tmp_path: Path, other: dict[str, Any]
) -> None:
    """Another sampling, server, parameter or model is another question."""
    spec, _ = registered('{"a": 1}', '{"a": 2}', cache=kept(tmp_path))
    changed = ModelSpec(**{name: getattr(spec, name) for name in spec.__struct_fields__} | other)
    done = await perform(work(spec), work(changed))
    assert [one.cache_hits for one in done] == [0, 0]


async def test_mocks_do_not_share_their_replies(tmp_path: Path) -> None:
    """Two mocks that are asked the same are two models."""
    one, two = (mock(reply, cache=kept(tmp_path)) for reply in ('{"a": 1}', '{"a": 2}'))
    done = await perform(work(one), work(two))
    assert [each.value.a for each in done] == [1, 2]


async def test_how_a_model_is_asked_is_not_in_its_key(registered: Registered, tmp_path: Path) -> None:
    """A new key or a longer timeout makes no other answer."""
    spec, _ = registered('{"a": 1}', '{"a": 2}', cache=kept(tmp_path), block={"api_key": "one", "timeout": 3})
    said = {"block": {"api_key": "two", "timeout": 9}, "api_key": "two", "timeout_s": 9.0, "max_retries": 7}
    changed = ModelSpec(**{name: getattr(spec, name) for name in spec.__struct_fields__} | said)
    done = await perform(work(spec), work(changed))
    assert [one.cache_hits for one in done] == [0, 1]


async def test_what_is_asked_and_answered_is_told(registered: Registered, caplog: pytest.LogCaptureFixture) -> None:
    """At the level DEBUG, and each time. Keys are not."""
    caplog.set_level("DEBUG", "fabric.pipelines")
    spec, _ = registered("no", '{"a": 3}', api_key="sk-secret", block={"api_key": "sk-secret"})
    await perform(work(spec, attempts=rules()))
    told = [record.getMessage() for record in caplog.records if record.levelname == "DEBUG"]
    assert told[0] == "step 'x': model 'm' is asked: user: Extract."
    assert told[1] == "step 'x': model 'm' answers: no"
    assert told[2].startswith("step 'x': model 'm' is asked: user: Extract.\nassistant: no\nuser: ")
    assert told[3] == """step 'x': model 'm' answers: {"a": 3}"""
    assert "sk-secret" not in caplog.text


async def test_a_cache_that_cannot_be_written_is_said(registered: Registered, tmp_path: Path) -> None:
    """The answer counts all the same."""
    (tmp_path / "kept").write_text("a file, no directory")
    spec, _ = registered('{"a": 1}', cache=kept(tmp_path))
    (done,) = await perform(work(spec))
    assert done.value.a == 1
    assert "could not be kept" in done.warnings[0]


# --- Templates of feedback --------------------------------------------------------------------------------------------


class Spelled(Prompt):
    """A template that says what it was given."""

    def render(self, variables: Any, scope: Any) -> str:
        return json.dumps(
            {
                name: value if isinstance(value, str | int) else [str(one) for one in value]
                for name, value in variables.items()
            }
        )


async def test_a_template_of_feedback_gets_what_is_wrong(registered: Registered) -> None:
    """The kind, the answer, each error, the number of the attempt to come, the hint, and the variables of the step."""
    spec, tape = registered("no", '{"a": "b"}', '{"a": 3}')
    attempts = rules(error_template=Spelled.__new__(Spelled), retry_hint="hint")
    await perform(work(spec, attempts=attempts, variables={"mode": "fast"}))
    parse, schema = (json.loads(call["messages"][-1]["content"]) for call in tape.calls[1:])
    assert parse["parse_error_message"]
    assert (parse["error_type"], parse["previous_output"], parse["attempt"]) == ("parse", "no", 2)
    assert (schema["error_type"], schema["attempt"], schema["retry_hint"]) == ("schema", 3, "hint")
    assert schema["errors"][0].startswith("a: ")
    assert schema["mode"] == "fast"
