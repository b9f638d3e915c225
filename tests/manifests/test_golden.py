"""What is generated for four programs, as it was read by somebody; and that compose and Kubernetes would take it.

``pytest tests/manifests --update-golden`` writes the golden files anew.
"""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from deployments import code_of, composed, for_kubernetes, laid_out, thirty

from fabric.manifests.files import Files

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
PROGRAMS = ("hello", "review", "debate", "thirty")
KINDS = {"compose": composed, "k8s": for_kubernetes}

LARGE = {"compose.yaml", "fabric.toml", "kustomization.yaml", "coordinator.yaml", "workers/inner-agent-0.yaml"}
"""Of the program with thirty workers: the others are like these."""


@pytest.fixture(scope="module", params=PROGRAMS)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "thirty":
        return thirty(tmp_path_factory.mktemp("golden") / "thirty")
    return ROOT / "compose" / request.param / "main.plumb"


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def files(program: Path, kind: str) -> Files:
    return KINDS[kind](laid_out(program), code_of(program))


def test_it_is_what_somebody_has_read(files: Files, program: Path, kind: str, pytestconfig: pytest.Config):
    """File by file; what goes there as it lies in the program's folder is not kept twice."""
    name = program.parent.name
    folder = GOLDEN / name / kind
    shown = {path: file.content for path, file in files.items() if not path.startswith(("app/", "secrets/"))}
    if name == "thirty":
        shown = {path: content for path, content in shown.items() if path in LARGE}
    if pytestconfig.getoption("--update-golden"):
        shutil.rmtree(folder, ignore_errors=True)
        for path, content in shown.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
    kept = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert shown == kept


@pytest.fixture(params=sorted(path.parent.name for path in ROOT.glob("compose/*/main.plumb")))
def example(request: pytest.FixtureRequest) -> Path:
    return ROOT / "compose" / request.param / "main.plumb"


def test_every_example_can_be_deployed(example: Path, tmp_path: Path):
    """Those that use our own library as well: its Python is where packages are."""
    deployment = laid_out(example)
    for container in deployment.containers:
        assert container.worker.spec.directory == "/app", container.label
        call = container.worker.spec.config.get("call", "")
        assert not call.startswith("mem:"), call
    for name, write in KINDS.items():
        files = write(deployment, code_of(example))
        test_every_object_is_valid_for_kubernetes(files, name)
        test_a_compose_file_fits_the_schema_of_compose(files, name, tmp_path)


def test_a_function_of_our_library_is_found_by_its_full_name():
    """In the container, wherever its Python has packages."""
    found = [
        container.worker.spec.config["call"]
        for container in laid_out(ROOT / "compose" / "memory" / "main.plumb").containers
        if container.worker.spec.config.get("call", "").startswith("fabric.library.mem:")
    ]
    assert found
    for call in found:
        module, _, name = call.partition(":")
        assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_golden_file_has_a_path_of_a_machine(name: str):
    """Or a secret."""
    for path in (GOLDEN / name).rglob("*"):
        if path.is_file():
            text = path.read_text()
            assert str(ROOT) not in text, path
            assert str(Path.home()) not in text.replace("/root", ""), path


def objects(files: Files) -> Iterator[dict[str, object]]:
    """Yield what stands in the manifests, but for the kustomization, which is for another reader."""
    for path, file in files.items():
        if path.endswith(".yaml") and path != "kustomization.yaml":
            yield from yaml.safe_load_all(file.content)


def test_every_object_is_valid_for_kubernetes(files: Files, kind: str):
    """Strictly: a key that is not known is none that was forgotten."""
    found = list(objects(files)) if kind == "k8s" else []
    for item in found:
        kubernetes_validate.validate(item, "1.31", strict=True)
        kubernetes_validate.validate(item, kubernetes_validate.latest_version(), strict=True)
    kinds = {str(item["kind"]) for item in found}
    expected = {"Namespace", "Service", "StatefulSet", "NetworkPolicy", "PodDisruptionBudget"}
    assert kinds == (expected if kind == "k8s" else set())


def test_a_compose_file_fits_the_schema_of_compose(files: Files, kind: str, tmp_path: Path):
    """The one of version 2; and nothing stands in it that version 1 refuses."""
    for path, file in files.items():
        if kind != "compose" or path != "compose.yaml":
            continue
        (tmp_path / path).write_bytes(file.content)
        check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", tmp_path / path]
        done = subprocess.run(check, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stdout.decode()
        assert set(yaml.safe_load(file.content)) <= {"services", "secrets", "volumes"}


def test_all_that_is_mounted_is_there(files: Files, kind: str):
    """But for keys, which are made by chance, and for the state."""
    made_elsewhere = ("./keys/", "./state", "./secrets/token", "./secrets/grafana")
    if kind == "k8s":
        kustomization = yaml.safe_load(files["kustomization.yaml"].content)
        sources = [
            f"./{source.rpartition('=')[2]}"
            for generator in kustomization["configMapGenerator"] + kustomization["secretGenerator"]
            for source in generator.get("files", []) + generator.get("envs", [])
        ] + [f"./{path}" for path in kustomization["resources"]]
    else:
        document = yaml.safe_load(files["compose.yaml"].content)
        volumes = [volume for service in document["services"].values() for volume in service.get("volumes", [])]
        sources = [volume.split(":")[0] for volume in volumes] + [at["file"] for at in document["secrets"].values()]
    wanted = [path for path in sources if path.startswith("./") and not path.startswith(made_elsewhere)]
    assert wanted
    assert [path for path in wanted if not any(f"./{name}".startswith(path) for name in files)] == []


def test_specs_are_json_over_several_lines(files: Files):
    """A change of one word is a change of one line."""
    specs = [file.content for path, file in files.items() if path.startswith("specs/")]
    assert specs
    for spec in specs:
        assert json.loads(spec)["directory"] == "/app"
        assert spec.count(b"\n") > 5
