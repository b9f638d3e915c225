"""Messages of Protocol Buffers: written as the public SDK writes them, and read by their descriptions."""

from __future__ import annotations

from io import StringIO

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, message_factory, symbol_database
from sdks import OURS, PUBLIC, run_script

import fabric.handler as pugmark
from fabric.handler import protoipc

MADE = """
import pugmark
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf import duration_pb2

pool = descriptor_pool.DescriptorPool()
pool.AddSerializedFile(duration_pb2.DESCRIPTOR.serialized_pb)
for number, imported in ((1, ["google/protobuf/duration.proto"]), (2, ["made1.proto"])):
    file = descriptor_pb2.FileDescriptorProto(
        name=f"made{number}.proto", package="made", syntax="proto3", dependency=imported)
    message = file.message_type.add(name=f"Made{number}")
    message.field.add(name="text", number=1, type=9, label=1)
    pool.AddSerializedFile(file.SerializeToString())
Made1, Made2 = (
    message_factory.GetMessageClass(pool.FindMessageTypeByName(f"made.Made{number}")) for number in (1, 2))
"""

PUSHES = (
    MADE
    + """
from pugmark import protoipc

session = protoipc.Session()
session.push_message(Made2(text="first"), metadata={"k": "v"})
session.push_message(Made1(text="second"), fork=True)
protoipc.push_message(duration_pb2.Duration(seconds=3))
protoipc.push_message(Made1(text="third"), None, None, {"made1.proto"})
"""
)


@pytest.mark.processes
def test_pushes_are_the_same() -> None:
    """Descriptions first, each once, then messages, as the newer public SDK writes them."""
    ours = run_script(OURS, PUSHES)
    assert ours == run_script(PUBLIC[1], PUSHES)
    assert [record.get("name", "") for record in ours.records] == ["made1.proto", "made2.proto", "", "", "", ""]
    older = run_script(PUBLIC[0], PUSHES).records
    assert [{**record, "content-type": "application/protobuf"} for record in ours.records] == older


def state_of(script: str, sdk: str) -> pugmark.State:
    """Return what a script writes as the state of a session that has it in its log."""
    session = pugmark.Session(StringIO(), StringIO())
    import base64

    for record in run_script(sdk, script).records:
        output = pugmark.Output(
            data=base64.b64decode(record["data"]),
            name=record.get("name", ""),
            content_type=record["content-type"],
            schema_url=record["schema-url"],
        )
        session.store(pugmark.LocalObject(output))
    return session.state()


def types() -> symbol_database.SymbolDatabase:
    """Return a place for types that knows none."""
    return symbol_database.SymbolDatabase(pool=descriptor_pool.DescriptorPool())


@pytest.mark.processes
@pytest.mark.parametrize("sdk", [OURS, *PUBLIC])
def test_messages_are_read_by_their_descriptions(sdk: str) -> None:
    """Who has no generated code reads what any version has pushed; the known types that a file imports are there."""
    scanned = list(protoipc.scan_messages(state_of(PUSHES, sdk)))
    assert [message.DESCRIPTOR.full_name for message in scanned] == [
        "made.Made2", "made.Made1", "google.protobuf.Duration", "made.Made1",
    ]  # fmt: skip
    assert [getattr(message, "text", None) for message in scanned] == ["first", "second", None, "third"]


def test_what_nothing_describes_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """It is passed over, and stderr says so; what is no message at all is passed over in silence."""
    state = pugmark.State()
    for content_type, schema in [
        ("application/protobuf", "x/unknown.Type"),
        ("text/plain", "x/y"),
        ("application/protobuf", ""),
    ]:
        state.append(pugmark.LocalObject(pugmark.Output(content_type=content_type, schema_url=schema)))
    assert list(protoipc.scan_messages(state, types())) == []
    assert capsys.readouterr().err == (
        "fabric.handler.protoipc: a message is passed over: nothing describes its type unknown.Type\n"
    )


def test_damaged_message() -> None:
    """A body that is not of its type is an error."""
    state = pugmark.State()
    output = pugmark.Output(
        data=b"\xff", content_type="application/protobuf; messageType=x", schema_url="x/google.protobuf.Duration"
    )
    state.append(pugmark.LocalObject(output))
    with pytest.raises(RuntimeError, match=r"1 bytes is not a google\.protobuf\.Duration"):
        list(protoipc.scan_messages(state))


def test_session_of_a_message() -> None:
    """A message for another session goes there with its description; this one's are pushed on their own."""
    pool = descriptor_pool.DescriptorPool()
    file = descriptor_pb2.FileDescriptorProto(name="own.proto", package="own", syntax="proto3")
    file.message_type.add(name="Own")
    pool.AddSerializedFile(file.SerializeToString())
    message = message_factory.GetMessageClass(pool.FindMessageTypeByName("own.Own"))()
    written = StringIO()
    session = protoipc.Session(pugmark.Session(StringIO(), written))
    session.push_message(message, session="other")
    session.push_message(message)
    session.push_message(message, session="other")
    lines = written.getvalue().splitlines()
    assert ['"session":"other"' in line for line in lines] == [True, True, False, False, True]


def test_well_known_message_is_its_class() -> None:
    """What protobuf ships is read as the class that it ships."""
    state = pugmark.State()
    protoipc.push_message(duration_pb2.Duration(seconds=3), write=state.append)
    assert list(protoipc.scan_messages(state)) == [duration_pb2.Duration(seconds=3)]
