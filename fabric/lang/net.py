"""The ports of a body, what leads from one to the next, and how messages get from its inputs to its outputs.

Each port gets four sets, computed in the order of the channels and round each loop until nothing changes. They are
numbers with a bit for each input of the body:

    silent   the cases in which no message comes to the port: that this input of the body has none, that none has any,
             or (the highest bit) even when all have some. The greatest solution: a loop that nothing enters is silent.
    stirs    the inputs whose messages may bring about one here
    leads    likewise, but a control message leads to no more than its reply
    certain  the inputs each message of which makes at least one here

What they are at the outputs is the :class:`Way` to each, and all that a body around this one has to know: a binding is
looked at once, however often it is used. Cases in which several inputs are silent are not kept apart. With up to two
inputs nothing is lost; with more, an output that is silent may be taken for one that is not, never the other way round.
"""

from __future__ import annotations

__all__ = ["Net", "make_net", "solve"]

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeAlias

import msgspec

from fabric.lang.ordering import strongly_connected
from fabric.lang.passage import Way, Ways, may_halt, ways_of
from fabric.lang.typed import BOUNDARY, Binding, Connection, Endpoint, Instance


class Net(msgspec.Struct, frozen=True):
    """The ports of a body, as numbers.

    Attributes:
        binding: whose body it is.
        instances: by name.
        ends: what the ports are. That of a body's input gives, that of its output takes.
        inputs: of each instance, its input ports by name.
        outputs: those of the body, by name.
        feeders: of each input of an instance and output of the body: what is wired to it, in the order of the text.
        ways: of each output of an instance.
        before, after: of each port those that may bring about a message there, and those where it may.
        order: strongly connected components, each before those that it feeds.
    """

    binding: Binding
    instances: dict[str, Instance]
    ends: list[Endpoint]
    inputs: dict[str, dict[str, int]]
    outputs: dict[str, int]
    feeders: dict[int, list[tuple[int, Connection]]]
    ways: dict[int, Way]
    before: list[list[int]]
    after: list[list[int]]
    order: list[list[int]]

    def instance(self, port: int) -> Instance | None:
        """Return the process that a port belongs to; None for one of the body."""
        return self.instances.get(self.ends[port].instance)

    def is_control(self, port: int) -> bool:
        """Whether a port is one on which a worker is told something, or replies."""
        instance = self.instance(port)
        controlled = instance is not None and instance.kind in ("agent", "worker")
        return controlled and self.ends[port].port in ("ctrl_in", "ctrl_out")

    def loops(self) -> list[list[int]]:
        """Return the components that are loops."""
        return [part for part in self.order if len(part) > 1]  # an input and an output at least


def make_net(binding: Binding, bodies: Mapping[str, Ways], bindings: Mapping[str, Binding]) -> Net:
    """Return the net of a binding's body.

    Args:
        binding: has a body.
        bodies: what is known of nested bodies.
        bindings: for the configuration of agents.
    """
    assert binding.body is not None
    ends = [Endpoint(BOUNDARY, port.name) for port in binding.inputs]
    gives = {(BOUNDARY, port.name): n for n, port in enumerate(binding.inputs)}
    inputs: dict[str, dict[str, int]] = {}
    for instance in binding.body.instances:
        inputs[instance.name] = {port.name: n for n, port in enumerate(instance.inputs, len(ends))}
        ends += [Endpoint(instance.name, port.name) for port in instance.inputs]
        gives |= {(instance.name, port.name): n for n, port in enumerate(instance.outputs, len(ends))}
        ends += [Endpoint(instance.name, port.name) for port in instance.outputs]
    outputs = {port.name: n for n, port in enumerate(binding.outputs, len(ends))}
    ends += [Endpoint(BOUNDARY, port.name) for port in binding.outputs]

    feeders: dict[int, list[tuple[int, Connection]]] = {
        n: [] for of in (*inputs.values(), outputs) for n in of.values()
    }
    for connection in binding.body.connections:
        source, target = connection.source, connection.target
        takes = inputs[target.instance] if target.instance else outputs
        feeders[takes[target.port]].append((gives[source.instance, source.port], connection))

    ways: dict[int, Way] = {}
    before: list[list[int]] = [[] for _ in ends]
    after: list[list[int]] = [[] for _ in ends]
    for n, fed in feeders.items():
        before[n] = [source for source, _ in fed]
    for instance in binding.body.instances:
        ports = inputs[instance.name]
        reticent = instance.kind == "agent" and _is_reticent(instance, ports, feeders, bindings)
        through = ways_of(instance, bodies, reticent=reticent)
        for port in instance.outputs:
            n = gives[instance.name, port.name]
            ways[n] = way = through[port.name]
            before[n] = [of for name, of in ports.items() if name in way.stirs]
    for n, feeding in enumerate(before):
        for cause in feeding:
            after[cause].append(n)
    order = strongly_connected(range(len(ends)), dict(enumerate(after)))
    instances = {instance.name: instance for instance in binding.body.instances}
    return Net(binding, instances, ends, inputs, outputs, feeders, ways, before, after, order)


def _is_reticent(
    agent: Instance,
    ports: Mapping[str, int],
    feeders: Mapping[int, Sequence[object]],
    bindings: Mapping[str, Binding],
) -> bool:
    """Whether an agent may leave messages without an answer: after so many, or because it is told to."""
    binding = bindings.get(agent.binding or "")
    if binding is None or "max_messages" in binding.config:
        return True
    told = [port.type for port in agent.inputs if port.name == "ctrl_in" and feeders[ports[port.name]]]
    return any(map(may_halt, told))


# --- the four sets ------------------------------------------------------------------------------------------------

_Values: TypeAlias = list[int]


def solve(net: Net) -> tuple[frozenset[int], Ways]:
    """Return the ports that no message comes to, whatever comes to the body, and the way to each of its outputs."""
    names = [port.name for port in net.binding.inputs]
    none, even_so = 1 << len(names), 2 << len(names)
    everything = 2 * even_so - 1

    def is_silent(n: int, values: _Values) -> int:
        way = net.ways.get(n)
        if way is not None and way.source:
            return 0
        if n < len(names):
            return 1 << n | none
        if way is None and not net.before[n]:  # what is missing is reported elsewhere, and taken as fed
            return everything if net.is_control(n) else 0
        found = everything
        for source in net.before[n]:
            found &= values[source]
        for name in way.needs if way is not None else ():
            found |= values[net.inputs[net.ends[n].instance][name]]
        return found

    silent = _settle(net, everything, is_silent)

    def reached(along: Callable[[Way], Collection[str]], *, checked: bool) -> _Values:
        def reach(n: int, values: _Values) -> int:
            if silent[n] & even_so:
                return 0
            if n < len(names):
                return 1 << n
            found = 0
            if n in net.ways:
                ports = net.inputs[net.ends[n].instance]
                for name in along(net.ways[n]):
                    found |= values[ports[name]]
                return found
            for source, connection in net.feeders[n]:
                if checked or not connection.checked:
                    found |= values[source]
            return found

        return _settle(net, 0, reach)

    stirs = reached(lambda way: way.stirs, checked=True)
    leads = reached(lambda way: way.leads, checked=True)
    certain = reached(lambda way: way.certain, checked=False)

    def named(bits: int) -> frozenset[str]:
        return frozenset([name for i, name in enumerate(names) if bits >> i & 1])

    ways = {
        port: Way(
            named(stirs[n]),
            named(leads[n]),
            named(silent[n]) & named(stirs[n]),
            named(certain[n]),
            source=not silent[n] & none,
        )
        for port, n in net.outputs.items()
    }
    return frozenset([n for n, cases in enumerate(silent) if cases & even_so]), ways


def _settle(net: Net, start: int, value: Callable[[int, _Values], int]) -> _Values:
    """Return the value of each port, all ``start`` at first; what is on a loop is looked at until nothing changes."""
    values = [start] * len(net.ends)
    for part in net.order:
        if len(part) == 1:
            values[part[0]] = value(part[0], values)
            continue
        inside, waiting, queue = set(part), set(part), deque(part)
        while queue:
            n = queue.popleft()
            waiting.discard(n)
            new = value(n, values)
            if new == values[n]:
                continue
            values[n] = new
            for following in net.after[n]:
                if following in inside and following not in waiting:
                    waiting.add(following)
                    queue.append(following)
    return values
