"""A tree of sessions: each splits its task until it is one letter."""

import pugmark

events = list(pugmark.events())
kinds = [str(event) for event in events]
last_fork = len(kinds) - 1 - kinds[::-1].index("fork") if "fork" in kinds else 0
mine = [event.object for event in events[last_fork:] if isinstance(event, pugmark.PushEvent)]
task = next((each for each in mine if each.name() == "task"), None)

if task is None or any(each.name() == "done" for each in mine):
    pugmark.pause("nothing to do")
else:
    text = task.decode_text()
    for letter in text if len(text) > 1 else ():
        output = pugmark.Output(data=letter.encode(), name="task", content_type="text/plain", fork=True)
        pugmark.write(pugmark.LocalObject(output))
    pugmark.write_json({"kinds": kinds, "task": text}, name="done")
    pugmark.pause("done")
