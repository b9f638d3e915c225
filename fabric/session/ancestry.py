"""What is behind an output of a run: the inputs, the workers that took part, what they called and what that cost.

A run is relived with messages that remember of which others they were made (:class:`Witness`). From an output the way
goes back through what morphisms and barriers have done, to what came in or what a worker said: these are its *steps*.
A worker's answer comes of the message that it took; what else the worker remembers by then is told as the number of
its turns before.
"""

from __future__ import annotations

__all__ = ["Ancestry", "ModelCall", "Step", "ToolCall", "Witness", "trace_back"]

import random
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from fabric.session.delivery import Message
from fabric.session.history import Called, Entered, History, Intended, Paid, Released, Retried, Said, Turn
from fabric.session.money import RateOf, cost, dollars
from fabric.session.traces import Traces
from fabric.session.usage import is_dated, read_usage


class _Born(Message):
    """A message that knows where it comes from.

    Attributes:
        came_of: the messages that it was made of.
        entry: by which entry of the history, from 0.
        said: whether it came in or a worker said it; else the program made it of others.
    """

    __slots__ = ("came_of", "entry", "said")

    came_of: tuple[Message, ...]
    entry: int
    said: bool


class Witness(Traces):
    """Makes the messages of one session that is relived, and remembers of what.

    Attributes:
        entry: the number of the entry that is being enacted; whoever relives says it.
        leaving: the messages that have left the graph, by the ids of the outputs.
    """

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.entry = -1
        self.leaving: dict[bytes, Message] = {}
        self._left_by: dict[bytes, int] = {}

    def entry_of(self, output: bytes) -> int:
        """Return the number of the entry by which an output left."""
        return self._left_by[output]

    def enter(self, port: str, ticket: int, payload: bytes) -> Message:
        """Make a message of what comes from outside."""
        return self._born(super().enter(port, ticket, payload), (), said=True)

    def spontaneous(self, topic: str, payload: bytes, span: bytes | None) -> Message:
        """Make a message of what no input brought about."""
        return self._born(super().spontaneous(topic, payload, span), (), said=True)

    def outcome(self, cause: Message, topic: str, payload: bytes, span: bytes | None) -> Message:
        """Make a message of what a worker made of another one."""
        return self._born(super().outcome(cause, topic, payload, span), (cause,), said=True)

    def changed(self, message: Message, payload: bytes) -> Message:
        """Make a message of what became of one on its way."""
        return self._born(super().changed(message, payload), (message,), said=False)

    def joined(self, parts: Sequence[Message], topic: str) -> Message:
        """Make one message of several."""
        return self._born(super().joined(parts, topic), tuple(parts), said=False)

    def left(self, message: Message) -> bytes:
        """A message leaves the graph."""
        id_ = super().left(message)
        self.leaving[id_] = message
        self._left_by[id_] = self.entry
        return id_

    def _born(self, made: Message, came_of: tuple[Message, ...], *, said: bool) -> _Born:
        born = _Born(made.payload, made.traces, made.trace_id, made.span_id, made.parents, made.topic, made.at_s)
        born.came_of, born.entry, born.said = came_of, self.entry, said
        return born


class ModelCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """One call of a model.

    Attributes:
        usd: what it cost; ``None``: nobody knows the price.
    """

    model: str
    prompt_tokens: int
    completion_tokens: int
    usd: float | None = None


class ToolCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """One call of a tool that has effects. ``response``: ``None``: nobody knows what came of it."""

    tool: str
    arguments: msgspec.Raw
    response: msgspec.Raw | None = None


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that came in, or that a worker said.

    Attributes:
        entry: its number in the history of the run, from 0.
        event: of that entry: ``input``, ``turn``, ``early``, ``said``, ``retry``.
        at: the port of the boundary, or the node.
        id: of the message, 16 hexadecimal digits.
        payload: JSON text.
        worker: which of several replicas.
        before: turns of this node that were before this one.
        models, tools: what was called for it, in order.
        of: the steps that it came of, as numbers in the list that it is in.
    """

    entry: int
    event: str
    at: str
    id: str
    payload: msgspec.Raw
    worker: str = ""
    before: int = 0
    models: tuple[ModelCall, ...] = ()
    tools: tuple[ToolCall, ...] = ()
    of: tuple[int, ...] = ()


class Ancestry(msgspec.Struct, frozen=True):
    """An output, and what is behind it.

    Attributes:
        number: of the output, from 1.
        id: of it, 16 hexadecimal digits.
        of: the steps that it came of, as numbers of ``steps``.
        steps: each before those that it came of; one that several came of is there once.
        calls: of models in it.
        prompt_tokens, completion_tokens: that they took.
        usd: what they cost; ``None``: the price of one of them is not known.
    """

    number: int
    id: str
    port: str
    payload: msgspec.Raw
    of: tuple[int, ...]
    steps: tuple[Step, ...]
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float | None = 0.0


def trace_back(
    witness: Witness,
    output: bytes,
    number: int,
    port: str,
    history: Sequence[History],
    rate_of: RateOf,
    asked: Mapping[str, tuple[str, str]],
) -> Ancestry:
    """Return what is behind an output.

    Args:
        witness: of the run, relived.
        output: its id.
        number: of it, from 1.
        port: by which it left.
        history: of the run.
        rate_of: what models cost.
        asked: the provider and the model of the program, by worker.
    """
    left = witness.leaving[output]
    found: dict[int, _Born] = {}
    waiting = _said_behind(left)
    while waiting:  # nearest first; of what is far back in a loop there may be thousands
        born = waiting.pop()
        if id(born) not in found:
            found[id(born)] = born
            waiting += [one for cause in born.came_of for one in _said_behind(cause)]
    order = sorted(found.values(), key=lambda born: born.entry, reverse=True)
    places = {id(born): place for place, born in enumerate(order)}
    calls = _Calls(history, rate_of, asked)
    steps = tuple(_step(born, history[born.entry], calls, places) for born in order)
    entries = [(step.entry, history[step.entry]) for step in steps]
    turns = {
        calls.turn_of(entry.node, entry.message, number)
        for number, entry in entries
        if isinstance(entry, Turn | Released)
    }
    models = [call for turn in turns for call in calls.of(turn)[0]]
    prices = [call.usd for call in models]
    return Ancestry(
        number,
        output.hex(),
        port,
        msgspec.Raw(left.payload),
        tuple(dict.fromkeys(places[id(born)] for born in _said_behind(left))),
        steps,
        len(models),
        sum(call.prompt_tokens for call in models),
        sum(call.completion_tokens for call in models),
        None if None in prices else sum(price for price in prices if price is not None),
    )


def _said_behind(message: Message) -> list[_Born]:
    """Return what came in or was said of which the program has made a message: itself, if it was."""
    found, waiting = [], [message]
    while waiting:
        one = waiting.pop()
        assert isinstance(one, _Born)
        if one.said:
            found.append(one)
        else:
            waiting += reversed(one.came_of)
    return found


def _step(born: _Born, entry: History, calls: _Calls, places: dict[int, int]) -> Step:
    event = str(type(entry).__struct_config__.tag)
    of = tuple(dict.fromkeys(places[id(one)] for cause in born.came_of for one in _said_behind(cause)))
    id_, payload = born.span_id.hex(), msgspec.Raw(born.payload)
    match entry:
        case Entered(port=at) | Retried(node=at) | Said(node=at):
            return Step(born.entry, event, at, id_, payload)
        case Turn(node, message, worker=worker) | Released(node, message, worker=worker):
            before = calls.turns_before(node, born.entry)
            models, tools = calls.of(calls.turn_of(node, message, born.entry))
            return Step(born.entry, event, node, id_, payload, worker, before, models, tools, of)
    raise AssertionError(f"entry {born.entry}, {event}, has made a message")


class _Calls:
    """What was called in a run, by the turn for which it was.

    What a worker tells of its calls of models comes before its answer, or behind it. It says for which message; an id
    may come again, and it may not say it: then it is the turn that comes next, or else the last one.
    """

    def __init__(self, history: Iterable[History], rate_of: RateOf, asked: Mapping[str, tuple[str, str]]) -> None:
        self._turns: dict[str, list[int]] = defaultdict(list)
        self._turns_of: dict[tuple[str, str], list[int]] = defaultdict(list)
        self._models: dict[int, list[ModelCall]] = defaultdict(list)
        self._tools: dict[int, dict[bytes, ToolCall]] = defaultdict(dict)
        entries = list(enumerate(history))
        for number, entry in entries:
            if isinstance(entry, Turn):
                self._turns[entry.node].append(number)
                self._turns_of[entry.node, entry.message].append(number)
        for number, entry in entries:
            match entry:
                case Paid(worker, usage, message):
                    call = _model_call(bytes(usage), *asked.get(worker, ("", "")), rate_of)
                    if call is not None:
                        self._models[self.turn_of(_node_of(worker), message, number)].append(call)
                case Intended():
                    tools = self._tools[self.turn_of(_node_of(entry.worker), entry.message, number)]
                    tools[bytes(entry.call)] = ToolCall(entry.tool, entry.arguments)
                case Called():
                    tools = self._tools[self.turn_of(_node_of(entry.worker), entry.message, number)]
                    if (tool := tools.get(bytes(entry.call))) is not None:
                        tools[bytes(entry.call)] = msgspec.structs.replace(tool, response=entry.response)

    def turns_before(self, node: str, entry: int) -> int:
        """Return how many messages a node was done with before an entry."""
        return bisect_left(self._turns[node], entry)

    def turn_of(self, node: str, message: str, entry: int) -> int:
        """Return the turn that an entry belongs to; the entry itself, if it came to none."""
        turns = self._turns_of.get((node, message)) or (self._turns[node] if not message else [])
        place = bisect_left(turns, entry)
        return turns[min(place, len(turns) - 1)] if turns else entry

    def of(self, turn: int) -> tuple[tuple[ModelCall, ...], tuple[ToolCall, ...]]:
        """Return what was called for a turn."""
        return tuple(self._models.get(turn, ())), tuple(self._tools.get(turn, {}).values())


def _node_of(worker: str) -> str:
    node, sign, number = worker.rpartition("#")
    return node if sign and number.isdecimal() else worker


def _model_call(usage: bytes, provider: str, asked: str, rate_of: RateOf) -> ModelCall | None:
    read = read_usage(usage)
    if read is None:
        return None
    model, tokens = read
    rate = rate_of(provider, asked if asked and is_dated(model, asked) else model, tokens.prompt)
    usd = None if rate is None else dollars(cost(rate, tokens))
    return ModelCall(model, tokens.prompt, tokens.completion, usd)
