"""The engine that tests start, and the image that they make: what other tests rest on."""

from engine import IMAGE, Engine

SCRIPT = "import os, fabric.worker, plumb_agent, zmq; print(os.getuid(), os.getgid(), zmq.has('curve'))"


def test_the_image_runs_the_fabric_as_anybody(engine: Engine) -> None:
    """A container without root, without a writable file and without a network imports what a worker needs."""
    flags = ("--rm", "--network=none", "--user=65532:65532", "--read-only", "--cap-drop=ALL")
    assert engine.docker("run", *flags, IMAGE, "python", "-P", "-c", SCRIPT).split() == ["65532", "65532", "True"]
    assert engine.containers() == []


def test_the_command_is_there(engine: Engine) -> None:
    """The image has the fabric's command, too."""
    assert "fabric" in engine.docker("run", "--rm", "--network=none", IMAGE, "fabric", "version")
