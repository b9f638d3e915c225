"""Large bodies in both directions, and many small ones."""

import pugmark

objects = [entry for entry in pugmark.read() if entry.event() == "push"]
if len(objects) > 1:
    assert len(objects) == 303
    assert [each.name() for each in objects[3:6]] == ["n/0", "n/1", "n/2"]
    assert sum(int(each.decode_text()) for each in objects[3:]) == 300 * 299 // 2
    pugmark.pause(f"{sum(len(each.body()) for each in objects)} bytes")
else:
    body = objects[0].body()
    pugmark.write(body + b"!", name="more")
    pugmark.write("ü✓" * 500_000, name="text")
    for number in range(300):
        pugmark.write(str(number), name=f"n/{number}")
