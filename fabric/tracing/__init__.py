"""Spans of OpenTelemetry, whose ids follow from the provenance of frames. Loaded where somebody asks for them."""
