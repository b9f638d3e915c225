"""Several models asked the same."""

from collections.abc import Mapping
from typing import Any

import trio

from fabric.pipelines.errors import ParseError
from fabric.pipelines.results import AttemptLog
from fabric.pipelines.runs.ensembles import Addition, Ensembled, hear
from fabric.pipelines.spec import EnsembleStep, Judge, LlmStep, Mark, Member
from fabric.pipelines.work import Done

MARK = Mark("f")
SAYS = Done(value={"n": 1})


def member(name: str, *, required: bool = True, model: str = "m") -> Member:
    return Member(name=name, required=required, ask=LlmStep(name=f"e.{name}", mark=MARK, model=model))


def ensemble(*members: Member, decides: str = "", own_prompt: bool = False) -> EnsembleStep:
    judge = None
    if decides:
        ask = LlmStep(name="e._judge", mark=MARK, model="j")
        judge = Judge(decides=decides, ask=ask, own_prompt=own_prompt)  # type: ignore[arg-type]
    return EnsembleStep(name="e", mark=MARK, members=members, judge=judge)


class Models:
    """Says for each step what the test wants; remembers what was asked."""

    def __init__(self, said: Mapping[str, Done | None]) -> None:
        self.said = said
        self.asked: list[str] = []
        self.additions: dict[str, Addition] = {}

    async def ask(self, step: LlmStep, addition: Addition) -> Done | None:
        await trio.lowlevel.checkpoint()
        self.asked.append(step.name)
        self.additions[step.name] = addition
        return self.said[step.name]


def says(value: Any) -> Done:
    log = AttemptLog("?", 1, "success")
    return Done(value=value, attempts=[log])


def fails(name: str) -> Done:
    log = AttemptLog(name, 2, "parse_error", error_type="parse_error", raw_output="no", model="id")
    return Done(error=ParseError("no JSON"), attempts=[log])


async def run(step: EnsembleStep, said: Mapping[str, Done | None]) -> tuple[Ensembled, Models]:
    models = Models(said)
    return await hear(step, {member.ask.name: said[member.ask.name] for member in step.members}, models.ask), models


async def test_the_judge_merges_what_two_said() -> None:
    """It is shown the answers as JSON, by the names of the members, in the order of the file."""
    step = ensemble(member("a"), member("b", required=False), decides="all_succeeded")
    done, models = await run(step, {"e.a": says({"x": 1}), "e.b": says({"x": 2}), "e._judge": says({"x": 3})})
    assert (done.value, done.error, done.warnings) == ({"x": 3}, None, ())
    assert models.asked[-1] == "e._judge"
    addition = models.additions["e._judge"]
    assert [(each["name"], each["model"]) for each in addition.variables["members"]] == [("a", "m"), ("b", "m")]
    assert addition.suffix.index('### a\n```json\n{\n  "x": 1\n}') < addition.suffix.index("### b")
    assert "given to 2 models" in addition.suffix
    assert [result.value for result in addition.results.values()] == [{"x": 1}, {"x": 2}]
    assert len(done.attempts) == 3


async def test_a_judge_with_a_prompt_of_its_own_has_no_other_text() -> None:
    """It finds the answers in its variables."""
    step = ensemble(member("a"), member("b"), decides="all_succeeded", own_prompt=True)
    _, models = await run(step, {"e.a": says(1), "e.b": says(2), "e._judge": says(3)})
    assert models.additions["e._judge"].suffix == ""
    assert [each["output"] for each in models.additions["e._judge"].variables["members"]] == ["1", "2"]


async def test_without_a_judge_the_first_of_the_file_has_the_word() -> None:
    """Not the first in time."""
    done, _ = await run(ensemble(member("a"), member("b")), {"e.a": says("slow"), "e.b": says("quick")})
    assert done.value == "slow"


async def test_one_answer_is_not_judged() -> None:
    """An optional member that failed leaves nothing to merge; that it failed is in the attempts."""
    step = ensemble(member("a"), member("b", required=False), decides="any_succeeded")
    done, models = await run(step, {"e.a": says(1), "e.b": fails("e.b")})
    assert (done.value, done.judged) == (1, None)
    assert "e._judge" not in models.asked
    assert [(log.status, log.attempt_number, log.errors) for log in done.attempts] == [
        ("success", 1, []),
        ("parse_error", 2, []),
        ("error", 2, ["no JSON"]),
    ]


async def test_all_succeeded_looks_at_required_members() -> None:
    """One that is required and whose model is not there keeps the judge away; with any_succeeded it does not."""
    members = (member("a"), member("b", required=False), member("c"))
    said = {"e.a": says(1), "e.b": says(2), "e.c": None, "e._judge": says(9)}
    assert (await run(ensemble(*members, decides="all_succeeded"), said))[0].value == 1
    assert (await run(ensemble(*members, decides="any_succeeded"), said))[0].value == 9


async def test_a_judge_that_fails_or_says_nothing_is_a_warning() -> None:
    """The first member has the word; the questions to the judge are counted."""
    step = ensemble(member("a"), member("b"), decides="all_succeeded")
    for judged, why in ((fails("e._judge"), "it failed: no JSON"), (says(None), "said nothing"), (None, "not there")):
        done, _ = await run(step, {"e.a": says(1), "e.b": says(2), "e._judge": judged})
        assert (done.value, done.error) == (1, None)
        assert why in done.warnings[-1]
        assert len(done.attempts) == (2 if judged is None else 3)


async def test_a_required_member_that_fails_fails_the_step() -> None:
    """The first one in the order of the file; all were asked to the end, and nobody judges."""
    step = ensemble(member("a", required=False), member("b"), member("c"), decides="any_succeeded")
    done, models = await run(step, {"e.a": says(1), "e.b": fails("e.b"), "e.c": fails("e.c")})
    assert isinstance(done.error, RuntimeError)
    assert "required member 'b' failed: no JSON" in str(done.error)
    assert isinstance(done.error.__cause__, ParseError)
    assert models.asked == []
    assert len(done.attempts) == 5


async def test_nobody_said_anything() -> None:
    """If nobody had to, that is no failure."""
    step = ensemble(member("a", required=False), member("b"))
    done, _ = await run(step, {"e.a": fails("e.a"), "e.b": None})
    assert (done.value, done.error) == (None, None)
