"""Fills slots by name, with every way to look at them."""

import pugmark

state = pugmark.state()
if "reply" in state:
    assert pugmark.load_json("reply") == {"hello": "world"}
    assert pugmark.load("missing") is None
    assert pugmark.load_text("missing") is None
    pugmark.pause(f"{len(state)} names")
else:
    pugmark.write("hello", name="greeting")
    pugmark.write({"hello": pugmark.load_text("who")}, name="reply")
    pugmark.write_bytes(pugmark.load_bytes("blob")[::-1], name="blob", content_type="image/x-noise")
    with pugmark.open("notes", content_type="text/markdown") as notes:
        notes.seek(0, 2)
        notes.write(b"\n- and more")
    with pugmark.open("who") as unchanged:
        unchanged.read()
