"""What a worker's container is made of."""

import io
import tarfile
from pathlib import Path

import msgspec
import pytest

from fabric.errors import ConfigError
from fabric.launch.container_spec import Wanted, user_of, want
from fabric.launch.owner import Owner, owner_key
from fabric.plan.plan import Address, Resources, WorkerPlan
from fabric.wire.payload import STRING
from fabric.wire.spec import WorkerKey, WorkerSpec, decode_spec

OWNER = Owner("shop", "k1", "1:2:3")
KEY = WorkerKey("p" * 40, "s" * 40, "f" * 40)
ENDPOINTS = {"input": Address("tcp://0.0.0.0:1", "tcp://h:1"), "output": Address("tcp://0.0.0.0:2", "tcp://i:2")}
SECRET = "sk-very-secret"


def plan_of(kind: str = "agent", **fields: object) -> WorkerPlan:
    spec = WorkerSpec("a", kind, STRING, STRING, directory=str(fields.pop("directory", "/nowhere")), key=KEY)
    module = "plumb_agent" if kind == "agent" else "fabric.worker"
    command = ("/usr/bin/python3.11", "-P", "-m", module)
    plan = WorkerPlan("a#1", spec, command, endpoints=ENDPOINTS, ours=True, image="i:1", secured=True)
    return msgspec.structs.replace(plan, runner="container", **fields)


def wanted(
    plan: WorkerPlan, environment: dict[str, str] | None = None, *, owner: Owner = OWNER, image: str = "sha256:1"
) -> Wanted:
    return want(plan, image, owner, environment or {}, "65532:65532", local=True)


def variables(found: Wanted) -> dict[str, str]:
    return dict(each.split("=", 1) for each in found.container.env)


def test_a_container_is_never_root() -> None:
    """It runs as its coordinator does, or as nobody in particular if that is root."""
    assert user_of(0, 0) == "65532:65532"
    assert user_of(1000, 100) == "1000:100"


def test_an_agent_gets_its_spec_and_its_key_as_files_and_nothing_else() -> None:
    """The spec in its file has no key; no folder of ours is mounted; the interpreter is the image's."""
    found = wanted(plan_of())
    assert sorted(found.files) == ["key.json", "spec.json"]
    assert decode_spec(found.files["spec.json"]) == msgspec.structs.replace(plan_of().spec, key=None, directory="/")
    assert msgspec.json.decode(found.files["key.json"], type=WorkerKey) == KEY
    assert [(mount.type, mount.target) for mount in found.container.host_config.mounts] == [("volume", "/run/fabric")]
    assert found.container.cmd == ("python", "-P", "-m", "plumb_agent")
    assert variables(found) == {
        "FABRIC_KEY_FILE": "/run/fabric/key.json",
        "FABRIC_SPEC_FILE": "/run/fabric/spec.json",
        "FABRIC_WORKER": "a#1",
        "HOME": "/tmp",
        "PLUMB_ENDPOINT_INPUT": "tcp://h:1",
        "PLUMB_ENDPOINT_OUTPUT": "tcp://0.0.0.0:2",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }


def test_nobody_but_its_user_may_read_its_files() -> None:
    """Each is of the container's user, and for reading only."""
    with tarfile.open(fileobj=io.BytesIO(wanted(plan_of()).archive())) as tar:
        assert {(info.name, info.mode, info.uid, info.gid) for info in tar} == {
            ("spec.json", 0o400, 65532, 65532),
            ("key.json", 0o400, 65532, 65532),
        }


def test_a_providers_key_is_a_file(tmp_path: Path) -> None:
    """From the variable or from the file that it is in; neither the environment nor a label has it."""
    path = tmp_path / "key"
    path.write_text(SECRET)
    plan = plan_of(pass_on=("ANTHROPIC_API_KEY", "ANTHROPIC_API_KEY_FILE"))
    for environment in ({"ANTHROPIC_API_KEY": SECRET}, {"ANTHROPIC_API_KEY_FILE": str(path)}):
        found = wanted(plan, {**environment, "OPENAI_API_KEY": "of somebody else"})
        assert found.files["ANTHROPIC_API_KEY"].decode() == SECRET
        assert variables(found)["ANTHROPIC_API_KEY_FILE"] == "/run/fabric/ANTHROPIC_API_KEY"
        shown = msgspec.json.encode(found.container).decode()
        assert SECRET not in shown
        assert KEY.secret not in shown
        assert "somebody else" not in shown


def test_a_key_that_cannot_be_read_is_said() -> None:
    """With its variable and its file."""
    plan = plan_of(pass_on=("OPENAI_API_KEY",))
    with pytest.raises(ConfigError, match="worker 'a#1': OPENAI_API_KEY_FILE='/nowhere/key': No such file"):
        wanted(plan, {"OPENAI_API_KEY_FILE": "/nowhere/key"})


def test_of_the_environment_a_container_gets_what_its_binding_names() -> None:
    """Not what says where something is on this host."""
    environment = {"PATH": "/x", "HOME": "/y", "LANG": "C.UTF-8", "LC_TIME": "C", "PROXY": "p", "OTHER": "o"}
    found = variables(wanted(plan_of(pass_on=("PROXY", "MISSING")), environment))
    assert {name: found.get(name) for name in ("PATH", "HOME", "LANG", "LC_TIME", "PROXY", "OTHER")} == {
        "PATH": None,
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
        "LC_TIME": "C",
        "PROXY": "p",
        "OTHER": None,
    }


def test_headers_of_a_collector_are_files(tmp_path: Path) -> None:
    """They are what lets spans in, and whoever may look at a container sees its environment."""
    (tmp_path / "headers").write_text("b=sk-file\n")
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
        "OTEL_EXPORTER_OTLP_HEADERS": "a=sk-said",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS_FILE": str(tmp_path / "headers"),
    }
    found = wanted(plan_of(), environment)
    assert found.files["OTEL_EXPORTER_OTLP_HEADERS"] == b"a=sk-said"
    assert found.files["OTEL_EXPORTER_OTLP_TRACES_HEADERS"] == b"b=sk-file"
    assert {name: value for name, value in variables(found).items() if name.startswith("OTEL_")} == {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
        "OTEL_EXPORTER_OTLP_HEADERS_FILE": "/run/fabric/OTEL_EXPORTER_OTLP_HEADERS",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS_FILE": "/run/fabric/OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    }
    del environment["OTEL_EXPORTER_OTLP_ENDPOINT"]
    assert sorted(wanted(plan_of(), environment).files) == ["key.json", "spec.json"]


def test_functions_have_the_programs_folder(tmp_path: Path) -> None:
    """It is mounted at /app to read, where the spec says that it is; an engine elsewhere has it in the image."""
    tmp_path.chmod(0o755)
    plan = plan_of("python", directory=tmp_path)
    found = wanted(plan)
    assert found.container.host_config.mounts[1].source == str(tmp_path)
    assert found.container.host_config.mounts[1].read_only
    assert decode_spec(found.files["spec.json"]).directory == "/app"
    elsewhere = want(plan, "sha256:1", OWNER, {}, "65532:65532", local=False)
    assert len(elsewhere.container.host_config.mounts) == 1
    assert decode_spec(elsewhere.files["spec.json"]).directory == "/app"


def test_a_folder_that_the_containers_user_cannot_read_is_said(tmp_path: Path) -> None:
    """Before it fails there with an import that cannot be."""
    tmp_path.chmod(0o700)
    with pytest.raises(ConfigError, match=r"who cannot read .* let others read it: chmod o\+rx"):
        wanted(plan_of("python", directory=tmp_path))
    with pytest.raises(ConfigError, match="No such file or directory"):
        wanted(plan_of("python", directory=tmp_path / "gone"))


def test_a_program_beside_the_programs_file_is_found_in_its_container(tmp_path: Path) -> None:
    """Its path is that of the mounted folder; one that is looked up is the image's."""
    tmp_path.chmod(0o755)
    beside = plan_of("worker", directory=tmp_path, ours=False, command=(f"{tmp_path}/bin/run", "-v"))
    assert wanted(beside).container.cmd == ("/app/bin/run", "-v")
    installed = plan_of("worker", directory=tmp_path, ours=False, command=("run", "-v"))
    assert wanted(installed).container.cmd == ("run", "-v")


def test_limits_are_what_the_project_says() -> None:
    """Memory without swap beside it, processors in their billionths, processes."""
    host = wanted(plan_of(limits=Resources(64 * 1024**2, 1.5, 32))).container.host_config
    assert (host.memory, host.memory_swap, host.nano_cpus, host.pids_limit) == (67108864, 67108864, 1_500_000_000, 32)
    assert wanted(plan_of(limits=Resources(64 * 1024**2))).limit == "limit 64 MiB"


def test_whoever_reaches_a_container_without_keys_may_use_it_only_if_that_was_said() -> None:
    """The worker is told that it was."""
    plan = plan_of(secured=False)
    assert variables(wanted(plan))["FABRIC_INSECURE"] == "1"


CHANGES = {
    "its image": {"image": "sha256:2"},
    "its command": {"plan": plan_of(command=("python", "-P", "-m", "other"))},
    "its spec": {"plan": plan_of(spec=msgspec.structs.replace(plan_of().spec, config={"model": "m"}))},
    "its key": {"plan": plan_of(spec=msgspec.structs.replace(plan_of().spec, key=WorkerKey("q" * 40, "t" * 40, "f")))},
    "its limits": {"plan": plan_of(limits=Resources(pids=3))},
    "its addresses": {"plan": plan_of(endpoints={**ENDPOINTS, "output": Address("tcp://0.0.0.0:3", "tcp://i:3")})},
    "a variable": {"environment": {"LANG": "C"}},
}


@pytest.mark.parametrize("what", CHANGES)
def test_another_digest_tells_of(what: str) -> None:
    """A container that was started otherwise than it would be now is not taken over."""
    assert wanted(**({"plan": plan_of()} | CHANGES[what])).digest != wanted(plan_of()).digest


def test_a_rotated_key_of_a_provider_is_another_digest() -> None:
    """The container reads the one that it was given."""
    plan = plan_of(pass_on=("OPENAI_API_KEY",))
    assert wanted(plan, {"OPENAI_API_KEY": "a"}).digest != wanted(plan, {"OPENAI_API_KEY": "b"}).digest


def test_the_next_coordinator_finds_the_same_digest_and_name() -> None:
    """Who starts it does not matter; another service has containers of its own."""
    first, later = wanted(plan_of()), wanted(plan_of(), owner=Owner("shop", "k1", "4:5:6"))
    other = wanted(plan_of(), owner=Owner("shop", "k2", "4:5:6"))
    assert (first.digest, first.name) == (later.digest, later.name)
    assert first.name != other.name
    assert owner_key("h", "/p", "s") != owner_key("h", "/p", "") != owner_key("h2", "/p", "")


def test_a_name_has_words_and_only_what_engines_take() -> None:
    """What is left out of it for that is in its digest."""
    name = wanted(plan_of()).name
    assert name.startswith("fabric-shop-a-1-")
    long = msgspec.structs.replace(plan_of(), name="ä/" + "x" * 200)
    assert len(wanted(long).name) < 64
    assert wanted(long).name.isascii()
