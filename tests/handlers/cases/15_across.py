"""Sends to another session, as handlers in other languages do: with a field of the record."""

import json
import sys

import pugmark

mail = [event.object for event in pugmark.events() if isinstance(event, pugmark.PushEvent)]
if mail and mail[-1].name() == "to":
    record = {
        "data": "aGVsbG8=",
        "name": "letter",
        "content-type": "text/plain",
        "metadata": {"from": pugmark.session_id()},
    }
    for target in mail[-1].decode_json():
        sys.stdout.write(json.dumps({**record, "session": target}) + "\n")
pugmark.pause(f"{sum(each.name() == 'letter' for each in mail)} letters")
