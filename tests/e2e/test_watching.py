"""A service that is watched over HTTP: who may ask what, when it is ready, and what a Prometheus sees of it."""

from __future__ import annotations

import http.client
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from paid_model import paid_model
from prometheus import (
    DEPLOY,
    RULES,
    expressions_of_dashboard,
    expressions_of_rules,
    prometheus,
    promtool,
    require,
    until,
)
from services import listed, program, said
from three_ways import fabric

pytestmark = pytest.mark.processes


class Said(NamedTuple):
    """An answer."""

    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Service:
    """A service that runs, as HTTP shows it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        row = listed(folder)
        self.address = row["http"].removeprefix("http://")
        self.token = Path(row["token_file"]).read_text().strip()

    def ask(self, path: str, method: str = "GET", *, token: bool = False, body: bytes = b"", **headers: str) -> Said:
        host, _, port = self.address.rpartition(":")
        connection = http.client.HTTPConnection("127.0.0.1" if host == "0.0.0.0" else host, int(port), timeout=60)
        known = {"Authorization": f"Bearer {self.token}"} if token else {}
        connection.request(method, path, body or None, {**known, **headers})
        answer = connection.getresponse()
        found = Said(answer.status, answer.read())
        connection.close()
        return found


@contextmanager
def watched(folder: Path, *arguments: object, http: str = "127.0.0.1:0") -> Iterator[Service]:
    """Give a service that runs until the end of the block."""
    done = fabric("up", "-d", "--http", http, *arguments, cwd=folder)
    assert done.returncode == 0, said(done)
    try:
        yield Service(folder)
    finally:
        fabric("down", "-t", "1", cwd=folder)


READS = ["status", "graph", "workers", "channels"]
SECRETS = ["dead_letters", "approvals"]
CHANGES = [
    "workers/work/restart",
    "workers/nobody/stop",
    "approvals/1-abcdef",
    "dead_letters/1/retry",
    "dead_letters/1/drop",
]


def test_who_may_ask_what_of_this_machine(project: Path):
    """Looking is open, unless messages are to be seen; to change something the token is needed, and no other does."""
    with watched(project, program(project, "echo")) as service:
        assert [service.ask(path).status for path in ("/metrics", "/livez", "/readyz")] == [200] * 3
        assert [service.ask(f"/api/v1/{path}").status for path in READS] == [200] * 4
        for path in SECRETS:
            assert service.ask(f"/api/v1/{path}").status == 401
            assert service.ask(f"/api/v1/{path}", token=True).json["v"] == 1
        for path in [*CHANGES, "down"]:
            for wrong in ({}, {"Authorization": f"Bearer {service.token}x"}, {"Authorization": service.token}):
                refused = service.ask(f"/api/v1/{path}", "POST", **wrong)
                assert (refused.status, refused.json["code"]) == (401, "unauthorized")
        body = b'{"granted": true}'
        done = [service.ask(f"/api/v1/{path}", "POST", token=True, body=body).status for path in CHANGES]
        assert done == [200, 404, 404, 404, 404]
        assert service.ask("/api/v1/approvals/1", "POST", token=True, body=b"{}").status == 400
        assert service.ask("/api/v1/status", "POST").status == 401
        assert service.ask("/api/v1/status", "POST", token=True).status == 405
        assert service.ask("/nothing").status == 404
        assert service.ask("/api/v1/down", "POST", token=True).status == 200
        assert fabric("wait", cwd=project).returncode == 0
        assert not Path(project / ".fabric/run/demo.token").exists()


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "192.0.2.1:9464", ""])
def test_a_name_that_was_made_point_here_is_refused(host: str, project: Path):
    """Whatever is asked for, and with the token as well; and so is every page."""
    with watched(project, program(project, "echo")) as service:
        for path in ("/metrics", "/api/v1/status"):
            assert service.ask(path, token=True, Host=host).status in (400, 421)
            assert service.ask(path, token=True, Origin=f"http://{host}").status == 403
            assert service.ask(path, token=True, Origin=f"http://{service.address}").status == 403
        port = service.address.rpartition(":")[2]
        assert [service.ask("/livez", Host=name).status for name in ("localhost", f"[::1]:{port}", "127.0.0.1")] == [
            200
        ] * 3


def test_from_elsewhere_all_but_metrics_needs_the_token(project: Path):
    """And without a file that holds one nothing is bound: 2, before anything starts."""
    path = program(project, "echo")
    refused = fabric("up", "-d", "--http", "0.0.0.0:0", path, cwd=project)
    assert (refused.returncode, "--token-file" in said(refused)) == (2, True)
    assert not (project / ".fabric").exists()
    file = project / "token"
    file.write_text("0123456789abcdef")
    file.chmod(0o600)
    with watched(project, "--token-file", file, path, http="0.0.0.0:0") as service:
        assert service.token == "0123456789abcdef"
        assert service.ask("/metrics", Host="coordinator:9464").status == 200
        assert [service.ask(f"/api/v1/{path}").status for path in (*READS, *SECRETS)] == [401] * 6
        assert [service.ask(f"/api/v1/{path}", token=True).status for path in (*READS, *SECRETS)] == [200] * 6
    assert file.exists(), "it is the user's"


def test_an_address_that_is_taken_is_told_before_anything_starts(project: Path):
    """2, if it was asked for."""
    path = program(project, "echo")
    with watched(project, path) as service:
        again = fabric("up", "-d", "-p", "other", "--http", service.address, path, cwd=project)
        assert (again.returncode, "Address already in use" in said(again)) == (2, True)
        assert not (project / ".fabric/run/other.json").exists()


def test_a_stopped_worker_with_a_message_makes_the_service_unready(project: Path):
    """Its process is stopped, and goes on: /readyz says both; a worker that merely waits is ready."""
    with watched(project, program(project, "quiet")) as service:
        assert fabric("send", "1", cwd=project).returncode == 0
        (worker,) = service.ask("/api/v1/workers").json["workers"]
        os.kill(worker["pid"], signal.SIGSTOP)
        assert service.ask("/readyz").status == 200, "it has nothing to do"
        assert fabric("send", "--no-wait", "2", "3", cwd=project).returncode == 0
        unready = until(lambda: (found := service.ask("/readyz")).status == 503 and found).json
        (missing,) = unready["missing"]
        assert (unready["ready"], missing["worker"], missing["reason"]) == (False, "work", "not_answering")
        os.kill(worker["pid"], signal.SIGCONT)
        assert until(lambda: (found := service.ask("/readyz")).status == 200 and found).json["missing"] == []
        until(lambda: service.ask("/api/v1/status").json["outputs"] == {"o": 3})


def test_a_worker_that_thinks_is_ready(project: Path):
    """It has messages and says nothing, but answers when it is asked whether it moves."""
    with watched(project, program(project, "late_end")) as service:
        assert fabric("send", "--no-wait", "1", "2", cwd=project).returncode == 0
        age = 'fabric_channel_oldest_age_seconds{channel="i→work.input"} '

        def aged() -> bool:
            (line,) = [line for line in service.ask("/metrics").body.decode().splitlines() if line.startswith(age)]
            return float(line.removeprefix(age)) > 4.5

        until(aged)
        assert service.ask("/readyz").status == 200
        (project / "go").touch()
        until(lambda: service.ask("/api/v1/status").json["outputs"] == {"o": 2})


def test_a_run_can_be_watched_if_it_is_asked_for(project: Path):
    """Where the address is free; a taken one is told before a line is read."""
    with watched(project, program(project, "echo")) as service:
        refused = fabric("run", "--http", service.address, "demo.plumb", cwd=project, stdin=b"1\n")
        assert (refused.returncode, refused.stdout) == (2, b"")
    done = fabric("run", "--http", "127.0.0.1:0", "demo.plumb", cwd=project, stdin=b"1\n")
    assert (done.returncode, done.stdout) == (0, b"1\n")


# --- a real Prometheus ----------------------------------------------------------------------------------------------


def test_what_is_shipped_is_what_promtool_takes():
    """The configuration, the rules, and the tests of the alerts."""
    require()
    folder = DEPLOY / "prometheus"
    for arguments in (
        ("check", "config", folder / "prometheus.yml"),
        ("check", "rules", folder / "rules.yml", folder / "alerts.yml"),
        ("test", "rules", folder / "alerts_test.yml"),
    ):
        done = promtool(*arguments)
        assert done.returncode == 0, (done.stdout + done.stderr).decode()


SHOP = """
use fs

let clerk : !string -> !string = agent {{
  provider: "scripted"
  script: "desk:answer"
  prompt: "Note what you are told."
  tools: [Fs.read, Fs.write]
}}
let model : !string -> !string = agent {{ provider: "openai", model: "m", endpoint: "{url}", max_tokens: 200 }}
let echo : !string -> !string = python {{ call: "desk:echo" }}
let join : (!string, !string) -> !(string, string) = barrier
let main : (!string, !string) -> (!string, !(string, string)) = plumb(note, question, noted, answers) {{
  note ; clerk ; noted
  question ; (model * echo) ; join ; answers
}}
"""
DESK = """
import os
from plumb_agent.providers.scripted import Call

def answer(asked, messages):
    newest = messages[-1]["content"]
    return Call("write", {"path": "note.txt", "text": "x"}) if isinstance(newest, str) else "noted"

def echo(value):
    if value == "die":
        os._exit(3)
    return value
"""
PRICES = "[prices.m]\ninput = 1.0\noutput = 5.0\n[run]\nredeliveries = 1\n"


def test_a_prometheus_sees_it_all_and_tells_when_a_worker_is_killed(project: Path, monkeypatch: pytest.MonkeyPatch):
    """Every rule and every expression of the dashboard gives data; promtool takes the page; the alert fires."""
    require()
    (project / "desk.py").write_text(DESK)
    (project / "fabric.toml").write_text(PRICES)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with paid_model(busy=1) as model:
        (project / "shop.plumb").write_text(SHOP.format(url=model.url))
        with (
            watched(project, "--budget-usd", "1", "shop.plumb") as service,
            prometheus(service.address, project) as seen,
        ):
            until(lambda: seen.ask('up{job="fabric"} == 1'))
            until(lambda: traffic(service) and all_have_data(seen))
            page = service.ask("/metrics").body
            checked = promtool("check", "metrics", stdin=page)
            assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")
            assert not seen.ask('ALERTS{alertname="FabricWorkerCrashed"}')
            (echo,) = [one for one in service.ask("/api/v1/workers").json["workers"] if one["name"] == "echo"]
            os.kill(echo["pid"], signal.SIGKILL)
            firing = until(lambda: seen.ask('ALERTS{alertname="FabricWorkerCrashed", alertstate="firing"}'))
            assert [one["metric"]["worker"] for one in firing] == ["echo"]
            until(lambda: service.ask("/readyz").status == 200)


def traffic(service: Service) -> bool:
    """Send on both inputs, and approve what is asked for."""
    assert fabric("send", "question", '"well?"', cwd=service.folder).returncode == 0
    assert fabric("send", "--no-wait", "note", '"this"', cwd=service.folder).returncode == 0
    waiting = until(lambda: service.ask("/api/v1/approvals", token=True).json["approvals"])
    done = service.ask(f"/api/v1/approvals/{waiting[0]['id']}", "POST", token=True, body=b'{"granted": true}')
    assert done.status == 200, done.body
    return True


def all_have_data(seen: Any) -> bool:
    everything = [*expressions_of_rules(RULES), *expressions_of_dashboard()]
    missing = [name for name, expression in everything if not seen.ask(_chosen(expression))]
    print("no data yet:", missing)
    return not missing


def _chosen(expression: str) -> str:
    return expression.replace('"$job"', '"fabric"').replace('"$instance"', '".+"')
