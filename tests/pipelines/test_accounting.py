"""What runs take: metrics of all of them, spans of each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from collector import Collector
from pipeline_folders import Tape, folder_of, mock
from span_trees import held_together

from fabric.metrics import Page
from fabric.pipelines import PipelineRunner
from fabric.pipelines.results import AttemptLog, FailureState, RunContext, StepResult
from fabric.pipelines.runs.accounting import Account, RunAccount
from fabric.pipelines.runs.spans import Piece, RunFacts, spans_of
from fabric.pipelines.spec import FunctionStep, LlmStep, Mark, ModelSpec
from fabric.pipelines.work import Done, FunctionWork, LlmWork, Work
from fabric.tracing.span import Span

ASK = LlmStep(name="extract", mark=Mark(""), model="default")
WRITE = FunctionStep(name="write", mark=Mark(""), kind="io")
MODEL = ModelSpec(name="default", provider="openai_compat", model="gpt")
QUESTION = LlmWork(ASK, MODEL, ({"role": "user", "content": "?"},))
TOKENS = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
LOGS = (
    AttemptLog("extract", 1, "parse_error", 0.5, ["no JSON"], "parse_error", "no", TOKENS, "gpt", cost_usd=0.25),
    AttemptLog("extract", 2, "success", 1.0, [], None, "{}", TOKENS, "gpt", cost_usd=0.25),
)


class Clock:
    """A second later each time."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        self.now_s += 1.0
        return self.now_s


class Played:
    """A performer that gives what it is told to."""

    def __init__(self, done: Done | Exception) -> None:
        self._done = done

    async def perform(self, work: Work) -> Done:
        """Give it."""
        if isinstance(self._done, Exception):
            raise self._done
        return self._done


def context(failed: bool = False) -> RunContext:
    done = RunContext(steps={"extract": StepResult("extract", {}, "success", list(LOGS))})
    if failed:
        done.failed = True
        done.failure_state = FailureState("extract", ValueError("no"))
    return done


async def one_run(account: Account, done: Done, *, failed: bool = False) -> RunAccount:
    run = account.begin()
    assert await run.watch(Played(done)).perform(QUESTION) is done
    run.end(context(failed))
    return run


def lines_of(account: Account) -> set[str]:
    text = Page(account.samples).write()[1].decode()
    return {line for line in text.splitlines() if line.startswith("fabric_") and "_bucket" not in line}


async def test_runs_steps_questions_tokens_and_costs_are_counted():
    """Of all runs, also of those that failed; the page is written as that of any service."""
    account = Account("papers", clock=Clock())
    await one_run(account, Done(attempts=LOGS))
    await one_run(account, Done(attempts=LOGS[:1], error=ValueError("no")), failed=True)
    model = 'model="gpt",provider="openai_compat",worker="extract"'
    assert lines_of(account) == {
        'fabric_pipeline_runs_total{outcome="ok",spec="papers"} 1.0',
        'fabric_pipeline_runs_total{outcome="failed",spec="papers"} 1.0',
        'fabric_pipeline_run_seconds_count{spec="papers"} 2.0',
        'fabric_pipeline_run_seconds_sum{spec="papers"} 6.0',
        'fabric_pipeline_steps_total{outcome="success",spec="papers",step="extract"} 2.0',
        'fabric_llm_requests_total{model="gpt",outcome="ok",provider="openai_compat",worker="extract"} 1.0',
        'fabric_llm_requests_total{model="gpt",outcome="parse_error",provider="openai_compat",worker="extract"} 2.0',
        f"fabric_llm_input_tokens_total{{{model}}} 21.0",
        f"fabric_llm_output_tokens_total{{{model}}} 9.0",
        f"fabric_llm_cost_usd_total{{{model}}} 0.75",
    }


async def test_an_answer_that_was_kept_takes_nothing_and_one_without_a_price_is_said():
    """The one has no tokens, the other no cost."""
    account = Account("papers", clock=Clock())
    cached = AttemptLog("extract", 1, "success", tokens=TOKENS, model="gpt", cached=True, cost_usd=0.0)
    await one_run(account, Done(attempts=(cached, AttemptLog("extract", 1, "success", tokens=TOKENS, model="gpt"))))
    model = 'model="gpt",provider="openai_compat",worker="extract"'
    lines = {line for line in lines_of(account) if line.startswith("fabric_llm_")}
    assert lines == {
        'fabric_llm_requests_total{model="gpt",outcome="cached",provider="openai_compat",worker="extract"} 1.0',
        'fabric_llm_requests_total{model="gpt",outcome="ok",provider="openai_compat",worker="extract"} 1.0',
        f"fabric_llm_input_tokens_total{{{model}}} 7.0",
        f"fabric_llm_output_tokens_total{{{model}}} 3.0",
        f"fabric_llm_unpriced_requests_total{{{model}}} 1.0",
    }


async def test_a_performer_that_is_watched_does_the_same():
    """What it raises comes through, and the piece of work is seen all the same."""
    account = Account("papers", clock=Clock())
    run = account.begin()
    with pytest.raises(KeyError):
        await run.watch(Played(KeyError("broken"))).perform(QUESTION)
    run.end(context())
    assert "fabric_llm_requests_total" not in "".join(lines_of(account))


async def test_a_runner_accounts_for_its_runs(tmp_path: Path):
    """Whatever it is that runs it."""
    tape = Tape("no JSON", '{"a": 1}')
    steps = "steps:\n  - {name: x, type: llm, model: default, prompt: prompts/extract.j2, schema: {a: int}}\n"
    runner = PipelineRunner(folder_of(tmp_path / "papers", tape.block() + steps))
    assert not (await runner.arun({"text": ""})).failed
    lines = lines_of(runner.account)
    assert 'fabric_pipeline_runs_total{outcome="ok",spec="papers"} 1.0' in lines
    assert f'fabric_llm_input_tokens_total{{model="taped",provider="{tape.provider}",worker="x"}} 14.0' in lines


@pytest.mark.processes
def test_a_run_is_told_to_a_collector_where_the_environment_names_one(tmp_path: Path):
    """And stands below the span of who started it."""
    steps = "steps:\n  - {name: x, type: llm, model: default, prompt: prompts/extract.j2, schema: {a: int}}\n"
    path = folder_of(tmp_path / "papers", mock("no JSON", '{"a": 1}') + steps)
    caller = f"00-{'ab' * 16}-{'cd' * 8}-01"
    with Collector().running() as collector:
        done = subprocess.run(
            [sys.executable, "-m", "fabric.cli", "pipeline", "run", path, "-i", '{"text": ""}'],
            env={**os.environ, **collector.environment, "TRACEPARENT": caller},
            capture_output=True,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (0, b"")
    found = sorted(collector.spans, key=lambda span: (span.start_s, span.name))
    assert sorted(span.name for span in found) == ["chat played", "chat played", "invoke_workflow papers", "step x"]
    (run,) = [span for span in found if span.name.startswith("invoke")]
    assert {span.trace_id for span in found} == {bytes.fromhex("ab" * 16)}
    assert run.parent == bytes.fromhex("cd" * 8)
    assert [span.error for span in found if span.name.startswith("chat")].count(None) == 1


# --- spans ------------------------------------------------------------------------------------------------------------


def spans(pieces: list[Piece], done: RunContext, **how: bool) -> list[Span]:
    return spans_of(RunFacts(done, pieces, 100.0, 110.0), "papers", b"t" * 16, b"r" * 8, **how)


def test_a_run_is_a_tree_of_its_steps_and_their_questions():
    """With what they took; the ids follow from that of the run."""
    pieces = [Piece(QUESTION, Done(attempts=LOGS), 101.0, 104.0), Piece(FunctionWork(WRITE, {}), Done(), 104.0, 105.0)]
    done = context()
    done.steps["write"] = StepResult("write", None)
    found = spans(pieces, done)
    held_together(found)
    assert [(span.name, span.start_s, span.end_s) for span in found] == [
        ("invoke_workflow papers", 100.0, 110.0),
        ("step extract", 101.0, 104.0),
        ("chat gpt", 101.0, 101.5),
        ("chat gpt", 101.5, 102.5),
        ("step write", 104.0, 105.0),
    ]
    run, extract, first, second, write = found
    assert {extract.parent, write.parent} == {run.span_id}
    assert {first.parent, second.parent} == {extract.span_id}
    assert (first.error, second.error, run.error) == ("no JSON", None, None)
    assert second.attributes["gen_ai.usage.input_tokens"] == 7
    assert second.attributes["fabric.cost_usd"] == 0.25
    assert (extract.attributes["fabric.step.type"], write.attributes["fabric.step.type"]) == ("llm", "io")
    assert found == spans(pieces, done)


def test_what_was_said_is_told_only_if_that_is_wanted():
    """It may be private."""
    pieces = [Piece(QUESTION, Done(attempts=LOGS), 101.0, 104.0)]
    for content in (False, True):
        told = [span.attributes.get("gen_ai.output.messages") for span in spans(pieces, context(), content=content)]
        assert told == [None, None, *(("no", "{}") if content else (None, None))]


def test_a_step_that_was_discarded_is_told_of_as_such():
    """It was under way when an earlier one failed."""
    pieces = [
        Piece(QUESTION, Done(error=ValueError("no")), 101.0, 102.0),
        Piece(FunctionWork(WRITE, {}), None, 101.0, 102.0),
    ]
    run, extract, write = spans(pieces, context(failed=True))
    assert (run.error, extract.error) == ("step extract: no", "no")
    assert run.attributes["error.type"] == extract.attributes["error.type"] == "ValueError"
    assert ("fabric.discarded" in extract.attributes, write.attributes["fabric.discarded"]) == (False, True)
