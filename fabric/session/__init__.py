"""What one running session decides. Pure: events in, commands out; time and chance are arguments.

Read ``events``, then ``session``, which asks the others: ``startup`` and ``shutdown`` for one worker's life,
``delivery`` for what is on its way to it, ``drain`` for what has ended, ``morphisms`` for where a message goes next;
``causes`` for why it does not.
"""
