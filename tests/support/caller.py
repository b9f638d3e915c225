"""A program on the wire that calls tools, with nothing but pyzmq. It imports nothing of ours.

Each message is a list of calls, [name, arguments]; all are made at once. The answer is the list of their responses, in
the order of the calls.
"""

import json
import os
import struct

import zmq

NAME = os.environ["FABRIC_WORKER"].encode()
HEAD = struct.pack(">I", len(NAME)) + NAME
context = zmq.Context()


def port(name, kind):
    socket = context.socket(kind)
    socket.set(zmq.SNDHWM, 0)
    endpoint = os.environ["PLUMB_ENDPOINT_" + name]
    (socket.connect if kind == zmq.PULL else socket.bind)(endpoint)
    return socket


def read(socket):
    frame = socket.recv()
    return frame[4 + int.from_bytes(frame[:4], "big") :]


data_in, ctrl_in, tool_resp = (port(name, zmq.PULL) for name in ("INPUT", "CTRL_IN", "TOOL_RESP"))
data_out, ctrl_out, tool_req = (port(name, zmq.PUSH) for name in ("OUTPUT", "CTRL_OUT", "TOOL_REQ"))
ctrl_out.send(HEAD + b'{"status":"ready"}')
while payload := read(data_in):
    if payload[0] == 1:
        data_out.send(HEAD + payload)
        continue
    if payload[0] == 2:
        payload = payload[35 + 8 * payload[34] :]
    calls = json.loads(payload)
    for number, (name, arguments) in enumerate(calls):
        tool_req.send(HEAD + json.dumps({"id": number, "name": name, "arguments": arguments}).encode())
    responses = sorted((json.loads(read(tool_resp)) for _ in calls), key=lambda response: response["id"])
    for response in responses:
        del response["id"]
    data_out.send(HEAD + json.dumps(responses).encode())
data_out.send(HEAD)
while read(ctrl_in):
    pass
while read(tool_resp):
    pass
ctrl_out.send(HEAD)
tool_req.send(HEAD)
context.destroy(linger=-1)
