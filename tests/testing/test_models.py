"""A scripted model is taken for the real one by the official clients, and says so when it has nothing to say."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anthropic
import anyio
import httpx2
import openai
import pytest

from fabric.testing import (
    Answer,
    Call,
    Cut,
    Failure,
    ModelRequest,
    ScriptedModel,
    Text,
    Thinking,
    UnscriptedRequest,
    scripted_model,
)

LONG = "The quick brown fox — über den faulen Hund 🎉. " * 5
TOOL = {"name": "look", "description": "Look.", "input_schema": {"type": "object"}}
FUNCTION = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def claude(model: ScriptedModel) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=model.url, api_key="k", max_retries=2)


def gpt(model: ScriptedModel) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{model.url}/v1", api_key="k", max_retries=2)


def ask_claude(server: ScriptedModel, prompt: str, *, stream: bool, **fields: Any) -> anthropic.types.Message:
    asked: Any = {"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": prompt}], **fields}
    with claude(server) as client:
        if not stream:
            return client.messages.create(**asked)
        with client.messages.stream(**asked) as streamed:
            return streamed.get_final_message()


def ask_gpt(server: ScriptedModel, prompt: str, *, stream: bool, **fields: Any) -> openai.types.chat.ChatCompletion:
    asked: Any = {"model": "m", "messages": [{"role": "user", "content": prompt}], **fields}
    with gpt(server) as client:
        if not stream:
            return client.chat.completions.create(**asked)
        with client.chat.completions.stream(**asked, stream_options={"include_usage": True}) as streamed:
            return streamed.get_final_completion()


def said_by_claude(server: ScriptedModel, prompt: str, **how: Any) -> str:
    return "".join(block.text for block in ask_claude(server, prompt, **how).content if block.type == "text")


def said_by_gpt(server: ScriptedModel, prompt: str, **how: Any) -> str:
    return ask_gpt(server, prompt, **how).choices[0].message.content or ""


SAID: list[Callable[..., str]] = [said_by_claude, said_by_gpt]
both = pytest.mark.parametrize("said", SAID)
streamed_or_not = pytest.mark.parametrize("stream", [True, False])


@both
@streamed_or_not
def test_text_comes_as_it_is_and_values_as_their_json(said: Callable[..., str], stream: bool):
    """The official clients put the pieces together again."""
    with scripted_model([Text(LONG), {"ok": True, "why": "é"}, "word"]) as model:
        assert [said(model, "hi", stream=stream) for _ in range(3)] == [LONG, '{"ok":true,"why":"é"}', '"word"']


@streamed_or_not
def test_anthropics_client_gets_thinking_calls_and_usage(stream: bool):
    """In the order of the parts; what was read from a cache is counted apart."""
    answer = Answer(
        Thinking("Let me see what there is to see."),
        Text("I look."),
        Call("look", {"at": [1, 2.5, "é"]}),
        Call("look"),
        input_tokens=21,
        output_tokens=5,
        cached_tokens=4,
    )
    with scripted_model(answer) as model:
        message = ask_claude(model, "hi", stream=stream, tools=[TOOL])
    thought, text, first, second = message.content
    assert thought.type == "thinking"
    assert (thought.thinking, thought.signature != "") == ("Let me see what there is to see.", True)
    assert text.type == "text"
    assert first.type == second.type == "tool_use"
    assert (first.input, second.input, first.id != second.id) == ({"at": [1, 2.5, "é"]}, {}, True)
    assert message.stop_reason == "tool_use"
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (17, 4, 5)


@streamed_or_not
def test_openais_client_gets_calls_and_usage(stream: bool):
    """Thinking comes as servers send it that show it; the client does not know the field and keeps it."""
    answer = Answer(
        Thinking("Hm."), Call("look", {"at": 1}), Call("look"), input_tokens=21, output_tokens=5, cached_tokens=4
    )
    with scripted_model(answer) as model:
        completion = ask_gpt(model, "hi", stream=stream, tools=[FUNCTION])
    choice, usage = completion.choices[0], completion.usage
    calls = choice.message.tool_calls or []
    assert [(call.type, call.function.name) for call in calls if call.type == "function"] == [("function", "look")] * 2
    assert [json.loads(call.function.arguments) for call in calls if call.type == "function"] == [{"at": 1}, {}]
    assert len({call.id for call in calls}) == 2
    assert choice.finish_reason == "tool_calls"
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (21, 5)
    assert usage.prompt_tokens_details.cached_tokens == 4


def test_usage_in_a_stream_of_openais_comes_only_if_it_was_asked_for():
    """As the API has it."""
    with scripted_model(Text("x")) as model, gpt(model) as client:
        chunks = list(
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": "a"}], stream=True)
        )
    assert [chunk.usage for chunk in chunks] == [None] * len(chunks)
    assert all(chunk.choices for chunk in chunks)


@streamed_or_not
def test_answers_end_as_scripted(stream: bool):
    """At the limit of tokens, or because the model declines."""
    with scripted_model({"*": [Answer("a", stop="max_tokens"), Answer("b", stop="refusal")] * 2}) as model:
        assert [ask_claude(model, "x", stream=stream).stop_reason for _ in range(2)] == ["max_tokens", "refusal"]
        if not stream:  # the helper for streams raises at a limit
            reasons = [ask_gpt(model, "x", stream=stream).choices[0].finish_reason for _ in range(2)]
            assert reasons == ["length", "content_filter"]


def test_failures_are_those_of_the_apis():
    """With their status, words and the time to wait; what may pass is asked again by the clients themselves."""
    soon = Failure(429, "slowly", retry_after_s=0.01)
    with scripted_model([soon, Text("a"), soon, Text("b"), Failure(400, "no"), Failure(401, "who")]) as model:
        assert said_by_claude(model, "x", stream=False) == "a"
        assert said_by_gpt(model, "x", stream=True) == "b"
        with pytest.raises(anthropic.BadRequestError, match="no") as raised:
            ask_claude(model, "x", stream=True)
        assert raised.value.body == {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}
        with pytest.raises(openai.AuthenticationError, match="who"):
            ask_gpt(model, "x", stream=False)
        assert len(model.requests) == 6


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
@pytest.mark.parametrize(("stream", "events"), [(True, 3), (True, None), (False, None)])
def test_a_cut_answer_ends_in_the_middle(path: str, stream: bool, events: int | None):
    """The connection ends without a word, and what came is less than all."""
    body = {"model": "m", "stream": stream, "messages": [{"role": "user", "content": "x"}]}
    with scripted_model([Cut(Text(LONG), events), Text(LONG)]) as model:
        data = bytearray()

        def read(response: httpx2.Response) -> None:
            for piece in response.iter_raw():
                data.extend(piece)

        with httpx2.Client() as client:
            with client.stream("POST", model.url + path, json=body) as cut, pytest.raises(httpx2.RemoteProtocolError):
                read(cut)
            whole = client.post(model.url + path, json=body).content
    assert 0 < len(data) < len(whole)
    if events is not None:
        assert data.count(b"\n\n") == events


def test_who_is_answered_what():
    """By model, parts of prompt and system prompt; the first that fits and has something left."""
    with scripted_model() as model:
        model.on([Text("haiku")], prompt="haiku").on(Text("strict"), system="strict").on(Text("five"), model="gpt-5")

        def ask(prompt: str, **fields: Any) -> str:
            return said_by_claude(model, prompt, stream=True, **fields)

        assert ask("a haiku, please") == "haiku"
        assert ask("a haiku, please", model="gpt-5") == "five"
        assert ask("x", system=[{"type": "text", "text": "Be strict."}]) == "strict"
        assert said_by_gpt(model, "x", stream=False, model="gpt-5") == "five"


def test_a_function_sees_the_request_and_may_leave_it_to_others():
    """What it returns is an answer as any other."""
    seen: list[ModelRequest] = []

    def answer(request: ModelRequest) -> Any:
        seen.append(request)
        return NotImplemented if request.prompt == "other" else Text(request.prompt.upper())

    with scripted_model(answer) as model:
        model.on(Text("rest"))
        assert said_by_gpt(model, "hi", stream=True, tools=[FUNCTION]) == "HI"
        assert said_by_claude(model, "other", stream=False, system="S") == "rest"
    first, second = seen
    assert (first.provider, first.model, first.prompt, first.tools, first.stream) == (
        "openai",
        "m",
        "hi",
        ("look",),
        True,
    )
    assert (second.provider, second.system, second.agent, second.stream) == ("anthropic", "S", "", False)
    assert first.body["messages"] == [{"role": "user", "content": "hi"}]
    assert model.requests == seen


def test_results_of_tools_are_told_from_prompts():
    """The prompt stays what the user said; ids of calls are the same in each run."""
    with scripted_model([Call("look", {}), Text("done")] * 2) as model:
        call = ask_claude(model, "hi", stream=False, tools=[TOOL]).content[0]
        assert call.type == "tool_use"
        turn = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": [call.model_dump()]}]
        result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "42"}]}
        ask_claude(model, "", stream=True, tools=[TOOL], messages=[*turn, {"role": "user", "content": [result]}])
        asked = ask_gpt(model, "hi", stream=False, tools=[FUNCTION]).choices[0].message
        assert asked.tool_calls
        result = {"role": "tool", "tool_call_id": asked.tool_calls[0].id, "content": "43"}
        messages = [{"role": "user", "content": "hi"}, asked.model_dump(exclude_none=True), result]
        ask_gpt(model, "", stream=True, tools=[FUNCTION], messages=messages)
    told = [(request.prompt, request.results, request.calls) for request in model.requests]
    assert told == [("hi", (), 0), ("hi", ("42",), 1), ("hi", (), 0), ("hi", ("43",), 1)]


def test_no_key_is_kept():
    """Not in the requests that a test looks at."""
    with scripted_model(Text("x")) as model:
        with anthropic.Anthropic(base_url=model.url, api_key="sk-1234567890") as client:
            client.messages.create(model="m", max_tokens=1, messages=[{"role": "user", "content": "x"}])
        with openai.OpenAI(base_url=f"{model.url}/v1", api_key="sk-1234567890") as client:
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
    assert "sk-1234567890" not in repr(model.requests)
    assert model.requests[0].headers["anthropic-version"]


# --- What is not scripted ---------------------------------------------------------------------------------------------


@both
def test_an_unscripted_request_is_an_error_for_the_client_and_for_the_test(said: Callable[..., str]):
    """Whatever the program makes of it, the block ends with it. The client does not try again."""
    model = scripted_model({"judge": ["yes"]}).on([Text("once")], prompt="hi")

    def block() -> None:
        with model:
            assert said(model, "hi", stream=True) == "once"
            with pytest.raises((anthropic.NotFoundError, openai.NotFoundError), match="no answer is scripted"):
                said(model, "hi again", stream=True)

    with pytest.raises(UnscriptedRequest) as raised:
        block()
    assert str(raised.value) == (
        "request 2: no answer is scripted for agent '(unknown)', model 'm', prompt 'hi again'. "
        "Scripted is: agent 'judge': does not fit; prompt 'hi': its list is used up"
    )
    assert model.unused == ["agent 'judge': 1 left"]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (lambda request: 1 / 0, "ZeroDivisionError: division by zero"),
        (object(), "an answer is a JSON value, Text, Thinking, Call, Answer, Failure or Cut; got a object"),
        (Cut(Failure(500)), "a Failure cannot be Cut"),
        (Answer(), "an Answer needs at least one part"),
    ],
)
def test_a_script_that_fails_is_told_as_well(script: Any, words: str):
    """A function that raises, and what is no answer."""
    with scripted_model(script) as model:
        with pytest.raises(openai.NotFoundError):
            ask_gpt(model, "x", stream=False)
        with pytest.raises(UnscriptedRequest, match=words):
            model.check()


def test_another_error_of_the_test_is_not_hidden_by_it():
    """It gets a note: most likely it is the cause."""
    with pytest.raises(openai.NotFoundError) as raised, scripted_model() as model:
        ask_gpt(model, "x", stream=False)
    assert [note.startswith("request 1: no answer is scripted") for note in raised.value.__notes__] == [True]


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/v1/models", b"{}", "is no path of a model"),
        ("/v1/messages", b"{", "is no JSON"),
        ("/v1/messages", b"[]", "is no JSON object"),
        ("/v1/messages", b'{"model": "m"}', "has a 'model' and at least one of 'messages'"),
        ("/v1/chat/completions", b'{"model": "m", "messages": []}', "has a 'model' and at least one of 'messages'"),
        ("/v1/chat/completions", b'{"model": "m", "messages": [1]}', "cannot be read"),
        (
            "/v1/messages",
            b'{"model": "m", "messages": [{"role": "user", "content": [{"type": "text"}]}]}',
            "cannot be read",
        ),
    ],
)
def test_what_is_no_request_is_refused(path: str, body: bytes, words: str):
    """And fails the test, too."""
    with pytest.raises(UnscriptedRequest, match=words), scripted_model(Text("x")) as model:
        assert httpx2.post(model.url + path, content=body).status_code == 404
    assert model.requests == []


def test_what_is_no_http_ends_the_connection():
    """The server goes on."""
    with scripted_model(Text("x")) as model:
        host, port = model.url.removeprefix("http://").split(":")

        async def talk() -> bytes:
            stream = await anyio.connect_tcp(host, int(port))
            async with stream:
                await stream.send(b"NO HTTP AT ALL\r\n\r\n")
                return b"".join([part async for part in stream])

        assert anyio.run(talk).startswith(b"HTTP/1.1 400")
        assert said_by_gpt(model, "x", stream=False) == "x"


# --- Where it runs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_it_serves_many_at_a_time_under_any_loop(backend: str):
    """It has a thread and a loop of its own."""
    answers: list[str] = []

    async def main() -> None:
        with scripted_model(lambda request: Text(request.prompt)) as model:
            async with (
                anthropic.AsyncAnthropic(base_url=model.url, api_key="k") as client,
                anyio.create_task_group() as tasks,
            ):

                async def ask(number: int) -> None:
                    messages: Any = [{"role": "user", "content": str(number)}]
                    async with client.messages.stream(model="m", max_tokens=9, messages=messages) as stream:
                        answers.append(await stream.get_final_text())

                for number in range(50):
                    tasks.start_soon(ask, number)

    anyio.run(main, backend=backend)
    assert sorted(answers, key=int) == [str(number) for number in range(50)]


def test_two_run_beside_each_other():
    """Each has its own address."""
    with scripted_model(Text("a")) as one, scripted_model(Text("b")) as other:
        assert said_by_gpt(one, "x", stream=False) + said_by_gpt(other, "x", stream=False) == "ab"
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(one.url)
