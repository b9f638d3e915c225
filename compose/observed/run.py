"""A service that a Prometheus watches: orders go in, a worker is killed, and Prometheus tells both.

    python compose/observed/run.py

Where no Prometheus is installed, what it would scrape is looked at instead. All addresses are free ones.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FABRIC = [sys.executable, "-m", "fabric.cli"]  # the command `fabric` of this environment
ORDERS = [{"id": number, "items": 1 + number % 15} for number in range(30)]
PATIENCE_S = 60
"""For a hang; everything here takes moments."""


def fabric(*arguments: str, state: str) -> str:
    """Run a command to its end, and return what it printed."""
    environment = {**os.environ, "FABRIC_STATE_DIR": state}
    return subprocess.run(
        [*FABRIC, *arguments], env=environment, check=True, stdout=subprocess.PIPE, text=True, cwd=HERE
    ).stdout


def get(url: str) -> str:
    """Return what is served there."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def until(what: Any) -> Any:
    """Try again and again until it gives something."""
    give_up_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_s:
        try:
            found = what()
        except OSError:  # it is not there yet
            found = None
        if found:
            return found
        time.sleep(0.1)
    raise SystemExit("nothing came of it")


@contextmanager
def prometheus(target: str, folder: Path) -> Iterator[str]:
    """Give the address of a Prometheus that watches a target."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    text = (HERE / "prometheus.yml").read_text().replace("127.0.0.1:9464", target)
    config = folder / "prometheus.yml"
    config.write_text(text.replace("../../deploy", str(HERE.parents[1] / "deploy")))
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    process = subprocess.Popen([*command, f"--web.listen-address={address}", "--log.level=warn"])
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait()


def watch(url: str, service: dict[str, Any]) -> None:
    """Ask a Prometheus what it has seen; kill a worker, and ask for its alert."""

    def ask(expression: str) -> dict[str, str]:
        found = json.loads(get(f"{url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"))["data"]["result"]
        return {" ".join(one["metric"].values()): one["value"][1] for one in found}

    seen = until(lambda: ask("sum by (channel) (fabric_messages_total)"))
    for channel, messages in sorted(seen.items()):
        print(f"{channel}: {messages} messages")
    victim = next(worker for worker in service["workers"] if worker["worker"] == "review")
    os.kill(victim["pid"], signal.SIGKILL)
    print("killed:", victim["worker"])
    until(lambda: ask('fabric_worker_exits_total{worker="review", outcome="signal"} > 0'))
    if list(HERE.glob("../../deploy/prometheus/alerts.yml")):
        until(lambda: ask('ALERTS{alertname="FabricWorkerCrashed", alertstate="firing"}'))
        print("alert: FabricWorkerCrashed")


def main() -> None:
    """Start the service, watch it, end it."""
    with tempfile.TemporaryDirectory(prefix="observed") as folder:
        state = f"{folder}/state"
        fabric("up", "-d", "--http", "127.0.0.1:0", "main.plumb", state=state)
        try:
            answers = fabric("send", *map(json.dumps, ORDERS), state=state).splitlines()
            print(f"{len(ORDERS)} orders, {len(answers)} answers")
            service = json.loads(fabric("ps", "--format", "json", state=state))["services"][0]
            print("ready:", json.loads(get(f"{service['http']}/readyz"))["ready"])
            if shutil.which("prometheus") is None:
                page = get(f"{service['http']}/metrics")
                print(*(line for line in page.splitlines() if line.startswith("fabric_messages_total")), sep="\n")
                return
            with prometheus(service["http"].removeprefix("http://"), Path(folder)) as url:
                watch(url, service)
        finally:
            fabric("down", state=state)


if __name__ == "__main__":
    main()
