"""Where workers run, and the addresses that follow."""

import msgspec
import pytest

from fabric.errors import ConfigError
from fabric.plan.place import Host, Place, Placement, place
from fabric.plan.plan import Address, Plan
from tests.support.plans import plan_of

TEXT = """
let one: !string -> !string = agent { provider: "eliza" }
let two: !string -> !string = agent { provider: "eliza" }
let main: !string -> !string = plumb(input, output) { input ; one ; two ; output }
"""

HOSTS = {
    "front": Host("front", "10.0.0.1"),
    "back": Host("back", "worker.example", ports=(7000, 7999)),
    "engine": Host("engine", "fd00::2", engine="tcp://[fd00::2]:2376"),
}


def placed(text: str = TEXT, **workers: Place) -> Plan:
    return place(plan_of(text), Placement(HOSTS, "front", workers))


def test_a_worker_of_which_nothing_is_said_is_a_process_beside_the_coordinator() -> None:
    """Its sockets stay files."""
    one, two = placed().workers
    assert (one.runner, two.runner) == ("process", "process")
    assert one.endpoints["input"].bind.startswith("ipc://")
    assert not one.secured


def test_who_binds_a_port_draws_its_number() -> None:
    """The coordinator binds inputs on its host, a worker binds its outputs on its own."""
    worker = next(w for w in placed(two=Place(host="back", runner="external")).workers if w.name == "two")
    addresses = worker.endpoints
    assert (worker.runner, worker.host, worker.secured) == ("external", "back", True)
    number = int(addresses["input"].bind.rpartition(":")[2])
    assert 5600 <= number <= 6599
    assert addresses["input"] == Address(f"tcp://10.0.0.1:{number}", f"tcp://10.0.0.1:{number}")
    number = int(addresses["output"].bind.rpartition(":")[2])
    assert 7000 <= number <= 7999
    assert addresses["output"] == Address(f"tcp://0.0.0.0:{number}", f"tcp://worker.example:{number}")
    assert len({address.connect for address in addresses.values()}) == len(addresses)


def test_a_host_with_an_engine_gets_containers() -> None:
    """And one without waits for workers that somebody else starts."""
    one, two = placed(one=Place(host="engine"), two=Place(host="back")).workers
    by_name = {worker.name: worker for worker in (one, two)}
    assert by_name["one"].runner == "container"
    assert by_name["one"].endpoints["output"].bind.startswith("tcp://[fd00::2]:")
    assert by_name["two"].runner == "external"


def test_a_worker_more_moves_no_other() -> None:
    """Ports are drawn by name."""
    more = (
        TEXT.replace("one ; two ;", "one ; three ; two ;")
        + '\nlet three: !string -> !string = agent { provider: "eliza" }'
    )
    away = Place(host="back", runner="external")
    before = {worker.name: worker.endpoints for worker in placed(one=away, two=away).workers}
    after = {worker.name: worker.endpoints for worker in placed(more, one=away, two=away, three=away).workers}
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        (Place("fabric.toml:3", host="bakc"), "fabric.toml:3: there is no host 'bakc'; did you mean 'back'?"),
        (Place("fabric.toml:3", host="back", runner="process"), "put on host 'back' as a process"),
    ],
)
def test_a_worker_that_cannot_run_where_it_is_put_is_refused(said: Place, complaint: str) -> None:
    """With the line that puts it there."""
    with pytest.raises(ConfigError, match=complaint.replace("?", r"\?")):
        placed(one=said)


def test_a_host_has_to_have_enough_ports() -> None:
    """The complaint says how many."""
    few = msgspec.structs.replace(HOSTS["back"], ports=(7000, 7005))
    away = Place(host="back", runner="external")
    with pytest.raises(ConfigError, match=r"host 'back' has 6 ports, 7000-7005; 8 are needed"):
        place(plan_of(TEXT), Placement(HOSTS | {"back": few}, "front", {"one": away, "two": away}))


BUILTIN = """
let write : { path: string, text: string } -> unit = tool { builtin: "fs.write" }
let one : !string -> !string = agent { provider: "eliza", tools: [write] }
let main : !string -> !string = plumb(i, o) { i ; one ; o }
"""


def test_a_builtin_stays_where_its_files_are() -> None:
    """A runner of all leaves it a process; to put it elsewhere is refused with the reason."""
    for runner in ("container", "external"):
        workers = place(plan_of(BUILTIN), Placement(HOSTS, "front", runner=runner)).workers
        assert {worker.name: worker.runner for worker in workers} == {"one": runner, "write": "process"}
        with pytest.raises(ConfigError, match=r"'write' is a builtin, .* not there .* beside the coordinator"):
            placed(BUILTIN, write=Place(runner=runner))
    with pytest.raises(ConfigError, match="'write' is a builtin"):
        placed(BUILTIN, write=Place(host="engine"))
    (kept,) = (w for w in placed(BUILTIN, write=Place(host="front")).workers if w.name == "write")
    assert kept.runner == "process"
