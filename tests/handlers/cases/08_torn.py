"""Ends well, in the middle of a record."""

import os
import pathlib
import sys

import pugmark

list(pugmark.read())
again = pathlib.Path(pugmark.metadata()["again"])
pugmark.write("whole", name="whole")
if not again.exists():
    again.touch()
    sys.stdout.flush()
    os.write(1, b'{"data":"aGFsZg==","name":"half"}')
    os._exit(0)
pugmark.pause("whole")
