"""Files for those who run a program elsewhere: compose files, Kubernetes manifests, what an image is built from.

``deployment`` lays a placed program out as containers, ``layout`` says what these find inside; ``compose`` and
``kubernetes`` write it down. All of that is pure. ``making``, ``program``, ``folder`` and ``writing`` read and write.
"""
