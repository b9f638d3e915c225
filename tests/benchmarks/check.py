"""How long a program takes to check, step by step, and whether that grows with its length or faster.

    python tests/benchmarks/check.py [--sections 20] [--times 10] [--rounds 5] [--json]

Two programs are made, of ``sections`` and of ``times`` as many sections. A section has ten bindings in about fifty
lines: types, agents with configurations, a tool, python functions, maps and filters, bodies with loops and with spawns.
Rounds alternate between the two, and each figure is the median of its rounds, in processor time: one thread works, and
waits for nothing. The parser reads tokens and the checker needs the tree, so their figures are differences: of
``parse`` and ``tokenize``, of ``check_source`` and ``parse``.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import statistics
import time
from collections.abc import Callable

from fabric.compiler import Library
from fabric.graph.passes import build
from fabric.lang.check import check_source
from fabric.lang.diagnostic import Report
from fabric.lang.lexer import tokenize
from fabric.lang.parser import parse
from fabric.lang.source import Source

SECTION = """\
(* section @: a topic is written on, checked, graded, and counted *)

type Task@ = {
  topic: string,
  round: int,
  hints?: [string]
}

type Check@ = { pass: bool, why: string, body: string }
type Grade@ = { mark: int, why: string, body: string }
type Redo@ = { fix: string } | { mark: int, hint: string }

let writer@ : !(Task@ | Redo@) -> !string = agent {
  provider: "anthropic" model: "claude-haiku-4-5"
  prompt: "Write a paragraph on the topic.\\nMend what you are asked to mend."
  max_messages: 20
}

let look@ : { path: string } -> string = tool { builtin: "fs.read" }

let verify@ : !string -> !Check@ = agent {
  provider: "anthropic" model: "claude-haiku-4-5"
  prompt: "Is every sentence true?"
  tools: [look@]
}

let grade@ : !Check@ -> !Grade@ = agent { provider: "eliza" }
let tally@ : !string -> !int = python { call: "support.tally:count" state: true }
let scale@ : !Grade@ -> !{ mark: number, body: string } = map({ mark: mark / 100, body })
let keep@ : !Grade@ -> !Grade@ = filter(mark >= 10 && why != "none" || mark = 0)

let review@ : !Task@ -> !string = plumb(task, done) {
  task ; writer@ ; verify@
  verify@ ; filter(pass = false) ; map({ fix: why }) ; writer@
  verify@ ; filter(pass = true) ; grade@ ; keep@
  keep@ ; filter(mark < 70) ; map({ mark: mark, hint: why }) ; writer@
  keep@ ; filter(mark >= 70).body ; done
  keep@ ; scale@ ; filter(mark > 0.9) ; discard
}

let pool@ : !Task@ -> !string = plumb(task, done) {
  let drafts : !string = channel
  spawn review@(task, drafts)
  spawn review@(task=task, done=drafts)
  (drafts * drafts) ; barrier ; project(0) ; done
}

let section@ : !string -> !int = plumb(topic, words) {
  topic ; map({ topic: value, round: 1 }) ; pool@ ; tally@ ; words
}
"""


def program(sections: int) -> str:
    main = "".join(f"  topic ; section{i} ; words\n" for i in range(sections))
    parts = [SECTION.replace("@", str(i)) for i in range(sections)]
    return "\n".join(parts) + f"\nlet main : !string -> !int = plumb(topic, words) {{\n{main}}}\n"


def seconds(run: Callable[[], object]) -> float:
    gc.collect()
    started = time.process_time()
    run()
    return time.process_time() - started


def measure(text: str) -> dict[str, float]:
    """Return seconds by step."""
    source = Source("program.plumb", text)
    lexer = seconds(lambda: tokenize(source, Report(source)))
    parser = seconds(lambda: parse(source, Report(source)))
    found = []
    checker = seconds(lambda: found.append(check_source(source, Library())))
    module, diagnostics = found[0]
    assert module is not None, diagnostics[:3]
    figures = {
        "lexer": lexer,
        "parser": parser - lexer,
        "checker": checker - parser,
        "graph": seconds(lambda: build(module)),
    }
    figures["in all"] = checker + figures["graph"]
    if importlib.util.find_spec("fabric.lang.format") is not None:
        from fabric.lang.format import format_source

        figures["formatter"] = seconds(lambda: format_source(source))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sections", type=int, default=20)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    texts = [program(options.sections), program(options.sections * options.times)]
    rounds: list[list[dict[str, float]]] = [[], []]
    for _ in range(options.rounds):
        for text, figures in zip(texts, rounds, strict=True):
            figures.append(measure(text))
    small, large = (
        {step: statistics.median(figure[step] for figure in figures) for step in figures[0]} for figures in rounds
    )
    lines = [text.count("\n") for text in texts]
    bindings = [sum(line.startswith("let ") for line in text.splitlines()) for text in texts]
    if options.json:
        said = [{"lines": lines[i], "bindings": bindings[i], "s": figures} for i, figures in enumerate((small, large))]
        print(json.dumps({"rounds": options.rounds, "programs": said}))
    else:
        print(table(lines, bindings, small, large))


def table(lines: list[int], bindings: list[int], small: dict[str, float], large: dict[str, float]) -> str:
    sizes = [f"{lines[i]:,} lines, {bindings[i]:,} bindings" for i in (0, 1)]
    rows = [f"| step | {sizes[0]} | {sizes[1]} | times |", "|---|---:|---:|---:|"]
    for step in small:
        times = large[step] / small[step]
        rows.append(f"| {step} | {1000 * small[step]:.1f} ms | {1000 * large[step]:.0f} ms | {times:.1f} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
