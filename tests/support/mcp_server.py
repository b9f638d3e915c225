"""An MCP server with nothing but the standard library, to show what servers do, also wrong ones. It imports nothing of
ours.

Its arguments say how it behaves: ``silent`` answers nothing, ``crash`` ends at once, ``greets`` prints a line first
that is no message, ``rubbish`` prints nothing else and ends, ``many`` has 200 tools on pages of 30, ``stubborn`` ends
for no signal but the last, ``hidden`` has a tool whose name a terminal obeys, ``child`` leaves a process behind that
does not end by itself (its id is in the file ``child``).
"""

import json
import os
import signal
import subprocess
import sys
import time

MODES = sys.argv[1:]
TOOLS = ["echo", "slow", "die", "wrong", "picture", "structured", "large", "process", "environment"]
if "many" in MODES:
    TOOLS += [f"tool-{number}" for number in range(200 - len(TOOLS))]
if "hidden" in MODES:
    TOOLS.append("read\x1b[2Kwrite")
PAGE = 30


def complain(text):
    print(text, file=sys.stderr, flush=True)


def say(message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def result_of(tool, arguments):
    if tool == "echo":
        return {"content": [{"type": "text", "text": str(value)} for value in arguments.values()]}
    if tool == "wrong":
        return {"content": [{"type": "text", "text": "it went wrong"}], "isError": True}
    if tool == "picture":
        picture = {"type": "image", "data": "AAAA", "mimeType": "image/png"}
        return {"content": [{"type": "text", "text": "look:"}, picture]}
    if tool == "structured":
        return {"content": [], "structuredContent": {"a": [1, 2.5]}}
    if tool == "large":
        return {"content": [{"type": "text", "text": "x" * (2 * 1024 * 1024)}]}
    if tool == "process":
        return {"content": [{"type": "text", "text": str(os.getpid())}]}
    if tool == "environment":
        found = {"names": sorted(os.environ), "folder": os.getcwd()}
        return {"content": [], "structuredContent": found}
    return {"content": [{"type": "text", "text": tool}]}


def answer(request):
    method, params = request["method"], request.get("params") or {}
    if method == "initialize":
        info = {"name": "test", "version": "1"}
        return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": info}
    if method == "tools/list":
        start = int(params.get("cursor") or 0)
        schema = {"type": "object"}
        tools = [{"name": name, "description": f"It is {name}.", "inputSchema": schema} for name in TOOLS]
        more = {"nextCursor": str(start + PAGE)} if start + PAGE < len(tools) else {}
        return {"tools": tools[start : start + PAGE], **more}
    if method == "tools/call":
        return result_of(params["name"], params.get("arguments") or {})
    return None


if "crash" in MODES:
    complain("cannot read my configuration")
    complain("giving up")
    sys.exit(3)
if "greets" in MODES or "rubbish" in MODES:
    print("Welcome to the test server!", flush=True)
if "stubborn" in MODES:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "child" in MODES:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    with open("child", "w") as file:
        file.write(str(child.pid))
with open(f"pid-{os.getpid()}", "w"):
    pass
for line in sys.stdin:
    request = json.loads(line)
    if "silent" in MODES:
        continue
    if "rubbish" in MODES:
        print("<html>", flush=True)
        break
    if request.get("method") == "notifications/cancelled":
        complain("a call was cancelled")
    if "id" not in request:
        continue
    tool = (request.get("params") or {}).get("name")
    if request["method"] == "tools/call" and tool == "slow":
        complain("slow was called")
        continue
    if request["method"] == "tools/call" and tool == "die":
        complain("dying")
        sys.exit(7)
    found = answer(request)
    if found is None:
        say({"id": request["id"], "error": {"code": -32601, "message": "Method not found"}})
    else:
        say({"id": request["id"], "result": found})
while "stubborn" in MODES:
    time.sleep(3600)
