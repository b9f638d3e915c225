"""A real Prometheus, Debian's, for the tests that let one look at a service."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus/rules.yml"
ALERTS = DEPLOY / "prometheus/alerts.yml"
DASHBOARD = DEPLOY / "grafana/dashboards/fabric.json"
PATIENCE_S = 60
"""For a hang, not a measurement."""


def expressions_of_rules(path: Path) -> list[tuple[str, str]]:
    groups = yaml.safe_load(path.read_text())["groups"]
    return [(rule.get("record") or rule["alert"], rule["expr"]) for group in groups for rule in group["rules"]]


def expressions_of_dashboard() -> list[tuple[str, str]]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [(panel["title"], target["expr"]) for panel in panels for target in panel.get("targets", ())]


def promtool(*arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["promtool", *map(str, arguments)], input=stdin, capture_output=True, timeout=PATIENCE_S)


def require() -> None:
    """Skip where there is no Prometheus, unless there has to be one."""
    for program in ("prometheus", "promtool"):
        if shutil.which(program) is None:
            if os.environ.get("FABRIC_PEERS_REQUIRED"):
                pytest.fail(f"{program} is not installed: apt-get install prometheus")
            pytest.skip(f"{program} is not installed")


def until(what: Callable[[], Any]) -> Any:
    """Ask again and again until there is something."""
    give_up_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            found = what()
        except OSError:  # it is not there yet
            found = None
        if found:
            return found
        assert time.monotonic() < give_up_s, "nothing came of it"
        time.sleep(0.1)


class Prometheus:
    """One that runs."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, expression: str) -> list[Any]:
        """Return what an expression gives now."""
        query = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{query}", timeout=10) as answer:
            found: list[Any] = json.loads(answer.read())["data"]["result"]
        return found


@contextmanager
def prometheus(target: str, folder: Path) -> Iterator[Prometheus]:
    """Give one that watches a service every half second, with our rules, whose alerts wait for one second at most."""
    rules = (DEPLOY / "prometheus/rules.yml").read_text()
    alerts = re.sub(r"for: \w+", "for: 1s", (DEPLOY / "prometheus/alerts.yml").read_text())
    config = (DEPLOY / "prometheus/prometheus.yml").read_text()
    (folder / "rules.yml").write_text(rules)
    (folder / "alerts.yml").write_text(alerts)
    (folder / "prometheus.yml").write_text(config.replace("127.0.0.1:9464", target).replace("15s", "500ms"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        yield Prometheus(f"http://{address}")
    finally:
        process.terminate()
        process.wait()
