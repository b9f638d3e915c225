"""Starting workers: ``launcher`` is the interface, ``process`` starts programs on this host."""
