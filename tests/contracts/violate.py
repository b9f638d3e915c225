"""Break each import contract in a copy of the sources and see that the check notices. Run by CI."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# What the check has to say, the file, and the line that is added to it. The first says that without a violation all
# is well.
VIOLATIONS = {
    " 0 broken": ("fabric/errors.py", ""),
    "A stage imports the stages before it, never those after it BROKEN": (
        "fabric/lang/source.py",
        "import fabric.plan.plan",
    ),
    "fabric.helpers": ("fabric/helpers.py", '"""A module that nobody placed."""'),
    "it is started anew for every decision BROKEN": ("fabric/handler/bodies.py", "import msgspec"),
    "a command line in the plan BROKEN": ("fabric/worker/data.py", "import plumb_agent"),
    "the wire, the transport and the errors BROKEN": ("agents/plumb_agent/memory.py", "import fabric.plan.plan"),
    "to read a program given by hand BROKEN": ("agents/plumb_agent/worker.py", "import fabric.compiler"),
    "What decides does nothing else BROKEN": ("fabric/session/drain.py", "import trio"),
    "One module imports zmq BROKEN": ("fabric/runtime/relay.py", "import zmq"),
}


def check(directory: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(directory), str(directory / "agents")])
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def main() -> int:
    missed = 0
    for expected, (file, line) in VIOLATIONS.items():
        with tempfile.TemporaryDirectory() as copy:
            directory = Path(copy)
            shutil.copy(ROOT / "pyproject.toml", directory)
            for folder in ("fabric", "agents"):
                shutil.copytree(ROOT / folder, directory / folder, ignore=shutil.ignore_patterns("__pycache__"))
            with (directory / file).open("a") as target:
                target.write(f"\n{line}\n")
            done = check(directory)
            said = " ".join(done.stdout.split())
            right = expected in said and (done.returncode == 0) == (line == "")
            print(f"{'as expected' if right else 'MISSED     '}  {line or 'nothing'!r} added to {file}: {expected!r}")
            if not right:
                missed += 1
                print(done.stdout, done.stderr)
    return min(missed, 1)


if __name__ == "__main__":
    sys.exit(main())
