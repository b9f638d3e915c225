"""What stands in the manifests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from deployments import code_of, for_kubernetes, laid_out, text_laid_out, thirty

from fabric.errors import ConfigError
from fabric.manifests.files import File, Files
from fabric.manifests.kubernetes import CONFIG_BYTES_MAX, program_keys
from fabric.manifests.names import namespace_of
from fabric.manifests.readme import kubernetes_readme
from tests.manifests.test_compose import changed_lines
from tests.manifests.test_deployment import agents

ASKS = 'let a : !string -> !string = agent {{ provider: "openai", model: "m"{0} }}\n'
MAIN = "let main : !string -> !string = plumb(i, o) { i ; a ; o }\n"


def named(files: Files, path: str) -> dict[str, dict]:
    return {found["kind"]: found for found in yaml.safe_load_all(files[path].content)}


def pod_of(files: Files, path: str) -> dict:
    return named(files, path)["StatefulSet"]["spec"]["template"]["spec"]


def numbers(rules: list[dict]) -> list[int]:
    return sorted(port["port"] for rule in rules for port in rule["ports"])


def test_a_worker_speaks_with_the_coordinator_and_with_nobody_else(tmp_path: Path):
    """Ports of the plan, and names; what is not said is denied."""
    files = for_kubernetes(text_laid_out(tmp_path, agents("one", "two")), {})
    objects = named(files, "workers/one.yaml")
    policy = objects["NetworkPolicy"]["spec"]
    (container,) = pod_of(files, "workers/one.yaml")["containers"]
    said = {item["name"]: item["value"] for item in container["env"]}
    ports = {name: int(value.rpartition(":")[2]) for name, value in said.items() if name.startswith("PLUMB_ENDPOINT")}
    bound = sorted(port for name, port in ports.items() if said[name].startswith("tcp://0.0.0.0"))
    assert numbers(policy["ingress"]) == bound
    assert numbers(policy["egress"]) == sorted([53, 53, *(port for port in ports.values() if port not in bound)])
    peers = [peer for rule in policy["ingress"] + policy["egress"][1:] for peer in rule.get("from") or rule["to"]]
    assert peers == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "coordinator"}}}] * 2
    assert sorted(port["port"] for port in objects["Service"]["spec"]["ports"]) == bound
    (denied,) = yaml.safe_load_all(files["network.yaml"].content)
    assert denied["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize(
    ("endpoint", "port"),
    [("", 443), (', endpoint: "http://gate.example:4000/v1"', 4000), (', endpoint: "http://g"', 80)],
)
def test_an_agent_reaches_its_provider(tmp_path: Path, endpoint: str, port: int):
    """Where that is."""
    files = for_kubernetes(text_laid_out(tmp_path, ASKS.format(endpoint) + MAIN), {})
    egress = named(files, "workers/a.yaml")["NetworkPolicy"]["spec"]["egress"]
    assert egress[-1] == {"ports": [{"protocol": "TCP", "port": port}]}


def test_pods_are_restricted_and_probed_without_a_connection(tmp_path: Path):
    """A stranger at a socket with keys would be counted; the coordinator is asked over HTTP."""
    files = for_kubernetes(text_laid_out(tmp_path, agents("one")), {})
    for path in ("workers/one.yaml", "coordinator.yaml"):
        pod = pod_of(files, path)
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert pod["automountServiceAccountToken"] is False
        kind = {"httpGet"} if path == "coordinator.yaml" else {"exec"}
        assert all(kind <= probe.keys() for name, probe in container.items() if name.endswith("Probe"))
    (container,) = pod_of(files, "coordinator.yaml")["containers"]
    paths = {name: probe["httpGet"]["path"] for name, probe in container.items() if name.endswith("Probe")}
    assert paths == {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}


def test_no_secret_stands_in_a_file_that_people_commit(tmp_path: Path):
    """Secrets are made of files, whose names are all that is written down; variables come from them, too."""
    toml = '[workers.a]\nenv = ["TOKEN_X"]\nlimits = { memory = "1g", cpus = 0.5 }\n'
    files = for_kubernetes(text_laid_out(tmp_path, ASKS.format("") + MAIN, toml), {})
    made = yaml.safe_load(files["kustomization.yaml"].content)["secretGenerator"]
    assert {item["name"]: item.get("files") or item["envs"] for item in made} == {
        "token": ["token=secrets/token"],
        "secret-openai-api-key": ["OPENAI_API_KEY=secrets/OPENAI_API_KEY"],
        "environment": ["secrets/environment.env"],
        "keys": ["keys/coordinator.json", "keys/allowed.json"],
        "key-a": ["key.json=keys/workers/a.json"],
    }
    (container,) = pod_of(files, "workers/a.yaml")["containers"]
    variables = {item["name"]: item for item in container["env"]}
    assert variables["OPENAI_API_KEY_FILE"]["value"] == "/run/secrets/OPENAI_API_KEY"
    chosen = {"name": "environment", "key": "TOKEN_X", "optional": True}
    assert variables["TOKEN_X"]["valueFrom"]["secretKeyRef"] == chosen
    assert container["resources"] == {"limits": {"memory": str(2**30), "cpu": "500m"}}


def test_names_of_secrets_are_those_of_nothing_else(tmp_path: Path):
    """Whatever variables are called: like a secret of ours, or nearly like one another."""
    variables = ["TOKEN", "A_B", "A__B"]
    said = ", ".join(f'"{name}", "{name}_FILE"' for name in variables)
    files = for_kubernetes(text_laid_out(tmp_path, agents("a"), f"[workers.a]\nenv = [{said}]\n"), {})
    made = yaml.safe_load(files["kustomization.yaml"].content)["secretGenerator"]
    sources = {item["name"]: item["files"] for item in made}
    assert len(sources) == len(made)
    pod = pod_of(files, "workers/a.yaml")
    volumes = {item["name"]: item["secret"]["secretName"] for item in pod["volumes"] if "secret" in item}
    mounted = {
        item["mountPath"]: sources[volumes[item["name"]]]
        for item in pod["containers"][0]["volumeMounts"]
        if item["name"] in volumes
    }
    for name in variables:
        assert mounted[f"/run/secrets/{name}"] == [f"{name}=secrets/{name}"]


def test_all_is_in_one_namespace_that_is_ours(tmp_path: Path):
    """A program's folder may be called as one of Kubernetes'."""
    folder = tmp_path / "default"
    folder.mkdir()
    made = text_laid_out(folder, agents("a"))
    files = for_kubernetes(made, {})
    (namespace,) = yaml.safe_load_all(files["namespace.yaml"].content)
    name = namespace["metadata"]["name"]
    assert name == namespace_of("default") != "default"
    assert yaml.safe_load(files["kustomization.yaml"].content)["namespace"] == name
    assert f"kubectl -n {name} get pods" in kubernetes_readme(made, [])


def test_a_pod_that_never_gets_ready_blocks_no_other(tmp_path: Path):
    """Kubernetes would wait for it before it starts the one that mends it."""
    files = for_kubernetes(text_laid_out(tmp_path, agents("one")), {})
    for path in ("workers/one.yaml", "coordinator.yaml"):
        assert named(files, path)["StatefulSet"]["spec"]["podManagementPolicy"] == "Parallel"


def test_a_worker_of_somebody_else_is_not_asked_with_our_python(tmp_path: Path):
    """Its image may have none."""
    text = 'let a : !string -> !string = worker { command: ["echo"] }\n' + MAIN
    (container,) = pod_of(for_kubernetes(text_laid_out(tmp_path, text), {}), "workers/a.yaml")["containers"]
    assert not [name for name in container if name.endswith("Probe")]


def test_executables_stay_executable(tmp_path: Path):
    """A worker's command may be a file of the program."""
    program = {"main.plumb": File(b"x"), "run.sh": File(b"x", 0o755)}
    pod = pod_of(for_kubernetes(text_laid_out(tmp_path, agents("one")), program), "coordinator.yaml")
    (items,) = [volume["configMap"]["items"] for volume in pod["volumes"] if volume["name"] == "program"]
    assert {item["path"]: item.get("mode") for item in items} == {"main.plumb": None, "run.sh": 0o755}


def test_who_has_no_way_out_is_told(tmp_path: Path):
    """What a function asks is in no program; the policy that lets it is one that Kubernetes takes."""
    text = agents("one").replace('agent { provider: "eliza" }', 'python { call: "code:f" }')
    made = text_laid_out(tmp_path, text)
    readme = kubernetes_readme(made, [])
    assert "`one`: they may speak with the coordinator and with nobody else" in readme
    policy = yaml.safe_load(readme.partition("```yaml\n")[2].partition("```")[0])
    kubernetes_validate.validate(policy, "1.31", strict=True)
    own = named(for_kubernetes(made, {}), "workers/one.yaml")["NetworkPolicy"]["spec"]
    assert policy["spec"]["podSelector"] == own["podSelector"]
    (tmp_path / "agents").mkdir()
    assert "way out" not in kubernetes_readme(text_laid_out(tmp_path / "agents", agents("one")), [])


def test_text_that_kubernetes_would_fill_in_is_escaped(tmp_path: Path):
    """A reference to a variable in a command is the program's."""
    text = 'let a : !string -> !string = worker { command: ["sh", "-c", "echo $(HOME) $x"] }\n' + MAIN
    (container,) = pod_of(for_kubernetes(text_laid_out(tmp_path, text), {}), "workers/a.yaml")["containers"]
    assert container["command"][2] == "echo $$(HOME) $$x"


def made(folder: Path, **changes) -> Files:
    program = thirty(folder / "thirty", **changes)
    return for_kubernetes(laid_out(program), code_of(program))


def test_a_changed_model_changes_one_spec(tmp_path: Path):
    """ConfigMaps are named by what is in them, so Kubernetes starts that worker again and no other agent."""
    changed = changed_lines(made(tmp_path), made(tmp_path, change={"Agent_4": "claude-opus-4"}))
    assert changed.keys() == {"app/main.plumb", "specs/agent-4.json"}


def test_a_worker_more_adds_to_lists_and_changes_none_of_the_others(tmp_path: Path):
    """Its own file; its ports in the coordinator's policy; its name in the kustomization."""
    before, after = made(tmp_path), made(tmp_path, workers=31)
    changed = changed_lines(before, after)
    own = {"workers/agent-30.yaml", "specs/agent-30.json"}
    shared = {"coordinator.yaml", "kustomization.yaml", "fabric.toml", "app/main.plumb"}
    assert changed.keys() == own | shared
    assert not [line for path in shared - {"app/main.plumb"} for line in changed[path] if line.startswith("-")]


def test_a_program_that_is_too_big_for_a_config_map_is_refused(tmp_path: Path):
    """There is the image for it."""
    made = text_laid_out(tmp_path, agents("one"))
    with pytest.raises(ConfigError, match="--program-in-image"):
        for_kubernetes(made, {"data.txt": File(bytes(CONFIG_BYTES_MAX + 1))})


def test_files_in_folders_have_keys_without_slashes():
    """And get their folders back in the container."""
    assert program_keys(["main.plumb", "lib/a.plumb"]) == {"main.plumb": "main.plumb", "lib/a.plumb": "lib__a.plumb"}
    with pytest.raises(ConfigError, match="letters, digits"):
        program_keys(["größe.py"])
    with pytest.raises(ConfigError, match="same name"):
        program_keys(["a/b", "a__b"])


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not here")
def test_kustomize_builds_it(tmp_path: Path):
    """Each generated name is put where it is used."""
    program = tmp_path / "p"
    program.mkdir()
    files = for_kubernetes(text_laid_out(program, agents("one")), {"main.plumb": File(b"x")})
    for path in ("secrets/token", "keys/coordinator.json", "keys/allowed.json", "keys/workers/one.json"):
        files[path] = File(b"x")
    for path, file in files.items():
        (tmp_path / "k" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "k" / path).write_bytes(file.content)
    done = subprocess.run(["kubectl", "kustomize", tmp_path / "k"], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    found = list(yaml.safe_load_all(done.stdout))
    made = {item["metadata"]["name"] for item in found if item["kind"] in ("ConfigMap", "Secret")}
    used = set()
    for item in found:
        if item["kind"] == "StatefulSet":
            for volume in item["spec"]["template"]["spec"]["volumes"]:
                used |= {volume["configMap"]["name"]} if "configMap" in volume else set()
                used |= {volume["secret"]["secretName"]} if "secret" in volume else set()
    assert used == made
    assert {item["metadata"].get("namespace") for item in found if item["kind"] != "Namespace"} == {"p"}
