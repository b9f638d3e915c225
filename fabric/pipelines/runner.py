"""Run a pipeline: the public face of all that stands behind it."""

from __future__ import annotations

__all__ = [
    "AttemptLog",
    "FailureState",
    "PipelineRunner",
    "RunContext",
    "RunSummary",
    "StepResult",
    "TokenCount",
]

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import trio

from fabric.pipelines.calling import Caller, Inline, loop_here, run_beside_asyncio, run_here
from fabric.pipelines.clients import Clients, stateful_identity
from fabric.pipelines.committing import Book
from fabric.pipelines.hooks import Hooks
from fabric.pipelines.loading import load_pipeline
from fabric.pipelines.local import Local
from fabric.pipelines.planning import Plans
from fabric.pipelines.results import (
    AttemptLog,
    FailureState,
    RunContext,
    RunSummary,
    StepResult,
    TokenCount,
)
from fabric.pipelines.running import Frame, Options, Run, carry_out_all
from fabric.pipelines.spec import ModelSpec, Pipeline, Place
from fabric.pipelines.steps import carry_out
from fabric.pipelines.work import Performer
