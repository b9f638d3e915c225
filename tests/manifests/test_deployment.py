"""A program laid out as containers: who is where, and that both sides know it from one place."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from deployments import laid_out, text_laid_out, thirty

from fabric.compiler import compile_file
from fabric.errors import ConfigError
from fabric.manifests.deployment import Deployment, file_secrets, writing_below_app
from fabric.manifests.layout import coordinator_secrets, settings_file
from fabric.plan.place import place
from fabric.runtime.starting import placement_of
from fabric.settings import read_settings

AGENT = 'let {0} : !string -> !string = agent {{ provider: "eliza" }}\n'
CHAIN = "let main : !string -> !string = plumb(i, o) {{ i ; {0} ; o }}\n"
HOSTS = """
[hosts."Front.1"]
address = "10.0.0.1"
[hosts.back]
address = "back.example"
ports = "7000-7999"
engine = "unix:///run/docker.sock"
"""


def agents(*names: str) -> str:
    return "".join(AGENT.format(name) for name in names) + CHAIN.format(" ; ".join(names))


def told(deployment: Deployment, program: Path, folder: Path) -> Deployment:
    """Return the plan that the coordinator makes of its settings."""
    folder.mkdir()
    (folder / "fabric.toml").write_bytes(settings_file(deployment).content)
    plan, _ = compile_file(program, run_directory="RUN")
    return msgspec.structs.replace(deployment, plan=place(plan, placement_of(read_settings(folder), whose="a")))


@pytest.mark.parametrize("network", ["services", "hosts"])
def test_the_coordinator_finds_the_workers_where_their_containers_are(tmp_path: Path, network):
    """It reads its settings and draws the same addresses as were written for the workers."""
    toml = HOSTS + '[workers.two]\nhost = "back"\n[workers.one]\nlimits = { memory = "512m" }\n'
    made = text_laid_out(tmp_path, agents("one", "two", "three"), toml, network)
    theirs = told(made, tmp_path / "main.plumb", tmp_path / "told")
    assert theirs.plan.workers == made.plan.workers
    hosts = {container.label: container.worker.host for container in made.containers}
    own = {"one": "one", "two": "two", "three": "three"}
    assert hosts == (own if network == "services" else {"one": "Front.1", "two": "back", "three": "Front.1"})
    assert {worker.runner for worker in theirs.plan.workers} == {"external"}


def test_thirty_workers_keep_their_ports_when_one_is_added(tmp_path: Path):
    """Ports are drawn by name."""
    ports = [
        {c.label: c.worker.endpoints for c in laid_out(thirty(tmp_path / str(count), workers=count)).containers}
        for count in (30, 31)
    ]
    assert len(ports[0]) == 30
    assert ports[0] == {label: endpoints for label, endpoints in ports[1].items() if label in ports[0]}


def test_who_speaks_on_lines_or_has_servers_stays_with_the_coordinator(tmp_path: Path):
    """Its tools are known when it runs, or it speaks with nobody but who started it."""
    text = """
let lines : !string -> !string = worker { command: ["cat"], transport: "stdio" }
let asks : !string -> !string = agent {
  provider: "anthropic", model: "m", mcp: [{ name: "s", command: "srv" }]
}
let kept : !string -> !string = agent { provider: "eliza" }
let free : !string -> !string = agent { provider: "openai", model: "m" }
let main : !string -> !string = plumb(i, o) { i ; lines ; asks ; kept ; free ; o }
"""
    made = text_laid_out(tmp_path, text, '[workers.kept]\nrunner = "process"\n')
    assert [container.label for container in made.containers] == ["free"]
    assert sorted(worker.name for worker in made.inside) == ["asks", "kept", "lines"]
    assert coordinator_secrets(made) == ("ANTHROPIC_API_KEY",)
    assert file_secrets(made.containers[0].worker) == ("OPENAI_API_KEY",)


def test_paths_are_those_of_the_container(tmp_path: Path):
    """The program's folder is at one place there, whatever it is called here."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "part.plumb").write_text(
        'let inner : !string -> !string = python { call: "code:f" }\n'
        'let own : !string -> !string = worker { command: ["./bin/own", "$x"] }\n'
    )
    text = """use "lib/part.plumb"
let main : !string -> !string = plumb(i, o) { i ; Part.inner ; Part.own ; o }
"""
    (tmp_path / "main.plumb").write_text(text)
    made = text_laid_out(tmp_path, (tmp_path / "main.plumb").read_text())
    by_name = {container.label: container.worker for container in made.containers}
    assert by_name["part-inner"].spec.directory == "/app/lib"
    assert by_name["part-own"].command == ("/app/lib/bin/own", "$x")
    assert by_name["part-inner"].command[0] == "python"


def test_what_lies_outside_of_the_folder_is_refused(tmp_path: Path):
    """It would be missing in the container."""
    (tmp_path / "other").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "other" / "part.plumb").write_text('let f : !string -> !string = python { call: "code:f" }\n')
    text = 'use "../other/part.plumb"\nlet main : !string -> !string = plumb(i, o) { i ; Part.f ; o }\n'
    with pytest.raises(ConfigError, match="outside of the program's folder"):
        text_laid_out(tmp_path / "here", text)


def test_without_keys_nothing_is_secured(tmp_path: Path):
    """Somebody has said so."""
    (tmp_path / "main.plumb").write_text(agents("one"))
    made = laid_out(tmp_path / "main.plumb", insecure=True)
    assert (made.secured, made.containers[0].worker.secured) == (False, False)


def test_each_replica_has_a_container_and_a_name_of_its_own(tmp_path: Path):
    """By which the coordinator finds it, and no other of the same node."""
    text = 'let f : !string -> !string = python { call: "code:f" }\n' + CHAIN.format("f")
    made = text_laid_out(tmp_path, text, "[workers.f]\nreplicas = 2\nretries = 5\nlimits = { cpus = 2.0 }\n")
    assert [(c.label, c.worker.name, c.worker.host) for c in made.containers] == [
        ("f-1", "f#1", "f-1"),
        ("f-2", "f#2", "f-2"),
    ]
    assert {c.worker.limits.cpus for c in made.containers} == {2.0}
    assert {c.worker.spec.name for c in made.containers} == {"f"}
    theirs = told(made, tmp_path / "main.plumb", tmp_path / "told")
    assert theirs.plan.workers == made.plan.workers


def test_a_replica_is_put_on_a_host_by_its_own_name(tmp_path: Path):
    """What is said of all holds where nothing is said of it."""
    text = 'let f : !string -> !string = python { call: "code:f" }\n' + CHAIN.format("f")
    toml = HOSTS + '[workers.f]\nreplicas = 2\nimage = "mine"\n[workers."f#2"]\nhost = "back"\n'
    made = text_laid_out(tmp_path, text, toml, "hosts")
    assert [(c.worker.host, c.worker.image) for c in made.containers] == [("Front.1", "mine"), ("back", "mine")]
    settings = read_settings(tmp_path)
    settings.check_workers(["f"])
    (tmp_path / "fabric.toml").write_text(toml.replace("replicas = 2", "replicas = 1"))
    with pytest.raises(ConfigError, match="no worker 'f#2'"):
        read_settings(tmp_path).check_workers(["f"])


def test_who_writes_into_the_folder_of_the_program_is_told():
    """It can only be read in a container, so the first writing would fail."""
    examples = Path(__file__).parents[2] / "compose"
    told = writing_below_app(laid_out(examples / "clerk" / "main.plumb"))
    assert told
    assert {docroot for _, docroot in told} == {"/app"}
    assert all(any(word in name for word in ("write", "edit", "delete")) for name, _ in told), told
    assert writing_below_app(laid_out(examples / "hello" / "main.plumb")) == []
