"""Asking a model without a pipeline."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio

from fabric.errors import ConfigError
from fabric.pipelines.asking.clients import providers
from fabric.pipelines.llm import call_llm, extract_json, make_client, probe_json_mode, register_provider
from fabric.testing import Answer, Failure, Text, scripted_model
from plumb_agent.providers import ProviderFailed

HI = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        ({"responses": ["one", "two"]}, ["one", "two", "two"]),
        ({"response": "only"}, ["only"] * 3),
        ({}, ['{"result": "mock"}'] * 3),
        ({"responses": []}, ['{"result": "mock"}'] * 3),
    ],
    ids=str,
)
def test_a_mock_plays_its_replies(options: dict[str, Any], texts: list[str]) -> None:
    """In order; the last one is repeated; it costs nothing."""
    client = make_client("mock", **options)
    said = [call_llm(client, HI, "mock") for _ in range(3)]
    assert [text for text, _ in said] == texts
    assert said[0][1] == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    assert client.calls[0] == {"model": "mock", "messages": HI, "timeout": 120}


def test_an_unknown_provider() -> None:
    """It says which there are."""
    with pytest.raises(ValueError, match="Unknown provider 'nobody': there are openai_compat"):
        make_client("nobody")


def test_a_registered_provider() -> None:
    """What it returns is the client, with the options that were given."""

    @register_provider("llm_registered")
    def make(base_url: str | None, api_key: str | None, **options: Any) -> Any:
        return base_url, api_key, options

    assert make_client("llm_registered", "http://b", "k", timeout=3) == ("http://b", "k", {"timeout": 3})
    assert "llm_registered" in providers()


@pytest.mark.parametrize("provider", ["openai_compat", "anthropic"])
def test_a_server_is_asked(provider: str) -> None:
    """What is given is sent; what comes back is the text and its tokens."""
    with scripted_model([Answer(Text("hello"), input_tokens=3, output_tokens=1)]) as model:
        client = make_client(provider, base_url=model.url, api_key="k" * 20)
        said = call_llm(client, HI, "mm", temperature=0.0, max_tokens=9, extra_params={"user": "u"})
    assert said == ("hello", {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4})
    body = model.requests[0].body
    assert {name: body[name] for name in ("model", "temperature", "max_tokens", "user")} == {
        "model": "mm",
        "temperature": 0.0,
        "max_tokens": 9,
        "user": "u",
    }


async def test_a_server_is_asked_inside_of_a_loop() -> None:
    """A script may be under trio; the question is asked in a thread then."""
    with scripted_model([Text("hello")]) as model:
        client = make_client(base_url=model.url)
        text, _ = call_llm(client, HI, "mm")
    assert text == "hello"
    assert trio.current_time() > 0


def test_a_busy_server_is_asked_again() -> None:
    """As often as ``max_retries`` says; then its failure is raised."""
    with scripted_model([Failure(503, "busy"), Text("hello"), Failure(503, "busy")]) as model:
        patient = make_client(base_url=model.url, retry_delay=0.0)
        hasty = make_client(base_url=model.url, max_retries=0)
        assert call_llm(patient, HI, "mm")[0] == "hello"
        with pytest.raises(ProviderFailed, match="busy"):
            call_llm(hasty, HI, "mm")


def test_an_option_that_only_openai_knows(caplog: pytest.LogCaptureFixture) -> None:
    """It is not dropped in silence, and the others count."""
    client = make_client(base_url="http://x", default_headers={"x": "y"}, timeout=3)
    assert client.timeout == 3
    assert "'default_headers' of a client of openai_compat is ignored: it has timeout, max_retries" in caplog.text


def test_an_address_that_is_none() -> None:
    """It is said when the client is used."""
    with pytest.raises(ConfigError, match="base_url"):
        call_llm(make_client(base_url="nowhere"), HI, "mm")


def test_json_mode_is_asked_for() -> None:
    """``json_mode`` tells the server; an answer with an object says that it works."""
    with scripted_model([{"ok": True}, Text("sure"), Failure(401, "who are you")]) as model:
        client = make_client(base_url=model.url, max_retries=0)
        assert [probe_json_mode(client, "mm") for _ in range(3)] == [True, False, False]
    assert model.requests[0].body["response_format"] == {"type": "json_object"}


def test_a_server_that_refuses_json_mode_has_none() -> None:
    """It is asked once: without it there is nothing to find out."""
    with scripted_model([Failure(400, "response_format is not supported")]) as model:
        assert probe_json_mode(make_client(base_url=model.url), "mm") is False


def test_any_client_of_that_shape_will_do() -> None:
    """One of OpenAI's own, or a hand-made one; without a usage the tokens are not known."""
    message = SimpleNamespace(message=SimpleNamespace(content='{"a": 1}'))
    create = lambda **_: SimpleNamespace(choices=[message])  # noqa: E731
    client = SimpleNamespace(chat=SimpleNamespace(completions=SimpleNamespace(create=create)))
    text, tokens = call_llm(client, HI, "mm")
    assert (extract_json(text), tokens) == ({"a": 1}, None)
