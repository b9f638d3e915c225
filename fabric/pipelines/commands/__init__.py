"""``fabric pipeline``: each command parses, calls one function, and prints. ``cli`` puts them together."""
