"""Both hosts on one machine, without containers: the worker of the second is started with what its container would get.

python compose/two_hosts/run.py
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
VISITORS = ["Ada: I feel sad today", "Alan: my machine laughs at me"]


def main() -> None:
    """Write the files, start the second host's worker and the coordinator, talk, and let all drain."""
    with tempfile.TemporaryDirectory() as folder:
        deployed = Path(folder, "deployed")
        environment = os.environ | {"FABRIC_STATE_DIR": f"{folder}/state", "FABRIC_KEYS": str(deployed / "keys")}

        def fabric(*words: str) -> str:
            command = [sys.executable, "-P", "-m", "fabric.cli", *words]
            return subprocess.run(
                command, cwd=HERE, env=environment, check=True, stdout=subprocess.PIPE
            ).stdout.decode()

        fabric("compose", "--no-monitors", "-o", str(deployed))
        planned = json.loads(fabric("plan", "--format", "json"))
        doctor = next(worker for worker in planned["workers"] if worker["name"] == "doctor")
        files = {
            "FABRIC_SPEC_FILE": str(deployed / "back/specs/doctor.json"),
            "FABRIC_KEY_FILE": str(deployed / "back/keys/workers/doctor.json"),
        }
        command = [sys.executable, "-P", "-m", "plumb_agent"]
        with subprocess.Popen(command, env=os.environ | doctor["environment"] | files) as worker:
            try:
                fabric("up", "-d")
                for line in fabric("send", *map(json.dumps, VISITORS)).splitlines():
                    name, answer = json.loads(line)
                    print(f"{name}: {answer}")
                fabric("down")
                print(f"the doctor left with status {worker.wait(30)}")
            finally:
                worker.kill()


main()
