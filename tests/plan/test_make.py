"""What is started, and how."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from plans import graph_of, module_of, plan_of

from fabric.errors import ConfigError
from fabric.plan.endpoints import IPC_PATH_BYTES_MAX, ipc_addresses
from fabric.plan.make import Surroundings, make_plan
from fabric.plan.plan import Address


def one(worker: str, signature: str = "!int -> !int"):
    return plan_of(f"let f : {signature} = {worker}\nlet main : !int -> !int = plumb(i, o) {{ i ; f ; o }}").workers[0]


def test_an_agent_is_our_module_with_every_port():
    """Provider and model are filled in; one message at a time."""
    worker = one('agent { provider: "eliza" }')
    assert worker.command == ("python", "-P", "-m", "plumb_agent")
    assert worker.spec.config == {"provider": "eliza", "model": "doctor"}
    assert list(worker.endpoints) == ["input", "output", "ctrl_in", "ctrl_out", "telemetry"]
    assert worker.endpoints["input"] == Address("ipc://RUN/0.input", "ipc://RUN/0.input")
    assert (worker.window, worker.ours) == (1, True)


@pytest.mark.parametrize(
    ("worker", "window"),
    [
        ('agent { provider: "eliza" amnesiac: true }', 8),
        ('python { call: "m:f" }', 64),
        ('python { call: "m:f" state: true }', 1),
        ('worker { command: ["x"] }', 64),
        ('worker { command: ["x"] state: true }', 1),
        ('worker { command: ["x"] compat: true }', 1),
        ('handler { command: ["x"] }', 1),
    ],
)
def test_the_window_follows_from_what_a_worker_remembers(worker: str, window: int):
    """Stateless ones may have many messages."""
    assert one(worker).window == window


def test_a_program_on_lines_has_no_endpoints():
    """Its ports are its stdin and stdout."""
    worker = one('worker { command: ["cat", "-u"] transport: "stdio" markers: true }')
    assert (worker.command, worker.endpoints, worker.transport, worker.markers) == (("cat", "-u"), {}, "stdio", True)


def test_consumers_are_started_before_producers():
    """So that nothing waits for a reader."""
    plan = plan_of(
        'let a : !int -> !int = python { call: "m:f" }\nlet b : !int -> !int = python { call: "m:f" }\n'
        "let main : !int -> !int = plumb(i, o) { i ; a ; b ; o }"
    )
    assert [worker.name for worker in plan.workers] == ["b", "a"]


def make(text: str, **settings: str | bool):
    return make_plan(module_of(text), graph_of(text), Surroundings("python", "RUN", ".", **settings))


def test_an_agent_needs_a_provider_that_there_is():
    """From the program, or else from whoever starts it."""
    with pytest.raises(ConfigError, match="agent 'main' has no provider: add provider"):
        make("let main : !string -> !string = agent { }")
    with pytest.raises(ConfigError, match=r"there is no provider 'elisa'; there are .*Did you mean 'eliza'"):
        make("let main : !string -> !string = agent { }", provider="elisa")
    assert (
        make("let main : !string -> !string = agent { }", provider="eliza").workers[0].spec.config["model"] == "doctor"
    )


def test_a_hosted_agent_needs_a_model_and_gets_the_endpoint():
    """The two that make words of their own need neither."""
    text = 'let main : !string -> !string = agent { provider: "openai" }'
    with pytest.raises(ConfigError, match="agent 'main' has no model: add model"):
        make(text)
    (worker,) = make(text, model="m", endpoint="http://localhost:1/v1").workers
    assert worker.spec.config == {"provider": "openai", "model": "m", "endpoint": "http://localhost:1/v1"}
    assert worker.pass_on == ("OPENAI_API_KEY", "OPENAI_API_KEY_FILE")
    offline = 'let main : !string -> !string = agent { provider: "eliza" }'
    (worker,) = make(offline, model="m", endpoint="http://localhost:1/v1").workers
    assert worker.spec.config == {"provider": "eliza", "model": "doctor"}


@pytest.mark.parametrize("said", ["http://h/v1", "https://h/x?version=2"])
def test_a_test_sends_agents_elsewhere_that_say_their_endpoint(said: str):
    """The path says where they would have gone; an agent that says nothing goes where all go."""
    text = 'let main : !string -> !string = agent { provider: "openai" model: "m" endpoint: "URL" }'
    (worker,) = make(text.replace("URL", said), endpoint="http://e", detour="http://t:1/").workers
    assert worker.spec.config["endpoint"] == f"http://t:1/for/{quote(said, safe='')}"
    (worker,) = make(text.replace('endpoint: "URL"', ""), endpoint="http://e", detour="http://t:1/").workers
    assert worker.spec.config["endpoint"] == "http://e"


def test_metered_agents_may_ask():
    """On the ports for tools; other workers have nothing to ask for."""
    text = 'let a : !string -> !string = agent { provider: "eliza" }\n'
    text += 'let b : !string -> !string = python { call: "m:f" }\n'
    text += "let main : !string -> !string = plumb(i, o) { i ; a ; b ; o }"
    b, a = make(text, metered=True).workers
    assert (a.calls, a.spec.metered, b.calls, b.spec.metered) == (True, True, False, False)
    assert a.spec.ports[-2:] == ("tool_req", "tool_resp")
    assert not any(worker.calls for worker in make(text).workers)


def test_a_socket_path_that_is_too_long_is_refused():
    """A socket's address holds 107 bytes; the system would cut it."""
    fits = "r" * (IPC_PATH_BYTES_MAX - len("/0.input.99999"))
    assert ipc_addresses(fits, 0, ["input"])
    with pytest.raises(ConfigError, match=r"needs 108 bytes; there are 107\. Set XDG_RUNTIME_DIR"):
        ipc_addresses(fits + "r", 0, ["input"])


def test_a_handler_has_a_session_of_its_own():
    """In the run's directory unless the run is kept, and under an id that no other run has."""
    worker = one('handler { command: ["python", "h.py"] }')
    assert worker.command == ("python", "-P", "-m", "fabric.handlers.serving")
    assert worker.spec.config == {"command": ["python", "h.py"], "bucket": "file:RUN/sessions", "session": "run-RUN/f"}
