"""Prints, where it should not."""

import sys

import pugmark

kinds = [str(event) for event in pugmark.events()]
print("to stderr, as the SDK sees to it")
pugmark.write("kept", name="kept")
sys.stdout.write("50 % done\n")
pugmark.pause("said too much")
