"""Keeps a count for all sessions, in a namespace of memory."""

import pugmark

pushes = [event for event in pugmark.events() if isinstance(event, pugmark.PushEvent)]
if pushes[-1].object.name() == "agents/count.txt":
    pugmark.pause("counted")
else:
    with pugmark.open("agents/count.txt", content_type="text/plain") as count:
        number = int(count.read() or b"0") + 1
        count.seek(0)
        count.write(b"%d" % number)
    pugmark.write_json({"kept": pugmark.load_text("agents/count.txt"), "missing": pugmark.load_text("agents/no/such")})
    pugmark.write("also", name="elsewhere/count.txt") if number == 1 else None
    pugmark.pause("counted")
