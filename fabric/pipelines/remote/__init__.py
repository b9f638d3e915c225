"""``place: fabric``: the same work, performed by workers over ZeroMQ."""
