"""A kept run, relived from its log: by the program that recorded it, and by the one that is there now.

Nobody is started and nobody is asked: the answers of workers are in the log.
"""

from __future__ import annotations

__all__ = ["Replay", "open_replay", "relive_run"]

import random
import tempfile
from collections.abc import Sequence

import msgspec

from fabric.errors import ConfigError, HistoryUnfit
from fabric.plan.digest import digest_of, parts_of
from fabric.plan.plan import Plan
from fabric.runtime.keeping import read_once
from fabric.runtime.kept_program import KeptProgram, plan_kept, read_program
from fabric.session.ancestry import Witness
from fabric.session.divergence import Difference, Replayed, compare, relive_watched
from fabric.session.history import History
from fabric.session.money import RateOf, no_rate
from fabric.session.reliving import Inherited
from fabric.session.session import Session, Settings
from fabric.store.log import Log
from fabric.store.objects import ObjectStore


class Replay(msgspec.Struct, frozen=True):
    """A kept run that can be relived.

    Attributes:
        log: of it.
        inherited: whose the first entries are, if it is a fork.
        history: what has happened in it.
        kept: the program that it was recorded with; ``None``: that was not kept.
    """

    log: Log
    history: Sequence[History]
    kept: KeptProgram | None
    inherited: Sequence[Inherited] = ()

    def plan(self) -> Plan:
        """Return the plan of the program that it was recorded with.

        Raises:
            ConfigError: that was not kept.
            CheckError: this version does not take it any more.
        """
        if self.kept is None:
            raise ConfigError(
                f"session {self.log.id}: the text of its program was not kept; name the program: --program PATH"
            )
        with tempfile.TemporaryDirectory(prefix="fabric-") as directory:
            return plan_kept(self.kept, directory)

    def is_of(self, plan: Plan) -> bool:
        """Whether it was recorded with this program."""
        return digest_of(parts_of(plan)) == self.log.manifest.program

    def differences(self, now: Replayed, settings: Settings) -> list[Difference]:
        """Return where what a program makes of it differs from what its own program makes of it.

        Raises:
            ConfigError: its own program was not kept.
        """
        recorded, _ = relive_run(self, self.plan(), settings)
        return compare(recorded, now)


def open_replay(store: ObjectStore, log: Log) -> Replay:
    """Read a run to be relived.

    Raises:
        ConfigError: it is a session of handlers.
        LogDamaged, StoreFailed: it cannot be read.
    """
    if not log.manifest.program:
        raise ConfigError(
            f"session {log.id} is one of handlers, no run of a program: fabric session log -s {log.id} -A"
        )
    reading = read_once(log)
    root = log.entries()[0].session
    return Replay(log, reading.history, read_program(store, root), reading.inherited)


def relive_run(
    replay: Replay,
    plan: Plan,
    settings: Settings,
    *,
    rate_of: RateOf = no_rate,
    allow_changed: bool = False,
) -> tuple[Replayed, Witness]:
    """Relive a run in a program.

    Raises:
        HistoryUnfit: an entry has no place in it, and that is not allowed.
    """
    rng = random.Random(0)  # ids of a durable session are not drawn
    witness = Witness(rng)
    session = Session(plan, settings, rng, rate_of, durable=replay.log.id, traces=witness)
    try:
        inherited = replay.inherited
        done = relive_watched(session, replay.history, witness, allow_changed=allow_changed, inherited=inherited)
        return done, witness
    except HistoryUnfit as error:
        raise HistoryUnfit(f"session {replay.log.id}: {error}") from None
