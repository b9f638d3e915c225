"""A pipeline for many inputs: a window of items under way, and a journal of those that have ended."""
