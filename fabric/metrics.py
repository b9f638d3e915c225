"""Every metric, defined once, with its unit."""
