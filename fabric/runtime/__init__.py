"""Performs what a session decides. trio lives here.

``coordinator`` runs one session; ``relay`` is its ends of one worker's channels; ``gateway`` connects stdin and
stdout, ``service`` a local socket. Whoever opens a socket, a task or a process closes it, in one ``async with``.
"""
