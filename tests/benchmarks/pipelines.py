"""What pipelines in YAML cost beside the work itself.

    python tests/benchmarks/pipelines.py [--rounds 5] [--steps 50] [--items 10000] [--json]

overhead    a pipeline of ``steps`` questions to a mock, one after the other, beside a plain loop in Python that takes
            the same answers, reads their JSON and holds them against the same class: per step
validate    loading a pipeline of 500 steps, with schemas, expressions and templates
together    eight independent steps that each sleep 50 ms
batch       ``items`` inputs through one pipeline, four at a time: how many a second, and how much memory more the
            process has at its peak than after a tenth of them

Figures are the median of the rounds; the batch is run once. The first two are processor time: one thread works, and
waits for nothing. The others are the wall clock. Beside two of them stands what they have to stay below.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fabric.pipelines import BatchRunner, PipelineRunner
from fabric.pipelines.llm import extract_json
from fabric.pipelines.loading.pipeline import load_pipeline
from fabric.pipelines.schema_builder import yaml_dict_to_model

REPLY = '{"title": "On tea", "authors": ["Ada", "Grace"], "doi": null}'
FIELDS = {"title": "str", "authors": "list[str]", "doi": "str | None"}
MODELS = f"models:\n  default:\n    provider: mock\n    mock_responses: ['{REPLY}']\n"
SCHEMA = "schema: {title: str, authors: 'list[str]', doi: str | None}"
STEPS_PY = """
import time

def same(value):
    return value

def sleep(seconds):
    time.sleep(seconds)
    return seconds
"""


def ask(name: str) -> str:
    return f"  - {{name: {name}, type: llm, model: default, prompt: prompts/ask.j2, {SCHEMA}}}\n"


def written(folder: Path, text: str) -> Path:
    (folder / "prompts").mkdir(parents=True)
    (folder / "prompts/ask.j2").write_text("Read this: {{ ctx.text }}\n{{ schema_hint }}\n")
    (folder / "steps.py").write_text(STEPS_PY)
    path = folder / "pipeline.yaml"
    path.write_text(text)
    return path


def median_s(run: Callable[[], object], rounds: int, clock: Callable[[], float] = time.perf_counter) -> float:
    taken = []
    for _ in range(rounds):
        started = clock()
        run()
        taken.append(clock() - started)
    return statistics.median(taken)


def overhead(folder: Path, steps: int, rounds: int) -> dict[str, float]:
    """Return seconds per step."""
    model = yaml_dict_to_model("Extract", FIELDS)
    path = written(folder, MODELS + "steps:\n" + "".join(ask(f"ask{n}") for n in range(steps)))
    runner = PipelineRunner(path)

    def plain() -> None:
        for _ in range(steps):
            model(**extract_json(REPLY))

    def piped() -> None:
        result = runner.run({"text": "..."})
        assert not result.failed, result.failure_state

    piped()
    ours, theirs = (median_s(run, rounds, time.process_time) / steps for run in (piped, plain))
    return {"pipeline_s_per_step": ours, "plain_loop_s_per_step": theirs, "overhead_s_per_step": ours - theirs}


def validate(folder: Path, rounds: int) -> dict[str, float]:
    """Return seconds for 500 steps: of ten, five ask, and the others take what they said."""
    parts = []
    for n in range(250):
        parts.append(ask(f"ask{n}"))
        text = f"{{{{ first_non_none(steps.ask{n}.value.title, ctx.text) }}}}"
        parts.append(f"  - {{name: take{n}, type: transform, fn: 'steps:same', inputs: {{value: \"{text}\"}}}}\n")
    path = written(folder, MODELS + "steps:\n" + "".join(parts))
    assert len(load_pipeline(path).steps) == 500
    return {"validate_500_steps_s": median_s(lambda: load_pipeline(path), rounds, time.process_time)}


def together(folder: Path, rounds: int) -> dict[str, float]:
    """Return seconds for eight steps of 50 ms that do not need each other, and for the same one after the other."""
    text = "steps:\n" + "".join(
        f"  - {{name: s{n}, type: transform, fn: 'steps:sleep', inputs: {{seconds: 0.05}}}}\n" for n in range(8)
    )
    runner = PipelineRunner(written(folder, text))
    one_by_one = PipelineRunner(written(folder / "sequential", "execution: {mode: sequential}\n" + text))
    runner.run({})
    return {
        "eight_50_ms_steps_s": median_s(lambda: runner.run({}), rounds),
        "sequential_s": median_s(lambda: one_by_one.run({}), 1),
    }


def batch(folder: Path, items: int) -> dict[str, float]:
    """Return items a second, and how many KiB the process has grown by since a tenth of them were done."""
    text = (
        MODELS
        + "steps:\n"
        + ask("ask")
        + "  - {name: t, type: transform, fn: 'steps:same', inputs: {value: '{{ steps.ask.value.title }}'}}\n"
    )
    runner = BatchRunner(written(folder, text), max_workers=4, progress=False)

    def given() -> Iterator[dict[str, Any]]:
        for n in range(items):
            yield {"id": n, "text": f"{n} " * 500}

    started, after_a_tenth = time.perf_counter(), 0
    for done, (_, result) in enumerate(runner.run(given()), 1):
        assert not result.failed, result.failure_state
        if done == items // 10:
            after_a_tenth = peak_kib()
    return {
        "batch_items_per_s": items / (time.perf_counter() - started),
        "batch_growth_kib": peak_kib() - after_a_tenth,
        "batch_peak_kib": peak_kib(),
    }


def peak_kib() -> int:
    """Return the largest resident memory that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        figures = {
            **overhead(root / "overhead", options.steps, options.rounds),
            **validate(root / "validate", options.rounds),
            **together(root / "together", options.rounds),
            **batch(root / "batch", options.items),
        }
    if options.json:
        print(json.dumps(figures))
    else:
        print(table(figures, options))


def table(figures: dict[str, float], options: argparse.Namespace) -> str:
    def ms(name: str) -> str:
        return f"{1000 * figures[name]:.3g} ms"

    return textwrap.dedent(f"""\
        | what | figure |
        |---|---:|
        | a step that asks a mock, of {options.steps} in a pipeline | {ms("pipeline_s_per_step")} |
        | the same answer in a plain loop | {ms("plain_loop_s_per_step")} |
        | difference, per step | {ms("overhead_s_per_step")} |
        | loading 500 steps (less than 1 s) | {ms("validate_500_steps_s")} |
        | eight steps of 50 ms (less than 200 ms) | {ms("eight_50_ms_steps_s")} |
        | the same, sequential | {ms("sequential_s")} |
        | a batch of {options.items:,}: items a second | {figures["batch_items_per_s"]:.0f} |
        | its peak memory | {figures["batch_peak_kib"] / 1024:.1f} MiB |
        | of which since a tenth was done | {figures["batch_growth_kib"] / 1024:.1f} MiB |""")


if __name__ == "__main__":
    main()
