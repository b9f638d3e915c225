"""Names objects by where they are."""

import pathlib

import pugmark

pushes = [event.object for event in pugmark.events() if isinstance(event, pugmark.PushEvent)]
target = pathlib.Path(pugmark.metadata()["folder"]) / "report ü.bin"
if pushes[-1].name() == "report":
    assert pushes[-1].body() == bytes(range(256)) * 1000
    pugmark.pause("fetched")
elif pushes[-1].name() == "uri":
    pugmark.write("lost", name="lost")
    pugmark.write_remote(pushes[-1].decode_text(), name="never")
else:
    target.write_bytes(bytes(range(256)) * 1000)
    pugmark.write_remote(target.as_uri(), name="report", content_type="application/x-report", metadata={"by": "uri"})
