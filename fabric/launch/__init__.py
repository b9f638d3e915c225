"""Starting workers. ``launcher`` is the interface.

On this host ``process`` starts them: programs of others, which ``guard`` ends if we die, and Python workers, unless
they are forked. Those ``forked`` has forked by the process that ``preload`` starts and that runs ``zygote``; ``trial``
has that done once, to see whether it can be.
"""
