"""What a file says, read and checked before the first question. ``pipeline`` is where to begin."""
