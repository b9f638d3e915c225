"""Runs durable handlers: programs that read a session's log and append what they decide.

    running      the loop: reads the log, invokes, commits; ``next_step`` says what is next
    records      lines between a handler and us; ``telling`` makes those that go in of a log
    decision     what an invocation has decided by all that it wrote; ``durations`` how long it sleeps
    invocation   what a handler is told beside its input; ``command`` and ``rpc`` are the two ways to invoke one
    processes    process groups, and their pipes
    objects      where handlers fetch bodies; ``fetching``: what we fetch for them

The contract is that of the public ``pugmark`` SDK, so its handlers run unchanged.
"""
