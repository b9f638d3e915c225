"""What stands in compose files."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest
import yaml
from deployments import code_of, composed, laid_out, text_laid_out, thirty

from fabric.manifests.compose import Contents, compose_files
from fabric.manifests.files import PRIVATE, Files
from tests.manifests.test_deployment import HOSTS, agents


def document(files: Files, path: str = "compose.yaml") -> dict:
    return yaml.safe_load(files[path].content)


def changed_lines(before: Files, after: Files) -> dict[str, list[str]]:
    """Return the lines that went and came, by file."""
    found = {}
    for path in sorted({*before, *after}):
        old, new = (files[path].content.decode().splitlines() if path in files else [] for files in (before, after))
        lines = [line for line in difflib.unified_diff(old, new, n=0, lineterm="") if line[:3] not in ("---", "+++")]
        if lines:
            found[path] = [line for line in lines if not line.startswith("@@")]
    return found


def made(folder: Path, **changes) -> Files:
    program = thirty(folder / "thirty", **changes)
    return composed(laid_out(program), code_of(program))


def test_a_changed_model_changes_one_spec(tmp_path: Path):
    """And the digests of that worker and of the coordinator, so that `up` starts those two again."""
    changed = changed_lines(made(tmp_path), made(tmp_path, change={"Agent_4": "claude-opus-4"}))
    assert changed.keys() == {"app/main.plumb", "compose.yaml", "specs/agent-4.json"}
    assert changed["specs/agent-4.json"] == [
        '-    "model": "claude-haiku-4-5",',
        '+    "model": "claude-opus-4",',
    ]
    assert [line.strip("+- ").split(":")[0] for line in changed["compose.yaml"]] == ["fabric.files"] * 4


def test_a_worker_more_changes_nothing_of_the_others(tmp_path: Path):
    """It comes with a service, a spec and a key of its own; ports stay."""
    before, after = made(tmp_path), made(tmp_path, workers=31)
    changed = changed_lines(before, after)
    assert changed.keys() == {"app/main.plumb", "compose.yaml", "specs/agent-30.json", "fabric.toml"}
    gone = [line for line in changed["compose.yaml"] + changed["fabric.toml"] if line.startswith("-")]
    assert [line.strip("- ").split(":")[0] for line in gone] == ["fabric.files"]


def test_text_that_compose_would_fill_in_is_escaped(tmp_path: Path):
    """A dollar of the program's is one; only ours are for compose."""
    text = 'let own : !string -> !string = worker { command: ["sh", "-c", "echo ${HOME} $x \'no\' \\"1e3\\""] }\n'
    text += "let main : !string -> !string = plumb(i, o) { i ; own ; o }\n"
    files = composed(text_laid_out(tmp_path, text, '[workers.own]\nenv = ["yes", "B"]\n'), {})
    service = document(files)["services"]["own"]
    assert service["command"][2] == "echo $${HOME} $$x 'no' \"1e3\""
    assert (service["environment"]["yes"], service["environment"]["B"]) == (None, None)
    assert service["user"] == "${FABRIC_USER:-65532:65532}"


def test_every_service_of_ours_is_hardened(tmp_path: Path):
    """Nothing is writable, nothing can be gained; a worker that drained waits for the next coordinator."""
    files = composed(text_laid_out(tmp_path, agents("one", "two")), {})
    services = document(files)["services"]
    assert list(services) == ["coordinator", "one", "two", "prometheus", "grafana"]
    for name, service in services.items():
        assert service["read_only"] is True
        assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
        if name in ("coordinator", "one", "two"):
            restart = "on-failure" if name == "coordinator" else "unless-stopped"
            assert (service["init"], service["restart"], service["tmpfs"]) == (True, restart, ["/tmp"])
            assert service["healthcheck"]["test"][0] == "CMD"


def test_limits_are_those_of_the_project(tmp_path: Path):
    """By the names that both versions of compose know."""
    toml = '[workers.one]\nimage = "mine"\nlimits = { memory = "512m", cpus = 1.5, pids = 64 }\n'
    service = document(composed(text_laid_out(tmp_path, agents("one"), toml), {}))["services"]["one"]
    assert (service["image"], service["mem_limit"], service["cpus"], service["pids_limit"]) == ("mine", 2**29, 1.5, 64)


def test_keys_of_providers_are_files_that_somebody_fills_in(tmp_path: Path):
    """In no variable, and readable by the owner alone; what is there already stays."""
    text = 'let a : !string -> !string = agent { provider: "openai", model: "m" }\n'
    text += "let main : !string -> !string = plumb(i, o) { i ; a ; o }\n"
    files = composed(text_laid_out(tmp_path, text), {})
    service = document(files)["services"]["a"]
    assert service["environment"]["OPENAI_API_KEY_FILE"] == "/run/secrets/OPENAI_API_KEY"
    assert "OPENAI_API_KEY" not in service["environment"]
    assert "OPENAI_API_KEY" in service["secrets"]
    file = files["secrets/OPENAI_API_KEY"]
    assert (file.mode, file.keep, b" " in file.content) == (PRIVATE, True, True)


def test_with_several_hosts_each_has_a_folder(tmp_path: Path):
    """With the services that run there, on the host's own network, and nothing of the others."""
    toml = HOSTS + '[workers.two]\nhost = "back"\n'
    files = composed(text_laid_out(tmp_path, agents("one", "two"), toml, "hosts"), {})
    front, back = document(files, "front-1/compose.yaml"), document(files, "back/compose.yaml")
    assert list(front["services"]) == ["coordinator", "one", "prometheus", "grafana"]
    assert list(back["services"]) == ["two"]
    assert {service["network_mode"] for service in front["services"].values()} == {"host"}
    environment = back["services"]["two"]["environment"]
    assert environment["PLUMB_ENDPOINT_INPUT"].startswith("tcp://10.0.0.1:")
    assert environment["PLUMB_ENDPOINT_OUTPUT"].startswith("tcp://0.0.0.0:7")
    assert back["secrets"] == {"key-two": {"file": "./keys/workers/two.json"}}
    assert [path for path in files if path.startswith("back/")] == [
        "back/specs/two.json",
        "back/.env",
        "back/compose.yaml",
    ]
    assert b"127.0.0.1:9464" in files["front-1/prometheus/prometheus.yml"].content


def test_names_that_are_no_labels_get_some(tmp_path: Path):
    """Dots of nested bodies, capitals, underscores, and names of services of ours."""
    text = 'let Unit_A : !string -> !string = agent { provider: "eliza" }\n'
    text += AGENT_NAMED.format("coordinator") + "let inner : !string -> !string = plumb(i, o) { i ; Unit_A ; o }\n"
    text += "let main : !string -> !string = plumb(i, o) { i ; inner ; coordinator ; Unit_A ; o }\n"
    services = document(composed(text_laid_out(tmp_path, text), {}))["services"]
    first, *others = [name for name in services if name not in ("prometheus", "grafana")]
    assert first == "coordinator"
    assert others[0].startswith("coordinator-")
    assert others[1:] == ["inner-unit-a", "unit-a"]
    assert services[others[0]]["environment"]["FABRIC_WORKER"] == "coordinator"


AGENT_NAMED = 'let {0} : !string -> !string = agent {{ provider: "eliza" }}\n'


@pytest.mark.parametrize("network", ["services", "hosts"])
def test_nothing_is_open_to_other_machines_but_the_ports_of_the_plan(tmp_path: Path, network):
    """Metrics and pictures are for this host; who wants more puts something in front of them."""
    made = text_laid_out(tmp_path, agents("one"), HOSTS, network)
    files = composed(made, {})
    services = document(files)["services"]
    if network == "services":
        published = [port for service in services.values() for port in service.get("ports", [])]
        assert published == ["127.0.0.1:9464:9464", "127.0.0.1:9090:9090", "127.0.0.1:3000:3000"]
    else:
        assert b'http = "127.0.0.1:9464"' in files["fabric.toml"].content
        assert "--web.listen-address=127.0.0.1:9090" in services["prometheus"]["command"]
        assert services["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"


def test_only_workers_of_ours_are_asked_how_they_are(tmp_path: Path):
    """The image of somebody else has no Python with the fabric; it would never be healthy."""
    text = 'let own : !string -> !string = worker { command: ["own"] }\n' + AGENT_NAMED.format("a")
    text += "let main : !string -> !string = plumb(i, o) { i ; own ; a ; o }\n"
    services = document(composed(text_laid_out(tmp_path, text), {}))["services"]
    assert {name: "healthcheck" in services[name] for name in ("own", "a")} == {"own": False, "a": True}


def test_new_rules_start_those_again_who_read_them(tmp_path: Path):
    """Prometheus alone: Grafana is told nothing else."""
    deployment = text_laid_out(tmp_path, agents("one"))
    labels = []
    for rules in (b"groups: []", b"groups: [] # new"):
        contents = Contents({}, {"alerts.yml": rules, "fabric.json": b"{}"}, "1:1")
        services = document(compose_files(deployment, deployment.coordinator, contents))["services"]
        labels.append({name: service["labels"]["fabric.files"] for name, service in services.items()})
    assert {name for name in labels[0] if labels[0][name] != labels[1][name]} == {"prometheus"}
