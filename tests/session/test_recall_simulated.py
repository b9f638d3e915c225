"""An agent that calls tools, joined to its session in memory, and killed at every step of the way.

A step is what a shell does for one command, of the session or of the agent: writing entries, calling the model, having
an effect, sending a frame. What is in the log, in the model's journal and in the tool's survives; nothing else does.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable

import pytest
from plans import plan_of

from fabric.plan.plan import Plan
from fabric.plan.servers import listed
from fabric.runtime.starting import with_session
from fabric.session import events
from fabric.session.events import Command, Event, Frames
from fabric.session.history import History, Intended
from fabric.session.session import Session
from fabric.session.settings import Settings
from fabric.wire.codec import decode, encode
from fabric.wire.control import MEMORY, ready
from fabric.wire.frame import Data, Eof, Frame, Marker, Provenance
from fabric.wire.payload import encode_json
from fabric.wire.recall import read_answers
from plumb_agent import events as agent
from plumb_agent.asking import call_text, read_response
from plumb_agent.config import read_config
from plumb_agent.conversation import Conversation
from plumb_agent.messages import Reply, Request, TextBlock, ToolUseBlock, Usage
from plumb_agent.recall import digest_of
from plumb_agent.toolbox import McpTool

TEXT = """
let a : !string -> !string = agent { provider: "openai", model: "m", mcp: [{ name: "bank", command: "bank" }] }
let main : !string -> !string = a
"""
PLAN = with_session(listed(plan_of(TEXT), {"bank": ("pay", "look")}, {"bank": frozenset({"look"})}), "memory:", "s")
TOOLS = (McpTool("bank.pay"), McpTool("bank.look"))
INPUTS = ("first", "second")
ROUNDS: tuple[tuple[tuple[str, int], ...], ...] = ((("pay", 1),), (("look", 2), ("pay", 3)), ())
"""What the model calls in each round; in the last it answers."""


class Killed(Exception):
    """Nothing goes on but what survives."""


class World:
    """What survives, and the moment at which the next kill comes.

    Args:
        kills: steps, counted over all lives, at which everything is killed.
        deaths: the same for the agent's process alone.
    """

    def __init__(self, kills: frozenset[int] = frozenset(), deaths: frozenset[int] = frozenset()) -> None:
        self.kills, self.deaths = kills, deaths
        self.steps = 0
        self.disk: list[History] = []
        self.asked: list[str] = []
        self.effects: Counter[tuple[str, str]] = Counter()
        self.outputs: set[tuple[int, bytes]] = set()
        self.questions = 0
        self.died = False

    def step(self) -> None:
        """Something is about to be done."""
        self.steps += 1
        if self.steps in self.kills:
            raise Killed
        self.died |= self.steps in self.deaths

    def finish(self) -> None:
        """Live until everything is done."""
        while True:
            try:
                Life(self, PLAN).live()
            except Killed:
                continue
            return

    def ask_model(self, request: Request, message: str) -> Reply:
        """Answer as the model does; whoever asks for what is in the log pays twice."""
        own = list(request.messages)
        start = max(at for at, said in enumerate(own) if isinstance(said.content, str) and said.role == "user")
        digest = digest_of(request.system, request.tools, request.output_schema, own[start:])
        intents = [entry for entry in self.disk if isinstance(entry, Intended) and entry.message == message]
        known = {one.digest for entry in intents for one in read_answers(bytes(entry.answer)) or ()}
        assert digest not in known, "it is paid for twice"
        self.asked.append(digest)
        calls = ROUNDS[(len(own) - start) // 2]
        text = own[start].content
        blocks = tuple(ToolUseBlock(f"t{n}", f"bank_{tool}", {"for": text, "n": n}) for tool, n in calls)
        return Reply(blocks, Usage(5, 1), "tool_use") if blocks else Reply((TextBlock(f"{text}"),), Usage(5, 1))


class Life:
    """A session and its agent, from a start to the end or a kill."""

    def __init__(self, world: World, plan: Plan) -> None:
        self.world = world
        self.plan = plan
        settings = Settings(approval="grant", in_doubt="ask", backoff_s=0.0, restarts_max=100, redeliveries_max=100)
        self.session = Session(plan, settings, random.Random(1), durable="s")
        self.due: deque[Callable[[], None]] = deque()
        self.incarnation = 0
        self.over = False

    def live(self) -> None:
        relived = self.session.relive(self.world.disk)
        self.world.outputs |= {(output.tickets[0], output.payload) for output in relived.outputs}
        self.feed(events.Start())
        for ticket, text in list(enumerate(INPUTS))[len(relived.inputs) :]:
            self.feed(events.Input(next(iter(self.plan.inputs)), [(ticket, encode_json(text))]))
        self.feed(events.InputClosed())
        while self.due and not self.over:
            if self.world.died:
                self.world.died = False
                self.agent = None
                self.feed(events.Exited("a", -9))
            else:
                self.due.popleft()()
        assert self.over, "it does not end"

    # The session

    def feed(self, event: Event) -> None:
        commands = self.session.handle(event, 0.0)
        while self.session.has_work:
            commands += self.session.handle(events.Continue(), 0.0)
        for command in commands:
            if not isinstance(command, events.Note):
                self.world.step()
                self.perform(command)

    def later(self, event: Event) -> None:
        self.due.append(lambda: self.feed(event))

    def perform(self, command: Command) -> None:
        match command:
            case events.Record(entries):
                self.world.disk += entries
            case events.Launch(worker, incarnation):
                self.incarnation = incarnation
                self.agent: Conversation | None = Conversation(
                    self.plan.workers[0].spec, read_config(self.plan.workers[0].spec), random.Random(0), TOOLS
                )
                self.later(events.Launched(worker, 7))
                self.say("ctrl_out", Data("a", ready(MEMORY)))
            case events.Send(_, port, raw):
                frame, incarnation = decode(raw), self.incarnation
                self.due.append(lambda: self.hear(port, frame, incarnation))
            case events.SetTimer(("restart", _) as key, _):
                self.later(events.TimerFired(key))
            case events.CallServer(call, _, tool, arguments):
                self.world.effects[tool, arguments.decode()] += 1
                self.later(events.Served(call, b'"ok"'))
            case events.AskApproval(approval):
                self.world.questions += 1
                assert approval.in_doubt
                done = self.world.effects[approval.tool.removeprefix("bank."), approval.arguments] > 0
                self.later(events.Decided(approval.id, not done, 9))
            case events.Deliver(outputs):
                self.world.outputs |= {(output.tickets[0], output.payload) for output in outputs}
            case events.Finish(4):  # the agent has died before it was ready: somebody starts it all again
                raise Killed
            case events.Finish(code):
                assert code == 0, command
                self.over = True

    # The agent

    def hear(self, port: str, frame: Frame, incarnation: int) -> None:
        if self.agent is None or incarnation != self.incarnation:
            return
        match port, frame:
            case "input", Data(_, payload, provenance):
                self.tell(agent.InputArrived(payload, provenance))
            case "input", Marker(_, marker):
                self.tell(agent.MarkerArrived(marker))
            case "input", Eof():
                self.tell(agent.InputEnded())
            case "ctrl_in", Data(_, payload):
                self.tell(agent.ControlArrived(payload))
            case "ctrl_in", Marker(_, marker):
                self.say("ctrl_out", Marker("a", marker))
            case "ctrl_in", Eof():
                self.tell(agent.ControlEnded())
            case "tool_resp", Data(_, payload):
                response = read_response(payload)
                assert response is not None
                self.tell(response)

    def say(self, port: str, frame: Frame) -> None:
        incarnation, raw = self.incarnation, encode(frame)

        def arrive() -> None:
            if incarnation == self.incarnation and not (self.agent is None and port != "telemetry"):
                self.feed(Frames("a", port, [raw]))

        self.due.append(arrive)

    def tell(self, event: agent.Event) -> None:
        if self.agent is None:
            return
        for command in self.agent.handle(event, 0.0):
            if not isinstance(command, agent.Log):
                self.world.step()
                self.do(command)

    def do(self, command: agent.Command) -> None:
        match command:
            case agent.CallProvider(request, origin):
                assert origin is not None
                reply = self.world.ask_model(request, origin.span_id.hex())
                here = self.incarnation
                self.due.append(lambda: self.tell(agent.ReplyArrived(reply)) if here == self.incarnation else None)
            case agent.CallTool(origin=origin):
                self.say("tool_req", Data("a", call_text(command), caused_by(origin)))
            case agent.Emit(payload, origin):
                self.say("output", Data("a", payload, caused_by(origin)))
            case agent.ForwardMarker(marker):
                self.say("output", Marker("a", marker))
            case agent.EmitTelemetry(event, origin):
                self.say("telemetry", Data("a", encode_json(event), caused_by(origin)))
            case agent.Respond(message):
                self.say("ctrl_out", Data("a", encode_json(message)))
            case agent.EndOutput():
                self.say("output", Eof("a"))
            case agent.Finish():
                for port in ("ctrl_out", "telemetry", "tool_req"):
                    self.say(port, Eof("a"))
                self.later(events.Exited("a", 0))
            case agent.Fail():
                raise AssertionError(command)


def caused_by(origin: Provenance | None) -> Provenance | None:
    return None if origin is None else Provenance(origin.trace_id, origin.span_id[::-1], 1, origin.span_id)


def check(world: World) -> None:
    """Every output is there, every effect was had once, and what may be had twice not much more often."""
    assert sorted(world.outputs) == [(ticket, encode_json(text)) for ticket, text in enumerate(INPUTS)]
    paid = {what: count for what, count in world.effects.items() if what[0] == "pay"}
    assert len(paid) == 4
    assert set(paid.values()) == {1}


def test_an_undisturbed_run_asks_nobody_anything():
    """The model three times for each input; that is what all others are compared with."""
    world = World()
    world.finish()
    check(world)
    assert (len(world.asked), world.questions) == (6, 0)
    assert set(world.effects.values()) == {1}


def steps() -> int:
    world = World()
    world.finish()
    return world.steps


STEPS = steps()


@pytest.mark.parametrize("whole", [True, False])
def test_killed_at_any_step_it_has_each_effect_once(whole: bool):
    """Everything, or the agent alone. No recorded answer is paid for again; at most one that was on its way."""
    questions = 0
    for step in range(1, STEPS + 1):
        at = frozenset({step})
        world = World(kills=at) if whole else World(deaths=at)
        world.finish()
        check(world)
        assert len(world.asked) <= 7, step
        questions += world.questions
    assert (questions > 0) == whole  # a call whose agent has died is still under way, and in no doubt


@pytest.mark.parametrize("seed", range(100))
def test_killed_again_and_again_it_has_each_effect_once(seed: int):
    """Each kill costs one answer of the model at most."""
    chance = random.Random(seed)
    moments = frozenset(chance.sample(range(1, 4 * STEPS), chance.randint(1, 12)))
    deaths = frozenset(moment for moment in moments if chance.random() < 0.4)
    world = World(moments - deaths, deaths)
    world.finish()
    check(world)
    assert len(world.asked) <= 6 + len(moments)
