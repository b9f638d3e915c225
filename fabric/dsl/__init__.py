"""Programs written in Python: combinators that build the syntax tree which the parser builds from text."""
