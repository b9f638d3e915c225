"""A tool is a function with types."""


def count(text: str) -> int:
    """Count the words of a text."""
    return len(text.split())
