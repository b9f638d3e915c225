"""One question to a model, until its answer is what it should be. ``attempts`` decides, ``models`` carries out."""
