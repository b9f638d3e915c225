"""Which MCP servers a program needs, and who shares them."""

from __future__ import annotations

from plans import plan_of

from fabric.plan.plan import ServerPlan
from fabric.plan.servers import listed

ECHO = 'provider: "eliza", mcp: [{ name: "echo", command: "./echo", args: ["-v"], env: ["TOKEN"] }]'
FAR = '{ name: "far", url: "http://far/mcp" }'
TEXT = f"""
let a : !string -> !string = agent {{ {ECHO} }}
let b : !string -> !string = agent {{ {ECHO} }}
let c : !string -> !string = agent {{ provider: "eliza", mcp: [{{ name: "echo", command: "other" }}, {FAR}] }}
let main : !string -> !string = plumb(i, o) {{ i ; a ; b ; c ; o }}
"""
PLAN = plan_of(TEXT)
WORKERS = {worker.name: worker for worker in PLAN.workers}


def test_equal_declarations_are_one_server_and_others_of_the_same_name_are_not():
    """A relative command is beside the program; one that is looked up is left as it is."""
    assert {key: server.callers for key, server in PLAN.servers.items()} == {
        "echo": ("a", "b"),
        "echo-2": ("c",),
        "far": ("c",),
    }
    assert PLAN.servers["echo"] == ServerPlan("echo", "echo", ("echo", "-v"), "", ("TOKEN",), ".", ("a", "b"))
    assert PLAN.servers["echo-2"].command == ("other",)
    assert (PLAN.servers["far"].url, PLAN.servers["far"].command) == ("http://far/mcp", ())


def test_an_agent_knows_its_servers_by_the_names_that_it_declares():
    """It has the ports of calls, and a file that tells it of the tools."""
    assert WORKERS["c"].servers == {"echo": "echo-2", "far": "far"}
    assert WORKERS["c"].calls
    assert WORKERS["c"].mcp_tools.startswith("RUN/mcp-")
    assert len({worker.mcp_tools for worker in PLAN.workers}) == 3


def test_a_plan_learns_which_tools_its_servers_have():
    """When they run."""
    found = listed(PLAN, {"echo": ("say", "shout")})
    assert (found.servers["echo"].tools, found.servers["far"].tools) == (("say", "shout"), ())
