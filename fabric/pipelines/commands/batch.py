"""The command that runs a pipeline for many inputs: lines of JSON in, lines of JSON out, each as soon as it is done."""

from __future__ import annotations

__all__ = ["register"]

import itertools
import json
import logging
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from fabric.errors import ConfigError
from fabric.pipelines.commands.files import Written, begin_anew, check_target, journal_of, path_of_input
from fabric.pipelines.commands.report import (
    AtPlace,
    Form,
    MetricsFile,
    answering,
    logged,
    printing_apart,
    read_place,
    say,
    write_metrics,
)
from fabric.pipelines.commands.strict_json import as_data, read_object
from fabric.pipelines.runs.dumping import text_of
from fabric.pipelines.runs.outputs import MISSING

RESERVED = ("ok", "error", "steps", "outputs")
"""Keys of a line of output: no input may be known by one of them."""

_log = logging.getLogger("fabric.pipelines.cli")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(batch)


def batch(
    pipeline: Annotated[Path, typer.Argument(metavar="PIPELINE", help="The pipeline's file.", show_default=False)],
    input_: Annotated[
        str, typer.Option("--input", "-i", help="Lines of JSON objects: a file, or - for stdin; all is read first.")
    ] = "-",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; left out: stdout.", show_default=False)
    ] = None,
    workers: Annotated[int, typer.Option("--workers", "-w", min=1, help="Inputs under way at once.")] = 4,
    key: Annotated[str, typer.Option("--key", "-k", help="Key by which an input is known.")] = "id",
    journal: Annotated[
        Path | None,
        typer.Option(
            "--journal",
            help="File that keeps what is done; left out: OUTPUT.journal.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Run what the journal does not have yet.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="--resume, and run what failed again.")] = False,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="Do not tell how many are done.")] = False,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Take no answers that were kept.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Ask no model, call nothing that has effects.")] = False,
    place: AtPlace = None,
    metrics: MetricsFile = None,
    form: Form = "text",
) -> None:
    """Run a pipeline for each line of a file, and write a line for each, in the order in which they are done.

    All of the input is read and checked before the first run, stdin to its end, too.

    Examples: fabric pipeline batch pipeline.yaml -i papers.jsonl -o results.jsonl; the same with --resume goes on
    where it ended, with --retry-failed also with what failed, and without either begins anew.

    Exit codes: 0 all were run, also if some failed: their ``ok`` is false; 1 the input or the pipeline is wrong.
    """
    with answering(form), logged(form):
        from fabric.pipelines.batch import BatchRunner

        if key in RESERVED:
            raise ConfigError(f"--key {key!r} is reserved for the output, as {', '.join(RESERVED)} are; take another")
        ours = journal_of(output) if journal is None and not dry_run else None
        if (resume or retry_failed) and journal is None and ours is None:
            said = "--resume" if resume else "--retry-failed"
            raise ConfigError(f"{said} needs --output or --journal FILE: a journal says what is done")
        journal = journal or ours
        read = {"the pipeline": pipeline, "the input": path_of_input(input_)}
        check_target(journal, "--journal", read)
        check_target(output, "--output", {**read, "the journal": journal})
        check_target(metrics, "--metrics", {**read, "the journal": journal, "the output": output})
        with _opened(input_, key) as lines, Written(output) as written, printing_apart():
            if ours is not None and not (resume or retry_failed):
                begin_anew(ours)
            runner = BatchRunner(
                pipeline, max_workers=workers, progress=False, journal=journal, place=read_place(place)
            )
            meter = _Meter(shown=not no_progress and sys.stderr.isatty())
            results = runner.run(
                _items(lines),
                key=key,
                use_cache=not no_cache,
                dry_run=dry_run,
                resume=resume or retry_failed,
                retry_failed=retry_failed,
            )
            for item_id, result in results:
                written.write(json.dumps(_record(key, item_id, result), default=str))
                meter.count(result.failed)
        write_metrics(runner.account, metrics)
        if output is not None:
            say(f"Batch complete: {meter.succeeded} succeeded, {meter.failed} failed; see {output}")


@contextmanager
def _opened(said: str, key: str) -> Iterator[IO[str]]:
    """Open the input. All of it is checked before anything runs, a line at a time: it may be larger than memory.

    Raises:
        ConfigError: it cannot be read, a line is no JSON object, or there is none.
    """
    if not said:
        raise ConfigError("--input is empty; it takes a file, or - for stdin")
    with ExitStack() as stack:
        try:
            if said == "-":  # kept in a file, for it is read twice
                lines: IO[str] = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8"))
                lines.writelines(sys.stdin)
                lines.seek(0)
            else:
                lines = stack.enter_context(Path(said).open(encoding="utf-8"))
            _check(lines, key)
            lines.seek(0)
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ConfigError(f"cannot read the input {said!r}: {why}") from None
        yield lines


def _items(lines: IO[str]) -> Iterator[dict[str, Any]]:
    """Return the items, one after the other. Raises ConfigError: a line is none; somebody may still write lines."""
    for number in itertools.count(1):
        try:
            line = lines.readline()
        except UnicodeDecodeError:
            raise ConfigError(f"cannot read the input from line {number} on: it is not UTF-8") from None
        if not line:
            return
        if line.strip():
            yield read_object(line, f"line {number}", f"invalid JSON on line {number}")


def _check(lines: IO[str], key: str) -> None:
    """Read all items once; warn of those that cannot be told apart."""
    count = nameless = 0
    ids: set[int] = set()
    for place, item in enumerate(_items(lines)):
        count += 1
        nameless += key not in item
        ids.add(hash(json.dumps(item.get(key, place), sort_keys=True)))  # their hashes: there may be many, and long
    if not count:
        raise ConfigError("no items found in the input; expected one JSON object a line")
    if nameless:
        _log.warning("%d of %d items have no %r: they are known by their places, from 0", nameless, count, key)
    if len(ids) < count:
        _log.warning("%d of %d items have the %r of another one", count - len(ids), count, key)


def _record(key: str, item_id: object, result: Any) -> dict[str, object]:
    record = {key: item_id, "ok": not result.failed}
    if result.failed:
        failure = result.failure_state
        return {**record, "error": f"Pipeline aborted at step {failure.step_name!r}: {text_of(failure.exception)}"}
    values = {
        name: as_data(step.value, f"item {item_id!r}: the value of step {name!r}")
        for name, step in result.steps.items()
    }
    missing = result.metadata.get(MISSING)
    return {**record, "steps": values, **({"outputs": "; ".join(missing)} if missing else {})}


class _Meter:
    """Counts what is done, and tells it in one line of a terminal."""

    def __init__(self, shown: bool) -> None:
        self._shown = shown
        self.succeeded = self.failed = 0

    def count(self, failed: bool) -> None:
        """One more is done."""
        self.failed += failed
        self.succeeded += not failed
        if self._shown:
            print(f"\r{self.succeeded + self.failed} done, {self.failed} failed", end="", file=sys.stderr, flush=True)
