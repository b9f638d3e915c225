"""Random pipelines, and what a run of one tells: the same, whichever way its steps are carried out.

A pipeline has all types of steps, nested ones too, that read each other's results, fail at times, share mocks, clients
that count and answers that were kept, change what they are given, and write a journal of their effects. Vocabularies
grow, budgets are spent. Whatever it asks or calls takes a time that nobody can foresee: functions, models, a server.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Literal

import trio
import yaml
from pydantic import BaseModel

from fabric.pipelines import PipelineRunner
from fabric.pipelines.results import AttemptLog, RunContext

Way = Literal["sequential", "dataflow", "fabric"]

WAYS: dict[Way, dict[str, Any]] = {
    "sequential": {"mode": "sequential"},
    "dataflow": {"mode": "dataflow"},
    "fabric": {"mode": "dataflow", "place": "fabric"},
}

STEPS_MAX = 9
RUNS = 2
"""Of each pipeline: its vocabularies grow."""

DELAY_S = 0.003
"""Of anything that takes time, at most."""

FUNCTIONS = f"""
import json, random, time
from types import SimpleNamespace as Said
from pydantic import BaseModel
from fabric.pipelines import register_provider

def delay():
    time.sleep(random.SystemRandom().random() * {DELAY_S})

class Odd(Exception):
    pass

class Pair(BaseModel):
    n: int
    text: str = "pair"

def note(journal, *said):
    with open(journal, "a") as file:
        file.write(json.dumps(said) + chr(10))

def number(value):
    return value if isinstance(value, int) else len(str(value))

def make(**inputs):
    delay()
    total = sum(number(value) for value in inputs.values())
    return {{"n": total % 97, "text": " ".join(map(str, inputs.values()))[:60]}}

def change(**inputs):
    made = make(**inputs)
    for value in inputs.values():
        if isinstance(value, dict):
            value.update(n=-1, changed=True)
    return made

def pair(**inputs):
    delay()
    return Pair(n=sum(number(value) for value in inputs.values()) % 97)

def fails(**inputs):
    delay()
    raise random.Random(str(inputs)).choice([ValueError, KeyError, Odd])(f"no: {{str(inputs)[:40]}}")

def write(journal, **inputs):
    delay()
    note(journal, "write", {{name: str(value) for name, value in inputs.items()}})
    delay()
    return make(**inputs)

def write_and_fail(journal, **inputs):
    write(journal, **inputs)
    raise Odd("written, and failed")

def look(journal):
    with open(journal) as file:
        seen = sum(json.loads(line)[0] != "failed" for line in file)
    delay()
    return {{"n": seen, "text": "effects so far"}}

def holds(**inputs):
    delay()
    return make(**inputs)["n"] % 8 != 1

def failed(name, error, context):
    note(context.input["journal"], "failed", name, str(error))

def parse(text):
    delay()
    return json.loads(text)

class Choices:
    def create(self, messages, **asked):
        delay()
        text = messages[-1]["content"]
        n = sum(map(ord, text)) % 97
        reply = "no JSON" if n % 7 == 0 and len(messages) < 4 else json.dumps({{"n": n, "text": text[-20:]}})
        usage = Said(prompt_tokens=len(text), completion_tokens=n, total_tokens=len(text) + n)
        return Said(choices=[Said(message=Said(content=reply))], usage=usage)

class Client:
    def __init__(self):
        self.chat = self
        self.completions = Choices()

@register_provider("of_the_random_pipelines", concurrent=True)
def client(**block):
    return Client()

class Counting(Client):
    def __init__(self):
        self.chat = self.completions = self
        self.asked = 0

    def create(self, messages, **asked):
        self.asked += 1
        number = self.asked
        delay()
        reply = "no JSON" if number % 5 == 0 else json.dumps({{"n": number, "text": "counted"}})
        return Said(choices=[Said(message=Said(content=reply))], usage=None)

@register_provider("that_counts_in_the_random_pipelines")
def counting(**block):
    return Counting()
"""


class _Server(ThreadingHTTPServer):
    """Answers ``/NUMBER``; ``/500`` and what is above is refused. What is posted is noted in the journal."""

    daemon_threads = True
    journal: Path
    lock = Lock()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        n = int(self.path[1:])
        body = json.dumps({"n": n, "text": "served"}).encode()
        self.send_response(200 if n < 500 else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        said = self.rfile.read(int(self.headers["content-length"])).decode()
        assert isinstance(self.server, _Server)
        with self.server.lock, self.server.journal.open("a") as file:
            file.write(json.dumps(["posted", said]) + "\n")
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        pass


class Folder:
    """Where pipelines are written and run.

    Args:
        path: of the folder.
        url: of the server.
    """

    def __init__(self, path: Path, url: str) -> None:
        self.path = path
        self.url = url
        self.journal = path / "journal"
        self.answers = path / "answers"

    def write(self, seed: int) -> dict[str, Any]:
        """Write the files of a pipeline; return it without what ``execution`` says of the way."""
        (self.path / "steps.py").write_text(FUNCTIONS)
        (self.path / "vocabularies").mkdir(exist_ok=True)
        rng = random.Random(seed)
        policy = rng.choice(["auto", "llm"])
        (self.path / "vocabularies" / "plastic.yaml").write_text(f"known: [PET, PE, PLA]\ngrowth_policy: {policy}\n")
        return _Drawing(rng, self).pipeline()

    def run(self, pipeline: dict[str, Any], way: Way) -> str:
        """Run it in a way; return all that it tells."""
        file = self.path / "pipeline.yaml"
        file.write_text(
            yaml.safe_dump({**pipeline, "execution": {**pipeline["execution"], **WAYS[way]}}, sort_keys=False)
        )
        shutil.rmtree(self.answers, ignore_errors=True)
        self.journal.write_text("")
        runner = PipelineRunner(file)
        events: list[Any] = []
        runner.on_step_end(
            lambda name, value, context: events.append(["step", name, _plain(value), len(context.steps)])
        )
        runner.on_llm_call(lambda step, model, text: events.append(["call", step, model, text]))
        given = {"x": 5, "text": "a PET bottle", "journal": str(self.journal)}

        async def run_all() -> list[RunContext]:
            async with runner.kept_open():
                return [await runner.arun(given) for _ in range(RUNS)]

        runs = trio.run(run_all) if way == "fabric" else [runner.run(given) for _ in range(RUNS)]
        journal = self.journal.read_text().splitlines()
        return json.dumps({"runs": list(map(told, runs)), "events": events, "journal": journal}, indent=1)


@contextmanager
def open_folder(path: Path) -> Iterator[Folder]:
    """Open a folder, and a server beside it."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.journal = path / "journal"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Folder(path, f"http://127.0.0.1:{server.server_address[1]}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def out_of_order(pipeline: dict[str, Any], told: str) -> list[str]:
    """Return what a run told otherwise than in the order of the file, whichever way it went."""
    declared = list(_declared(pipeline["steps"]))
    found = []
    for number, run in enumerate(json.loads(told)["runs"]):
        steps = [name for name, *_ in run["steps"]]
        logs = [log["step"] for log in run["logs"] if not log["step"].endswith("._growth")]
        asked = [name for name, again in zip(logs, [None, *logs], strict=False) if name != again]
        found += [f"steps of run {number}: {steps}"] * (not _are_among(steps, declared))
        found += [f"questions of run {number}: {logs}"] * (not _are_among(asked, declared))
    return found


def _declared(steps: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield the names of steps in the order in which they count: what is inside of a step counts before it."""
    for step in steps:
        for inner in ("steps", "then", "else"):
            yield from _declared(step.get(inner, ()))
        yield from (f"{step['name']}.{member['name']}" for member in step.get("members", ()))
        if "judge" in step:
            yield f"{step['name']}._judge"
        yield step["name"]


def _are_among(some: Sequence[str], names: Sequence[str]) -> bool:
    """Whether some are among the names, in that order."""
    rest = iter(names)
    return all(each in rest for each in some)


def told(context: RunContext) -> dict[str, Any]:
    """Return all that a run leaves, but what clocks say and what never counted."""
    summary = asdict(context.summary())
    for name in ("elapsed_seconds", "discarded_tokens", "attempt_logs"):
        del summary[name]
    state = context.failure_state
    return {
        "steps": [
            [name, step.name, step.status, _plain(step.value), list(map(_log, step.attempts))]
            for name, step in context.steps.items()
        ],
        "logs": [_log(log) for log in context.metadata["attempt_logs"]],
        "failed": context.failed,
        "failure": state and [state.step_name, _error(state.exception)],
        "summary": summary,
    }


def _log(log: AttemptLog) -> dict[str, Any]:
    return {**asdict(log), "elapsed_seconds": None}


def _error(error: BaseException | None) -> Any:
    return error and [type(error).__name__, str(error), _error(error.__cause__)]


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return [type(value).__name__, _plain(dict(value))]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


class _Drawing:
    """Draws one pipeline."""

    def __init__(self, rng: random.Random, folder: Folder) -> None:
        self._rng = rng
        self._folder = folder
        self._names: list[str] = []
        self._without_fields: list[str] = []
        self._in_parallel = 0
        self._count = 0

    def pipeline(self) -> dict[str, Any]:
        models: dict[str, Any] = {
            f"mock_{index}": {
                "provider": "mock",
                "model": f"m{index}",
                "mock_responses": [self._reply() for _ in range(self._rng.randint(1, 6))],
            }
            for index in range(2)
        }
        models["free"] = {
            "provider": "of_the_random_pipelines",
            "model": "f",
            "pricing": {"input_per_1k": 1, "output_per_1k": 2},
        }
        models["counts"] = {"provider": "that_counts_in_the_random_pipelines", "model": "c"}
        for name, folder in (("kept", ""), ("kept_too", "../answers")):  # the same folder
            cache = {"enabled": True, "dir": f"{self._folder.answers}/{folder}"}
            models[name] = {**models["free"], "model": "k", "cache": cache}
        budget = {"budget_usd": self._rng.random() / 10} if self._rng.random() < 0.2 else {}
        steps = self._steps(self._rng.randint(3, STEPS_MAX), depth=0)
        return {"models": models, "execution": budget, "steps": steps}

    def _reply(self) -> str:
        n, kind = self._rng.randrange(90), self._rng.choice(["PET", "PE bottle", "glass", "pla"])
        whole = json.dumps({"n": n, "text": f"said {n}", "kind": kind})
        return self._rng.choice([whole, whole, whole, "nothing", f'{{"n": "{kind}"}}', f"```json\n{whole}\n```"])

    def _steps(self, count: int, depth: int) -> list[dict[str, Any]]:
        steps = []
        for _ in range(count):
            step = self._step(depth)
            steps.append(step)
            self._names.append(step["name"])
        return steps

    def _name(self) -> str:
        self._count += 1
        return f"s{self._count}"

    def _step(self, depth: int) -> dict[str, Any]:
        leaf = [self._llm, self._llm, self._transform, self._transform, self._io, self._validate, self._http]
        nested = [self._parallel, self._condition, self._ensemble]
        draw = self._rng.choice(leaf + (nested if depth < 2 else []))
        condition = f"first_non_none({self._read()}, 1) != {self._rng.randrange(5)}"
        name = self._name()
        step = {"name": name, **draw(depth)}
        if step["type"] == "parallel":
            self._without_fields.append(name)
        if self._rng.random() < 0.2:
            step["condition"] = condition
        if self._rng.random() < 0.8:
            step["on_error"] = self._rng.choice(["continue"] * 8 + ["skip_remaining", "raise"])
        if self._rng.random() < 0.3:
            step["on_failure"] = "steps:failed"
        return step

    def _read(self) -> str:
        """Draw an expression."""
        choices = ["ctx.x", "ctx.text", "ctx.nothing.at.all", "3"]
        if self._names:
            name = self._rng.choice(self._names)
            choices += [f"steps.{name}.value", f"steps.{name}.status", f"steps.{name}.last_attempt.attempt_number"]
            if name not in self._without_fields:
                choices += [f"steps.{name}.n", f"steps.{name}.n", f"steps.{name}.text", f"steps['{name}']['n']"]
        return self._rng.choice(choices)

    def _inputs(self) -> dict[str, str]:
        return {f"i{index}": f"{{{{ {self._read()} }}}}" for index in range(self._rng.randint(0, 3))}

    def _transform(self, depth: int) -> dict[str, Any]:
        if not self._in_parallel and self._rng.random() < 0.4:  # what is beside an effect may see it or not
            return {"type": "transform", "fn": "steps:look", "inputs": {"journal": "{{ ctx.journal }}"}}
        function = self._rng.choice(["make"] * 4 + ["change", "change", "pair", "pair", "fails"])
        return {"type": "transform", "fn": f"steps:{function}", "inputs": self._inputs()}

    def _io(self, depth: int) -> dict[str, Any]:
        function = self._rng.choice(["write"] * 5 + ["write_and_fail"])
        return {"type": "io", "fn": f"steps:{function}", "inputs": {"journal": "{{ ctx.journal }}", **self._inputs()}}

    def _validate(self, depth: int) -> dict[str, Any]:
        return {"type": "validate", "fn": "steps:holds", "inputs": self._inputs()}

    def _http(self, depth: int) -> dict[str, Any]:
        number = self._rng.choice([1, 2, 3, 4, 5, 501])
        step: dict[str, Any] = {"type": "http", "url": f"{self._folder.url}/{number}", "retries": 0}
        if self._rng.random() < 0.4:
            step |= {"method": "POST", "body": self._inputs()}
        return step

    def _asks(self) -> dict[str, Any]:
        return {"model": self._rng.choice(["mock_0", "mock_0", "mock_1", "free", "free", "counts", "kept", "kept_too"])}

    def _prompt(self) -> str:
        file = self._folder.path / f"prompt_{self._count}.j2"
        reads = [self._read() for _ in range(self._rng.randint(0, 2))]
        lines = [f"{{{{ {read} }}}}" for read in reads if "nothing" not in read]
        file.write_text("\n".join([f"Question {self._count % 3}", *lines, ""]))
        return file.name

    def _schema(self) -> dict[str, Any]:
        kind: Any = {"type": "str | None", "vocab": "plastic"}
        if self._rng.random() < 0.5:
            kind = {"type": "str | None", "vocab": {"terms": ["PET", "glass bottle"]}}
        return {"n": "int", "text": "str", **({"kind": kind} if self._rng.random() < 0.6 else {})}

    def _llm(self, depth: int) -> dict[str, Any]:
        step: dict[str, Any] = {"type": "llm", **self._asks(), "prompt": self._prompt()}
        if self._rng.random() < 0.7:
            step["schema"] = self._schema()
        if self._rng.random() < 0.3:
            step["max_attempts"] = self._rng.randint(1, 3)
        if self._rng.random() < 0.2:
            step["schema_strict"] = False
        if self._rng.random() < 0.2:
            step["parser"] = "steps:parse"
        return step

    def _parallel(self, depth: int) -> dict[str, Any]:
        before = list(self._names)
        children, names = [], []
        self._in_parallel += 1
        for _ in range(self._rng.randint(2, 4)):
            children.append(self._step(depth + 1))
            if self._rng.random() < 0.3:
                children[-1]["required"] = False
            names += [*self._names[len(before) :], children[-1]["name"]]
            self._names = list(before)
        self._names += names
        self._in_parallel -= 1
        return {"type": "parallel", "steps": children}

    def _condition(self, depth: int) -> dict[str, Any]:
        before = list(self._names)
        step: dict[str, Any] = {"type": "condition", "if": f"{self._read()} == {self._rng.choice(['5', 'None'])}"}
        step["then"] = self._steps(self._rng.randint(1, 3), depth + 1)
        inner = list(self._names)
        self._names = before
        if self._rng.random() < 0.7:
            step["else"] = self._steps(self._rng.randint(1, 2), depth + 1)
            if self._rng.random() < 0.5 and "steps" not in step["else"][-1]:  # a name that both branches have
                step["else"][-1]["name"] = step["then"][0]["name"]
        self._names = inner
        return step

    def _ensemble(self, depth: int) -> dict[str, Any]:
        members = [
            {**self._asks(), "name": f"e{index}", **({"required": False} if self._rng.random() < 0.5 else {})}
            for index in range(self._rng.randint(2, 3))
        ]
        step: dict[str, Any] = {"type": "ensemble", "members": members, "prompt": self._prompt()}
        step["schema"] = {"n": "int", "text": "str"}
        if self._rng.random() < 0.6:
            step["judge"] = {**self._asks(), "condition": self._rng.choice(["all_succeeded", "any_succeeded"])}
        return step
