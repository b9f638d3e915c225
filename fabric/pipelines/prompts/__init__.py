"""Jinja for prompts: in a sandbox, without effects, with an end, and with what a template reads known beforehand."""
