"""Knows how far the log had come, which only a request says."""

import pugmark

list(pugmark.read())
pugmark.write_json({"snapshot": pugmark.default_session().snapshot()})
pugmark.pause("said")
