"""dora: A and B are Python nodes, source and sink are one node; this runs a dataflow for the pipeline, then the fan.

Chosen: ``dora run``, which is local and needs no coordinator; ``queue_policy: backpressure``, which makes messages go
through dora's daemon and was twice as fast here as the default, which takes them from node to node and lost some even
from queues that were never full; bytes, which dora wraps in an Arrow array.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from dora_node import WINDOW
from workload import Figures, encode, print_figures, read_task

NODE = Path(__file__).with_name("dora_node.py")

QUEUE = {"queue_size": 4 * WINDOW, "queue_policy": "backpressure"}

PIPELINE = {"a": {"source": "ends/sent"}, "b": {"a": "a/done"}, "ends": {"sink": "b/done"}}
FAN = {"a": {"source": "ends/sent"}, "b": {"source": "ends/sent"}, "ends": {"a": "a/done", "b": "b/done"}}
"""What each node reads: outputs of others by the name of the input."""


def dataflow(reads: dict[str, dict[str, str]]) -> bytes:
    """Return a dataflow description. JSON is YAML."""
    nodes = [
        {
            "id": name,
            "path": sys.executable,
            "args": f"{NODE} {name}",
            "inputs": {port: {"source": output, **QUEUE} for port, output in inputs.items()},
            "outputs": ["sent" if name == "ends" else "done"],
        }
        for name, inputs in reads.items()
    ]
    return encode({"nodes": nodes})


def run(reads: dict[str, dict[str, str]], task: str, directory: Path) -> Figures:
    """Run a dataflow to its end; return what its ends measured."""
    description, result = directory / "dataflow.yml", directory / "figures.json"
    description.write_bytes(dataflow(reads))
    result.unlink(missing_ok=True)
    surroundings = {"BENCHMARK_TASK": task, "BENCHMARK_RESULT": str(result), "BENCHMARK_ROOT": str(os.getpid())}
    command = [Path(sys.executable).with_name("dora"), "run", description]
    ended = subprocess.run(
        command, cwd=directory, env=os.environ | surroundings, capture_output=True, text=True, check=False
    )
    if not result.exists():
        sys.exit(f"dora ended with {ended.returncode}: {ended.stdout[-2000:]}{ended.stderr[-2000:]}")
    return msgspec.json.decode(result.read_bytes(), type=Figures)


def main() -> None:
    read_task(sys.argv[1])
    with TemporaryDirectory() as directory:
        figures = run(PIPELINE, sys.argv[1], Path(directory))
        fan = run(FAN, sys.argv[1], Path(directory))
    figures.fan_per_s = fan.fan_per_s
    figures.lost += fan.lost
    figures.versions = {"dora-rs": version("dora-rs")}
    print_figures(figures)


main()
