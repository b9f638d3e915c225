"""The LLM worker: one agent's conversation, on ZeroMQ sockets or on stdin and stdout.

Read ``conversation`` first: it decides. ``messages`` are its words, ``providers`` are the models. ``driver`` performs
what it decides; ``worker`` and ``stdio`` connect that to the outside, and ``__main__`` chooses between the two.
"""
