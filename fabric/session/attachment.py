"""Attach to a worker that may have been there before: somebody else starts it, or it outlived whoever did.

Its addresses stay, so frames of the past come on them: answers to a connection that broke off, or to a coordinator that
was killed. And it may be the process of before, or another.

    opened      Send announce, Send probe 1
    returned    Send the next probe, if this was the last that was sent
    timer       what was sent may have been swallowed: Send announce, Send the next probe
    complete    nothing of the past can come any more, and it has said who it is, or has had time to

A channel keeps its order, so what comes behind a probe of this attachment is of this attachment. But ZeroMQ gives the
frames of a sender in turn to all connections that it knows. A worker that has not noticed yet that an old connection
is dead shares them out between that and ours, and of a message and its marker one may be swallowed. So a port counts
as fenced when two probes in a row are back on it, of which the second was sent when the first was back: of those two
the old connection would have got one.

A worker that has announced itself to somebody before need not do so again, if it does not know how. It is given some
time for it: what has just been started says so first of all.

Source: fencing tokens, with the first frame of an epoch as the token. Not taken: a new address for each connection.
Whoever starts such a worker would have to be told.
"""

from __future__ import annotations

__all__ = ["AWAITED_NOTE_S", "Attachment"]

from fabric.session.delivery import number_in
from fabric.session.events import Command, Send, SetTimer
from fabric.wire.codec import encode
from fabric.wire.control import ANNOUNCE, RESUME
from fabric.wire.frame import PROBE_PREFIX, Data, Eof, Marker
from fabric.wire.payload import encode_json

AGAIN_S = 1.0
"""How long a probe may be on its way until another is sent behind it; doubled up to ``AGAIN_MAX_S`` while none is back:
usually nobody is there yet, and all that was sent waits for who will be."""

AGAIN_MAX_S = 60.0

PROBES_MAX = 1_000
"""Probes that may be on their way. They wait in a socket as long as nobody is there."""

GRACE_S = 2.0
"""How long a worker that is fenced may take to announce itself. One that does not has done so before."""

AWAITED_NOTE_S = 30.0
"""How often it is told who is waited for."""

CONTROL = "control"
"""Behind the prefix, the marker that goes behind ``announce``: what comes on ctrl_out before it is of the past."""

NULL_SETTINGS = {"set_temp": None, "set_model": None}
"""What somebody may have set an agent to who is gone."""


class Attachment:
    """One attachment to one worker.

    Args:
        worker: its name.
        probe: whether it forwards markers. One that does not has to announce itself.
        ours: whether it forwards those of ctrl_in, too, and answers ``announce``.
        settles: whether it may have been set to something that has to be taken back.

    Attributes:
        announced: whether it has said who it is.
        done: whether it is trusted.
        refused: frames of the past that came.
        left_over: whether the end of its output was among them: it is not one that has just been started.
    """

    def __init__(self, worker: str, *, probe: bool, ours: bool, settles: bool = False) -> None:
        self.announced = False
        self.done = False
        self.refused = 0
        self.left_over = False
        self._worker = worker
        self._probe = probe
        self._ours = ours
        # Who is paused takes no probe either.
        self._greeting = ANNOUNCE | RESUME | (NULL_SETTINGS if settles else {})
        self._prefix = ""
        self._sent = self._back = self._greetings = 0
        self._proofs: set[int] = set()
        self._last: dict[str, int] = {}
        self._ports = {"output"} if probe else set[str]()
        self._proven: set[str] = set()
        self._control_proven = not ours
        self._again_s = AGAIN_S
        self._again_at_s = 0.0
        self._grace_ends_s: float | None = None
        self._grace_over = False

    # --- what happens ---

    def opened(self, nonce: str, now_s: float) -> list[Command]:
        """Its sockets are open. ``nonce``: by it the probes are known; no other attachment ever had it."""
        self._prefix = f"{PROBE_PREFIX}{self._worker}/{nonce}/"
        return [*self._send(now_s), *self._arm()]

    def owns(self, marker: str) -> bool:
        """Whether a marker is a probe of this attachment."""
        return bool(self._prefix) and marker.startswith(self._prefix)

    def greeted(self, ports: frozenset[str], now_s: float) -> list[Command]:
        """It has said who it is, and that it returns markers on these ports besides ``output``."""
        self.announced = True
        self._ports |= ports if self._probe else frozenset()
        return self._go_on(now_s)

    def returned(self, port: str, marker: str, now_s: float) -> list[Command]:
        """A probe is back."""
        if self.done:
            return []
        if marker == self._prefix + CONTROL:
            self._control_proven = port == "ctrl_out"
            return []
        number = number_in(marker, self._prefix)
        if not 0 < number <= self._sent:
            return []
        before, self._last[port] = self._last.get(port, 0), number
        if number in self._proofs and before == number - 1:
            self._proven.add(port)
        self._again_s = AGAIN_S
        if port == "output":
            self._back = number
            if "output" in self._proven and self._grace_ends_s is None:
                self._grace_ends_s = now_s + GRACE_S
        return self._go_on(now_s)

    def timer(self, now_s: float) -> list[Command]:
        """It is time for something."""
        if self.done:
            return []
        if self._grace_ends_s is not None and now_s >= self._grace_ends_s:
            self._grace_over = True
        commands: list[Command] = []
        if now_s >= self._again_at_s and not self.complete:
            self._again_s = min(2 * self._again_s, AGAIN_MAX_S)
            commands = self._send(now_s)
        return [*commands, *self._arm()]

    # --- what follows ---

    @property
    def complete(self) -> bool:
        """Whether it may be trusted."""
        return self._ports <= self._proven and (self._greeted or self._grace_over)

    @property
    def _greeted(self) -> bool:
        return self.announced and self._control_proven

    @property
    def missing(self) -> str:
        """What is still waited for, in words."""
        if self._ports and not self._last:
            return "has not connected and returned a marker"
        if missing := self._ports - self._proven:
            return f"has not returned its probes on {', '.join(sorted(missing))}"
        return "has not said that it is ready"

    @property
    def dismissal(self) -> list[bytes]:
        """What is sent on ctrl_in to a process that has ended its output: it cannot be used, and should go.

        One that knows ``announce`` fails, so that it is started again; any other ends in order.
        """
        return [encode(Data("fabric", encode_json(ANNOUNCE))), encode(Eof("fabric"))]

    def _go_on(self, now_s: float) -> list[Command]:
        """Send the next probe when the last is back, and there is still something to prove."""
        if not self._ports <= self._proven and self._back == self._sent > 0:
            self._proofs.add(self._sent + 1)
            return [*self._send_probe(now_s), *self._arm()]
        return [] if self.complete else self._arm()

    def _send(self, now_s: float) -> list[Command]:
        frames: list[bytes] = []
        again = not self._greeted if self._ours else not self._probe  # who returns a probe has read what was before it
        if self._greetings < PROBES_MAX and (again or not self._greetings):
            self._greetings += 1
            frames = [encode(Data("fabric", encode_json(self._greeting)))]
            frames += [encode(Marker("fabric", self._prefix + CONTROL))] if self._ours else []
        control = [Send(self._worker, "ctrl_in", frame) for frame in frames]
        return [*control, *self._send_probe(now_s)]

    def _send_probe(self, now_s: float) -> list[Command]:
        self._again_at_s = now_s + self._again_s
        if not self._probe or self._sent - self._back >= PROBES_MAX:
            return []
        self._sent += 1
        return [Send(self._worker, "input", encode(Marker("fabric", f"{self._prefix}{self._sent}")))]

    def _arm(self) -> list[Command]:
        at_s = self._again_at_s
        if self._grace_ends_s is not None and not (self._grace_over or self._greeted):
            at_s = min(at_s, self._grace_ends_s)
        return [SetTimer(("attach", self._worker), at_s)]
