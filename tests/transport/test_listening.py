"""Whether a worker listens, without a connection to it."""

import os
import socket
import subprocess
import sys

from fabric.transport.listening import listening, ports_of

LINES = [
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
    "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0",
    "   1: 0100007F:1F91 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0",
    "   2: 00000000000000000000000000000000:15E0 00000000000000000000000000000000:0000 0A 00000000:00000000 00:0 0 0",
]


def test_the_ports_that_are_listened_on_are_told_from_connections():
    """By the lines of the system's tables, of both families."""
    assert listening(LINES) == {8080, 5600}


def test_a_worker_binds_its_outputs():
    """What it connects to is somebody else's, and a file is no port."""
    said = {"PLUMB_ENDPOINT_OUTPUT": "tcp://0.0.0.0:5600", "PLUMB_ENDPOINT_TELEMETRY": "tcp://[::1]:5602"}
    others = {"PLUMB_ENDPOINT_INPUT": "tcp://10.0.0.1:7000", "PLUMB_ENDPOINT_CTRL_OUT": "ipc:///run/x"}
    assert ports_of(said | others) == {5600, 5602}


def test_the_command_looks_at_this_machine():
    """Its status is what a health check asks for."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        command = [sys.executable, "-P", "-m", "fabric.transport.listening"]

        def ask(address: str) -> subprocess.CompletedProcess[str]:
            environment = {"PATH": os.environ["PATH"], "PLUMB_ENDPOINT_OUTPUT": address}
            return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)

        assert ask(f"tcp://127.0.0.1:{port}").returncode == 0
        missing = ask("tcp://127.0.0.1:1")
        assert (missing.returncode, missing.stderr) == (1, "nothing listens on 1\n")
