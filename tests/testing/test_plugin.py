"""The plugin of pytest, as a suite of somebody else meets it: each in a pytest of its own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.processes

OTHERS = "-p no:cacheprovider -p no:hypothesispytest -p no:xdist -p no:pytest_cov -p no:trio"
"""What is left out, for it takes time to load."""

PROGRAM = """
let poet : !string -> !string = agent { provider: "anthropic" model: "m" prompt: "Write." }
let main : !string -> !string = plumb(i, o) { i ; poet ; o }
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder with a program, in which warnings are errors."""
    for name in ("FABRIC_LIVE", "FABRIC_CASSETTE", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    pytester.makeini(f"[pytest]\nfilterwarnings = error\naddopts = {OTHERS} --strict-markers")
    pytester.path.joinpath("poet.plumb").write_text(PROGRAM)
    return pytester


def run(suite: pytest.Pytester, *arguments: str, **outcomes: int) -> pytest.RunResult:
    """Run the suite and compare how its tests ended."""
    result = suite.runpytest_subprocess(*arguments, timeout=120)
    result.assert_outcomes(**outcomes)
    return result


FIRST = """
    import anyio, pytest
    from fabric.testing import Failure

    def test_call(fabric_run, scripted_model):
        model = scripted_model({"poet": ["An ode"]})
        assert fabric_run("poet.plumb", "hi", env=model.env) == ["An ode"]
        assert model.requests[0].prompt == '"hi"'

    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    def test_pipeline(backend, fabric_run, scripted_model):
        model = scripted_model({"poet": "An ode"})

        async def main():
            async with await fabric_run.start("poet.plumb", env=model.env) as pipeline:
                return await pipeline.call("hi")

        assert anyio.run(main, backend=backend) == ["An ode"]

    def test_waiting(virtual_clock):
        done = virtual_clock("poet.plumb", ["hi"], models=[Failure(429, retry_after_s=20), "An ode"])
        assert done.outputs == ["An ode"]
        assert done.ended_s >= 20
"""

UNSCRIPTED = """
    import contextlib, fabric, pytest

    def test_expects_the_failure(fabric_run, scripted_model):
        model = scripted_model()
        with pytest.raises(fabric.PipelineError):
            fabric_run("poet.plumb", "hi", env=model.env)

    def test_does_not_look(fabric_run, scripted_model):
        model = scripted_model({"poet": ["An ode"]})
        for _ in range(2):
            with contextlib.suppress(fabric.PipelineError):
                fabric_run("poet.plumb", "hi", env=model.env)

    def test_fails_of_it(fabric_run, scripted_model):
        fabric_run("poet.plumb", "hi", env=scripted_model().env)
"""

TAPE = """
    import pytest
    from fabric.testing import scripted_model

    class TestPoet:
        @pytest.mark.parametrize("theme", ["sea / shore"], ids=["in/out"])
        def test_ode(self, theme, fabric_run, cassette):
            with scripted_model(["An ode"]) as model:
                tape = cassette(endpoints={"anthropic": model.url})
                env = tape.env | {"ANTHROPIC_API_KEY": "sk-0123456789abcdef"}
                assert fabric_run("poet.plumb", theme, env=env) == ["An ode"]
                assert len(model.requests) == (tape.mode == "record")
"""

TAPE_FILE = "cassettes/TestPoet.test_ode-in-out-d66c555c.jsonl"

OTHER_THEME = f"""
    def test_mismatch(fabric_run, cassette):
        tape = cassette({TAPE_FILE!r})
        assert fabric_run("poet.plumb", "sea - shore", env=tape.env) == ["An ode"]
"""

LEFT = """
    import anyio, pytest, subprocess, sys

    def test_fails_anyway(fabric_run, scripted_model):
        model = scripted_model()
        anyio.run(lambda: fabric_run.start("poet.plumb", env=model.env))
        pytest.fail("of something else")

    def test_leaves(fabric_run, scripted_model):
        model = scripted_model()
        anyio.run(lambda: fabric_run.start("poet.plumb", env=model.env))

    def test_leaves_a_child_of_its_own(fabric_run):
        global child
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)

    def test_next(fabric_run, scripted_model):
        assert child.poll() is None
        child.stdin.close()
        child.kill()
        child.wait()
        model = scripted_model({"poet": "An ode"})
        assert fabric_run("poet.plumb", "hi", env=model.env) == ["An ode"]
"""


def test_what_the_fixtures_do_and_what_they_fail_of(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """They call programs, under any loop, answer for models, and record.

    An unscripted request fails the test itself and not its teardown; also if the test takes the program's failure for
    granted, or does not look at it.
    """
    monkeypatch.setenv("FABRIC_CASSETTE", "record")
    suite.makepyfile(test_first=FIRST, test_tape=TAPE, test_unscripted=UNSCRIPTED)
    result = run(suite, passed=5, failed=3)
    result.stdout.fnmatch_lines(
        [
            "*UnscriptedRequest: request 1: no answer is scripted for agent 'poet'*Scripted is: nothing",
            "*UnscriptedRequest: request 2: no answer is scripted for agent 'poet'*its list is used up",
            "E * request 1: no answer is scripted for agent 'poet'*",
        ]
    )
    assert [json.loads(line)["agent"] for line in (suite.path / TAPE_FILE).read_text().splitlines()] == ["poet"]
    monkeypatch.delenv("FABRIC_CASSETTE")
    suite.makepyfile(test_tape=TAPE + OTHER_THEME)
    result = run(suite, "test_tape.py", passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["E *recorded*sea / shore*, got *sea - shore*", "E *record it with FABRIC_CASSETTE=record"]
    )


def test_processes_that_are_left_fail_the_test(suite: pytest.Pytester):
    """They are ended, and the next test begins without them. What the test itself has started is its own."""
    suite.makepyfile(LEFT)
    result = run(suite, "-W", "default", failed=2, passed=2)
    result.stdout.fnmatch_lines(["E * of something else", "E * the test left 1 processes running, which were ended: *"])
    result.stdout.fnmatch_lines(["*ProcessesLeft: the test left 1 processes running, which were ended: *"])


# --- The marker -------------------------------------------------------------------------------------------------------

LIVE = """
    import pytest

    @pytest.mark.live
    def test_live():
        pass

    def test_other():
        pass
"""


def test_live_tests_are_skipped_unless_they_are_asked_for(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """By an option, or by the environment; in a suite that says so."""
    suite.makeini(f"[pytest]\naddopts = {OTHERS} --strict-markers\nfabric_live = true")
    suite.makepyfile(LIVE)
    result = run(suite, "-rs", passed=1, skipped=1)
    result.stdout.fnmatch_lines(["*asks real providers: give --live or FABRIC_LIVE=1"])
    run(suite, "--live", passed=2)
    monkeypatch.setenv("FABRIC_LIVE", "1")
    run(suite, passed=2)


@pytest.mark.parametrize("registered", [True, False])
def test_a_suite_that_has_live_tests_of_its_own_runs_them(suite: pytest.Pytester, registered: bool):
    """Whether it registers its marker or not, and with an option of that name."""
    suite.makeini(f"[pytest]\naddopts = {OTHERS}" + "\nmarkers = live(where): on the air" * registered)
    suite.makeconftest('def pytest_addoption(parser): parser.addoption("--live", default="no", help="ours")')
    suite.makepyfile(
        LIVE.replace("mark.live", "mark.live('here')")
        + "\n    def test_ours(pytestconfig):\n        assert pytestconfig.getoption('--live') == 'radio'"
    )
    run(suite, "--live", "radio", "-p", "fabric.testing.plugin", passed=3)  # -p: as where plugins are not found


# --- Its price --------------------------------------------------------------------------------------------------------


def test_a_suite_that_does_not_use_it_pays_nothing(suite: pytest.Pytester):
    """Neither a loop nor sockets nor models are loaded; its fixtures of the same names are its own."""
    suite.makeconftest(
        """
        import pytest

        @pytest.fixture
        def cassette():
            return "VHS"
        """
    )
    suite.makepyfile(
        """
        import sys

        def test_it(cassette):
            assert cassette == "VHS"
            ours = {name for name in sys.modules if name.partition(".")[0] == "fabric"}
            assert ours == {"fabric", "fabric.testing", "fabric.testing.plugin"}
            assert {"zmq", "msgspec", "pydantic", "httpx2", "h11"}.isdisjoint(sys.modules)
        """
    )
    run(suite, "-p", "no:trio", "-p", "no:pydantic", passed=1)


def test_the_plugin_imports_pytest_alone():
    """And what that imports."""
    code = (
        "import pytest, sys; before = set(sys.modules); import fabric.testing.plugin; print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {name for name in done.stdout.split() if not name.startswith("fabric")} <= {
        "argparse",
        "contextlib",
        "__future__",
    }
