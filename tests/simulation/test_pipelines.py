"""Some random pipelines in all ways of carrying them out; ``pipelines.py`` does more."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from random_pipelines import Folder, Way, open_folder, out_of_order

BLOCK = 10


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folder]:
    """Where they are written and run."""
    monkeypatch.chdir(tmp_path)
    with open_folder(tmp_path) as folder:
        yield folder


def differing(folder: Folder, seeds: range, way: Way) -> list[str]:
    """Return how to see those that tell something else than one step after the other."""
    found = []
    for seed in seeds:
        pipeline = folder.write(seed)
        told = folder.run(pipeline, way)
        if folder.run(pipeline, "sequential") != told or out_of_order(pipeline, told):
            found.append(f"python tests/simulation/pipelines.py --seed {seed}")
    return found


@pytest.mark.parametrize("first", range(0, 40, BLOCK))
def test_steps_that_run_at_once_tell_what_they_tell_one_after_the_other(folder: Folder, first: int):
    """Values, attempts, failures, logs, hooks and the order of effects, to the byte, whatever takes how long."""
    assert differing(folder, range(first, first + BLOCK), "dataflow") == []


@pytest.mark.processes
def test_steps_in_workers_tell_what_they_tell_here(folder: Folder):
    """Over ZeroMQ, in processes that have read the file themselves."""
    assert differing(folder, range(100, 104), "fabric") == []


def test_the_pipelines_have_all_that_may_go_differently(folder: Folder):
    """Or some of what they are for is not tried any more."""
    types: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    for seed in range(40):
        pipeline = folder.write(seed)
        types.update(every_type(pipeline["steps"]))
        told = json.loads(folder.run(pipeline, "dataflow"))
        ends.update(f"run failed: {run['failed']}" for run in told["runs"])
        for run in told["runs"]:
            ends.update(status for _, _, status, _, _ in run["steps"])
            ends.update(log["status"] for log in run["logs"])
            ends.update(f"model: {log['model']}, kept: {log['cached']}" for log in run["logs"])
            ends.update("growth" for log in run["logs"] if log["step"].endswith("._growth"))
            ends.update([run["failure"][1][0]] if run["failure"] else [])
            ends.update(suggestion["match_type"] for suggestion in run["summary"]["vocab_suggestions"])
        ends.update(json.loads(line)[0] for line in told["journal"])
    assert types.keys() == {"llm", "transform", "io", "validate", "http", "parallel", "condition", "ensemble"}
    assert ends.keys() >= {
        *("run failed: True", "run failed: False", "success", "failed", "skipped", "parse_error", "schema_error"),
        *("fuzzy", "novel", "write", "posted", "failed", "growth", "BudgetExceeded"),
        *("model: m0, kept: False", "model: m1, kept: False", "model: f, kept: False", "model: c, kept: False"),
        *("model: k, kept: False", "model: k, kept: True"),
    }


def every_type(steps: list[dict[str, Any]]) -> Iterator[str]:
    for step in steps:
        yield step["type"]
        yield from every_type([*step.get("steps", ()), *step.get("then", ()), *step.get("else", ())])
