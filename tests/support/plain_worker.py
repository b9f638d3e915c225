"""A worker without a line of ours: it answers each number with its tenfold, and may end in a style of its own at 3.

Copied beside a program. Arguments: the style, and how many processes end so; they are counted in a file.
"""

import json
import os
import signal
import struct
import sys
from pathlib import Path


def end(style: str, times: int) -> None:
    ended = Path("ended")
    before = len(ended.read_text()) if ended.exists() else 0
    if before >= times:
        return
    ended.write_text("x" * (before + 1))
    match style:
        case "os._exit(0)":
            os._exit(0)
        case "os._exit(3)":
            os._exit(3)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "raise":
            raise RuntimeError("boom")
        case "sys.exit(2)":
            sys.exit(2)
    sys.exit(0)


def main(style: str, times: int) -> None:
    import zmq

    context = zmq.Context()

    def port(name, kind, open_):
        socket = context.socket(kind)
        socket.linger = 0
        getattr(socket, open_)(os.environ["PLUMB_ENDPOINT_" + name])
        return socket

    data_in, ctrl_in = port("INPUT", zmq.PULL, "connect"), port("CTRL_IN", zmq.PULL, "connect")
    data_out, ctrl_out = port("OUTPUT", zmq.PUSH, "bind"), port("CTRL_OUT", zmq.PUSH, "bind")
    topic = struct.pack(">I", 5) + b"plain"
    ctrl_out.send(topic + b'{"status":"ready"}')
    while True:
        frame = data_in.recv()
        payload = frame[4 + struct.unpack(">I", frame[:4])[0] :]
        if not payload:
            break
        if payload[0] == 1:
            data_out.send(topic + payload)
            continue
        if payload[0] == 2:
            payload = payload[35 + 8 * payload[34] :]
        value = json.loads(payload)
        if value == 3:
            end(style, times)
        data_out.send(topic + json.dumps(value * 10).encode())
    data_out.send(topic)
    while len(ctrl_in.recv()) > 10:
        pass
    ctrl_out.send(topic)
    context.destroy(linger=-1)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
