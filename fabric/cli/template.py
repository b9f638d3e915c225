"""The templates of projects: what they are, and the files of each, as they are written into a new folder."""

from __future__ import annotations

__all__ = ["TEMPLATES", "folder_name_fault", "template_files", "template_names"]

import re
from pathlib import Path

import fabric

_FOLDER = Path(fabric.__file__).parent / "templates"
_EVERY = "every"
"""Its files are in all of them."""

TEMPLATES = {
    "hello": "one agent, ELIZA: the least there is",
    "python": "functions of your own, the same program written in Python, and tests of it",
    "review": "a writer and a gate: what the gate refuses goes back with the reason",
    "tools": "an agent that calls a function and works with files, and has to ask before it writes",
}


def template_names() -> tuple[str, ...]:
    """Return the names of all."""
    return tuple(TEMPLATES)


def template_files(template: str, project: str) -> dict[str, bytes]:
    """Return what a new project has: the text of each file, by its path in the folder.

    Args:
        template: one of :data:`TEMPLATES`.
        project: what it is called.
    """
    files = {}
    for folder in (_FOLDER / _EVERY, _FOLDER / template):
        for path in folder.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                name = path.relative_to(folder).as_posix().replace("dot.", ".")
                content = path.read_bytes()
                files[name] = content.replace(b"PROJECT", project.encode()) if name == "README.md" else content
    return dict(sorted(files.items()))


def folder_name_fault(name: str) -> str | None:
    """Say why a new folder had better not have a name, if so, and which would do."""
    if re.fullmatch(r"\w[\w.-]*", name, re.ASCII):
        return None
    better = re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).lstrip("-.").rstrip("-")
    hint = f"such as {better!r}" if better else "such as 'hello'"
    return f"expected letters, digits, '.', '-' and '_', with a letter or digit first, {hint}"
