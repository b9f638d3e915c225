"""Fails in one way after the other; its counter is outside."""

import os
import pathlib
import signal
import sys
import time

import pugmark

list(pugmark.read())
counter = pathlib.Path(pugmark.metadata()["counter"])
with counter.open("ab") as file:
    file.write(b".")
attempt = counter.stat().st_size

pugmark.write(f"by attempt {attempt}")
if attempt == 1:
    sys.exit(7)
if attempt == 2:
    os.kill(os.getpid(), signal.SIGKILL)
if attempt == 3:
    time.sleep(3600)
if attempt == 4:
    pugmark.write(object())
pugmark.pause("well")
