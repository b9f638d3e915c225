"""What no message can come to: loops without an entry, barriers that never fire, processes behind nothing.

A port that no message comes to is silent because of others: an input because of all that feeds it, the output of a
barrier because of the inputs that are silent. The causes lead back to an ``empty``, or round a loop. Where they begin
is what is reported; what only follows from it is not. A control message makes nobody speak but on ``ctrl_out``.
"""

from __future__ import annotations

__all__ = ["report_silent_loops", "report_unreachable"]

from collections.abc import Mapping, Sequence

from fabric.lang.diagnostic import Report
from fabric.lang.net import Net
from fabric.lang.ordering import strongly_connected
from fabric.lang.passage import Way
from fabric.lang.paths import instances_on, path_of, shortest_cycle
from fabric.lang.typed import Instance

RELATED_MAX = 3
"""So many other places are shown; a loop of fifty processes is told by its path."""


class _Silence:
    """The silent ports of a body, each with those that it is silent because of."""

    def __init__(self, net: Net, silent: frozenset[int]) -> None:
        self.net = net
        self.causes = {n: self._causes(n, silent) for n in sorted(silent)}
        effects: dict[int, list[int]] = {n: [] for n in self.causes}
        for n, causes in self.causes.items():
            for cause in causes:
                effects[cause].append(n)
        self.effects = effects
        self.order = strongly_connected(self.causes, effects)

    def _causes(self, n: int, silent: frozenset[int]) -> list[int]:
        way = self.net.ways.get(n)
        if way is None:
            return [source for source in self.net.before[n] if source in silent]
        missing = [port for port in self.ports(n, way.needs) if port in silent]
        return missing or [port for port in self.ports(n, way.leads) if port in silent]

    def ports(self, n: int, names: frozenset[str]) -> list[int]:
        """Return inputs of the process that a port belongs to."""
        return [port for name, port in self.net.inputs[self.net.ends[n].instance].items() if name in names]

    def waits_in_vain(self, n: int) -> list[int]:
        """Return the inputs for which a barrier, or one in a body, waits for ever while others get messages."""
        way: Way | None = self.net.ways.get(n)
        instance = self.net.instance(n)
        if way is None or instance is None:
            return []
        missing = [port for port in self.ports(n, way.needs) if port in self.causes]
        some_come = any(port not in self.causes for port in self.ports(n, way.leads))
        return missing if some_come else []


def report_silent_loops(net: Net, silent: frozenset[int], names: Mapping[str, str], report: Report) -> None:
    """Report loops that no message can enter and barriers that never fire.

    Args:
        net: of the body.
        silent: the ports that no message comes to.
        names: what instances are called in the text, where it is something else.
        report: takes what is found.
    """
    if not silent:
        return
    silence = _Silence(net, silent)
    blamed: set[int] = set()  # silent because of something that is reported
    for part in silence.order:
        inside = set(part)
        outside = {cause for n in part for cause in silence.causes[n]} - inside
        if blamed & outside:
            blamed |= inside
            continue
        barriers = [n for n in part if silence.waits_in_vain(n)]
        if len(part) == 1 and _is_barrier(net, part[0]):  # also if nothing comes on any side
            barriers = part
        if barriers:
            _report_barrier(silence, min(barriers, key=lambda n: _place(net, n)), inside, names, report)
            blamed |= inside
        elif len(part) > 1 and not outside and not _only_controls(net, part):
            _report_loop(silence, inside, names, report)
            blamed |= inside


def _only_controls(net: Net, part: list[int]) -> bool:
    """Whether a loop is agents that control each other over a wire; each of them may still be told something else."""
    kinds = {instance.kind for n in part if (instance := net.instance(n)) is not None and not net.is_control(n)}
    return kinds <= {"monitor"}


def _is_barrier(net: Net, n: int) -> bool:
    instance = net.instance(n)
    return n in net.ways and instance is not None and instance.kind == "barrier"


def _place(net: Net, n: int) -> tuple[bool, int, int]:
    instance = net.instance(n)
    assert instance is not None
    return instance.kind == "monitor", instance.span.start, n


def _report_loop(silence: _Silence, inside: set[int], names: Mapping[str, str], report: Report) -> None:
    net = silence.net
    start = min(inside, key=lambda n: (net.is_control(n), _place(net, n)))  # who would have to begin
    cycle = shortest_cycle(start, silence.effects, inside)
    first, *others = instances_on(net, cycle)
    report.add(
        "E0502",
        first.span,
        f"nothing feeds the loop {path_of([first, *others, first], names)}",
        label="no message ever comes in",
        related=[(other.span, "on the loop") for other in others[:RELATED_MAX] if other.span != first.span],
        help=f"wire an input to it: input ; {_port_on(net, cycle, [first, *others], names)}",
    )


def _port_on(net: Net, cycle: list[int], instances: Sequence[Instance], names: Mapping[str, str]) -> str:
    """Name an input on a cycle as a program does: of the first process that has a name."""
    named = (instance for instance in instances if instance.binding is not None or instance.name in names)
    instance = next(named, instances[0])
    called = names.get(instance.name, instance.name)
    port = next(net.ends[n].port for n in cycle if net.instance(n) is instance and n not in net.ways)
    return called if len(instance.inputs) == 1 or port == "input" else f"{called}@{port}"


def _report_barrier(silence: _Silence, output: int, inside: set[int], names: Mapping[str, str], report: Report) -> None:
    net = silence.net
    barrier = net.instance(output)
    assert barrier is not None
    missing = silence.causes[output][0]
    port = net.ends[missing].port
    called = names.get(barrier.name, barrier.name)
    what = f"'{called}'" if barrier.binding else "this barrier"
    never = f"{what} never fires" if barrier.kind == "barrier" else f"a barrier in {what} never fires"
    if missing in inside:
        cycle = shortest_cycle(output, silence.effects, inside, last=missing)
        on_way = instances_on(net, cycle)
        why = f"it is fed only by what comes of it, {path_of([*on_way, barrier], names)}"
        label = f"waits for its own answer on '{port}'"
        place = f"{called}@{port}" if barrier.binding else "its other side"
        help_ = f"give it a first message: merge one into what feeds {place}, or pair what does not wait for it"
        related = [(other.span, "on the way back") for other in on_way[1 : RELATED_MAX + 1]]
    else:
        way = _way_back(silence, missing)
        on_way = instances_on(net, way)
        path = path_of([*on_way, barrier], {**names, **_with_ports(net, way)})
        why = f"nothing comes on the way {path}" if on_way else "nothing comes to the body there"
        label = f"waits for '{port}'"
        help_ = f"feed '{port}' with something that gives messages, or leave the barrier out"
        related = [(other.span, "gives nothing") for other in on_way[:RELATED_MAX]]
    report.add(
        "E0508",
        barrier.span,
        f"{never}: no message can come to its input '{port}'; {why}",
        label=label,
        related=[(span, text) for span, text in related if span != barrier.span],
        help=help_,
    )


def _with_ports(net: Net, way: list[int]) -> dict[str, str]:
    """Name the processes that are silent on the port that lies on a way, and perhaps not on others."""
    ends = [net.ends[n] for n in way if n in net.ways]
    return {
        end.instance: f"{end.instance}@{end.port}"
        for end in ends
        if end.port != "output" and len(net.instances[end.instance].outputs) > 1
    }


def _way_back(silence: _Silence, n: int) -> list[int]:
    """Return the ports from where the silence begins to this one, along first causes."""
    path: dict[int, None] = {}
    while n not in path:
        path[n] = None
        n = next(iter(silence.causes[n]), n)
    return list(path)[::-1][:-1]


# --- processes that nothing reaches -------------------------------------------------------------------------------


def report_unreachable(net: Net, silent: frozenset[int], names: Mapping[str, str], report: Report) -> None:
    """Warn of processes that no message can come to. For a body of which no error is known; arguments as above."""
    if not silent:
        return
    silence = _Silence(net, silent)
    behind: dict[str, dict[str, None]] = {}  # a process that is told of, and those that follow from it, in order
    root_of: dict[int, str] = {}
    for part in silence.order:
        causes = {cause for n in part for cause in silence.causes[n]}
        root = next((root_of[cause] for cause in sorted(causes) if cause in root_of), None)
        for n in sorted(part):
            instance = net.instance(n)
            if instance is not None and instance.name not in behind and _is_unreachable(net, instance, names, silent):
                if root is None:
                    root = instance.name
                    behind[root] = {}
                elif instance.name != root:
                    behind[root][instance.name] = None
        if root is not None:
            root_of |= dict.fromkeys(part, root)
    for name, others in behind.items():
        instance = net.instances[name]
        shown = ", ".join(f"'{names.get(other, other)}'" for other in list(others)[:5]) + (
            ", ..." if len(others) > 5 else ""
        )
        report.add(
            "W0514",
            instance.span,
            f"no message can come to '{names.get(name, name)}'",
            label="what feeds it never gives anything",
            notes=[f"nor to what is behind it: {shown}"] if others else [],
            help="feed it with something that gives messages, or remove it",
        )


def _is_unreachable(net: Net, instance: Instance, names: Mapping[str, str], silent: frozenset[int]) -> bool:
    """Whether a process, not a channel, has inputs and none of them gets anything."""
    if instance.kind in ("empty", "discard", "monitor") or instance.name in names:
        return False
    ports = net.inputs[instance.name].values()
    return bool(ports) and all(port in silent for port in ports)
