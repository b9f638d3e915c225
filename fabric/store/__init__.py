"""Durable logs of sessions, in a bucket: a directory, memory, or object storage.

    objects      what a bucket has to do: five methods
    file         a bucket that is a directory
    memory       one that is nowhere
    remote       one of S3, Google or Azure
    opening      from the URL of a bucket to the bucket
    probe        whether it keeps what a log rests on

    keys         where things are in it
    record       what is written, as data and as bytes
    commit       the rule by which a log grows
    readiness    what a session waits for
    replay       what is in a session, in order
    outbox       what a commit asks of other sessions
    snapshot     many commits in one object

Those last decide, and do nothing. Others carry it out:

    tail         the commits of one session, read once
    log          one session: reads, appends, does what its commits ask for
    bucket       begins sessions, finds them, deletes them
    archive      sessions as one file
    rehearsal    a bucket in which nothing happens

A session is a manifest, which never changes, and a log of commits, which is only ever appended to. A commit is one
object. It is created if there is none of its number yet; that is the only thing that a bucket has to do atomically.
"""
