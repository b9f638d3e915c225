"""What it costs to be watched: what a message takes through an echo worker, with and without somebody who scrapes.

    python tests/benchmarks/watched.py [--json] [--messages N] [--rounds N] [--before CHECKOUT]

off        nobody watches: no server, no pulse, no measuring of the loop
served     the server is there, and nobody asks
scraped    /metrics is asked for every second, from another process
before     the coordinator of another checkout, not watched: what counting costs by itself

The ways take turns within a round, in another order each time, so that what else the machine does falls on all of
them. A ratio is taken within its round; told are the median of the ratios and the middle half of them, of messages a
second, which is what users see, and of the coordinator's processor time for a message, which can be measured on a
machine that does other things as well.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import relay
import trio

from fabric.launch.process import open_launcher
from fabric.runtime.coordinator import Coordinator
from fabric.runtime.http_answers import Watched
from fabric.runtime.http_listen import bind
from fabric.runtime.http_routes import Site
from fabric.runtime.http_server import HttpServer
from fabric.runtime.watch import Watch
from fabric.session.session import Session, Settings
from fabric.transport.sockets import open_sockets

SCRAPE_S = 1.0
WAYS = ("off", "served", "scraped")


def scrape(port: int, scraped: Any) -> None:
    """Ask again and again, over one connection, as Prometheus does."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    while True:
        started_s = time.monotonic()
        connection.request("GET", "/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"})
        size = len(connection.getresponse().read())
        scraped.put((size, time.monotonic() - started_s))
        time.sleep(max(0.0, SCRAPE_S - (time.monotonic() - started_s)))


async def rate(way: str, messages: int, directory: Path, scraped: Any) -> tuple[float, float]:
    """Return messages a second, and microseconds of the processor for each."""
    plan = relay.plan_of(relay.ECHO, directory)
    workers = tuple(msgspec.structs.replace(worker, window=16) for worker in plan.workers)
    plan = msgspec.structs.replace(plan, workers=workers)
    payload = msgspec.json.encode(relay.ORDER)
    client = relay._Counter(messages)
    scraper = None
    async with open_launcher(os.environ) as launcher, open_sockets() as transport, trio.open_nursery() as nursery:
        session = Session(plan, Settings(), random.Random(1))
        coordinator = Coordinator(session, transport, launcher, client, client)
        if way != "off":
            listening, _ = bind("127.0.0.1:0", None)
            assert listening is not None
            watch = Watch(plan)
            site = Site(Watched(plan, watch, coordinator), "", local=True)
            server = HttpServer(site.refuse, site.handle, lambda error: print(error, file=sys.stderr))
            listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening.socket))
            nursery.start_soon(server.serve, listener)
        nursery.start_soon(coordinator.run)
        if way != "off":
            nursery.start_soon(watch.run, coordinator)
        await coordinator.wait_for_room()
        if way == "scraped":
            scraper = relay.spawn.Process(target=scrape, args=(listening.port, scraped), daemon=True)
            scraper.start()
            await trio.to_thread.run_sync(scraped.get)
        started_s, used_s = time.perf_counter(), time.process_time()
        for start in range(0, messages, 64):
            await coordinator.wait_for_room()
            await trio.lowlevel.checkpoint()
            coordinator.submit("input", [(ticket, payload) for ticket in range(start, min(start + 64, messages))])
        await client.done.wait()
        took_s, used_s = time.perf_counter() - started_s, time.process_time() - used_s
        coordinator.close_input()
        if scraper is not None:
            scraper.kill()
            scraper.join()
        if way != "off":
            await trio.sleep(0.2)
            nursery.cancel_scope.cancel()
    return messages / took_s, used_s / messages * 1e6


def rate_of(checkout: Path, messages: int) -> tuple[float, float]:
    """Return the same of another checkout's coordinator, which is not watched. Its start counts as processor time."""
    paths = [str(checkout / "tests" / "benchmarks"), str(checkout), str(checkout / "agents")]
    code = (
        f"import sys, tempfile, time, trio; sys.path[:0] = {paths!r}\n"
        "from functools import partial; from pathlib import Path; import relay\n"
        "with tempfile.TemporaryDirectory(prefix='r') as directory:\n"
        f"    rate = trio.run(partial(relay._echo, {messages}, Path(directory), markers=True))\n"
        f"    print(rate, time.process_time() / {messages} * 1e6)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run([sys.executable, "-P", "-c", code], stdout=subprocess.PIPE, env=environment, check=True)
    rate, used_us = map(float, done.stdout.split())
    return rate, used_us


def measure(messages: int, rounds: int, before: Path | None) -> tuple[dict[str, list[tuple[float, float]]], list[Any]]:
    """Return the rates of each round, by way, and what scrapes took."""
    scraped = relay.spawn.Queue()
    here = Path(__file__).parents[2]
    ways = [*WAYS, *(("before", "now") if before is not None else ())]
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for number in range(rounds):
        for way in random.Random(number).sample(ways, len(ways)):
            if way in ("before", "now"):
                found[way].append(rate_of(before if way == "before" and before is not None else here, messages))
                continue
            with tempfile.TemporaryDirectory(prefix="h") as directory:
                found[way].append(trio.run(partial(rate, way, messages, Path(directory), scraped)))
    scrapes = []
    while not scraped.empty():
        scrapes.append(scraped.get())
    return found, scrapes


def ratios(found: dict[str, list[tuple[float, float]]], way: str, to: str, which: int) -> tuple[float, float, float]:
    """Return the median of the ratios within the rounds, and the middle half of them; of rates, or of times."""
    each = [one[which] / other[which] for one, other in zip(found[way], found[to], strict=True)]
    low, middle, high = statistics.quantiles(each, n=4) if len(each) > 1 else (each[0],) * 3
    return middle, low, high


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--messages", type=int, default=150_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--before", type=Path, help="another checkout, to compare the coordinators")
    arguments = parser.parse_args()
    found, scrapes = measure(arguments.messages, arguments.rounds, arguments.before)
    pairs = [("served", "off"), ("scraped", "off")] + ([("now", "before")] if arguments.before else [])
    shown = {
        f"{what}, {way} of {to}": ratios(found, way, to, which)
        for which, what in enumerate(("rate", "processor"))
        for way, to in pairs
    }
    if arguments.json:
        print(json.dumps({"v": 1, "found": found, "ratios": shown, "scrapes": scrapes}))
        return
    for way, values in found.items():
        rate, used_us = map(statistics.median, zip(*values, strict=True))
        print(f"{way:8} {rate:10,.0f} messages/s {used_us:8.1f} µs of the processor for a message")
    for name, (middle, low, high) in shown.items():
        print(f"{name:28} {middle:.4f}  ({low:.4f} to {high:.4f})")
    if scrapes:
        took = [took_s * 1000 for _, took_s in scrapes]
        print(f"{len(scrapes)} scrapes of {scrapes[-1][0]} bytes, median {statistics.median(took):.1f} ms")


if __name__ == "__main__":
    main()
