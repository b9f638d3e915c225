"""A session of real processes in which two workers send damaged frames and a third does its work."""

from __future__ import annotations

import json
import os
import random
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import trio

from fabric.compiler import compile_file
from fabric.launch.process import open_launcher
from fabric.runtime.coordinator import Coordinator
from fabric.runtime.directory import open_run_directory
from fabric.session.events import Answered, Approval, DeadLetter, Finish, Heard, Note, Outcome, Output, Refuse, Seen
from fabric.session.session import Session
from fabric.session.settings import Settings
from fabric.session.snapshot import Snapshot
from fabric.transport.sockets import open_sockets

HOSTILE = Path(__file__).with_name("hostile_worker.py")
INPUTS = 50
FUNCTION = "def double(value):\n    return 2 * value\n"

PROGRAM = """
let good : !int -> !int = python {{ call: "good:double" }}
let sockets : !json -> !json = worker {{ command: {sockets} }}
let lines : !json -> !json = worker {{ command: {lines} transport: "stdio" markers: true }}
let main : (!int, !json, !json) -> (!int, !json, !json, !json, !json) = plumb(i, j, k, o, p, t, q, u) {{
  i ; good ; o
  j ; sockets ; p
  sockets@telemetry ; t
  k ; lines ; q
  lines@telemetry ; u
}}
"""


class Lived(msgspec.Struct, frozen=True):
    """What such a session did.

    Attributes:
        good: outputs of the worker that did its work.
        answers: messages that came out, by boundary output.
        refused: messages that were of the wrong type, by worker.
        expected: what the hostile ones say has to be, by name.
        noted: how often a refused frame was logged.
    """

    finish: Finish
    snapshot: Snapshot
    good: list[int]
    answers: Counter[str]
    refused: Counter[str]
    expected: dict[str, Any]
    noted: int


class _Client:
    def __init__(self) -> None:
        self.good: list[int] = []
        self.answers: Counter[str] = Counter()
        self.refused_by: Counter[str] = Counter()
        self.noted_frames = 0
        self.said: list[str] = []

    def opened(self) -> None:
        pass

    def delivered(self, outputs: Sequence[Output]) -> None:
        self.answers.update(output.port for output in outputs)
        self.good += [json.loads(output.payload) for output in outputs if output.port == "o"]

    def refused(self, refusal: Refuse) -> None:
        self.refused_by[refusal.node] += 1

    def answered(self, answer: Answered) -> None:
        pass

    def asked(self, approval: Approval) -> None:
        raise AssertionError(approval)

    def asked_no_more(self, approval: str, outcome: Outcome) -> None:
        raise AssertionError(approval)

    def buried(self, letter: DeadLetter) -> None:
        raise AssertionError(letter)

    def tapped(self, messages: Sequence[Seen]) -> None:
        pass

    def observed(self, heard: Sequence[Heard]) -> None:
        pass

    def settled(self, tickets: Sequence[int]) -> None:
        pass

    def noted(self, note: Note) -> None:
        self.noted_frames += note.event == "frame.rejected"

    def worker_wrote(self, worker: str, line: str) -> None:
        self.said.append(f"{worker}: {line}")


def live(folder: Path, frames: int, seed: int) -> Lived:
    """Run such a session to its end.

    Args:
        folder: for its files.
        frames: how many damaged frames each hostile worker draws; nearly all of them can be sent.
        seed: of the damage.
    """
    (folder / "good.py").write_text(FUNCTION)

    def command(way: str) -> str:
        words = [sys.executable, HOSTILE, way, seed, frames, INPUTS, folder / f"{way}.json"]
        return json.dumps([str(word) for word in words])

    path = folder / "hostile.plumb"
    path.write_text(PROGRAM.format(sockets=command("sockets"), lines=command("lines")))
    client = _Client()

    async def run() -> tuple[Finish, Snapshot]:
        with open_run_directory(os.environ) as directory:
            plan, _ = compile_file(path, run_directory=directory)
            session = Session(plan, Settings(), random.Random(1))
            async with (
                open_launcher(os.environ) as launcher,
                open_sockets() as transport,
                trio.open_nursery() as nursery,
            ):
                coordinator = Coordinator(session, transport, launcher, client, client)

                async def feed() -> None:
                    for number in range(INPUTS):
                        for port in ("i", "j", "k"):
                            if not await coordinator.wait_for_room():
                                return
                            coordinator.submit(port, [(number, b"%d" % number)])
                    if await coordinator.wait_for_room():
                        coordinator.close_input()

                nursery.start_soon(feed)
                finish = await coordinator.run()
                nursery.cancel_scope.cancel()
                return finish, coordinator.snapshot()

    finish, snapshot = trio.run(run)
    files = {way: folder / f"{way}.json" for way in ("sockets", "lines")}
    assert all(file.exists() for file in files.values()), (finish, client.said)
    expected = {way: json.loads(file.read_text()) for way, file in files.items()}
    return Lived(finish, snapshot, client.good, client.answers, client.refused_by, expected, client.noted_frames)


def examine(lived: Lived) -> None:
    """Raise AssertionError unless each frame became what it had to."""
    sockets, lines = lived.expected["sockets"], lived.expected["lines"]
    rejected = {worker: dict(reasons) for worker, reasons in lived.snapshot.rejected.items()}
    assert rejected["sockets"].pop("after_eof") > 0  # how many of these are seen depends on who is faster
    assert rejected == {"sockets": sockets["rejected"], "lines": lines["rejected"]}
    assert lived.finish.error is None
    assert lived.finish.exit_code == 5
    assert lived.finish.losses.lost == sockets["lost"] + lines["lost"]
    assert lived.good == [2 * number for number in range(INPUTS)]
    assert lived.answers == {
        "o": INPUTS,
        "p": INPUTS + sockets["taken"].get("output", 0),
        "t": sockets["taken"].get("telemetry", 0),
        "q": INPUTS + lines["taken"].get("output", 0),
        "u": lines["taken"].get("telemetry", 0),
    }
    no_json = {"sockets": sum(sockets["no_json"].values()), "lines": sum(lines["no_json"].values())}
    assert dict(lived.refused) == no_json
