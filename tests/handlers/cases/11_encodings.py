"""Digests of bodies as handlers see them, however they are stored."""

import hashlib

import pugmark

found = {}
for entry in pugmark.read():
    if entry.event() == "push":
        found[entry.name()] = [len(entry.body()), hashlib.sha256(entry.body()).hexdigest()[:8]]
if "found" in found:
    pugmark.pause("looked")
else:
    pugmark.write_json(found, name="found")
    import gzip

    packed = gzip.compress(b"packed by the handler")
    pugmark.write(packed, name="packed", content_type="text/plain", content_encoding="gzip")
