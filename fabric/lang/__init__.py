"""Source text to a checked module; see LANGUAGE.md. Entry: :func:`fabric.lang.check.check_source`."""

VERSION = "1.0"
"""Of the language. What a version reads, later ones with the same first number read, too."""
