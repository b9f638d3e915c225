"""Source text to a checked module; see LANGUAGE.md. Entry: :func:`fabric.lang.check.check_source`."""
