"""Steps of the batches of tests: they write down what they did, for a process that was killed cannot say it."""

import os
import time
from pathlib import Path


def note(path: str, n: int) -> int:
    """Write a line, at once."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(handle, f"{n}\n".encode())
    os.close(handle)
    return n * n


def note_until(path: str, n: int, stop: int) -> int:
    """The same; from some item on, wait for ever: until the process is killed."""
    if n >= stop and not Path(path).with_name("go").exists():
        Path(path).with_name("there").touch()
        while True:
            time.sleep(60.0)
    return note(path, n)


def refuse(n: int) -> int:
    """Fail for every third."""
    if n % 3 == 0:
        raise LookupError(f"no {n}")
    return n
