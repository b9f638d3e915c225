"""The commands that write files for who writes a pipeline: a new folder, the schema for editors, one for a sample."""

from __future__ import annotations

__all__ = ["register"]

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from fabric.errors import ConfigError
from fabric.pipelines.commands.files import check_target
from fabric.pipelines.commands.initial import CACHE_LINES, PROVIDERS, initial_files, read_field, tailored_files
from fabric.pipelines.commands.report import Form, answering, printing_apart, say, write_out
from fabric.pipelines.errors import PipelineLoadError, SchemaRefError

Indent = Annotated[int, typer.Option("--indent", min=0, help="Spaces of a level.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(init)
    group = typer.Typer(help="JSON Schema of pipelines for editors, and schemas made of samples.")
    group.callback(invoke_without_command=True)(_schema)
    group.command()(emit)
    group.command()(infer)
    app.add_typer(group, name="schema")


# --- init -------------------------------------------------------------------------------------------------------------


def init(
    directory: Annotated[Path, typer.Argument(help="Where; it is made if it is not there.")] = Path(),
    interactive: Annotated[bool, typer.Option("--interactive", "-i", help="Ask for fields and for the model.")] = False,
) -> None:
    """Make a folder with a pipeline that works as soon as it has a key. What is there already is left as it is.

    Examples: fabric pipeline init papers; fabric pipeline init papers -i

    Exit codes: 0; 1 it cannot be written.
    """
    with answering("text"):
        from fabric.pipelines.loading.emit import pipeline_json_schema

        prepare = PROVIDERS["1"].prepare
        if interactive:
            fields, provider = _ask()
            files, prepare = tailored_files(fields, provider, pipeline_json_schema()), provider.prepare
        else:
            files = initial_files(pipeline_json_schema())
        _write(directory, files)
        print(f"Initialised pipeline in '{directory}'; next:\n  cd {directory}\n  {prepare}")
        print('  fabric pipeline run pipeline.yaml --input \'{"document": "your text here"}\'')


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """Write what is not there yet. Raises ConfigError: it cannot be written."""
    try:
        (folder / "vocabularies").mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                print(f"  Skipped (exists): {path}")
            else:
                path.write_text(text, "utf-8")
                print(f"  Created: {path}")
        ignore = folder / ".gitignore"
        there = ignore.read_text("utf-8") if ignore.exists() else ""
        if missing := [line for line in CACHE_LINES if line not in there.splitlines()]:
            ignore.write_text("\n".join([*there.splitlines(), *missing]) + "\n", "utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {error.filename}: {error.strerror}") from None


def _ask() -> tuple[dict[str, str], Any]:
    """Return the fields that are wanted, and who is to be asked."""
    subject = _typed("What are you extracting from? (such as articles) ") or "documents"
    print(f"Fields of {subject}, one a line as name:type; an empty line ends them.")
    print(
        "Types: str, int, float, bool, list[str], list[int], list[float], dict[str, str]; with ' | None': may be null."
    )
    fields: dict[str, str] = {}
    while line := _typed("> "):
        try:
            name, kind = read_field(line)
            _try_type(name, kind)
        except (ValueError, SchemaRefError) as error:
            print(f"  {error.message if isinstance(error, SchemaRefError) else error}; not taken")
        else:
            fields[name] = kind
    print("Who is asked?")
    for number, provider in PROVIDERS.items():
        print(f"  {number}) {provider.says}")
    return fields, PROVIDERS.get(_typed("Number [1]: "), PROVIDERS["1"])


def _typed(question: str) -> str:
    """Return what is typed; at the end of the input nothing."""
    try:
        return input(question).strip()
    except EOFError:
        return ""


def _try_type(name: str, kind: str) -> None:
    from fabric.pipelines.schema_builder import yaml_dict_to_model

    yaml_dict_to_model("Field", {name: kind})


# --- schema -----------------------------------------------------------------------------------------------------------


def _schema(context: typer.Context, indent: Indent = 2) -> None:
    """JSON Schema of pipelines for editors (the default: emit), and schemas made of samples (infer)."""
    if context.invoked_subcommand is None:
        emit(indent)


def emit(indent: Indent = 2) -> None:
    """Print the JSON Schema of pipeline files, by which editors complete and check them.

    Example: fabric pipeline schema > pyconveyor-schema.json

    Exit codes: 0.
    """
    from fabric.pipelines.loading.emit import pipeline_json_schema

    print(json.dumps(pipeline_json_schema(), indent=indent))


def infer(
    pipeline: Annotated[Path, typer.Argument(metavar="PIPELINE", help="The pipeline's file.", show_default=False)],
    sample: Annotated[Path, typer.Option("--sample", help="An answer, .json or .jsonl; of several the first.")],
    step: Annotated[
        str | None, typer.Option("--step", help="The step; left out: the first that asks.", show_default=False)
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write.", show_default=False)] = None,
    form: Form = "text",
) -> None:
    """Print a class of pydantic for answers like a sample. What ``run`` printed is a sample, too: the step's value.

    Exit codes: 0; 1 the sample is no JSON object, or is not there.
    """
    with answering(form):
        from fabric.pipelines.infer import infer_schema_source

        check_target(output, "--output", {"the pipeline": pipeline, "the sample": sample})
        name = step or _first_asking(pipeline)
        source = infer_schema_source(_class_name(name), _value_of(_read_sample(sample), name))
        write_out(source.rstrip("\n"), output)


def _read_sample(path: Path) -> dict[str, Any]:
    """Return the sample. Raises ConfigError: it is none."""
    try:
        text = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"cannot read the sample {path}: {why}") from None
    lines = [line for line in text.splitlines() if line.strip()]
    if path.suffix == ".jsonl" and lines:
        text = lines[0]
        if len(lines) > 1:
            say(f"Warning: {path} has {len(lines)} records; the first one is taken")
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"the sample {path} is no JSON: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"the sample {path} has to be a JSON object; got {type(data).__name__}")
    return data


def _value_of(sample: dict[str, Any], step: str) -> dict[str, Any]:
    """Return the value of the step, if the sample is what ``run`` or ``batch`` printed."""
    steps = sample.get("steps")
    if isinstance(steps, dict) and sample.keys() & {"summary", "ok"} and isinstance(steps.get(step), dict):
        return dict(steps[step])
    return sample


def _first_asking(pipeline: Path) -> str:
    """Return the name of the first step that asks a model. The rest of the file may still be wrong."""
    from fabric.pipelines.loading.pipeline import load_pipeline
    from fabric.pipelines.spec import LlmStep, substeps

    try:
        with printing_apart():
            steps = load_pipeline(pipeline).steps
    except PipelineLoadError:
        return "extract"
    every = [found for top in steps for found in (top, *substeps(top))]
    return next((found.name for found in every if isinstance(found, LlmStep)), "extract")


def _class_name(step: str) -> str:
    parts = "".join(char if char.isalnum() else " " for char in step).split()
    return "".join(part[:1].upper() + part[1:] for part in parts) + "Schema"
