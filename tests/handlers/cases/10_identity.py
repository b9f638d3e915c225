"""Says who it is."""

import pugmark

events = list(pugmark.events())
objects = [event.object for event in events if isinstance(event, pugmark.PushEvent)]
pugmark.write_json(
    {
        "session": pugmark.session_id(),
        "agent": pugmark.agent(),
        "metadata": pugmark.metadata(),
        "object": [objects[0].name(), objects[0].content_type(), objects[0].schema_url(), objects[0].metadata()],
    }
)
pugmark.pause()
