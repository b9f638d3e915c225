"""Says which events it was given, and pauses for a reason that is no JSON."""

import pugmark

kinds = [str(event) for event in pugmark.events()]
pugmark.write_text(" ".join(kinds), name="seen")
if kinds[-1] == "wake":
    pugmark.sleep(30, reason="back later")
else:
    pugmark.pause("waits: {for} a push")
