"""Flags of runs that are kept in a bucket, and what they mean."""

from __future__ import annotations

__all__ = ["AllowChanged", "Anew", "ApproveInDoubt", "BucketUrl", "KeptSession", "Wanted", "keep", "wanted_of"]

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from fabric.cli.starting import Asked
from fabric.compiler import check_file, search_path
from fabric.errors import ConfigError
from fabric.plan.plan import Plan
from fabric.runtime.starting import with_session
from fabric.session.settings import Settings
from fabric.settings import ProjectSettings, choose_bucket
from fabric.store.opening import open_store

if TYPE_CHECKING:  # a run that is kept nowhere needs no buckets
    from fabric.runtime.keeping import Kept

KeptSession = Annotated[
    str | None,
    typer.Option(
        "--session",
        metavar="ID",
        help="Keep it in a bucket under this id. If it is there it goes on where it was left, whatever ended it.",
        show_default=False,
    ),
]
BucketUrl = Annotated[
    str | None,
    typer.Option(
        "--bucket",
        "-b",
        metavar="URL",
        help="With --session: the bucket, such as file:///var/lib/sessions; else FABRIC_STORE, or [store] url.",
        show_default=False,
    ),
]
AllowChanged = Annotated[
    bool,
    typer.Option(
        "--allow-changed", help="With --session: go on with a program that has changed, if its channels still fit."
    ),
]
Anew = Annotated[
    bool,
    typer.Option(
        "--anew", help="With --session: take all lines of stdin, also those that are as they were the last time."
    ),
]
ApproveInDoubt = Annotated[
    bool,
    typer.Option(
        "--approve-in-doubt",
        help="With --session: run calls of tools again that may have been run when it was killed, without asking.",
        envvar="FABRIC_APPROVE_IN_DOUBT",
    ),
]


class Wanted(NamedTuple):
    """How a run is kept.

    Attributes:
        session: its id.
        url: of the bucket.
        allow_changed: whether the program may be another one by now.
        anew: whether lines of stdin are taken that are as they were the last time.
    """

    session: str
    url: str
    allow_changed: bool
    anew: bool = False


def wanted_of(
    session: str | None,
    bucket: str | None,
    project: ProjectSettings,
    settings: Settings,
    *,
    allow_changed: bool,
    anew: bool = False,
) -> Wanted | None:
    """Return how a run is to be kept; ``None``: it is not.

    Raises:
        ConfigError: the flags or settings contradict each other.
    """
    if session is None:
        if bucket is not None or allow_changed or anew:
            flag = "-b" if bucket is not None else "--anew" if anew else "--allow-changed"
            raise ConfigError(f"{flag}: which session? --session ID keeps a run, or goes on with one")
        return None
    if settings.policy != "block":
        raise ConfigError(
            '--session: [edges] policy is "dead_letter": what is lost then depends on the hour, and cannot be brought'
            ' back; expected "block"'
        )
    return Wanted(session, choose_bucket(bucket, project, Path.cwd(), os.environ).url, allow_changed, anew)


@contextmanager
def keep(
    wanted: Wanted | None, plan: Plan, asked: Asked, project: ProjectSettings
) -> Iterator[tuple[Plan, Kept | None]]:
    """Open the log of a run, if it is to be kept; give the plan with what workers have to know of that.

    Args:
        wanted: how it is to be kept; ``None``: it is not.
        plan: of the program.
        asked, project: how it was compiled: its text is kept with a run that begins.

    Raises:
        ConfigError: see :func:`fabric.runtime.keeping.open_run` and :func:`fabric.runtime.handler_forks.fork_handlers`.
    """
    if wanted is None:
        yield plan, None
        return
    from fabric.runtime.handler_forks import fork_handlers
    from fabric.runtime.keeping import open_run
    from fabric.runtime.kept_program import describe_program, keep_program
    from fabric.store.bucket import Bucket

    with open_run(
        wanted.url, wanted.session, plan, os.environ, allow_changed=wanted.allow_changed, anew=wanted.anew
    ) as kept:
        if not kept.history and kept.log.manifest.parent is None:
            folders = search_path(asked.include)
            said = project.choose_model(asked.provider, asked.model)
            program = describe_program(check_file(plan.path, folders), folders, asked.extra_files, *said)
            keep_program(open_store(kept.url), kept.id, program)
        plan = with_session(plan, kept.url, kept.id)
        inherited = sum(each.entries for each in kept.inherited)
        fork_handlers(plan, Bucket(open_store(kept.url)), kept.log, kept.history[:inherited])
        yield plan, kept
