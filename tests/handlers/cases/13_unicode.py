"""Names and texts of all kinds, unchanged."""

import pugmark

texts = {entry.name(): entry.decode_text() for entry in pugmark.read() if entry.event() == "push"}
if any(name.startswith("out/") for name in texts):
    pugmark.pause("\u2028 \U0001f600 " + "é" * 3)
else:
    for name, text in texts.items():
        pugmark.write(text[::-1], name=f"out/{name}", metadata={name or "-": text})
