"""Commands about pipelines in YAML: ``fabric pipeline run``, ``validate``, ``graph``, and those of the other modules.

``cli_batch`` runs many inputs, ``cli_make`` has ``init`` and ``schema``, ``cli_vocab`` decides about terms,
``cli_report`` is how all of them print. Exit codes are those that files of this kind are used with: 0; 1 the input or
the pipeline is wrong; 2 the pipeline failed, or the command line is none.
"""

from __future__ import annotations

__all__ = ["main", "make_app"]

import json
import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fabric.errors import ConfigError
from fabric.pipelines.commands import batch, make, vocab
from fabric.pipelines.commands.files import check_target, path_of_input
from fabric.pipelines.commands.report import (
    BAD_INPUT,
    FAILED,
    AtPlace,
    Form,
    MetricsFile,
    answering,
    logged,
    printing_apart,
    problem_of,
    read_place,
    say,
    say_error,
    write_metrics,
    write_out,
)
from fabric.pipelines.commands.strict_json import as_data, read_object
from fabric.pipelines.errors import PipelineLoadError
from fabric.pipelines.runs.outputs import MISSING

File = Annotated[Path, typer.Argument(metavar="PIPELINE", help="The pipeline's file.", show_default=False)]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="File to write; left out: stdout.", show_default=False)
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Take no answers that were kept.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Ask no model, call nothing that has effects.")]


def make_app() -> typer.Typer:
    """Return the commands."""
    app = typer.Typer(
        name="pipeline",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Pipelines in YAML: steps that ask models for structured data, checked before the first question.",
    )
    app.command()(run)
    batch.register(app)
    app.command()(validate)
    app.command()(graph)
    for name in ("visualise", "visualize"):
        app.command(name, hidden=True)(graph)
    make.register(app)
    vocab.register(app)
    return app


def main() -> None:
    """Run the command line; exit, unless it has succeeded."""
    try:
        make_app()()
    except SystemExit as ended:
        if ended.code:
            raise


def run(
    pipeline: File,
    input_: Annotated[
        str, typer.Option("--input", "-i", help="The input in JSON: a file, - for stdin, or the object itself.")
    ] = "-",
    output: Output = None,
    dry_run: DryRun = False,
    no_cache: NoCache = False,
    refresh_cache: Annotated[bool, typer.Option("--refresh-cache", help="Replace answers that were kept.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell what is asked and answered.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Tell errors only.")] = False,
    place: AtPlace = None,
    metrics: MetricsFile = None,
    form: Form = "text",
) -> None:
    """Run a pipeline once, and print the value of every step and a summary as JSON.

    Examples: fabric pipeline run pipeline.yaml -i paper.json; echo '{"text": "..."}' | fabric pipeline run
    pipeline.yaml -o result.json

    Exit codes: 0; 1 the input or the pipeline is wrong, or outputs could not be written; 2 the pipeline failed.
    """
    level = logging.DEBUG if verbose else logging.ERROR if quiet else logging.WARNING
    with answering(form), logged(form, level):
        from fabric.pipelines.runner import PipelineRunner

        read = {"the pipeline": pipeline, "the input": path_of_input(input_)}
        check_target(output, "--output", read)
        check_target(metrics, "--metrics", {**read, "the output": output})
        data = _read_input(input_)
        with printing_apart():
            runner = PipelineRunner(pipeline, place=read_place(place))
            if not quiet and (verbose or sys.stderr.isatty()):
                runner.on_step_end(_told)
            result = runner.run(data, use_cache=not no_cache, refresh_cache=refresh_cache, dry_run=dry_run)
            shown = None if result.failed else json.dumps(_shown(result), indent=2, default=str)
        write_metrics(runner.account, metrics)
        if shown is None:
            _say_failure(result, form)
            raise typer.Exit(FAILED)
        write_out(shown, output)
        if missing := result.metadata.get(MISSING):
            say_error(
                "Error: the run has succeeded, but outputs are missing", form, code="outputs_missing", why=missing
            )
            raise typer.Exit(BAD_INPUT)


def _read_input(said: str) -> dict[str, Any]:
    """Return the input of a run.

    Raises:
        ConfigError: it cannot be read, or is no JSON object.
    """
    if not said.strip():
        raise ConfigError("the input is empty; --input takes a file, - for stdin, or a JSON object")
    if said.lstrip().startswith(("{", "[")):
        text = said
    else:
        try:
            text = sys.stdin.read() if said == "-" else Path(said).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ConfigError(f"cannot read the input {said!r}: {why}") from None
    return read_object(text, "the input", "invalid input JSON")


def _told(name: str, value: object, result: Any) -> None:
    """Say that a step is done."""
    step = result.steps[name]
    attempts = len(step.attempts)
    seconds = sum(log.elapsed_seconds for log in step.attempts)
    say(
        f"{step.status:8} {name}"
        + (f"  {attempts} attempt{'s' * (attempts != 1)}, {seconds:.1f} s" if attempts else "")
    )


def _say_failure(result: Any, form: str) -> None:
    failure = result.failure_state
    kind = type(failure.exception).__name__
    if form == "json":
        attempts = [log.raw_output for log in result.metadata["attempt_logs"] if log.step == failure.step_name]
        say_error(
            str(failure.exception), form, code="pipeline_failed", step=failure.step_name, kind=kind, answers=attempts
        )
    else:
        say(f"Pipeline FAILED at step {failure.step_name!r}: {kind}: {failure.exception}")


def _shown(result: Any) -> dict[str, object]:
    summary = result.summary()
    told: dict[str, object] = {
        "steps_run": summary.steps_run,
        "steps_skipped": summary.steps_skipped,
        "llm_calls": summary.llm_calls,
        "elapsed_seconds": round(summary.elapsed_seconds, 2),
        "total_tokens": summary.total_tokens.total,
    }
    if summary.cost_usd is not None:
        told["cost_usd"] = round(summary.cost_usd, 6)
    for name in ("steps_failed", "validation_warnings", "vocab_suggestions"):
        if found := getattr(summary, name):
            told[name] = [vars(each) if name == "vocab_suggestions" else each for each in found]
    return {
        "steps": {name: as_data(step.value, f"the value of step {name!r}") for name, step in result.steps.items()},
        "summary": told,
    }


def validate(pipeline: File, form: Form = "text") -> None:
    """Check a pipeline and all that it names, without asking anything: every mistake at once.

    Exit codes: 0 it is valid; 1 it is not.
    """
    with answering(form), logged(form):
        from fabric.pipelines.loading.pipeline import load_pipeline

        try:
            with printing_apart():
                warnings = load_pipeline(pipeline).warnings
        except PipelineLoadError as error:
            if form == "text":
                raise
            problems = [problem_of(each) for each in error.problems]
            print(json.dumps({"v": 1, "file": str(pipeline), "valid": False, "problems": problems}))
            raise typer.Exit(1) from None
        if form == "json":
            print(json.dumps({"v": 1, "file": str(pipeline), "valid": True, "problems": [], "warnings": [*warnings]}))
        else:
            print(f"✓ {pipeline} is valid")


def graph(pipeline: File, output: Output = None, form: Form = "text") -> None:
    """Print which step needs what of which, as Markdown with a Mermaid diagram.

    Exit codes: 0; 1 the pipeline is wrong.
    """
    with answering(form), logged(form):
        from fabric.pipelines.graph import generate_mermaid

        check_target(output, "--output", {"the pipeline": pipeline})
        with printing_apart():
            drawn = generate_mermaid(pipeline).rstrip()
        write_out(f"# Pipeline DAG\n\n```mermaid\n{drawn}\n```", output)
