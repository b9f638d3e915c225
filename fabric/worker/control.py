"""The control side of a worker, in a thread of its own."""

from __future__ import annotations

__all__ = ["Control", "obey_control", "run_control", "start_control"]

import os
import threading
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import trio

from fabric.errors import FabricError, LeftOver, sole
from fabric.transport.gate import Refusal
from fabric.transport.ports import Receiver, Sender, fail_on_stranger
from fabric.transport.sockets import SOCKETS_OF_A_WORKER_MAX, open_sockets
from fabric.wire.codec import decode, encode
from fabric.wire.control import BATCHES, INCARNATION_BYTES, LEFT_OVER, MARK_ALL_PORTS, NUMBERED, ready
from fabric.wire.frame import Data, Eof, Marker
from fabric.wire.payload import decode_json, encode_json
from fabric.wire.spec import WorkerKey
from fabric.worker.failure import FunctionFailed, tell

_ASKED = ("pause", "resume", "stop", "announce")


class Control:
    """What the control side and the data side tell each other. Each is set from one thread, and read from another.

    Args:
        marks_all: whether markers are to be forwarded on ctrl_out, too.
        incarnation: the number of this process; ``None``: one by chance.

    Attributes:
        paused, stopping: what was asked for.
        output_ended: whether the data side has ended its output.
        changed: called by the control side when it was asked for something.
    """

    def __init__(self, *, marks_all: bool = False, incarnation: int | None = None) -> None:
        self.paused = False
        self.stopping = False
        self.output_ended = False
        self.marks_all = marks_all
        chosen = os.urandom(INCARNATION_BYTES) if incarnation is None else incarnation.to_bytes(INCARNATION_BYTES)
        self._incarnation = int.from_bytes(chosen)
        self.changed: Callable[[], None] = lambda: None
        self._markers = deque[str]()
        self._poke: Callable[[], None] = lambda: None

    @property
    def announcement(self) -> bytes:
        """What is said of this process, once it is ready and whenever somebody asks."""
        features = (BATCHES, NUMBERED, MARK_ALL_PORTS) if self.marks_all else (BATCHES, NUMBERED)
        return ready(*features, incarnation=self._incarnation)

    def forward(self, marker: str) -> None:
        """Let a marker of the data side be sent on ctrl_out. From the thread of the data side."""
        self._markers.append(marker)
        if len(self._markers) == 1:  # else it is on its way already
            self._poke()

    def forward_to(self, ctrl_out: Sender, name: str) -> Callable[[], None]:
        """Return a function of the control side's thread that sends what is to be forwarded."""
        token = trio.lowlevel.current_trio_token()

        def forward() -> None:
            while self._markers:
                ctrl_out.send_nowait(encode(Marker(name, self._markers.popleft())))

        def poke() -> None:
            with suppress(trio.RunFinishedError):  # the control side has ended: nobody reads them
                token.run_sync_soon(forward)

        self._poke = poke
        return forward


async def run_control(ctrl_in: Receiver, ctrl_out: Sender, name: str, control: Control) -> None:
    """Announce the worker; obey and acknowledge control messages until their end; end ctrl_out."""
    control.forward_to(ctrl_out, name)  # now: who hears that we are ready may send a marker
    ctrl_out.send_nowait(encode(Data(name, control.announcement)))
    await obey_control(ctrl_in, ctrl_out, name, control, announces=True)


async def obey_control(
    ctrl_in: Receiver, ctrl_out: Sender, name: str, control: Control, *, announces: bool = False
) -> None:
    """Obey and acknowledge control messages until their end; end ctrl_out. ``announces``: also who asks who we are."""
    forward = control.forward_to(ctrl_out, name)

    def announce() -> None:
        if announces and control.output_ended:
            raise LeftOver(f"worker '{name}': {LEFT_OVER}")
        if announces:
            ctrl_out.send_nowait(encode(Data(name, control.announcement)))

    def say(message: dict[str, Any]) -> None:
        ctrl_out.send_nowait(encode(Data(name, encode_json(message))))

    while True:
        for raw in await ctrl_in.receive():
            match decode(raw):
                case Data(_, payload):
                    _obey(decode_json(payload), control, say, announce)
                case Marker(_, marker):
                    ctrl_out.send_nowait(encode(Marker(name, marker)))
                case Eof():
                    control.paused = False  # nobody could end the pause any more
                    control.changed()
                    forward()  # all are there: what ended this channel has read the end of ours
                    ctrl_out.send_nowait(encode(Eof(name)))
                    return


def _obey(message: Any, control: Control, say: Callable[[dict[str, Any]], None], announce: Callable[[], None]) -> None:
    """Do what an object asks for; all of it, or, if a field has not the type that it should have, nothing."""
    if not isinstance(message, dict) or not all(type(message.get(name, False)) is bool for name in _ASKED):
        return
    if message.get("announce") is True:
        announce()
    if message.get("pause") is True:
        control.paused = True
        say({"kind": "pause_ack"})
    if message.get("resume") is True:
        control.paused = False
        say({"kind": "resume_ack"})
    if message.get("stop") is True:
        control.stopping = True
    control.changed()


def start_control(
    endpoints: Mapping[str, str],
    name: str,
    control: Control,
    key: WorkerKey | None,
    *,
    guarded: bool,
    refused: Callable[[Refusal], None],
) -> threading.Thread:
    """Serve control on its sockets; the thread ends with its channels.

    Args:
        endpoints: by port.
        name: of the worker.
        control: what is told.
        key: that opens the sockets, if one is needed.
        guarded: whether a second peer is a stranger.
        refused: hears of peers that are not who they should be.
    """
    arguments = (endpoints, name, control, key, guarded, refused)
    thread = threading.Thread(target=_run, args=arguments, name="control", daemon=True)
    thread.start()
    return thread


def _run(
    endpoints: Mapping[str, str],
    name: str,
    control: Control,
    key: WorkerKey | None,
    guarded: bool,
    refused: Callable[[Refusal], None],
) -> None:
    """Serve control; without it the worker cannot be ended in order, so a failure here is the worker's."""
    try:
        trio.run(_serve, endpoints, name, control, key, guarded, refused)
    except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - the last place of this thread
        found = sole(error)
        if not isinstance(found, FabricError):
            traceback.print_exc()
            found = FunctionFailed(f"worker '{name}': control failed: {found}")
        os._exit(tell(found))


async def _serve(
    endpoints: Mapping[str, str],
    name: str,
    control: Control,
    key: WorkerKey | None,
    guarded: bool,
    refused: Callable[[Refusal], None],
) -> None:
    async with open_sockets(linger_ms=-1, sockets_max=SOCKETS_OF_A_WORKER_MAX, refused=refused) as transport:
        ctrl_in = transport.receiver(endpoints["ctrl_in"], bind=False, security=key)
        ctrl_out = transport.sender(endpoints["ctrl_out"], bind=True, watch=True, security=key)
        async with trio.open_nursery() as nursery:
            if guarded:
                nursery.start_soon(fail_on_stranger, ctrl_out, name, "ctrl_out")
            await run_control(ctrl_in, ctrl_out, name, control)
            nursery.cancel_scope.cancel()
