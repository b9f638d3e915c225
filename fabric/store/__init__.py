"""Durable logs of sessions, in a bucket: a directory, memory, or object storage.

    objects    what a bucket has to do: five methods
    record     what is written, as data and as bytes

A session is a manifest, which never changes, and a log of commits, which is only ever appended to. A commit is one
object. It is created if there is none of its number yet; that is the only thing that a bucket has to do atomically.
"""
