# pyright: strict
"""What users write with the client: it has no error under strict checkers."""

import asyncio
from pathlib import Path
from typing import Any, assert_type

import fabric as pb
from fabric.types import from_python, input_type, map_type, output_type
from fabric.wire.payload import Type

result = pb.check(Path("pipeline.plumb"), search_path=["modules"])
print(result.version)
for binding in result.bindings:
    assert_type(binding, pb.Binding)
    print(binding.name, binding.input, binding.output, binding.impl, binding.attrs.get("model"))
    assert_type(map_type(binding.input_type), Any)
for declared in result.types:
    print(declared.name, declared.definition, map_type(declared.type))
for protocol in result.protocols:
    print(protocol.name, len(protocol.states))
in_type = input_type(result)
out_type = output_type(result)
assert_type(from_python(int), Type)

try:
    pb.check("pipeline.plumb")
except pb.CheckError as error:
    assert_type(error.code, str)
    assert_type(error.category, str)
    assert_type((error.line, error.column), tuple[int, int])
    print(error.detail, [diagnostic.message for diagnostic in error.diagnostics])

results = pb.call_sync(Path("pipeline.plumb"), "hello", auto_approve=True, env={"PLUMB_MODEL": "doctor"})
assert_type(results, list[Any])


async def once() -> None:
    """The answers of one call."""
    try:
        assert_type(await pb.call("pipeline.plumb", {"topic": "rain"}), list[Any])
    except pb.PipelineError as error:
        assert_type((error.detail, error.returncode, error.stderr, error.code), tuple[str, int, str, str])
    except pb.RunError as error:
        assert_type((error.detail, error.returncode), tuple[str, int])
    except pb.PlumbError as error:
        assert_type(error, pb.FabricError)


async def main() -> None:
    """A conversation."""
    async with await pb.run(Path("doctor.plumb"), verbose=True, extra=["telemetry"]) as pipeline:
        assert_type(pipeline, pb.Pipeline)
        await pipeline.send("I feel anxious")
        response = await pipeline.recv()
        print(response)
        assert_type(await pipeline.call("Tell me more", port="input"), list[Any])
        assert_type(await pipeline.recv_event(), pb.Event | None)
        assert_type(await pipeline.recv_telemetry(), pb.Telemetry | None)
        async for event in pipeline:
            match event:
                case pb.Output(data, port):
                    print(data, port)
                case pb.Telemetry(agent, payload):
                    print(agent, payload["kind"])
        async for worker, said in pipeline.extra("telemetry"):
            assert_type(worker, str)
            print(said)
        await pipeline.close_input()
        assert_type(await pipeline.shutdown(timeout=5), int)
    async with await pb.connect() as service:
        await service.send("hello")


asyncio.run(main())
