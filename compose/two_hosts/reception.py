"""The reception: it takes a line such as "Ada: I feel sad" apart."""


def admit(visitor: str) -> dict[str, str]:
    """Return who came and what was said."""
    name, _, said = visitor.partition(": ")
    return {"name": name, "said": said}
