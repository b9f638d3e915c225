"""Runs durable handlers: programs that read a session's log and append what they decide."""
