"""The scripted provider: files and functions."""

import pytest

from fabric.errors import ConfigError
from plumb_agent.messages import History, Message, Request, TextBlock, ToolUseBlock, Usage, text_of
from plumb_agent.providers import Provider, ProviderFailed
from plumb_agent.providers.scripted import ScriptedFile, open_script, read_lines


async def ask(provider: Provider, text: str, *before: Message) -> str:
    history = History([*before, Message("user", text)])
    return text_of((await provider.complete(Request((), history, text, "scripted"))).blocks)


def lines(text: str) -> ScriptedFile:
    return ScriptedFile(read_lines(text, "replies.jsonl"), "replies.jsonl")


async def test_each_line_is_one_reply_in_order():
    """Values under "reply", raw characters under "text", any other JSON as it is; blank lines count for nothing."""
    provider = lines('{"reply": {"ok": true}}\n\n{"text": "no {json"}\n"plain"\n{"ok": 1}\n{"reply": 1, "x": 2}\n[1]')
    replies = [await ask(provider, '"a"') for _ in range(6)]
    assert replies == ['{"ok":true}', "no {json", '"plain"', '{"ok":1}', '{"reply":1,"x":2}', "[1]"]


async def test_a_line_with_match_waits_for_its_input():
    """The first unused line that fits, in the order of the file."""
    provider = lines('{"match": "red", "reply": 1}\n{"reply": 2}\n{"match": "^\\"red", "text": "3"}\n{"reply": 4}')
    assert [await ask(provider, text) for text in ('"blue"', '"red"', '"red"', '"red"')] == ["2", "1", "3", "4"]


async def test_a_script_that_has_run_out_fails_the_call():
    """It names the file, the input, and why."""
    provider = lines('{"match": "red", "reply": 1}')
    with pytest.raises(
        ProviderFailed, match=r"'replies.jsonl' has no reply to \"blue\": none of the 1 lines left fits"
    ):
        await ask(provider, '"blue"')
    await ask(provider, '"red"')
    with pytest.raises(ProviderFailed, match="all its lines are used up"):
        await ask(provider, '"red"')


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "replies.jsonl:2: expected JSON"),
        ('{"text": 1}', "replies.jsonl:2: 'text' must be a string"),
        ('{"match": "(", "reply": 1}', "replies.jsonl:2: missing \\)"),
        ('{"match": 1, "reply": 1}', "replies.jsonl:2: "),
    ],
)
def test_a_broken_line_is_named(line, reason):
    """File and line number, before anything runs."""
    with pytest.raises(ConfigError, match=reason):
        lines(f"1\n{line}")


async def test_tokens_are_words():
    """Of all messages, and of the reply."""
    reply = await lines('{"text": "a b"}').complete(Request((), History([Message("user", "x y z")]), "x y z", "m"))
    assert (reply.blocks, reply.usage) == ((TextBlock("a b"),), Usage(3, 2))


async def test_a_file_is_found_beside_the_program(tmp_path):
    """Relative names start at the program's directory."""
    (tmp_path / "replies.jsonl").write_text('"hé"\n', encoding="utf-8")
    assert await ask(open_script("./replies.jsonl", str(tmp_path)), '"a"') == '"hé"'


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (None, "needs script"),
        ("", "needs script"),
        (3, "needs script"),
        ("./none.jsonl", "cannot read the script"),
        ("no_such_module:f", "cannot import the script 'no_such_module:f'"),
        ("json:no_such_function", "cannot import the script"),
        ("json:__doc__", "is not a function"),
    ],
)
def test_what_cannot_be_opened_is_a_configuration_error(script, reason, tmp_path):
    """At the start, with the name as written."""
    with pytest.raises(ConfigError, match=reason):
        open_script(script, str(tmp_path))


FUNCTIONS = """
from plumb_agent.providers.scripted import Text

def shout(text, messages):
    return {"said": text.upper(), "before": [message["content"] for message in messages]}

async def slow(text, messages):
    return Text("not json")

def broken(text, messages):
    raise KeyError("lost")

def unwritable(text, messages):
    return object()
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of functions beside a program."""
    (tmp_path / "fabric_scripted_functions.py").write_text(FUNCTIONS, encoding="utf-8")
    monkeypatch.setattr("sys.path", ["", *__import__("sys").path])  # restored after the test
    yield "fabric_scripted_functions"
    __import__("sys").modules.pop("fabric_scripted_functions", None)


async def test_a_function_is_called_with_the_input_and_the_messages(module, tmp_path):
    """What it returns is written as JSON."""
    provider = open_script(f"{module}:shout", str(tmp_path))
    reply = await ask(provider, '"a"', Message("assistant", (TextBlock("1"),)))
    assert reply == '{"said":"\\"A\\"","before":["1","\\"a\\""]}'


async def test_a_function_may_be_async_and_return_raw_text(module, tmp_path):
    """Text is not written as JSON."""
    assert await ask(open_script(f"{module}:slow", str(tmp_path)), '"a"') == "not json"


async def test_an_error_in_a_function_fails_the_call_with_its_traceback(module, tmp_path):
    """The traceback names the line of the author's file."""
    with pytest.raises(ProviderFailed, match=r"broken' raised KeyError: 'lost'") as caught:
        await ask(open_script(f"{module}:broken", str(tmp_path)), '"a"')
    assert 'raise KeyError("lost")' in caught.value.details["traceback"]


async def test_a_value_that_json_does_not_have_fails_the_call(module, tmp_path):
    """It is the author's mistake, too."""
    with pytest.raises(ProviderFailed, match="unwritable' raised TypeError"):
        await ask(open_script(f"{module}:unwritable", str(tmp_path)), '"a"')


async def answer(provider: Provider, text: str, **fields):
    history = History([Message("user", text)])
    return await provider.complete(Request((), history, text, "scripted", **fields))


async def test_a_line_may_call_tools():
    """One or several at once, also only for some inputs; each call has an id of its own."""
    provider = lines(
        '{"match": "b", "tool": "g", "arguments": {}}\n{"tool": "f", "arguments": {"x": [1]}}\n'
        '{"tools": [{"name": "f", "arguments": {}}, {"name": "g", "arguments": {"y": 2}}]}\n{"reply": 1}'
    )
    first, second, third = [await answer(provider, text) for text in ('"a"', '"b"', '"a"')]
    assert first.blocks == (ToolUseBlock("call_1", "f", {"x": [1]}),)
    assert second.blocks == (ToolUseBlock("call_2", "g", {}),)
    assert third.blocks == (ToolUseBlock("call_3", "f", {}), ToolUseBlock("call_4", "g", {"y": 2}))
    assert {reply.stop_reason for reply in (first, second, third)} == {"tool_use"}
    assert (await answer(provider, '"a"')).stop_reason == "end_turn"


@pytest.mark.parametrize(
    "line",
    ['{"tool": 1, "arguments": {}}', '{"tool": "f", "arguments": []}', '{"tools": ["f"]}', '{"tools": {"name": "f"}}'],
)
def test_what_is_almost_a_call_is_named(line):
    """With the shape of one, and how to reply such a value."""
    with pytest.raises(ConfigError, match=r"replies.jsonl:1: a call of a tool is .*A value like this is"):
        lines(line)


async def test_a_reply_of_too_many_words_is_cut_off():
    """As a model's is."""
    reply = await answer(lines('{"text": "a b  c d"}'), '"x"', max_tokens=3)
    assert (reply.blocks, reply.stop_reason, reply.usage) == ((TextBlock("a b  c"),), "max_tokens", Usage(1, 3))


CALLERS = """
from plumb_agent.providers.scripted import Call

def one(text, messages):
    return Call("f", {"said": text})

async def two(text, messages):
    return [Call("f", {"x": (1, 2)}), Call("g", {})]

def mixed(text, messages):
    return [Call("f", {}), "g"]
"""


@pytest.fixture
def callers(tmp_path, monkeypatch):
    """A module of functions that call tools."""
    (tmp_path / "fabric_scripted_callers.py").write_text(CALLERS, encoding="utf-8")
    monkeypatch.setattr("sys.path", ["", *__import__("sys").path])  # restored after the test
    yield lambda name: open_script(f"fabric_scripted_callers:{name}", str(tmp_path))
    __import__("sys").modules.pop("fabric_scripted_callers", None)


async def test_a_function_may_call_tools(callers):
    """By returning a call, or a list of nothing else."""
    assert (await answer(callers("one"), '"a"')).blocks == (ToolUseBlock("call_1", "f", {"said": '"a"'}),)
    assert (await answer(callers("two"), '"a"')).blocks == (
        ToolUseBlock("call_1", "f", {"x": [1, 2]}),
        ToolUseBlock("call_2", "g", {}),
    )
    with pytest.raises(ProviderFailed, match="must have nothing else in it"):
        await answer(callers("mixed"), '"a"')
