"""Many inputs: their results, their number at once, their order, and what hooks hear."""

import contextvars
import gc
import threading
import tracemalloc
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
import trio

from fabric.errors import ConfigError
from fabric.pipelines.asking.clients import register_provider
from fabric.pipelines.batch import BatchResult, BatchRunner, BatchSummary
from fabric.pipelines.errors import PipelineLoadError
from fabric.pipelines.results import RunContext

SQUARE = """
steps:
  - {name: s, type: transform, fn: "counted_items:refuse", inputs: {n: "{{ ctx.n }}"}}
"""


def written(path: Path, text: str = SQUARE) -> Path:
    file = path / "pipeline.yaml"
    file.write_text(text)
    return file


def items(count: int) -> list[dict[str, int]]:
    return [{"id": 100 + n, "n": n} for n in range(1, count + 1)]


def test_results_by_id(tmp_path: Path) -> None:
    """Each item has its own result, whichever ended first; those that failed are told apart."""
    result = BatchRunner(written(tmp_path), max_workers=3, progress=False).run_all(items(7))
    assert isinstance(result, BatchResult)
    values = {item_id: context.steps["s"].value for item_id, context in result}
    assert values == {101: 1, 102: 2, 103: None, 104: 4, 105: 5, 106: None, 107: 7}
    assert sorted(item_id for item_id, _ in result.failures) == [103, 106]
    assert len(result.successes) == 5
    assert result.error_rate == 2 / 7
    summary = result.summary()
    assert (summary.total, summary.succeeded, summary.failed) == (7, 5, 2)
    assert sorted(summary.failed_ids) == [103, 106]
    assert result[0] in list(result)
    assert len(result[1:3]) == 2


def test_no_items(tmp_path: Path) -> None:
    """None have failed."""
    result = BatchRunner(written(tmp_path)).run_all([])
    assert result.summary() == BatchSummary(0, 0, 0, 0.0, [])


def test_items_without_an_id_are_known_by_their_place(tmp_path: Path) -> None:
    """The same numbers in each process; another key may be the id."""
    batch = BatchRunner(written(tmp_path), progress=False)
    assert sorted(item_id for item_id, _ in batch.run([{"n": 5}, {"n": 7}])) == [0, 1]
    assert sorted(item_id for item_id, _ in batch.run(items(2), key="n")) == [1, 2]


def test_what_is_no_map_fails_alone(tmp_path: Path) -> None:
    """The others are run."""
    result = BatchRunner(written(tmp_path), progress=False).run_all([{"id": 1, "n": 1}, ["no map"]])  # type: ignore[list-item]
    ((item_id, context),) = result.failures
    assert item_id == 1
    assert context.failure_state is not None
    assert context.failure_state.step_name == "<batch>"
    assert "an item of a batch is a map" in str(context.failure_state.exception)


def test_items_are_taken_when_there_is_room(tmp_path: Path) -> None:
    """Endless items: a caller who takes ten results has had at most so many taken as there are workers beside them."""
    taken = 0

    def endless() -> Iterator[dict[str, int]]:
        nonlocal taken
        while True:
            taken += 1
            yield {"n": 1}

    results = BatchRunner(written(tmp_path), max_workers=3, progress=False).run(endless())
    for count in range(1, 11):
        next(results)
        assert taken == count + 3
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "fabric-batch"]


def test_as_many_at_once_as_there_are_workers(tmp_path: Path) -> None:
    """Four items meet: each waits in its function until all four are there."""
    meeting = threading.Barrier(4, timeout=60.0)
    (tmp_path / "meeting.py").write_text("def meet(barrier):\n    barrier.wait()\n    return 1\n")
    file = written(
        tmp_path,
        'steps: [{name: s, type: transform, fn: "meeting:meet", inputs: {barrier: "{{ ctx.barrier }}"}}]',
    )
    result = BatchRunner(file, max_workers=4, progress=False).run_all([{"barrier": meeting}] * 8)
    assert result.summary().succeeded == 8


def test_functions_see_what_the_caller_has_set(tmp_path: Path) -> None:
    """Context variables, as in a run: of the moment in which the batch begins."""
    (tmp_path / "seeing.py").write_text("def see(of):\n    return of.get()\n")
    file = written(tmp_path, 'steps: [{name: s, type: transform, fn: "seeing:see", inputs: {of: "{{ ctx.of }}"}}]')
    tenant = contextvars.ContextVar("tenant", default="nobody")
    context = contextvars.copy_context()
    context.run(tenant.set, "somebody")
    ((_, left),) = context.run(BatchRunner(file, progress=False).run_all, [{"of": tenant}])
    assert left.steps["s"].value == "somebody"


def test_hooks_hear_of_each_item_in_the_thread_of_the_caller(tmp_path: Path) -> None:
    """In the order of the results; what a hook raises changes nothing."""
    batch = BatchRunner(written(tmp_path), progress=False)
    heard: list[tuple[Any, bool, threading.Thread]] = []

    @batch.on_batch_item_end
    def broken(item_id: Any, context: RunContext) -> None:
        raise RuntimeError("broken")

    @batch.on_batch_item_end
    def note(item_id: Any, context: RunContext) -> None:
        heard.append((item_id, context.failed, threading.current_thread()))

    result = batch.run_all(items(6))
    assert heard == [(item_id, context.failed, threading.current_thread()) for item_id, context in result]


def test_items_that_cannot_be_had_end_the_batch_behind_the_others(tmp_path: Path) -> None:
    """What had begun is handed over before the failure of the source is raised."""

    def broken() -> Iterator[Mapping[str, Any]]:
        yield from items(2)
        raise OSError("the disk is gone")

    results = BatchRunner(written(tmp_path), max_workers=4, progress=False).run(broken())
    assert sorted(item_id for item_id, _ in (next(results), next(results))) == [101, 102]
    with pytest.raises(OSError, match="the disk is gone"):
        next(results)


def test_what_a_function_raises_to_end_the_process_ends_its_item(tmp_path: Path) -> None:
    """It is a failure of its step, as others are."""
    (tmp_path / "ending.py").write_text("def end():\n    raise SystemExit(3)\n")
    file = written(tmp_path, 'steps: [{name: s, type: transform, fn: "ending:end"}]')
    result = BatchRunner(file, progress=False).run_all([{}, {}])
    assert result.summary().failed == 2


def test_overrides_are_checked_before_the_first_item(tmp_path: Path) -> None:
    """A wrong one is one error, not one for each item; right ones hold for all items."""
    file = written(
        tmp_path,
        "models: {m: {provider: mock, model: mm, response: '1'}}\nsteps: [{name: s, model: m, prompt: p.j2}]\n",
    )
    (tmp_path / "p.j2").write_text("hi")
    batch = BatchRunner(file, progress=False)
    with pytest.raises(PipelineLoadError, match="timeout"):
        batch.run_all([{}] * 3, model_overrides={"m": {"timeout": "soon"}})
    result = batch.run_all([{}] * 3, model_overrides={"m": {"response": "5"}})
    assert [context.steps["s"].value for _, context in result] == [5, 5, 5]
    dry = batch.run_all([{}], dry_run=True)
    assert dry[0][1].steps["s"].value is None


def test_workers_are_counted(tmp_path: Path) -> None:
    """At least one."""
    with pytest.raises(ConfigError, match="'max_workers' is 0"):
        BatchRunner(written(tmp_path), max_workers=0)


class Echo:
    """A client that says its question; the answers to earlier items come last."""

    def __init__(self) -> None:
        self.chat = SimpleNamespace(completions=self)
        self.later = threading.Event()

    def create(self, **request: Any) -> Any:
        said = request["messages"][-1]["content"]
        if said.startswith('{"k": "first"'):
            assert self.later.wait(60.0)
        if said.startswith('{"k": "third"'):
            self.later.set()
        message = SimpleNamespace(content=said)
        return SimpleNamespace(choices=[SimpleNamespace(message=message, finish_reason="stop")], usage=None)


def test_vocabularies_grow_at_the_end_by_the_order_of_the_items(tmp_path: Path) -> None:
    """All items see the terms of the start, whichever ends first; the next batch sees what has come."""

    @register_provider("echo_of_batch", concurrent=True)
    def make(**block: Any) -> Echo:
        return Echo()

    (tmp_path / "vocabularies").mkdir()
    (tmp_path / "vocabularies/o.yaml").write_text("known: [PET]\nlabel: o\ngrowth_policy: auto\npersist: true\n")
    (tmp_path / "p.j2").write_text('{"k": "{{ ctx.k }}"}')
    file = written(
        tmp_path,
        """
models: {m: {provider: echo_of_batch, model: mm}}
steps: [{name: s, model: m, prompt: p.j2, inject_vocab_prompt: false, schema: {k: {type: str, vocab: o}}}]
""",
    )
    batch = BatchRunner(file, max_workers=3, progress=False)
    given = [{"k": word} for word in ("first", "second", "third", "second")]
    counts = [
        {item_id: len(context.summary().vocab_suggestions) for item_id, context in batch.run(given)} for _ in range(2)
    ]
    assert counts == [{0: 1, 1: 1, 2: 1, 3: 1}, {0: 0, 1: 0, 2: 0, 3: 0}]
    text = (tmp_path / "vocabularies/o.yaml").read_text()
    assert text.index("first") < text.index("second") < text.index("third")
    assert text.count("second") == 1


async def test_in_trio(tmp_path: Path) -> None:
    """Items may come from an async generator; the loop goes on meanwhile."""

    async def some() -> AsyncIterator[Mapping[str, Any]]:
        for item in items(5):
            await trio.lowlevel.checkpoint()
            yield item

    batch = BatchRunner(written(tmp_path), max_workers=2, progress=False)
    seen = [item_id async for item_id, _ in batch.arun(some())]
    assert sorted(seen) == [101, 102, 103, 104, 105]


def test_in_asyncio(tmp_path: Path) -> None:
    """The same."""

    async def main() -> list[Any]:
        batch = BatchRunner(written(tmp_path), max_workers=2, progress=False)
        return [item_id async for item_id, _ in batch.arun(items(5))]

    assert sorted(anyio.run(main)) == [101, 102, 103, 104, 105]


def test_memory_stays_flat(tmp_path: Path) -> None:
    """Of 100,000 characters that each item is, no more than those of the window are held at any time."""
    file = written(
        tmp_path,
        'steps: [{name: s, type: transform, fn: "counted_items:refuse", inputs: {n: "{{ ctx.n }}"}}]',
    )
    large = ({"n": 1, "text": "x" * 100_000 + str(n)} for n in range(300))
    results = BatchRunner(file, max_workers=2, progress=False).run(large)
    for _ in range(20):  # what is loaded only once is there now
        next(results)
    gc.collect()
    tracemalloc.start()
    try:
        for _ in results:
            pass
        assert tracemalloc.get_traced_memory()[1] < 5_000_000  # 280 items would have 28,000,000
    finally:
        tracemalloc.stop()
