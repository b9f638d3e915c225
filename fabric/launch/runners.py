"""The launchers of a plan: each worker is started by the one that it says."""

from __future__ import annotations

__all__ = ["open_runners"]

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from fabric.errors import ConfigError
from fabric.launch.external import ExternalLauncher
from fabric.launch.launcher import Launcher, Worker
from fabric.launch.preload import ZygoteProcess
from fabric.launch.process import Workplace, open_launcher
from fabric.plan.plan import Plan, Runner, WorkerPlan


class _Runners:
    def __init__(self, launchers: Mapping[Runner, Launcher]) -> None:
        self._launchers = launchers

    async def launch(self, worker: WorkerPlan) -> Worker:
        return await self._launchers[worker.runner].launch(worker)


@asynccontextmanager
async def open_runners(
    plan: Plan,
    environment: Mapping[str, str],
    zygote: ZygoteProcess | None = None,
    *,
    workplace: Workplace | None = None,
) -> AsyncIterator[Launcher]:
    """Give a launcher for a plan's workers; only what they need is opened.

    Args:
        plan: whose workers.
        environment, zygote, workplace: see :func:`fabric.launch.process.open_launcher`.

    Raises:
        ConfigError: a worker is to be started in a way that there is not.
    """
    async with AsyncExitStack() as stack:
        launchers: dict[Runner, Launcher] = {}
        for runner in {"process", *(worker.runner for worker in plan.workers)}:
            match runner:
                case "process":
                    opened = open_launcher(environment, zygote, workplace=workplace)
                    launchers[runner] = await stack.enter_async_context(opened)
                case "external":
                    launchers[runner] = ExternalLauncher()
                case _:
                    raise ConfigError(f"workers as {runner} cannot be started yet")
        yield _Runners(launchers)
