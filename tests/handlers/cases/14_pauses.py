"""Pauses as it was told, in the middle of its output."""

import pugmark

asked = [event.object for event in pugmark.events() if isinstance(event, pugmark.PushEvent)]
for step in asked[-1].decode_json():
    if isinstance(step, str) and step.startswith("pause"):
        pugmark.pause(step)
    elif isinstance(step, str):
        pugmark.write_text(step, name="said")
    elif step == float("inf"):  # not every SDK writes it
        pugmark.write("", content_type="application/vnd.pugmark.pause+text", metadata={"duration": "infs"})
    else:
        pugmark.sleep(float(step), reason=f"sleep {step}")
