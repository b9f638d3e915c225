"""The launchers of a plan: each worker is started by the one that it says."""

from __future__ import annotations

__all__ = ["open_runners"]

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from fabric.errors import ConfigError
from fabric.launch.external import ExternalLauncher
from fabric.launch.launcher import Launcher, Worker
from fabric.launch.owner import Owner
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
    owner: Owner | None = None,
    complain: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[Launcher]:
    """Give a launcher for a plan's workers; only what they need is opened.

    Args:
        plan: whose workers.
        environment, zygote, workplace: see :func:`fabric.launch.process.open_launcher`.
        owner, complain: see :func:`fabric.launch.container.open_containers`; needed if there are containers.

    Raises:
        ConfigError: a worker cannot be started where, or as, the plan says.
        EngineFailed: an engine of containers is not there.
    """
    async with AsyncExitStack() as stack:
        launchers: dict[Runner, Launcher] = {}
        for runner in {"process", *(worker.runner for worker in plan.workers)}:
            match runner:
                case "process":
                    opened = open_launcher(environment, zygote, workplace=workplace)
                    launchers[runner] = await stack.enter_async_context(opened)
                case "container":
                    # Here, because of its client of HTTP: most sessions need neither.
                    from fabric.launch.container import open_containers

                    assert owner is not None
                    workers = [worker for worker in plan.workers if worker.runner == runner]
                    containers = open_containers(workers, environment, owner, complain)
                    launchers[runner] = await stack.enter_async_context(containers)
                case "external":
                    launchers[runner] = ExternalLauncher()
                case _:
                    raise ConfigError(f"workers as {runner} cannot be started yet")
        yield _Runners(launchers)
