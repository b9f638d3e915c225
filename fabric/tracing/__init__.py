"""Spans of OpenTelemetry, whose ids follow from the provenance of frames. Nothing of OpenTelemetry is loaded before the
first span is exported, and nothing is exported unless the environment asks for it.

    span        a span, as data
    setting     what the environment says of it
    exporter    the one thread that sends spans
"""
