"""Performs what a session decides. trio lives here.

``coordinator`` runs one session; ``relay`` is its ends of one worker's channels; ``gateway`` connects stdin and
stdout, ``service`` a local socket. ``journal`` and ``letter_keeper`` write down what must not be lost with a service;
``services``, ``log_files`` and ``dead_letters`` are the files. ``checkup`` looks at the host. Whoever opens a socket, a
task or a process closes it, in one ``async with``.
"""
