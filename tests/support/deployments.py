"""Programs laid out as containers, without files being written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fabric.compiler import compile_file
from fabric.manifests.compose import Contents, compose_files, host_labels
from fabric.manifests.deployment import Deployment, Network, Wanted, deploy
from fabric.manifests.files import File, Files
from fabric.manifests.kubernetes import kubernetes_files
from fabric.settings import ProjectSettings, read_settings

USER = "1000:1000"
RULES: Mapping[str, bytes] = {"alerts.yml": b"groups: []\n", "fabric.json": b"{}\n"}


def laid_out(
    program: Path, network: Network = "services", *, project: ProjectSettings | None = None, insecure: bool = False
) -> Deployment:
    """Return a program as it would be deployed."""
    plan, _ = compile_file(program, run_directory="RUN")
    name = program.parent.name if program.stem == "main" else program.stem
    bound = "127.0.0.1" if network == "hosts" else "0.0.0.0"
    root = str(program.parent.resolve())
    wanted = Wanted(project or ProjectSettings(), plan, name, root, network, f"{bound}:9464", insecure)
    return deploy(wanted)


def text_laid_out(folder: Path, text: str, toml: str = "", network: Network = "services") -> Deployment:
    """Return a program's text as it would be deployed, with the settings of its project."""
    (folder / "main.plumb").write_text(text)
    (folder / "fabric.toml").write_text(toml)
    return laid_out(folder / "main.plumb", network, project=read_settings(folder))


def code_of(program: Path) -> Files:
    """Return a program's folder, but for what is written about it."""
    found = [*program.parent.glob("*.plumb"), *program.parent.glob("*.py")]
    return {path.name: File(path.read_bytes()) for path in found if path.name != "run.py"}


def composed(deployment: Deployment, program: Files) -> Files:
    """Return all compose files, those of each host in its folder."""
    contents = Contents(program, RULES, USER)
    return {
        f"{label}/{path}" if label else path: file
        for host, label in host_labels(deployment).items()
        for path, file in compose_files(deployment, host, contents).items()
    }


def for_kubernetes(deployment: Deployment, program: Files) -> Files:
    """Return the manifests."""
    return kubernetes_files(deployment, program)


def thirty(folder: Path, change: Mapping[str, str] | None = None, workers: int = 30) -> Path:
    """Write a program with thirty agents in a row, some of them in nested bodies; return its file."""
    folder.mkdir(exist_ok=True)
    bindings, names = [], []
    for number in range(workers):
        name = f"Agent_{number}"
        names.append(name)
        model = (change or {}).get(name, "doctor" if number % 2 else "claude-haiku-4-5")
        provider = "eliza" if model == "doctor" else "anthropic"
        bindings.append(
            f'let {name} : !string -> !string = agent {{ provider: "{provider}", model: "{model}",'
            f' prompt: "You are $NUMBER {number}, say \\"no\\"." }}'
        )
    outer, inner = names[3:], names[:3]
    bindings.append(f"let inner : !string -> !string = plumb(i, o) {{ i ; {' ; '.join(inner)} ; o }}")
    bindings.append(f"let main : !string -> !string = plumb(i, o) {{ i ; inner ; {' ; '.join(outer)} ; o }}")
    program = folder / "main.plumb"
    program.write_text("\n".join(bindings) + "\n")
    return program
