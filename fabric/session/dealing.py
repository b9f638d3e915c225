"""One input, dealt to several replicas of a worker, and what they answer put back in the order of the input.

    queue     what was never dealt
    again     what was dealt and not answered: its replica is gone; it is dealt before the queue, in order
    order     all that was dealt and not passed on, as it came; a slot for each
    share     the slots that one replica has: the delivery to it

A message is dealt to the replica with room in its window that has the fewest; where several have as few, they take
turns. Each slot is passed on when all before it were. What is answered ahead of its turn waits in its slot: as many as
the windows of all replicas hold together, or :data:`~fabric.session.rooms.BYTES_MAX`; beyond that no new message is
dealt, so that one replica that is stuck makes the others wait. What is dealt again is not new: the others wait for it.

A message that a replica had when it died is a suspect, unless the process has named another. A suspect is dealt to a
replica that has nothing, and nothing is dealt behind it. So an innocent one is soon answered, whichever replica it
comes to, and each death after the first is counted for the one message that is to blame.

Source: the reorder buffer of processors (Tomasulo's algorithm with in-order commit). Not taken: one socket that all
replicas pull from; what each has is then known to nobody, and neither order nor redelivery can be kept.
"""

from __future__ import annotations

__all__ = ["Dealing", "Share"]

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from operator import attrgetter

from fabric.session.delivery import SMALL_BYTES, Delivery, Message, Unacked
from fabric.session.rooms import BYTES_MAX


class _Slot:
    """A message that was dealt.

    Attributes:
        number: its place in the order.
        answer: what a replica has made of it, when it is done.
        size_bytes: of that.
        gone: it is not to be passed on: it is a dead letter.
        deaths: how many processes have died with it, by replica.
    """

    __slots__ = ("answer", "deaths", "gone", "message", "number", "size_bytes")

    def __init__(self, number: int, message: Message) -> None:
        self.number = number
        self.message = message
        self.answer: Unacked | None = None
        self.size_bytes = 0
        self.gone = False
        self.deaths: Counter[str] = Counter()


class Share(Delivery):
    """The edge to one replica. It has no queue of its own: what is dealt to it is sent at once.

    Args:
        dealing: of its node.
        worker, incarnation, window: as of any delivery.

    Attributes:
        slots: what it has, oldest first.
    """

    def __init__(self, dealing: Dealing, worker: str, incarnation: int, window: int) -> None:
        self.slots: deque[_Slot] = deque()
        self._dealing = dealing
        self._blamed: _Slot | None = None
        super().__init__(worker, incarnation, window)
        dealing.shares.append(self)

    def begin(self, incarnation: int) -> int:
        """A process begins. What the one before had is dealt again, to whoever has room; return how many that are."""
        again = self._give_back()
        super().begin(incarnation)
        return again

    def _give_back(self) -> int:
        again = len(self.slots)
        self._dealing.take_back(self.slots)
        self.slots.clear()
        self.queue.clear()
        self._unacked.clear()
        self.size_bytes = 0
        return again

    @property
    def width(self) -> int:
        """How many messages it may have, if they are small."""
        return self._wide_window

    @property
    def tried(self) -> bool:
        """Whether it has a suspect: it gets nothing else."""
        return bool(self.slots) and bool(self.slots[0].deaths)

    def has_room(self, message: Message) -> bool:
        """Whether a message could be sent at once."""
        has = len(self.slots)
        return has < self._window or (has < self._wide_window and len(message.payload) <= SMALL_BYTES)

    def give(self, slot: _Slot) -> None:
        """Deal a message to it."""
        self.slots.append(slot)
        self.offer(slot.message)

    def leads(self, unacked: Unacked) -> bool:
        """Whether all before a message was passed on."""
        return self._dealing.leading is unacked

    def collect(self, batch: bytes) -> tuple[list[Unacked], int]:
        """As of any delivery; return what may be passed on, of all replicas."""
        committed, behind = super().collect(batch)
        return self._dealing.answered(self, committed), behind

    def returned(self, port: str, marker: str) -> list[Unacked]:
        """As of any delivery; return what may be passed on, of all replicas."""
        return self._dealing.answered(self, super().returned(port, marker))

    def crashed(self, span_id: bytes = b"") -> tuple[Message | None, int]:
        """As of any delivery; return how many processes died with the message, of any replica."""
        named = [slot for slot in self.slots if slot.message.span_id == span_id][:1]
        suspects = named or list(self.slots)
        if not suspects:
            return None, 0
        for slot in suspects:
            slot.deaths[self.worker] += 1
        self._blamed = suspects[0]
        return self._blamed.message, self._blamed.deaths.total()

    @property
    def blamed_for(self) -> Counter[str]:
        """How many processes died with the message that was last taken out, by replica."""
        return Counter() if self._blamed is None else self._blamed.deaths

    def remove(self, message: Message) -> list[Unacked]:
        """Take out the message that the process died of; return what may be passed on now."""
        assert self._blamed is not None
        assert self._blamed.message is message
        self.slots.remove(self._blamed)
        return self._dealing.drop([self._blamed])

    def end(self) -> tuple[list[Unacked], list[Message]]:
        """As of any delivery, but what is left is dealt to others."""
        committed = []
        if self._unacked and self._unacked[0].answered:
            committed = self._dealing.answered(self, [self._unacked.popleft()])
        self._give_back()
        self.may_send = False
        return committed, []


class Dealing:
    """The queue of a node that has several replicas.

    Attributes:
        queue: what was never dealt. Who appends a message counts its bytes.
        size_bytes: of what waits.
        shares: of the replicas.
    """

    def __init__(self) -> None:
        self.queue: deque[Message] = deque()
        self.size_bytes = 0
        self.shares: list[Share] = []
        self._again: list[_Slot] = []
        self._order: deque[_Slot] = deque()
        self._dealt = self._ahead = self._ahead_bytes = 0
        self._number = 0
        self._turn = 0

    # --- how it stands ---

    def messages(self) -> Iterator[Message]:
        """Give what is not answered, oldest first: what was dealt, then what waits."""
        yield from (slot.message for slot in self._order if slot.answer is None and not slot.gone)
        yield from self.queue

    @property
    def queued(self) -> int:
        """Messages that wait to be dealt."""
        return len(self.queue) + len(self._again)

    @property
    def waiting(self) -> int:
        """Messages that wait, are with a replica, or are answered and wait for their turn."""
        return len(self.queue) + self._dealt

    @property
    def idle(self) -> bool:
        """Whether there are none."""
        return not (self.queue or self._dealt)

    @property
    def ahead(self) -> int:
        """Messages that are answered and wait for their turn."""
        return self._ahead

    @property
    def full(self) -> bool:
        """Whether so many are answered ahead of their turn that nothing new is dealt."""
        return self._ahead >= sum(share.width for share in self.shares) or self._ahead_bytes >= BYTES_MAX

    @property
    def oldest(self) -> Unacked | None:
        """A message that some replica has, if any has one."""
        return next((share.oldest for share in self.shares if share.oldest is not None), None)

    @property
    def oldest_at_s(self) -> float | None:
        """When the oldest message that waits to be dealt came into being."""
        heads = [slot.message.at_s for slot in self._again[:1]] + ([self.queue[0].at_s] if self.queue else [])
        return min(heads, default=None)

    @property
    def waits_for(self) -> str:
        """The replica that has the message whose turn it is; empty if none has it."""
        return next((share.worker for share in self.shares if self._leads(share)), "")

    @property
    def leading(self) -> Unacked | None:
        """The message whose turn it is, if a replica has it."""
        return next((share.oldest for share in self.shares if self._leads(share)), None)

    def _leads(self, share: Share) -> bool:
        return bool(self._order and share.slots) and share.slots[0] is self._order[0]

    # --- to the replicas ---

    def offer(self, message: Message) -> None:
        """Queue a message."""
        self.queue.append(message)
        self.size_bytes += len(message.payload)

    def deal(self, shares: Iterable[Share]) -> list[Share]:
        """Deal what may be dealt now to these; return those that have got something."""
        takers = [share for share in shares if not share.tried]
        dealt: dict[Share, None] = {}
        while takers and self._again:
            slot = self._again[0]
            share = self._chosen(slot.message, [share for share in takers if not (slot.deaths and share.slots)])
            if share is None:
                if slot.deaths:  # one of them gets nothing until it has nothing; the others go on
                    takers.remove(min(takers, key=lambda share: len(share.slots)))
                break
            self._again.pop(0)
            self._give(slot, share, dealt)
            if slot.deaths:
                takers.remove(share)
        while self.queue and not self.full:
            share = self._chosen(self.queue[0], takers)
            if share is None:
                break
            self._number += 1
            self._dealt += 1
            slot = _Slot(self._number, self.queue.popleft())
            self._order.append(slot)
            self._give(slot, share, dealt)
        return list(dealt)

    def _chosen(self, message: Message, takers: Iterable[Share]) -> Share | None:
        """Return the one with the fewest, of these the one whose turn it is."""
        count, turn, shares = len(self.shares), self._turn, self.shares
        return min(
            (share for share in takers if share.has_room(message)),
            key=lambda share: (len(share.slots), (shares.index(share) - turn) % count),
            default=None,
        )

    def _give(self, slot: _Slot, share: Share, dealt: dict[Share, None]) -> None:
        self.size_bytes -= len(slot.message.payload)
        self._turn = self.shares.index(share) + 1
        share.give(slot)
        dealt[share] = None

    def take_back(self, slots: Iterable[_Slot]) -> None:
        """A replica is gone that had these."""
        self._again = sorted([*self._again, *slots], key=attrgetter("number"))
        self.size_bytes += sum(len(slot.message.payload) for slot in slots)

    # --- from the replicas ---

    def answered(self, share: Share, answers: list[Unacked]) -> list[Unacked]:
        """A replica has done its first messages; return what may be passed on, in order."""
        for answer in answers:
            slot = share.slots.popleft()
            slot.answer = answer
            slot.size_bytes = sum(len(payload) for _, payload, _ in answer.outputs)
            self._ahead += 1
            self._ahead_bytes += slot.size_bytes
        return self._turned() if answers else []

    def drop(self, slots: Iterable[_Slot]) -> list[Unacked]:
        """These are not to be passed on; return what may be, now."""
        for slot in slots:
            slot.gone = True
            self._dealt -= 1
        return self._turned()

    def give_up(self) -> tuple[list[Unacked], list[Message]]:
        """Nobody takes anything any more: return what may be passed on, and what is left."""
        again, self._again = self._again, []
        left = [*(slot.message for slot in again), *self.queue]
        self.queue.clear()
        self.size_bytes = 0
        return self.drop(again), left

    def _turned(self) -> list[Unacked]:
        """Return the answers whose turn it is."""
        turned = []
        order = self._order
        while order and (order[0].answer is not None or order[0].gone):
            slot = order.popleft()
            if slot.answer is not None:
                self._dealt -= 1
                self._ahead -= 1
                self._ahead_bytes -= slot.size_bytes
                turned.append(slot.answer)
        return turned
