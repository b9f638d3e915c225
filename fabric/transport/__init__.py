"""Bytes from one endpoint to another: ZeroMQ sockets under trio, and the same in memory for simulation.

``ports`` says what both offer. ``sockets`` is the only module that imports zmq.
"""
