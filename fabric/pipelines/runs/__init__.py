"""A run: steps begin early and count in order. ``schedule`` decides, ``run`` carries out, ``engine`` is around it."""
