"""Who is at a socket, out of what the library tells of its connections.

The library names a connection (its descriptor) when it begins and when it ends, but not when its handshake succeeds. So
each peer is one of the connections that were open then; as these end, fewer are left that it may be. Strangers who get
through no handshake are gone after ``HANDSHAKE_S``, and the doubt with them. Until then one case is told late: a peer
that leaves while strangers are at their handshakes who had come before its own had succeeded.

To find out who is left costs steps, which many peers must not multiply: they come from whoever reaches a socket without
keys, and from whoever has one key. Beyond ``PEERS_MAX`` at once they are only counted. No more of these can be there
than there are connections for.
"""

from __future__ import annotations

__all__ = ["PEERS_MAX", "Happening", "Peers"]

from typing import Literal, TypeAlias

Happening: TypeAlias = Literal["began", "joined", "ended"]
"""Of a connection: it is there, its handshake succeeded, it is gone."""

PEERS_MAX = 8
"""Peers whose connections are told apart. One is as it should be, and the second is an alarm already."""


class Peers:
    """The peers of one socket: connections whose handshake has succeeded.

    Attributes:
        joined: how many have come.
        left: how many of them have gone.
        doubled: how many came while another was there.
        steps: how many connections were tried for peers: what all of this has cost.
    """

    def __init__(self) -> None:
        self.joined = 0
        self.left = 0
        self.doubled = 0
        self.steps = 0
        self._open: set[int] = set()
        self._peers: list[set[int]] = []  # of each, the connections that it may be
        self._crowd = 0  # peers of which nothing is known but that they came

    @property
    def present(self) -> int:
        """How many there are."""
        return len(self._peers) + self._crowd

    def handle(self, happening: Happening, connection: int) -> None:
        """Take in what the library tells.

        Args:
            happening: what.
            connection: its descriptor; of ``joined`` it is not known, and does not matter.
        """
        match happening:
            case "began":
                self._open.add(connection)
            case "joined":
                self.joined += 1
                self.doubled += self.present > 0
                if len(self._peers) < PEERS_MAX:
                    self._peers.append(set(self._open))
                else:
                    self._crowd += 1
            case "ended":
                self._open.discard(connection)
                for peer in self._peers:
                    peer.discard(connection)
        self._settle()

    def _settle(self) -> None:
        """Take out peers for which no connection is left, and connections that can only be another peer's."""
        # Whoever may be as many connections as there are peers finds one, whatever the others take; so strangers who
        # wait by thousands cost nothing here.
        many = len(self._peers)
        taken: dict[int, int] = {}
        there = [
            number for number, peer in enumerate(self._peers) if len(peer) >= many or self._place(number, taken, set())
        ]
        self.left += len(self._peers) - len(there)
        self._peers = [self._peers[number] for number in there]
        known = {candidate for peer in self._peers if len(peer) == 1 for candidate in peer}
        for peer in self._peers:
            if len(peer) > 1:
                peer -= known
        crowd = min(self._crowd, max(0, len(self._open) - len(self._peers)))
        self.left += self._crowd - crowd
        self._crowd = crowd

    def _place(self, number: int, taken: dict[int, int], seen: set[int]) -> bool:
        """Find a connection for a peer, if others have to take another one for it; return whether there is one."""
        for candidate in self._peers[number] - seen:
            self.steps += 1
            seen.add(candidate)
            if candidate not in taken or self._place(taken[candidate], taken, seen):
                taken[candidate] = number
                return True
        return False
