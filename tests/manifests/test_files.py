"""Files as data."""

from fabric.manifests.files import File, digest_of, spec_file
from fabric.wire.payload import STRING
from fabric.wire.spec import Document, WorkerSpec, decode_spec


def test_a_spec_is_read_as_it_was():
    """Though what is usual is not written."""
    spec = WorkerSpec("ü#1", "agent", STRING, STRING, {"a": [1, {"b": None}]}, "/app", (Document("x", 'a\n"b"'),))
    content = spec_file(spec).content
    assert decode_spec(content) == spec
    assert b"part_of" not in content
    assert content.count(b"\n") > 10


def test_a_digest_tells_files_apart():
    """By what is in them and by where they are; not by their order."""
    one, two = File(b"1"), File(b"2")
    assert digest_of({"a": one, "b": two}) == digest_of({"b": two, "a": one})
    assert len({digest_of(files) for files in ({"a": one}, {"a": two}, {"b": one}, {"a": one, "b": one}, {})}) == 5
