"""The language of ``{{ ... }}`` outside of prompts: a list of what it may be, and a rule for each."""
