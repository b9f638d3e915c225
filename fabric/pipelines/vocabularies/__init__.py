"""The files of vocabularies, what a value is taken for, and how they grow after a run."""
