"""``fabric.toml``: where it is looked for, what it may say, and what wins over it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import three_ways

from fabric.errors import ConfigError
from fabric.session.settings import Settings
from fabric.settings import (
    PortRange,
    ProjectHost,
    ProjectLimits,
    ProjectPrice,
    ProjectSettings,
    ProjectWorker,
    Resources,
    locate_keys,
    project_file,
    read_duration,
    read_settings,
    read_switch,
    user_file,
)

README = Path(__file__).parents[2] / "README.md"
DOLLARS = "expected dollars, more than 0 and at most 1000000"
PRICE = "expected dollars for a million tokens, 0 or more"
DURATION = 'such as 90, "90s", "5m" or "500ms"'


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_durations_are_plain_numbers_that_can_be_written_down(tmp_path: Path):
    """They go into records, and to other processes."""
    keys = ["ready_timeout", "grace", "stall", "approval_timeout", "tool_timeout"]
    run = "".join(f'{key} = "3s"\n' for key in keys)
    text = f'[run]\n{run}[limits]\nwall = 5\nusd = 1\n[workers.a]\nidle_timeout = "2s"\n'
    write(tmp_path / "fabric.toml", text)
    said = read_settings(tmp_path)
    assert [getattr(said, f"{key}_s") for key in keys] == [3.0] * len(keys)
    found = [*(getattr(said, f"{key}_s") for key in keys), said.limits.wall_s, said.limits.usd]
    assert {type(value) for value in [*found, said.workers["a"].idle_timeout_s]} == {float}


def test_without_a_file_nothing_is_said(tmp_path: Path):
    """And Python workers are forked."""
    assert read_settings(tmp_path) == ProjectSettings()


def test_the_readmes_example_says_everything(tmp_path: Path):
    """It has every key there is, and what it says of all workers is the default."""
    example = re.search(r"## fabric\.toml\n.*?```toml\n(.*?)```", README.read_text(), re.DOTALL)
    assert example is not None
    path = write(tmp_path / "fabric.toml", example[1])
    lines = example[1].splitlines()
    workers, prices, front, gpu1 = (
        1 + next(number for number, line in enumerate(lines) if line.startswith(f"[{table}"))
        for table in ("workers.", "prices.", "hosts.front", "hosts.gpu1")
    )
    reviewer = ProjectWorker(
        f"{path}:{workers}",
        5,
        90.0,
        "forget",
        "gpu1",
        "container",
        "my-reviewer:2",
        2,
        Resources(512 * 1024**2, 1.5, 256),
        ("HTTP_PROXY",),
    )
    default = Settings()
    assert read_settings(tmp_path) == ProjectSettings(
        tmp_path / "main.plumb",
        "zygote",
        "eliza",
        "doctor",
        ready_timeout_s=default.ready_timeout_s,
        grace_s=default.grace_s,
        restarts_max=default.restarts_max,
        redeliveries_max=default.redeliveries_max,
        stall_s=default.stall_s,
        queue=default.queue,
        policy=default.policy,
        approval_timeout_s=default.approval_timeout_s,
        tool_timeout_s=default.tool_timeout_s,
        host="front",
        runner="process",
        image="plumb-fabric",
        http="127.0.0.1:9464",
        workers={"reviewer": reviewer},
        hosts={
            "front": ProjectHost(f"{path}:{front}", "10.0.0.1"),
            "gpu1": ProjectHost(
                f"{path}:{gpu1}", "10.0.0.7", "10.0.0.7", PortRange(5600, 5699), "tcp://127.0.0.1:2375"
            ),
        },
        limits=ProjectLimits(2.0, 500_000, 400, 1200.0),
        prices={"my-model": ProjectPrice(f"{path}:{prices}", 1.0, 5.0, 0.1, 1.25)},
        store="s3://bucket/sessions",
    )


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("2", 2.0), ("0.5", 0.5), ("'500ms'", 0.5), ("'90s'", 90.0), ("'1.5 m'", 90.0), ("'2h'", 7200.0)],
)
def test_a_duration_is_seconds_or_has_a_unit(written: str, seconds: float, tmp_path: Path):
    """Whichever key it stands at."""
    write(
        tmp_path / "fabric.toml",
        f"run = {{ ready_timeout = {written}, grace = {written}, stall = {written},"
        f" approval_timeout = {written}, tool_timeout = {written} }}\n"
        f"[workers]\nw = {{ idle_timeout = {written} }}\n",
    )
    said = read_settings(tmp_path)
    assert {said.ready_timeout_s, said.grace_s, said.stall_s, said.workers["w"].idle_timeout_s} == {seconds}
    assert {said.approval_timeout_s, said.tool_timeout_s} == {seconds}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("\n[workers.reviewer]", ":2"),
        ("[ workers . 'reviewer' ]", ":1"),
        ("[workers]\n\nreviewer = { retries = 1 }", ":3"),
        ("workers.reviewer.retries = 1", ":1"),
        ("workers = { reviewer = {} }", ""),
    ],
)
def test_a_worker_that_the_program_does_not_have_is_refused_where_it_is_written(text: str, place: str, tmp_path: Path):
    """With the one that is meant, or all that there are; in a table on one line it is not looked for."""
    path = write(tmp_path / "fabric.toml", text)
    said = read_settings(tmp_path)
    said.check_workers(["reviewer", "other"])
    for names, hint in (
        (["reviewr", "other"], "did you mean 'reviewr'?"),
        (["a", "b"], "the workers are: a, b"),
        ([], "it has none"),
    ):
        with pytest.raises(ConfigError) as caught:
            said.check_workers(names)
        assert str(caught.value) == f"{path}{place}: the program has no worker 'reviewer'; {hint}"


def test_a_worker_inside_of_another_process_is_named_in_quotes(tmp_path: Path):
    """Without them TOML reads a table in a table: the complaint tells how to write it."""
    path = write(tmp_path / "fabric.toml", "[workers.desk.clerk]\nretries = 1\n")
    with pytest.raises(ConfigError) as caught:
        read_settings(tmp_path)
    hint = 'the name of a worker inside of another process wants quotes: [workers."desk.clerk"]'
    assert str(caught.value) == f"{path}:1: unknown key 'clerk'; {hint}"
    write(tmp_path / "fabric.toml", '[workers."desk.clerk"]\nretries = 1\n')
    assert read_settings(tmp_path).workers == {"desk.clerk": ProjectWorker(f"{path}:1", 1)}


def test_the_nearest_file_counts_and_is_not_mixed_with_others(tmp_path: Path):
    """The program's path starts at the file."""
    write(tmp_path / "fabric.toml", '[defaults]\nprovider = "eliza"\n')
    write(tmp_path / "a" / "fabric.toml", 'spec = "x/main.plumb"')
    (tmp_path / "a" / "b").mkdir()
    assert read_settings(tmp_path / "a" / "b") == ProjectSettings(spec=tmp_path / "a" / "x" / "main.plumb")


def test_a_pyproject_that_speaks_of_us_does_as_well(tmp_path: Path):
    """Others are passed over; of two in one directory fabric.toml counts."""
    write(tmp_path / "pyproject.toml", '[tool.fabric]\nlaunch = "spawn"\n')
    write(tmp_path / "a" / "pyproject.toml", "[project]\nname = 'x'\n")
    write(tmp_path / "b" / "pyproject.toml", "this is broken")
    for folder in ("a", "b"):
        assert read_settings(tmp_path / folder).launch == "spawn"
    write(tmp_path / "fabric.toml", "[run]\nlaunch = 'zygote'\n")
    assert read_settings(tmp_path).launch == "zygote"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\nspce = 'x'", ":2: unknown key 'spce'; did you mean 'spec'?"),
        ("[run]\ngrace = 1\nready_timout = 1", ":3: unknown key 'ready_timout'; did you mean 'ready_timeout'?"),
        ("run.grac = 1", ":1: unknown key 'grac'; did you mean 'grace'?"),
        ("[deafults]\nprovider = 'x'", ":1: unknown key 'deafults'; did you mean 'defaults'?"),
        (
            "quux = 1",
            ":1: unknown key 'quux'; expected spec, launch, defaults, limits, run, edges, store, workers, "
            "hosts, prices",
        ),
        ("defaults = {temperature = 1}", ": unknown key 'temperature'; expected provider, model"),
        ("launch = 'spwan'", """:1: launch: expected "zygote" or "spawn", got 'spwan'"""),
        ("[run]\n\nlaunch = 3", ":3: run.launch: expected str, got int"),
        (
            "[run]\nready_timeout = 0",
            f":2: run.ready_timeout: expected a duration of at least 0.1 s, {DURATION}, got 0",
        ),
        ("[run]\ngrace = 'ten'", f":2: run.grace: expected a duration of at least 0 s, {DURATION}, got 'ten'"),
        ("[run]\nstall = true", f":2: run.stall: expected a duration of at least 0.1 s, {DURATION}, got True"),
        ("[run]\nstall = inf", f":2: run.stall: expected a duration of at least 0.1 s, {DURATION}, got inf"),
        ("[run]\nrestarts = -1", ":2: run.restarts: expected int >= 0"),
        ("[run]\nrestarts = 1.5", ":2: run.restarts: expected int, got float"),
        ("[run]\nredeliveries = 0", ":2: run.redeliveries: expected int >= 1"),
        ("[edges]\nqueue = 0", ":2: edges.queue: expected int >= 1"),
        ("[edges]\nque = 1", ":2: unknown key 'que'; did you mean 'queue'?"),
        ("[edges]\npolicy = 'drop'", """:2: edges.policy: expected "block" or "dead_letter", got 'drop'"""),
        ("[workers.a]\n[workers.b]\nretries = -1", ":3: workers.b.retries: expected int >= 0"),
        ("[workers.a]\nretry = 1", ":2: unknown key 'retry'; did you mean 'retries'?"),
        ("[workers.a]\non_crash = 'die'", """:2: workers.a.on_crash: expected "fail" or "forget", got 'die'"""),
        ("[workers]\na = 3", ":2: workers.a: expected object, got int"),
        ("workers = 3", ":1: workers: expected object, got int"),
        ("[workers.a]\nreplicas = 0", ":2: workers.a.replicas: expected int >= 1"),
        ("[workers.a]\nreplicas = 65", ":2: workers.a.replicas: expected int <= 64"),
        (
            "[workers.a]\nrunner = 'pod'",
            """:2: workers.a.runner: expected "process" or "container" or "external", got 'pod'""",
        ),
        (
            "[workers.a]\nlimits = {memory = '5'}",
            """: workers.a.limits.memory: expected memory of at least 1 MiB, such as "512m" or "2g", got '5'""",
        ),
        ("[workers.a]\nlimits = {cpus = 0}", ": workers.a.limits.cpus: expected float > 0.0"),
        ("[hosts.a]\nports = '5600-5699'", ":1: hosts.a: Object missing required field address"),
        (
            "[hosts.a]\naddress = 'x'\nports = '5699-5600'",
            """:3: hosts.a.ports: expected a range of ports, such as "5600-5699", got '5699-5600'""",
        ),
        (
            "[hosts.a]\naddress = 'x'\nengine = 'docker'",
            """:3: hosts.a.engine: expected a Docker Engine, such as "unix:///run/docker.sock" or """
            """"tcp://127.0.0.1:2375", got 'docker'""",
        ),
        (
            "[hosts.a]\naddress = 'tcp://1.2.3.4'",
            """:2: hosts.a.address: expected an address without a port, such as "10.0.0.7" or "gpu1.example", """
            """got 'tcp://1.2.3.4'""",
        ),
        (
            "[hosts.a]\naddress = '999.2.3.4'",
            """:2: hosts.a.address: expected an address without a port, such as "10.0.0.7" or "gpu1.example", """
            """got '999.2.3.4'""",
        ),
        (
            "[hosts.a]\naddress = 'x'\nbind = 'nonsense!'",
            """:3: hosts.a.bind: expected an address without a port, such as "10.0.0.7" or "gpu1.example", """
            """got 'nonsense!'""",
        ),
        (
            "[workers.a]\nenv = ['A=B']",
            """: workers.a.env[0]: expected the name of a variable, such as "HTTP_PROXY", got 'A=B'""",
        ),
        (
            "[workers.a]\nimage = 'BAD IMAGE'",
            """:2: workers.a.image: expected the name of an image, such as "plumb-fabric" or """
            """"ghcr.io/me/agents:2", got 'BAD IMAGE'""",
        ),
        ("[hosts.a]\nadress = 'x'", ":2: unknown key 'adress'; did you mean 'address'?"),
        ("run = 1", ":1: run: expected object, got int"),
        ("spec = ''", ":1: spec: expected str of length >= 1"),
        ("launch = 'spawn'\n[run]\nlaunch = 'spawn'", ":3: launch is given twice, here and at the top"),
        ("spec = ", ": Invalid value (at end of document)"),
        ("[limits]\nusd = 0", f":2: limits.usd: {DOLLARS}, got 0"),
        ("[limits]\nusd = nan", f":2: limits.usd: {DOLLARS}, got nan"),
        ("[limits]\nusd = '2'", f":2: limits.usd: {DOLLARS}, got '2'"),
        ("[limits]\nusd = 1e7", f":2: limits.usd: {DOLLARS}, got 10000000.0"),
        ("[limits]\ntokens = 0", ":2: limits.tokens: expected int >= 1"),
        ("[limits]\ncalls = 1.5", ":2: limits.calls: expected int, got float"),
        ("[limits]\nwall = 0", f":2: limits.wall: expected a duration of at least 0.1 s, {DURATION}, got 0"),
        ("[limits]\ncall = 1", ":2: unknown key 'call'; did you mean 'calls'?"),
        ('[prices."gpt-4.1"]\ninput = -1\noutput = 1', f":2: prices.gpt-4.1.input: {PRICE}, got -1"),
        ('[prices."m"]\ninput = 1', ":1: prices.m: Object missing required field output"),
        ('[prices."m"]\ninput = 1\noutput = 1\ncached = 1', ":4: unknown key 'cached'; did you mean 'cache_read'?"),
        (
            "[prices.gpt-4.1]\ninput = 1",
            ":1: unknown key '1'; the name of a model with a dot wants quotes: [prices.\"gpt-4.1\"]",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(text: str, message: str, tmp_path: Path):
    """File, line, key, what was expected and what was found."""
    path = write(tmp_path / "fabric.toml", text)
    with pytest.raises(ConfigError) as caught:
        read_settings(tmp_path)
    assert str(caught.value) == f"{path}{message}"


def test_limits_and_prices_are_read(tmp_path: Path):
    """Plain numbers, also where they are written in another way; a model's name may have dots."""
    path = write(
        tmp_path / "fabric.toml",
        '[limits]\nusd = 2\ntokens = 500_000\ncalls = 400\nwall = "20m"\n'
        '[prices."gpt-4.1"]\ninput = 1\noutput = 5.5\ncache_read = 0.1\n',
    )
    said = read_settings(tmp_path)
    assert said.limits == ProjectLimits(2.0, 500_000, 400, 1200.0)
    assert (type(said.limits.usd), type(said.limits.wall_s)) == (float, float)
    assert said.prices == {"gpt-4.1": ProjectPrice(f"{path}:6", 1.0, 5.5, 0.1)}


@pytest.mark.parametrize(("text", "seconds"), [("90", 90.0), ("0.5", 0.5), ("90s", 90.0), ("20m", 1200.0)])
def test_a_flag_says_a_duration_as_a_file_does(text: str, seconds: float):
    """A number is seconds."""
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "0", "nan", "inf", "1e3", "20 minutes", "0x10"])
def test_a_flag_that_says_no_duration_is_refused(text: str):
    """Or one that is always over at once."""
    with pytest.raises(ValueError, match=re.escape("expected a duration of at least 0.1 s")):
        read_duration(text)


def test_keys_of_a_pyproject_are_named_as_they_stand_there(tmp_path: Path):
    """With the line in that file."""
    path = write(tmp_path / "pyproject.toml", "[project]\nname = 'x'\n[tool.fabric.run]\ngrace = -1\n")
    with pytest.raises(ConfigError) as caught:
        read_settings(tmp_path)
    assert (
        str(caught.value) == f"{path}:4: tool.fabric.run.grace: expected a duration of at least 0 s, {DURATION}, got -1"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tool = 3", ":1: tool: expected object, got int"),
        ("[tool]\nfabric = 3", ":2: tool.fabric: expected object, got int"),
        ("[[tool.fabric]]", ": tool.fabric: expected object, got list"),
    ],
)
def test_a_pyproject_where_our_table_is_none_is_refused(text: str, message: str, tmp_path: Path):
    """With the key, and its line if it is written plainly."""
    path = write(tmp_path / "pyproject.toml", text)
    with pytest.raises(ConfigError) as caught:
        read_settings(tmp_path)
    assert str(caught.value) == f"{path}{message}"


def test_a_pyproject_that_cannot_be_read_is_passed_over(tmp_path: Path):
    """As one that is broken: other tools complain of it."""
    write(tmp_path / "fabric.toml", 'launch = "spawn"\n')
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "pyproject.toml").write_bytes(b"[tool.fabric]\nlaunch = 'zygote' # \xff\n")
    (tmp_path / "b" / "pyproject.toml").mkdir(parents=True)
    for folder in ("a", "b"):
        assert read_settings(tmp_path / folder).launch == "spawn"


def test_a_file_that_is_no_text_is_refused(tmp_path: Path):
    """As one that cannot be read."""
    (tmp_path / "fabric.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="it is not UTF-8 text"):
        read_settings(tmp_path)
    (tmp_path / "a" / "fabric.toml").mkdir(parents=True)
    with pytest.raises(ConfigError, match="Is a directory"):
        read_settings(tmp_path / "a")


# --- The commands ----------------------------------------------------------------------------------------------------

AGENT = "let main : !string -> !string = agent { }\n"


@pytest.mark.processes
def test_a_command_exits_with_2_if_the_file_is_wrong(tmp_path: Path):
    """Nothing runs."""
    path = write(tmp_path / "fabric.toml", "grace = 1")
    for command in (["check"], ["run"], ["plan"], ["graph"], ["up"], ["call", "x.plumb", "1"]):
        done = three_ways.fabric(*command, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, b"")
        assert json.loads(done.stderr) == {
            "error": f"{path}:1: unknown key 'grace'; expected spec, launch, defaults, limits, run, edges, store, "
            "workers, hosts, prices",
            "code": "bad_config",
        }


@pytest.mark.processes
def test_a_command_exits_with_2_if_the_file_names_a_worker_that_is_none(tmp_path: Path):
    """As soon as the program is known: nothing runs."""
    program = write(tmp_path / "main.plumb", 'let main : !int -> !int = worker { command: ["cat"] }\n')
    path = write(tmp_path / "fabric.toml", "\n[workers.mian]\nretries = 1\n")
    for command in (["run"], ["plan"], ["up"], ["call", program, "1"]):
        done = three_ways.fabric(*command, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, b"")
        assert json.loads(done.stderr) == {
            "error": f"{path}:2: the program has no worker 'mian'; did you mean 'main'?",
            "code": "bad_config",
        }


@pytest.mark.processes
def test_the_program_and_the_provider_come_from_the_file_unless_something_wins(tmp_path: Path):
    """Flag, then environment, then file."""
    write(tmp_path / "p" / "main.plumb", AGENT)
    write(tmp_path / "other.plumb", AGENT)
    write(tmp_path / "fabric.toml", 'spec = "p/main.plumb"\n[defaults]\nprovider = "scripted"\nmodel = "m"\n')
    (tmp_path / "below").mkdir()

    def planned(*arguments: str, env: dict[str, str] | None = None) -> tuple[str, str]:
        done = three_ways.fabric("plan", "--format", "json", *arguments, cwd=tmp_path / "below", env=env)
        assert done.returncode == 0, done.stderr
        config = json.loads(done.stdout)["workers"][0]["config"]
        return config["provider"], config["model"]

    variable = {"PLUMB_PROVIDER": "eliza"}
    assert planned() == ("scripted", "m")
    assert planned(env=variable) == ("eliza", "doctor")
    assert planned("--provider", "scripted", env=variable) == ("scripted", "m")


@pytest.mark.processes
def test_the_files_model_is_not_combined_with_another_provider_than_the_files(tmp_path: Path):
    """It would be sent to one that does not have it. Where the file names no provider, it is for any."""
    program = write(tmp_path / "main.plumb", AGENT)
    for name, model in (('provider = "eliza"', "scripted"), ('provider = "scripted"', "m"), ("", "m")):
        write(tmp_path / "fabric.toml", f'[defaults]\n{name}\nmodel = "m"\n')
        for arguments, env in ((["--provider", "scripted"], None), ([], {"PLUMB_PROVIDER": "scripted"})):
            done = three_ways.fabric("plan", "--format", "json", *arguments, program, cwd=tmp_path, env=env)
            config = json.loads(done.stdout)["workers"][0]["config"]
            assert (config["provider"], config["model"]) == ("scripted", model)


def test_a_model_that_is_asked_for_wins():
    """Whoever says the provider."""
    said = ProjectSettings(provider="a", model="m")
    assert said.choose_model("b", "n") == ("b", "n")
    assert said.choose_model(None, "n") == ("a", "n")
    assert said.choose_model("b", None) == ("b", None)
    assert said.choose_model("", "") == ("a", "m")


@pytest.mark.processes
@pytest.mark.parametrize("launch", ["zygote", "spawn"])
def test_the_file_says_how_workers_are_started(launch: str, tmp_path: Path):
    """A worker sees who its parent is."""
    write(tmp_path / "fabric.toml", f'launch = "{launch}"\n')
    write(tmp_path / "shows.py", "import os\ndef f(value):\n    return open(f'/proc/{os.getppid()}/cmdline').read()\n")
    program = write(
        tmp_path / "main.plumb",
        'let main : !int -> !string = python { call: "shows:f" }\n',
    )
    done = three_ways.fabric("call", program, "1", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert ("fabric.launch.zygote" in json.loads(done.stdout)) == (launch == "zygote")


@pytest.mark.processes
def test_times_come_from_the_file_unless_something_wins(tmp_path: Path):
    """Flag, then environment, then file."""
    write(tmp_path / "fabric.toml", "[run]\nready_timeout = 0.3\n")
    program = write(
        tmp_path / "main.plumb",
        'let main : !int -> !int = worker { command: ["sleep", "99"] }\n',
    )

    def limit(*arguments: str, env: dict[str, str] | None = None) -> str:
        done = three_ways.fabric("call", *arguments, program, "1", cwd=tmp_path, env=env)
        assert done.returncode == 4
        return str(json.loads(done.stderr)["error"])

    assert limit().endswith("within 0.3 s")
    assert limit(env={"FABRIC_READY_TIMEOUT": "0.4"}).endswith("within 0.4 s")
    assert limit("--ready-timeout", "0.5", env={"FABRIC_READY_TIMEOUT": "0.4"}).endswith("within 0.5 s")


def test_what_the_project_does_not_say_the_user_does(tmp_path: Path):
    """Key by key, and prices by model; the workers are the project's alone."""
    user = write(
        tmp_path / "config" / "config.toml",
        '[run]\ngrace = 3\nstall = "5s"\nlaunch = "spawn"\n[limits]\nusd = 5\ncalls = 7\n'
        '[prices."a"]\ninput = 1\noutput = 1\n[prices."b"]\ninput = 1\noutput = 1\n',
    )
    project = tmp_path / "project"
    write(
        project / "fabric.toml",
        "[run]\ngrace = 4\n[limits]\nusd = 1\n[workers.w]\nretries = 1\n[prices.b]\ninput = 2\noutput = 2\n",
    )
    said = read_settings(project, user)
    assert (said.grace_s, said.stall_s, said.launch) == (4.0, 5.0, "spawn")
    assert said.limits == ProjectLimits(usd=1.0, calls=7)
    assert {model: price.input for model, price in said.prices.items()} == {"a": 1.0, "b": 2.0}
    assert list(said.workers) == ["w"]
    assert read_settings(project) != said


@pytest.mark.parametrize(
    ("project", "chosen"),
    [("", ("eliza", "doctor")), ('provider = "openai"', ("openai", None)), ('model = "m"', ("eliza", "m")),
     ('provider = "eliza"', ("eliza", "doctor"))],
)  # fmt: skip
def test_the_users_model_belongs_to_the_users_provider(tmp_path: Path, project: str, chosen: tuple[str, str | None]):
    """It is not combined with another's."""
    user = write(tmp_path / "config.toml", '[defaults]\nprovider = "eliza"\nmodel = "doctor"\n')
    write(tmp_path / "p" / "fabric.toml", f"[defaults]\n{project}\n")
    said = read_settings(tmp_path / "p", user)
    assert (said.provider, said.model) == chosen


@pytest.mark.parametrize("text", ['spec = "main.plumb"', "[workers.w]\nretries = 1"])
def test_what_only_a_project_can_mean_the_user_cannot_say(tmp_path: Path, text: str):
    """It is told where it belongs."""
    user = write(tmp_path / "config.toml", text)
    with pytest.raises(ConfigError, match=r"config.toml:\d: \w+: it is a project's, and belongs into its fabric.toml"):
        read_settings(tmp_path / "project", user)


def test_where_the_users_file_is():
    """As the XDG base directories say; a relative one counts as none, and so does no home."""
    assert user_file({"XDG_CONFIG_HOME": "/c", "HOME": "/h"}) == Path("/c/fabric/config.toml")
    assert user_file({"HOME": "/h"}) == Path("/h/.config/fabric/config.toml")
    assert user_file({"XDG_CONFIG_HOME": "c"}) is None
    assert user_file({}) is None


def test_every_key_has_its_place(tmp_path: Path):
    """In a ``pyproject.toml`` as well."""
    text = '[project]\nname = "x"\n[tool.fabric]\nspec = "a"\n[tool.fabric.run]\ngrace = 1\n'
    path = write(tmp_path / "pyproject.toml", text)
    assert project_file(tmp_path) == path
    assert locate_keys(path) == {"spec": f"{path}:4", "run.grace": f"{path}:6"}


@pytest.mark.parametrize("text", ["1", "true", "T", "yes", "Y", "on", " ON "])
def test_a_switch_that_is_on(text: str):
    """The words that a flag of the command line takes, in any letters."""
    assert read_switch(text) is True


@pytest.mark.parametrize("text", ["0", "False", "f", "no", "n", "OFF"])
def test_a_switch_that_is_off(text: str):
    """Likewise."""
    assert read_switch(text) is False


@pytest.mark.parametrize("text", ["", "perhaps", "2", "oui"])
def test_a_switch_that_is_neither_is_refused(text: str):
    """With what it may be."""
    with pytest.raises(ValueError, match="expected 1 or 0, got"):
        read_switch(text)
