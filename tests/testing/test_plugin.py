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


def test_the_first_tests_of_a_program(suite: pytest.Pytester):
    """A fixture that calls it, one that answers for its models, one in which waiting takes no time; under any loop."""
    suite.makepyfile(
        """
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
    )
    run(suite, passed=4)


def test_an_unscripted_request_fails_the_test_itself(suite: pytest.Pytester):
    """Not its teardown; also if the test takes the program's failure for granted, or does not look at it."""
    suite.makepyfile(
        """
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
    )
    result = run(suite, failed=3)
    result.stdout.fnmatch_lines(
        [
            "*UnscriptedRequest: request 1: no answer is scripted for agent 'poet'*Scripted is: nothing",
            "*UnscriptedRequest: request 2: no answer is scripted for agent 'poet'*its list is used up",
            "E * request 1: no answer is scripted for agent 'poet'*",
        ]
    )


def test_processes_that_are_left_fail_the_test(suite: pytest.Pytester):
    """They are ended; the next test begins without them."""
    suite.makepyfile(
        """
        import anyio, pytest, subprocess, sys

        @pytest.fixture
        def of_a_fixture():
            with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
                yield process

        def test_what_a_fixture_has_is_its_own(fabric_run, of_a_fixture):
            pass

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
            assert child.wait(10) == -9
            child.stdin.close()
            model = scripted_model({"poet": "An ode"})
            assert fabric_run("poet.plumb", "hi", env=model.env) == ["An ode"]
        """
    )
    result = run(suite, "-W", "default", failed=3, passed=2)
    result.stdout.fnmatch_lines(["E * of something else", "E * the test left 1 processes running, which were ended: *"])
    result.stdout.fnmatch_lines(["*ProcessesLeft: the test left 1 processes running, which were ended: *"] * 2)


def test_a_cassette_lies_beside_its_test(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """Named after it; recorded when asked for, replayed otherwise, and a mismatch fails."""
    text = """
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
    suite.makepyfile(test_poet=text)
    monkeypatch.setenv("FABRIC_CASSETTE", "record")
    run(suite, passed=1)
    monkeypatch.delenv("FABRIC_CASSETTE")
    run(suite, passed=1)
    file = suite.path / "cassettes" / "TestPoet.test_ode-in-out-d66c555c.jsonl"
    assert [json.loads(line)["agent"] for line in file.read_text().splitlines()] == ["poet"]
    suite.makepyfile(test_poet=text.replace("sea / shore", "sea - shore"))
    result = run(suite, failed=1)
    result.stdout.fnmatch_lines(
        ["E *recorded*sea / shore*, got *sea - shore*", "E *record it with FABRIC_CASSETTE=record"]
    )


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
    """By an option, or by the environment."""
    suite.makepyfile(LIVE)
    result = run(suite, "-rs", passed=1, skipped=1)
    result.stdout.fnmatch_lines(["*asks real providers: give --live or FABRIC_LIVE=1"])
    run(suite, "--live", passed=2)
    monkeypatch.setenv("FABRIC_LIVE", "1")
    run(suite, passed=2)


def test_a_suite_with_a_marker_of_that_name_keeps_it(suite: pytest.Pytester):
    """Its tests run."""
    suite.makeini("[pytest]\nmarkers = live(where): on the air\naddopts = --strict-markers")
    suite.makepyfile(LIVE.replace("mark.live", "mark.live('here')"))
    run(suite, passed=2)


def test_a_suite_with_an_option_of_that_name_keeps_it(suite: pytest.Pytester):
    """Nobody stands in its way."""
    suite.makeconftest(
        """
        def pytest_addoption(parser):
            parser.addoption("--live", default="no", help="ours")

        def pytest_configure(config):
            config.addinivalue_line("markers", "live: ours")
        """
    )
    suite.makepyfile(
        LIVE + "\n    def test_ours(pytestconfig):\n        assert pytestconfig.getoption('--live') == 'radio'"
    )
    run(suite, "--live", "radio", passed=3)


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
