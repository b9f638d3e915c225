"""Programs that somebody sends us: which files they may use, and what they may run.

Whoever sends a program is not who started the server: a model that has read something on the way, say. So a program may
use agents and what checks and routes their messages, as that does nothing but think. What reaches further has to be
allowed by whoever starts the server:

* files: what lies below ``--docroot``, and modules in the folders of PLUMB_PATH and in the library;
* processes (``python``, ``worker``, MCP servers, scripts that are functions), and endpoints, to which the key of their
  provider would be sent: with ``--allow-processes``. A module from PLUMB_PATH or the library may always do so;
* effects of the builtin tools: with ``--auto-approve``. The session sees to that.
"""

from __future__ import annotations

__all__ = ["MAIN", "Policy", "Programs"]

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from fabric.compiler import INSTALLED, Compiled, Library, check_program, plan_compiled, read_text
from fabric.errors import ConfigError
from fabric.graph.ir import WORKERS
from fabric.lang.diagnostic import Diagnostic
from fabric.lang.source import Source
from fabric.lang.typed import Binding
from fabric.plan.plan import Plan

MAIN = "<source>"
"""Name of the main file, which is none."""

SOURCE_CHARS_MAX = 1_000_000
"""Of a program: its check takes seconds."""


class Policy(msgspec.Struct, frozen=True):
    """What programs may do.

    Attributes:
        docroot: folder of their files and of the file tools, absolute; ``None``: they have none.
        folders: where modules are looked for that may do anything, absolute.
        resources: folders of shared prompt files, separated by colons.
        allow_processes: whether they may run processes of their own.
        metered: whether agents have to ask for each call of a model, since there is a budget.
        provider, model, endpoint: for agents that do not say theirs.
    """

    docroot: Path | None = None
    folders: tuple[Path, ...] = ()
    resources: str = ""
    allow_processes: bool = False
    metered: bool = False
    provider: str | None = None
    model: str | None = None
    endpoint: str | None = None


class Programs:
    """Checks and plans programs under a policy.

    Args:
        policy: which.
        nowhere: an empty folder, for programs without a document root.
    """

    def __init__(self, policy: Policy, nowhere: Path) -> None:
        self._policy = policy
        self._root = policy.docroot or nowhere
        self._trusted = tuple(folder.resolve() for folder in (*policy.folders, INSTALLED))
        self._library = Library((self._root, *policy.folders), self._read)

    def check(self, text: str) -> tuple[Compiled | None, tuple[Diagnostic, ...]]:
        """Check a program: what it is, or ``None``, and every diagnostic.

        Raises:
            ConfigError: it is too long.
        """
        if len(text) > SOURCE_CHARS_MAX:
            raise ConfigError(f"a program has at most {SOURCE_CHARS_MAX} characters; this one has {len(text)}")
        return check_program(Source(str(self._root / MAIN), text), self._library)

    def plan(self, compiled: Compiled, run_directory: str) -> Plan:
        """Plan a program.

        Raises:
            ConfigError: it would do what it may not, or it cannot be run.
        """
        reasons = list(self._refusals(compiled))
        if reasons:
            raise ConfigError("; ".join(reasons))
        policy = self._policy
        return plan_compiled(
            compiled,
            run_directory=run_directory,
            provider=policy.provider,
            model=policy.model,
            endpoint=policy.endpoint,
            resources=policy.resources,
            docroot=self._root,
            metered=policy.metered,
        )

    def shown(self, text: str) -> str:
        """Return a message without the folder that programs are in: its reader has none."""
        return text.replace(f"{self._root}/", "")

    # --- files ---

    def _read(self, path: Path) -> str:
        if not self._is_open(path):
            raise PermissionError(errno.EACCES, "it lies outside of what this server reads: --docroot and PLUMB_PATH")
        return read_text(path)

    def _is_open(self, path: Path) -> bool:
        return any(path.resolve().is_relative_to(folder) for folder in (*self._trusted, self._root.resolve()))

    # --- what a program would do ---

    def _refusals(self, compiled: Compiled) -> Iterator[str]:
        """Yield what it would do and may not, for each process that would run."""
        sources = compiled.module.sources
        bindings = {node.binding: None for node in compiled.graph.nodes.values() if node.kind in WORKERS}
        for name in bindings:
            assert name is not None
            binding = compiled.module.bindings[name]
            file = Path(sources.at(binding.span).path).resolve()
            if not any(file.is_relative_to(folder) for folder in self._trusted):
                for reason in (*self._of_processes(binding), *self._of_files(binding, file.parent)):
                    yield f"{binding.kind} '{name}' {reason}"
            elif self._policy.docroot is None and str(binding.config.get("builtin", "")).startswith("fs."):
                yield f"{binding.kind} '{name}' works on files: start the server with --docroot"

    def _of_processes(self, binding: Binding) -> Iterator[str]:
        if self._policy.allow_processes:
            return
        hint = "that is allowed with --allow-processes"
        config = binding.config
        if binding.kind in ("worker", "handler") or "call" in config:
            yield f"runs a program of its own: {hint}"
        if config.get("mcp"):
            yield f"uses MCP servers: {hint}"
        if config.get("endpoint"):
            yield f"sends the key of its provider to an endpoint: {hint}"
        if _is_function(config):
            yield f"has a function as its script: {hint}"

    def _of_files(self, binding: Binding, folder: Path) -> Iterator[str]:
        config = binding.config
        if self._policy.docroot is None and str(config.get("builtin", "")).startswith("fs."):
            yield "works on files: start the server with --docroot"
        scripts = [config["script"]] if "script" in config and not _is_function(config) else []
        for file in (*scripts, *(prompt for prompt in config.get("prompts", ()) if "/" in prompt)):
            if not self._is_open(Path(folder, file)):
                yield f"reads {file!r}, which lies outside of --docroot"


def _is_function(config: dict[str, Any]) -> bool:
    script = config.get("script")
    return isinstance(script, str) and not script.endswith(".jsonl")
