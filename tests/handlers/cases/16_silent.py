"""Has nothing to say, unless it is asked."""

import pugmark

objects = [entry for entry in pugmark.read() if entry.event() == "push"]
if objects and objects[-1].name() == "question":
    pugmark.write("an answer", name="answer")
