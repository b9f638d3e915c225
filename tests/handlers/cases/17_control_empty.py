"""Tells what it is given of a start."""

import pugmark

given = [[entry.event(), entry.content_type(), len(entry.body())] for entry in pugmark.read()]
if len(given) < 4:
    pugmark.write_json(given)
else:
    pugmark.pause("told")
