"""A new folder with a pipeline: what is in it, and the questions that are asked for one of your own."""

from __future__ import annotations

__all__ = ["CACHE_LINES", "PROVIDERS", "SCHEMA_FILE", "initial_files", "read_field", "tailored_files"]

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

SCHEMA_FILE = "pyconveyor-schema.json"
"""Where editors look for what a pipeline may say; folders of the older system have it by this name."""

CACHE_LINES = (".pyconveyor-cache/", ".env")
"""Of ``.gitignore``."""

_FOLDER = Path(__file__).parent / "templates"

DEFAULT_FIELDS = {"title": "str", "key_points": "list[str]"}


class Provider(NamedTuple):
    """Who may be asked.

    Attributes:
        says: for who has to choose.
        block: of its model, in the file.
        prepare: what has to be done before a run.
    """

    says: str
    block: str
    prepare: str


PROVIDERS = {
    "1": Provider(
        "OpenAI, or what speaks its language",
        "provider: openai_compat\napi_key: ${OPENAI_API_KEY}\nmodel: ${MODEL_NAME:-gpt-4o-mini}\n",
        "export OPENAI_API_KEY=...",
    ),
    "2": Provider(
        "Anthropic",
        "provider: anthropic\napi_key: ${ANTHROPIC_API_KEY}\nmodel: ${MODEL_NAME:-claude-haiku-4-5}\n",
        "export ANTHROPIC_API_KEY=...",
    ),
    "3": Provider(
        "Ollama, on this machine",
        "provider: openai_compat\nbase_url: http://localhost:11434/v1\napi_key: ollama\n"
        "model: ${MODEL_NAME:-llama3.2}\n",
        "ollama serve",
    ),
}
"""By what is typed."""


def initial_files(schema: Mapping[str, object]) -> dict[str, str]:
    """Return the files of a new folder, by their path in it.

    Args:
        schema: JSON Schema of pipelines, for editors.
    """
    own = sorted(path for path in _FOLDER.rglob("*") if path.is_file() and path.suffix in (".yaml", ".j2", ".py"))
    return {path.relative_to(_FOLDER).as_posix(): path.read_text("utf-8") for path in own} | _for_editors(schema)


def tailored_files(fields: Mapping[str, str], provider: Provider, schema: Mapping[str, object]) -> dict[str, str]:
    """Return the files of a new folder for these fields: the schema stands in the pipeline, and there is no Python of
    it.

    Args:
        fields: types by name; none: those of the example.
        provider: who is asked.
        schema: as in :func:`initial_files`.
    """
    block = "".join(f"    {line}\n" for line in provider.block.splitlines())
    lines = "".join(f"      {name}: {kind}\n" for name, kind in (fields or DEFAULT_FIELDS).items())
    pipeline = (
        f"models:\n  default:\n{block}    temperature: 0\n    timeout: 120\n\n"
        "steps:\n  - name: extract\n    type: llm\n    model: default\n    prompt: prompts/extract.j2\n"
        f"    schema:\n{lines}    max_attempts: 3\n"
    )
    files = {name: (_FOLDER / name).read_text("utf-8") for name in ("prompts/extract.j2", "steps.py")}
    return {"pipeline.yaml": pipeline, **files, **_for_editors(schema)}


def _for_editors(schema: Mapping[str, object]) -> dict[str, str]:
    settings = {"yaml.schemas": {f"./{SCHEMA_FILE}": ["pipeline.yaml", "*.pipeline.yaml"]}}
    return {
        SCHEMA_FILE: json.dumps(schema, indent=2) + "\n",
        ".vscode/settings.json": json.dumps(settings, indent=2) + "\n",
    }


def read_field(line: str) -> tuple[str, str]:
    """Return name and type of a line ``name: type``.

    Raises:
        ValueError: it is none; says what was expected.
    """
    name, colon, kind = (part.strip() for part in line.partition(":"))
    if not colon or not kind:
        raise ValueError(f"expected NAME:TYPE, such as title:str; got {line!r}")
    if not name.isidentifier() or name.startswith("_"):
        raise ValueError(f"{name!r} is no name for a field; expected a letter, then letters, digits and '_'")
    return name, kind
