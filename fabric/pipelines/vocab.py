"""Vocabularies: what a field may say, what is taken for what, and how they grow."""

from __future__ import annotations

__all__ = ["Vocabulary"]


class Vocabulary:
    """The terms of a vocabulary."""
