"""A cassette answers as the provider did that it was recorded from, when that is gone; and keeps no secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from llm_bytes import RESET, json_answer, playing, stream
from llm_recordings import ANTHROPIC, OPENAI

from fabric.errors import ConfigError
from fabric.testing import (
    Call,
    CassetteMismatch,
    Cut,
    Failure,
    ScriptedModel,
    Text,
    cassette,
    scripted_model,
)
from fabric.testing.tapes import Cassette, locate

KEY = "sk-ant-Zx9+/=0123456789abcdef"


@pytest.fixture(autouse=True)
def no_mode_from_outside(monkeypatch: pytest.MonkeyPatch):
    """The suite itself may be run with the variable."""
    monkeypatch.delenv("FABRIC_CASSETTE", raising=False)


def recording(path: Path, model: ScriptedModel) -> Cassette:
    return cassette(path, "record", endpoints={"anthropic": model.url, "openai": f"{model.url}/v1"})


def ask(url: str, key: str = KEY) -> list[Any]:
    """Ask both APIs in several ways with the official clients; return what came."""
    asked: list[Any] = [{"role": "user", "content": "hi"}]
    with (
        anthropic.Anthropic(base_url=url, api_key=key, max_retries=0) as claude,
        openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as gpt,
    ):
        came: list[Any] = [claude.messages.create(model="m", max_tokens=9, messages=asked) for _ in range(2)]
        with claude.messages.stream(model="m", max_tokens=9, messages=asked) as streamed:
            came.append(streamed.get_final_message())
        with gpt.chat.completions.stream(model="m", messages=asked) as chunks:
            came.append(chunks.get_final_completion())
        with pytest.raises(openai.RateLimitError) as raised:
            gpt.chat.completions.create(model="m", messages=asked)
    return [*came, str(raised.value), raised.value.response.headers["retry-after"]]


SCRIPT = [Text("one"), Text("two"), Text("three " * 20), Call("look", {"at": 1}), Failure(429, "slowly", 7.0)]


def test_what_was_recorded_is_replayed_without_the_server(tmp_path: Path):
    """Streams and whole answers, errors with their time to wait; equal requests in their order."""
    path = tmp_path / "cassettes" / "all.jsonl"
    with scripted_model(SCRIPT) as model, recording(path, model) as tape:
        recorded = ask(tape.url)
        assert tape.env == dict.fromkeys(
            ["PLUMB_ENDPOINT", "FABRIC_TEST_ENDPOINT"], tape.url
        )  # the keys are those that are there
    assert len(path.read_text().splitlines()) == 5
    before = path.read_bytes()
    for _ in range(2):
        with cassette(path) as tape:
            assert len(tape.unused) == 5
            assert tape.env["ANTHROPIC_API_KEY"] == tape.env["OPENAI_API_KEY"] != ""
            assert ask(tape.url, "another key") == recorded
            assert tape.unused == []
    assert path.read_bytes() == before


def test_no_key_and_no_header_that_says_who_asks_is_written(tmp_path: Path):
    """Also where the provider repeats it, in whatever way; cookies and names of accounts stay outside, too."""
    error = {"error": {"message": f"unknown key {KEY}", "escaped": KEY.replace("/", "\\/"), "type": "x"}}
    private = {"set-cookie": "session=s3cret", "anthropic-organization-id": "org-777", "retry-after": "3"}
    path = tmp_path / "tape.jsonl"
    with (
        playing(json_answer(400, error, private)) as server,
        cassette(path, "record", endpoints={"anthropic": server.url}) as tape,
    ):
        response = httpx2.post(
            f"{tape.url}/v1/messages?secret={KEY}",
            headers={"x-api-key": KEY, "cookie": "mine=s3cret", "authorization": f"Bearer {KEY}-2"},
            json={"model": "m", "messages": [{"role": "user", "content": f"my key is {KEY}-2"}]},
        )
        sent = server.requests[0]
    assert response.status_code == 400
    assert (sent.headers["x-api-key"], sent.headers["cookie"]) == (KEY, "mine=s3cret")  # they do reach the provider
    text = path.read_text()
    found = [word for word in (KEY, KEY[-12:], "s3cret", "org-777", "Bearer", "Zx9") if word in text]
    assert found == []
    (line,) = map(json.loads, text.splitlines())
    assert line["headers"] == {"content-type": "application/json", "retry-after": "3"}
    assert line["request"]["messages"] == [{"role": "user", "content": "my key is [key]"}]


def test_a_stream_that_says_the_key_in_pieces_is_not_written(tmp_path: Path):
    """Nobody could take it out; the test fails of it."""
    path = tmp_path / "tape.jsonl"

    def record() -> None:
        asked: Any = [{"role": "user", "content": "x"}]
        with (
            scripted_model([Text(f"it is {KEY}"), Text("fine")]) as model,
            recording(path, model) as tape,
            anthropic.Anthropic(base_url=tape.url, api_key=KEY) as client,
        ):
            for _ in range(2):
                with client.messages.stream(model="m", max_tokens=9, messages=asked) as streamed:
                    streamed.get_final_message()

    with pytest.raises(CassetteMismatch, match="an answer to /v1/messages says the key; it was not written"):
        record()
    assert [line["response"].count("fine") for line in map(json.loads, path.read_text().splitlines())] == [1]


@pytest.mark.parametrize("name", ["plain", "unicode", "tools", "cached"])
@pytest.mark.parametrize("provider", ["anthropic", "openai"])
def test_streams_of_real_servers_are_replayed_byte_by_byte(provider: str, name: str, tmp_path: Path):
    """As they came, whoever reads them."""
    data = {"anthropic": ANTHROPIC, "openai": OPENAI}[provider][name]
    end = {"anthropic": "/v1/messages", "openai": "/v1/chat/completions"}[provider]
    path = tmp_path / "tape.jsonl"
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "x"}]}
    with (
        playing(stream(data[:40], data[40:])) as server,
        cassette(path, "record", endpoints={provider: server.url}) as tape,
    ):
        assert httpx2.post(tape.url + end, json=body).content == data
    with cassette(path) as tape:
        response = httpx2.post(tape.url + end, json=body)
    assert (response.content, response.headers["content-type"]) == (data, "text/event-stream")


def test_a_stream_that_was_cut_is_replayed_as_one_that_is_cut(tmp_path: Path):
    """Its beginning comes, its end does not."""
    path = tmp_path / "tape.jsonl"
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "x"}]}
    with (
        scripted_model(Cut(events=3)) as model,
        recording(path, model) as tape,
        pytest.raises(httpx2.RemoteProtocolError),
    ):
        httpx2.post(f"{tape.url}/v1/messages", json=body)
    with cassette(path) as tape, pytest.raises(httpx2.RemoteProtocolError):
        httpx2.post(f"{tape.url}/v1/messages", json=body)
    assert [json.loads(line)["cut"] for line in path.read_text().splitlines()] == [True]


def test_one_of_which_nothing_came_is_not_written(tmp_path: Path):
    """There is nothing to replay, and the test is told."""
    path = tmp_path / "tape.jsonl"
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    with playing((RESET,)) as server, cassette(path, "record", endpoints={"openai": server.url}) as tape:
        response = httpx2.post(f"{tape.url}/v1/chat/completions", json=body)
        with pytest.raises(CassetteMismatch, match=r"openai cannot be reached at http://127\.0\.0\.1"):
            tape.check()
    assert response.status_code == 502
    assert not path.exists()


# --- Matching ---------------------------------------------------------------------------------------------------------


def post(tape: Cassette, prompt: str, **fields: Any) -> httpx2.Response:
    body = {"model": "m", "messages": [{"role": "user", "content": prompt}], **fields}
    agent = {"x-plumb-agent": fields.pop("agent")} if "agent" in fields else {}
    body.pop("agent", None)
    return httpx2.post(f"{tape.url}/v1/messages", json=body, headers=agent)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A cassette with three answers."""
    file = tmp_path / "tape.jsonl"
    with scripted_model([Text("1"), Text("2"), Text("3")]) as model, recording(file, model) as tape:
        for prompt in ("Write a haiku about pipes.", "Write a haiku about pipes.", "Sing."):
            post(tape, prompt)
    return file


def test_a_request_that_was_not_recorded_shows_the_nearest_one(path: Path):
    """And where they differ. It is answered with an error, and fails the test."""
    with pytest.raises(CassetteMismatch) as raised, cassette(path) as tape:
        response = post(tape, "Write a poem about pipes.", temperature=0.5)
    assert response.status_code == 404
    assert str(raised.value) == (
        "no answer is recorded for agent '(unknown)', model 'm', prompt 'Write a poem about pipes.': "
        f"{path} has no such request; the nearest is in line 1, and differs:\n"
        '  $.messages[0].content: recorded "Write a haiku about pipes.", got "Write a poem about pipes."\n'
        "  $.temperature: recorded nothing, got 0.5\n"
        "  record it with FABRIC_CASSETTE=record"
    )
    assert response.json()["error"]["message"] == f"fabric.testing: {raised.value}"


def test_a_request_that_comes_too_often_is_told_as_such(path: Path):
    """What was recorded twice is answered twice."""
    with (
        pytest.raises(CassetteMismatch, match="has this request 2 times, and it came once more"),
        cassette(path) as tape,
    ):
        statuses = [post(tape, "Write a haiku about pipes.").status_code for _ in range(3)]
    assert statuses == [200, 200, 404]


def test_another_path_and_no_file_are_told(path: Path):
    """Nothing is near then."""
    body = {"model": "m", "messages": [{"role": "user", "content": "Sing."}]}
    with pytest.raises(CassetteMismatch, match="has no request to /v1/chat/completions"), cassette(path) as tape:
        httpx2.post(f"{tape.url}/v1/chat/completions", json=body)
    missing = path.with_name("other.jsonl")
    with (
        pytest.raises(CassetteMismatch, match=r"there is no .*other\.jsonl\n  record it with"),
        cassette(missing) as tape,
    ):
        post(tape, "Sing.")
    assert not missing.exists()


def test_keys_may_be_in_any_order_and_who_asks_does_not_matter(path: Path):
    """Nor what names the user to the provider."""
    with cassette(path) as tape:
        body = {"metadata": {"user_id": "u"}, "messages": [{"content": "Sing.", "role": "user"}], "model": "m"}
        assert httpx2.post(f"{tape.url}/v1/messages", json=body).json()["content"][0]["text"] == "3"


def test_what_has_to_be_the_same_can_be_said(path: Path):
    """Such as the newest message alone."""
    with cassette(path, match=lambda body: body["messages"][-1]) as tape:
        assert post(tape, "Sing.", temperature=0.5, max_tokens=7).json()["content"][0]["text"] == "3"


def test_equal_requests_of_two_agents_keep_to_their_own_answers(tmp_path: Path):
    """The file is sorted by agent: agents that ask at the same time change no lines."""
    path = tmp_path / "tape.jsonl"
    with scripted_model([Text("1"), Text("2"), Text("3")]) as model, recording(path, model) as tape:
        for agent in ("zoe", "amy", "zoe"):
            post(tape, "x", agent=agent)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["agent"] for line in lines] == ["amy", "zoe", "zoe"]
    with cassette(path) as tape:
        came = [post(tape, "x", agent=agent).json()["content"][0]["text"] for agent in ("zoe", "amy", "other")]
    assert came == ["1", "2", "3"]


# --- Modes ------------------------------------------------------------------------------------------------------------


def test_once_records_if_there_is_no_file(tmp_path: Path):
    """The second time the server is not asked."""
    path = tmp_path / "tape.jsonl"
    with scripted_model([Text("1")]) as model:
        modes = []
        for _ in range(2):
            with cassette(path, "once", endpoints={"anthropic": model.url}) as tape:
                modes.append(tape.mode)
                assert post(tape, "x").json()["content"][0]["text"] == "1"
    assert modes == ["record", "replay"]


def test_the_environment_switches_the_mode(path: Path, monkeypatch: pytest.MonkeyPatch):
    """What was there is written anew; a word that is no mode is refused."""
    monkeypatch.setenv("FABRIC_CASSETTE", "record")
    with scripted_model(Text("new")) as model, cassette(path, endpoints={"anthropic": model.url}) as tape:
        post(tape, "Sing.")
    assert [json.loads(line)["response"]["content"][0]["text"] for line in path.read_text().splitlines()] == ["new"]
    monkeypatch.setenv("FABRIC_CASSETTE", "rewind")
    with pytest.raises(ConfigError, match="a cassette has the modes replay, record, once; got 'rewind'"):
        cassette(path)


def test_what_was_recorded_is_kept_though_the_test_fails(tmp_path: Path):
    """It was paid for."""
    path = tmp_path / "tape.jsonl"

    def fails() -> None:
        with scripted_model(Text("1")) as model, recording(path, model) as tape:
            post(tape, "x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert len(path.read_text().splitlines()) == 1


@pytest.mark.parametrize("answers", [[], [Failure(401, "who?")], [Text("1"), Failure(403, "not you")]])
def test_a_recording_that_is_worth_nothing_leaves_the_file_as_it_is(path: Path, answers: list[Any]):
    """Nothing was asked, or the provider refused the key, which fails the test."""
    before = path.read_bytes()

    def record() -> None:
        with scripted_model(answers) as model, recording(path, model) as tape:
            for _ in answers:
                post(tape, "x")

    if answers:
        refusal = rf"^anthropic refused the key \(status 40[13]\); nothing is written to {path}$"
        with pytest.raises(CassetteMismatch, match=refusal):
            record()
    else:
        record()
    assert path.read_bytes() == before


@pytest.mark.parametrize("error", [KeyboardInterrupt(), BaseExceptionGroup("of a loop", [SystemExit(1)])])
def test_a_test_that_was_interrupted_leaves_the_file_as_it_is(path: Path, error: BaseException):
    """Half of a recording would be replayed in place of the whole. A fixture is told of it in the other way."""
    before = path.read_bytes()

    def record(noted: bool) -> None:
        with scripted_model(Text("1")) as model, recording(path, model) as tape:
            post(tape, "x")
            if not noted:
                raise error
            tape.note(error)

    with pytest.raises(type(error)):
        record(noted=False)
    record(noted=True)
    assert path.read_bytes() == before


def test_a_proxy_that_dotenv_names_gets_what_a_program_would_send_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """And no key of it goes anywhere else."""
    monkeypatch.delenv("PLUMB_ENDPOINT", raising=False)
    monkeypatch.chdir(tmp_path)
    with scripted_model(Text("of the proxy")) as proxy:
        Path(".env").write_text(f"PLUMB_ENDPOINT={proxy.url}\n")
        with cassette("tape.jsonl", "record") as tape:
            assert post(tape, "x").json()["content"][0]["text"] == "of the proxy"
        assert len(proxy.requests) == 1


def test_an_unknown_provider_and_a_broken_file_are_refused(tmp_path: Path):
    """With what is expected."""
    with pytest.raises(ConfigError, match="no provider 'eliza' to record from; there are anthropic and openai"):
        cassette(tmp_path / "x", endpoints={"eliza": "http://h"})
    (tmp_path / "x").write_text('{"path": "/v1/messages"}\n{"path": 3}\n')
    with pytest.raises(ConfigError, match=r"x:2: expected a recorded request and its response"):
        cassette(tmp_path / "x").__enter__()


@pytest.mark.parametrize(
    ("endpoint", "path", "url"),
    [
        ("https://api.anthropic.com", "/v1/messages", "https://api.anthropic.com/v1/messages"),
        ("https://h/", "/v1/chat/completions", "https://h/v1/chat/completions"),
        ("https://h/v1", "/v1/messages", "https://h/v1/messages"),
        ("https://h/openai/v1/", "/v1/chat/completions", "https://h/openai/v1/chat/completions"),
        ("https://h/beta/openai", "/v1/chat/completions", "https://h/beta/openai/chat/completions"),
        ("https://h/claude", "/v1/messages", "https://h/claude/v1/messages"),
        ("https://h/x?version=2", "/v1/chat/completions", "https://h/x/chat/completions?version=2"),
        ("https://h/x/messages", "/v1/messages", "https://h/x/messages"),
        ("https://h/x/chat/completions", "/v1/chat/completions", "https://h/x/chat/completions"),
    ],
)
def test_a_provider_is_found_where_an_agent_would_find_it(endpoint: str, path: str, url: str):
    """By the rules for endpoints."""
    from plumb_agent.providers.dialect import locate as locate_as_an_agent

    end = path.removeprefix("/v1")
    assert locate(endpoint, path) == url
    assert locate_as_an_agent(endpoint, end, path_is_base=end != "/messages") == url
