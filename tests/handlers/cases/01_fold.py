"""Folds every entry of the log, control records too, and decides one step."""

import pugmark

totals = {}
steps = 0
for entry in pugmark.read():
    event = entry.decode_json()  # every entry is JSON
    steps += 1
    if "add" in event:
        totals[event["to"]] = totals.get(event["to"], 0) + event["add"]
    elif "sum" in event:
        totals = {}

if totals:
    pugmark.write({"sum": totals, "steps": steps})
else:
    pugmark.pause("nothing to add")
