"""A pipeline's runs: from an input to a RunContext, with the hooks around it, and what comes behind the last step."""

from __future__ import annotations

__all__ = ["Engine"]

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio

from fabric.errors import ConfigError
from fabric.pipelines.calling import Caller
from fabric.pipelines.clients import Clients, stateful_identity
from fabric.pipelines.committing import Book
from fabric.pipelines.growing import grow_after_run
from fabric.pipelines.growth import GrowthQuestion
from fabric.pipelines.hooks import Hooks
from fabric.pipelines.loading_models import override
from fabric.pipelines.local import open_local
from fabric.pipelines.outcomes import Outcome, record_of
from fabric.pipelines.outputs import write_outputs
from fabric.pipelines.planning import Plans
from fabric.pipelines.results import RunContext
from fabric.pipelines.running import Frame, Options, Run, carry_out_all
from fabric.pipelines.spec import LlmStep, ModelSpec, Pipeline, Place, Step, substeps
from fabric.pipelines.steps import carry_out
from fabric.pipelines.work import LlmWork, Performer

_log = logging.getLogger("fabric.pipelines")
