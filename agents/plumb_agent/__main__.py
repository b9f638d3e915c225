"""``plumb-agent``: start the worker, on sockets if there are any, on stdin and stdout otherwise.

    plumb-agent spec.plumb            the one agent of a program
    python -m plumb_agent             as the fabric launches it: the spec comes on the descriptor FABRIC_SPEC_FD, or,
                                      if somebody else starts it, from the file FABRIC_SPEC_FILE

``PLUMB_ENDPOINT_INPUT`` in the environment means sockets; ``FABRIC_KEY_FILE`` names the key that opens them. The
environment is read here, once, and nowhere else.
Exit status: 0 done, 1 an input, a reply or a call failed, 2 the configuration or the program is wrong, 130 interrupted.
"""

from __future__ import annotations

__all__ = ["main", "preload"]

import contextlib
import os
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec
import trio

from fabric.errors import CheckError, ConfigError, FabricError, sole
from fabric.transport.given import forget_given, read_spec
from fabric.transport.liveness import die_with_parent
from fabric.transport.memory import MemoryTransport
from fabric.wire.codec import encode
from fabric.wire.frame import Eof
from fabric.wire.payload import STRING
from fabric.wire.spec import ENDPOINT_VARIABLES, PARENT_FD_VARIABLE, PORTS, WorkerSpec, decode_spec
from plumb_agent.logs import Logger, stderr_logger
from plumb_agent.providers import load_provider
from plumb_agent.stdio import read_program, run_stdio, write_out
from plumb_agent.toolbox import McpTool, read_mcp_tools
from plumb_agent.worker import open_ports, run_worker, serve

KEY_VARIABLES = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY")
"""Where the keys of providers are; with ``_FILE`` behind it, the name of a file that has one."""

USAGE = "usage: plumb-agent spec.plumb"

MCP_TOOLS_VARIABLE = "PLUMB_MCP_TOOLS"
"""Names a file: the tools of MCP servers that this agent may call. The coordinator writes it."""


REHEARSALS = 8
"""Python rewrites a function's code when it is called for the eighth time: better before it is shared than behind."""


def preload(providers: Iterable[str]) -> None:
    """Do, in the process that workers are forked from, what each would do at its start: import, build, warm up.

    A few workers live and die here, in memory, and leave nothing open. That takes 8 ms, and spares each worker that is
    forked 1.5 ms and half a MiB that it would not share.
    """
    import fabric.transport.sockets  # noqa: F401 - as serve() does

    for provider in providers:
        load_provider(provider)
    example = WorkerSpec("", "agent", STRING, STRING, config={"provider": "eliza", "model": "doctor"})
    for _ in range(REHEARSALS):
        trio.run(_rehearse, decode_spec(msgspec.json.encode(example)))


async def _rehearse(spec: WorkerSpec) -> None:
    """Run a worker whose input has ended."""
    transport = MemoryTransport()
    ports = open_ports(transport, {port: port for port in PORTS})
    for port in ("input", "ctrl_in"):
        transport.sender(port, bind=True).send_nowait(encode(Eof("")))
    await run_worker(spec, ports, logger=Logger(lambda line: None))


def main() -> int:
    """Run the command and return its exit status."""
    environment = dict(os.environ)
    forget_given(os.environ)
    _fill_standard_descriptors()
    logger = stderr_logger(debug=environment.get("PIPELINE_DEBUG") == "1", secrets=_secrets(environment))
    try:
        return _run(sys.argv[1:], environment, logger)
    except (Exception, KeyboardInterrupt, BaseExceptionGroup) as raised:  # noqa: BLE001 - all of them, as JSON
        match sole(raised):
            case CheckError() as error:
                for diagnostic in error.diagnostics:
                    logger.diagnosed(diagnostic)
                return error.exit_code
            case FabricError() as error:
                logger.raised(error)
                return error.exit_code
            case KeyboardInterrupt():
                return 130
        # A bug. Python would print it as it is, and with it perhaps a key.
        lines = "".join(traceback.format_exception(raised))
        logger.error("internal_error", f"{type(raised).__name__}: {raised}", {"traceback": lines})
        return 1


def _fill_standard_descriptors() -> None:
    """Put a closed file where stdin, stdout or stderr is none: what is opened next would be taken for it."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # Reading from one that only writes fails, and so does the other way round, which is what it should do.
            os.open(os.devnull, os.O_RDONLY if descriptor else os.O_WRONLY)


def _secrets(environment: Mapping[str, str]) -> list[str]:
    """Return the keys that the providers will find in this environment."""
    secrets = []
    for name in KEY_VARIABLES:
        secrets.append(environment.get(name, "").strip())
        path = environment.get(f"{name}_FILE")
        if path:
            with contextlib.suppress(OSError, ValueError):  # whoever needs the key says what is wrong
                secrets.append(Path(path).read_text(encoding="utf-8").strip())
    return secrets


def _run(arguments: Sequence[str], environment: Mapping[str, str], logger: Logger) -> int:
    if arguments and arguments[0] in ("-h", "--help"):
        write_out(f"{USAGE}\n\n{__doc__}".encode())
        return 0
    if PARENT_FD_VARIABLE in environment:
        die_with_parent(_descriptor(PARENT_FD_VARIABLE, environment))
    given = None if arguments else read_spec(environment)
    if given is not None:
        spec = given
    elif len(arguments) == 1:
        spec = read_program(arguments[0], environment.get("PLUMB_RESOURCES", ""))
    else:
        raise ConfigError(USAGE)
    spec = _with_defaults(spec, environment)
    mcp_tools = _read_mcp_tools(environment.get(MCP_TOOLS_VARIABLE, ""))
    if ENDPOINT_VARIABLES["input"] in environment:
        endpoints = {port: environment[name] for port, name in ENDPOINT_VARIABLES.items() if environment.get(name)}
        return trio.run(serve, spec, endpoints, logger, environment, mcp_tools)
    return trio.run(partial(run_stdio, spec, logger, environment=environment, mcp_tools=mcp_tools))


def _descriptor(name: str, environment: Mapping[str, str]) -> int:
    try:
        return int(environment[name])
    except ValueError:
        raise ConfigError(f"{name} must be the number of a descriptor, got {environment[name]!r}") from None


def _read_mcp_tools(path: str) -> Sequence[McpTool]:
    if not path:
        return ()
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read the file of {MCP_TOOLS_VARIABLE}, {path!r}: {error.strerror}") from None
    return read_mcp_tools(text)


def _with_defaults(spec: WorkerSpec, environment: Mapping[str, str]) -> WorkerSpec:
    """Fill in provider, model and endpoint where the program does not say them."""
    config = dict(spec.config)
    if not config.get("endpoint") and environment.get("PLUMB_ENDPOINT"):
        config["endpoint"] = environment["PLUMB_ENDPOINT"]
    if not config.get("provider") and environment.get("PLUMB_PROVIDER"):
        config["provider"] = environment["PLUMB_PROVIDER"]
    provider = config.get("provider")
    if provider and not config.get("model"):
        own = {"eliza": "doctor", "scripted": "scripted"}  # they have one each
        model = own.get(provider) or environment.get("PLUMB_MODEL")
        if model:
            config["model"] = model
    return msgspec.structs.replace(spec, config=config)


if __name__ == "__main__":
    sys.exit(main())
