"""``fabric chat``: typed at a terminal, and from a pipe."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mcp_peers import descendants
from services import start, wait_for, wait_gone
from terminals import CTRL_A, CTRL_C, CTRL_D, CTRL_R, UP, Terminal, terminal
from three_ways import FABRIC, environment, fabric

pytestmark = pytest.mark.processes

DOCTOR = 'let main : !string -> !string = agent { provider: "eliza" }\n'

WRITER = """
let doctor : !string -> !string = agent { provider: "eliza" }
let writer : !string -> !string = agent { provider: "scripted" model: "m" script: "replies:answer" max_retries: 0 }
let main : !string -> !string = plumb(i, o) { i ; doctor ; map("<" + value + ">") ; writer ; o }
"""

REPLIES = """
import json, os, time
from plumb_agent.providers.scripted import Text

def answer(text, messages):
    said = json.loads(text)
    if "fail" in said:
        return Text("no json")
    if "wait" in said:
        open("begun", "w").close()
        while not os.path.exists("go"):
            time.sleep(0.01)
    if "pid" in said:
        return str(os.getpid())
    if "evil" in said:
        return "red: \\x1b[31m, bell: \\x07"
    return f"{len(messages)}: {said}"
"""

ECHO = """
let main : !string -> !string = agent { provider: "scripted" model: "m" script: "replies:answer" max_retries: 0 }
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "replies.py").write_text(REPLIES)
    (tmp_path / "main.plumb").write_text(ECHO)
    return tmp_path


class Chatting(Terminal):
    """A chat at a terminal. What is typed is typed at its prompt: before it, a terminal treats keys in its own way."""

    def say(self, line: str) -> None:
        self.expect("> ")
        self.type(f"{line}\r")

    def clear(self) -> None:
        """Type something and Ctrl-C. Python looks for signals when it waits for keys: the echo shows that it does."""
        self.expect("> ")
        self.type("never said")
        self.expect("never said")
        self.type(CTRL_C)

    def leave(self) -> int:
        """End it with Ctrl-D; return the exit code."""
        self.expect("> ")
        self.type(CTRL_D)
        return self.end()


@contextmanager
def chat(folder: Path, *flags: str, **files: int) -> Iterator[Chatting]:
    """Start a chat at a terminal."""
    home = {"HOME": str(folder), "XDG_STATE_HOME": str(folder / "state")}
    with terminal([*FABRIC, "chat", *flags], folder, environment() | home, **files) as (process, descriptor):
        yield Chatting(process, descriptor)


def test_each_line_gets_its_answers_before_the_next(here: Path):
    """As text; an empty line is none, and what agents do is told on stderr."""
    (here / "doctor.plumb").write_text(DOCTOR)
    done = fabric("chat", "doctor.plumb", stdin=b"I feel sad\n\nMy mother hates me", cwd=here)
    assert (done.returncode, done.stdout.decode()) == (
        0,
        "TELL ME MORE ABOUT SUCH FEELINGS\nTELL ME MORE ABOUT YOUR FAMILY\n",
    )
    assert done.stderr.decode().splitlines() == ["[main] 39 in / 6 out", "[main] 49 in / 6 out"]


def test_the_main_process_has_to_speak_text(here: Path):
    """What it is instead is said, and what to use then; exit code 2."""
    (here / "int.plumb").write_text("let main : !int -> !int = map(value + 1)\n")
    done = fabric("chat", "int.plumb", cwd=here)
    assert done.returncode == 2
    assert json.loads(done.stderr)["error"] == (
        f"{here}/int.plumb: a chat needs a main process of type !string -> !string; this one is !int -> !int."
        " fabric run talks to any program, in JSON lines"
    )


def test_what_agents_say_to_each_other_is_told_and_the_last_one_answers(here: Path):
    """The last one's words are on stdout alone."""
    (here / "two.plumb").write_text(WRITER)
    done = fabric("chat", "two.plumb", stdin=b"I feel sad\n", cwd=here)
    assert done.stdout.decode() == "1: <TELL ME MORE ABOUT SUCH FEELINGS>\n"
    assert sorted(done.stderr.decode().splitlines()) == [
        "[doctor] 39 in / 6 out",
        "[doctor] TELL ME MORE ABOUT SUCH FEELINGS",
        "[writer] 42 in / 7 out",
    ]


def test_a_message_that_cannot_be_answered_does_not_end_the_conversation(here: Path):
    """Its agent goes on with its memory, and without that message; exit code 5, for one line got no answer."""
    done = fabric("chat", stdin=b"a\nfail\nfail\nfail\nfail\nfail\nb\n", cwd=here)
    assert (done.returncode, done.stdout.decode()) == (5, "1: a\n3: b\n")
    told = [line for line in done.stderr.decode().splitlines() if " in / " not in line]
    assert told[0].startswith("[main] error: agent 'main': no valid output after 0 retries")
    assert told[1] == "that message is left out; the conversation goes on without it"
    assert (len(told), json.loads(told[-1])) == (11, {"lost": 0, "dead_lettered": 5, "unpaired": 0})


def test_a_line_that_is_no_text_is_refused_and_the_others_are_answered(here: Path):
    """Exit code 1."""
    done = fabric("chat", stdin=b"a\n\xff\nb\n", cwd=here)
    assert (done.returncode, done.stdout.decode()) == (1, "1: a\n3: b\n")
    assert "error: expected a line of UTF-8 text" in done.stderr.decode()


def test_what_begins_with_a_slash_is_said_as_it_is(here: Path):
    """There are no commands among the messages."""
    assert fabric("chat", stdin=b"/quit\n/help\n", cwd=here).stdout == b"1: /quit\n3: /help\n"


def test_an_answer_that_nobody_reads_ends_it(here: Path):
    """As any command whose output is closed; no process is left."""
    chatting = start(here, "chat", stdin=-1)
    assert chatting.stdout is not None
    chatting.stdout.close()
    assert chatting.stdin is not None
    chatting.stdin.write(b"a\n")
    chatting.stdin.flush()
    assert chatting.stderr is not None
    assert b"output_closed" in chatting.stderr.read()
    assert chatting.wait(60) == 1
    chatting.stdin.close()
    chatting.stderr.close()


def test_at_a_terminal_lines_are_edited(here: Path):
    """Ctrl-A goes to the begin, also before characters of several bytes; the prompt comes behind all that is told."""
    with chat(here, "--color", "never") as typing:
        typing.say(f"für{CTRL_A}Grüße ")
        typing.expect("\n")
        assert sorted(typing.expect("> ").splitlines()) == ["1: Grüße für", "[main] 38 in / 3 out"]
        typing.type(CTRL_D)
        assert typing.end() == 0


def test_each_agent_has_a_color(here: Path):
    """The first that says something has the first one. NO_COLOR is obeyed."""
    (here / "two.plumb").write_text(WRITER)
    with chat(here, "two.plumb") as typing:
        typing.say("I feel sad")
        typing.expect("\x1b[36m[doctor]\x1b[0m 39 in / 6 out")
        typing.expect("\x1b[33m[writer]\x1b[0m 42 in / 7 out")
        assert typing.leave() == 0


def test_what_was_said_before_comes_back(here: Path):
    """In the next conversation, too: by its order, or by what is in it. The file is for nobody else."""
    with chat(here) as typing:
        typing.say("first")
        typing.say("second")
        assert typing.leave() == 0
    file = here / "state" / "fabric" / "chat_history"
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("first\nsecond\n", 0o600)
    with chat(here) as typing:
        typing.say(f"{UP}{UP}")
        typing.expect("1: first")
        typing.say(f"{CTRL_R}sec")
        typing.expect("3: second")
        assert typing.leave() == 0


def test_two_signals_at_once_are_one_interruption(here: Path):
    """Python meets the second while it raises for the first."""
    with chat(here) as typing:
        typing.expect("> ")
        typing.process.send_signal(signal.SIGINT)
        typing.process.send_signal(signal.SIGALRM)
        typing.expect("Ctrl-C once more, or Ctrl-D, ends the conversation")
        typing.say("a")
        typing.expect("1: a")


def test_ctrl_c_clears_the_line_and_a_second_one_ends(here: Path):
    """What was typed is not sent; a line in between counts anew."""
    with chat(here) as typing:
        for said in ("1: a", "3: a"):
            typing.clear()
            typing.expect("Ctrl-C once more, or Ctrl-D, ends the conversation")
            typing.say("a")
            typing.expect(said)
        typing.clear()
        typing.clear()
        assert typing.end() == 0


@pytest.mark.parametrize(("times", "code"), [(1, 0), (2, 130)])
def test_ctrl_c_while_an_answer_is_awaited(times: int, code: int, here: Path):
    """The first lets it come, as the last one; the second does not wait for it."""
    with chat(here) as typing:
        typing.say("wait")
        wait_for(here / "begun")
        typing.type(CTRL_C)
        typing.expect("finishing the answer; Ctrl-C once more ends at once")
        if times == 1:
            (here / "go").touch()
            typing.expect("1: wait")
        else:
            typing.type(CTRL_C)
        assert typing.end() == code


def test_a_session_that_fails_ends_the_prompt(here: Path):
    """It is said why, although nobody has asked for anything; exit code 1."""
    with chat(here, "--restarts", "0") as typing:
        typing.say("pid")
        typing.expect("\n")
        (pid,) = [int(line) for line in typing.expect("> ").splitlines() if line.isdigit()]
        os.kill(pid, signal.SIGKILL)
        typing.expect("error: worker 'main' was killed by signal 9")
        assert typing.end() == 1


def test_a_terminal_does_not_obey_an_answer(here: Path):
    """What would move its cursor or ring is shown as escapes; a file gets what was said."""
    with chat(here) as typing:
        typing.say("evil")
        typing.expect("red: \\x1b[31m, bell: \\x07")
        assert typing.leave() == 0
    assert fabric("chat", stdin=b"evil", cwd=here).stdout == b"red: \x1b[31m, bell: \x07\n"


def test_with_answers_in_a_file_the_prompt_is_on_stderr(here: Path):
    """And the file has nothing but them."""
    with open(here / "answers", "wb") as file, chat(here, stdout=file.fileno()) as typing:
        typing.say("a")
        assert typing.leave() == 0
    assert (here / "answers").read_text() == "1: a\n"


def test_sigterm_at_the_prompt_is_an_orderly_end(here: Path):
    """Exit code 0, as of any service that has nothing under way."""
    with chat(here) as typing:
        typing.say("a")
        typing.expect("1: a")
        typing.expect("> ")
        typing.process.terminate()
        assert typing.end() == 0


WRITES = """
use fs
let main : !string -> !string = agent {
  provider: "scripted" model: "m" script: "calls:answer" tools: [Fs.write]
}
"""

CALLS = """
import json
from plumb_agent.providers.scripted import Call

def answer(text, messages):
    asked = messages[-1]["content"] == text
    return Call("write", {"path": json.loads(text), "text": "x"}) if asked else "done"
"""


@pytest.fixture
def writing(here: Path) -> Path:
    (here / "main.plumb").write_text(WRITES)
    (here / "calls.py").write_text(CALLS)
    return here


def test_a_call_with_effects_is_asked_for_in_the_chat(writing: Path):
    """No, yes and always; what is asked shows what would be done. Who says no has what they want: exit code 0."""
    with chat(writing, "--color", "never") as typing:
        for name, answer, there in [("a", "n", False), ("b", "y", True), ("c", "a", True)]:
            typing.say(name)
            typing.expect(f'[main] allow Fs.write({{"path":"{name}","text":"x"}})? [y]es/[n]o/[a]lways ')
            typing.type(f"{answer}\r")
            typing.expect("done")
            assert (writing / name).exists() == there
        typing.say("d")
        assert "allow" not in typing.expect("done")
        assert (writing / "d").exists()
        assert typing.leave() == 0


def test_ctrl_c_at_the_question_refuses_the_call_and_nothing_else(writing: Path):
    """The conversation goes on; what is no answer is asked again."""
    with chat(writing) as typing:
        typing.say("a")
        typing.expect("[a]lways ")
        typing.type("what?\r")
        typing.expect("[a]lways ")
        typing.type(CTRL_C)
        typing.expect("done")
        typing.say("b")
        typing.expect("[a]lways ")
        typing.type(CTRL_D)
        typing.expect("done")
        assert typing.leave() == 0
    assert not (writing / "a").exists()
    assert not (writing / "b").exists()


def test_a_question_that_nobody_answers_in_time_is_taken_back(writing: Path):
    """The call is refused, and the prompt is there again."""
    with chat(writing, "--approval-timeout", "0.5") as typing:
        typing.say("a")
        typing.expect("[a]lways ")
        typing.expect("not asked any more: expired")
        typing.expect("done")
        assert typing.leave() == 0


def test_without_a_terminal_calls_with_effects_are_refused(writing: Path):
    """Unless they were approved beforehand."""
    done = fabric("chat", stdin=b"a\n", cwd=writing)
    assert (done.returncode, done.stdout, (writing / "a").exists()) == (0, b"done\n", False)
    done = fabric("chat", "--auto-approve", stdin=b"a\n", cwd=writing)
    assert (done.returncode, done.stdout, (writing / "a").exists()) == (0, b"done\n", True)


def test_a_used_up_budget_ends_the_conversation(here: Path):
    """Exit code 3; it is said what was spent."""
    done = fabric("chat", "--budget-calls", "2", stdin=b"a\nb\nc\nd\n", cwd=here)
    assert (done.returncode, done.stdout) == (3, b"1: a\n3: b\n")
    assert "2 calls" in done.stderr.decode()


def test_a_signal_before_it_is_ready_ends_it(here: Path):
    """A server of its agents may not come up for long; exit code 143, and nothing is left."""
    (here / "main.plumb").write_text(
        'let main : !string -> !string = agent { provider: "eliza"\n'
        '  mcp: [{ name: "slow" command: "sh" args: ["-c", "touch begun; exec sleep 1000"] }] }\n'
    )
    chatting = start(here, "chat", stdin=-1)
    wait_for(here / "begun")
    pids = descendants(chatting.pid)
    chatting.terminate()
    _, said = chatting.communicate(timeout=60)
    assert chatting.returncode == 143
    assert json.loads(said)["error"] == "ended before every worker was ready"
    for pid in pids:
        wait_gone(pid)
