"""``steps`` of a file, of every type but those that ask models."""

from __future__ import annotations

__all__ = ["StepReader", "declared_names"]

from collections.abc import Iterator, Mapping
from typing import Any

from fabric.pipelines.errors import PipelineLoadError, StepConfigError
from fabric.pipelines.loading.asking import AskReader
from fabric.pipelines.loading.blocks import Block, shape
from fabric.pipelines.loading.keys import STEP_TYPES, STEPS, step_keys
from fabric.pipelines.loading.nodes import Entry, Fields, Items, Scalar
from fabric.pipelines.loading.problems import Problems
from fabric.pipelines.loading.reads import Scope, Texts
from fabric.pipelines.loading.references import Importer, expect_called
from fabric.pipelines.spec import (
    ConditionStep,
    EnsembleStep,
    FunctionStep,
    HttpStep,
    ParallelStep,
    Reference,
    Step,
    substeps,
)

# What expressions read of a step's result itself, wherever its value has the same name.
_VIEW = ("value", "status", "attempts", "last_attempt")


def declared_names(steps: Items) -> Iterator[tuple[str, int]]:
    """Return the names and lines of all steps, those in steps and members of ensembles, too, without any check."""
    for item in steps.items:
        if not isinstance(item, Fields):
            continue
        name = _plain(item.entries.get("name"))
        if isinstance(name, str):
            yield name, item.line
        for key in ("steps", "then", "else"):
            yield from declared_names(_as_items(item.entries.get(key)))
        for member in _as_items(item.entries.get("members")).items:
            own = member.entries.get("name") or member.entries.get("model") if isinstance(member, Fields) else None
            if isinstance(_plain(own), str):
                yield f"{name}.{_plain(own)}", member.line


def _plain(entry: Entry | None) -> Any:
    return entry.value.value if entry is not None and isinstance(entry.value, Scalar) else None


def _as_items(entry: Entry | None) -> Items:
    node = None if entry is None else entry.value
    if isinstance(node, Items):
        return node
    return Items((node,) if isinstance(node, Fields) else (), 0, 0)


class StepReader:
    """Reads steps. What is wrong with them is told to ``problems``.

    Args:
        problems: are told.
        texts: read expressions and templates.
        importer: finds functions.
        asking: reads steps that ask models.
    """

    def __init__(self, problems: Problems, texts: Texts, importer: Importer, asking: AskReader) -> None:
        self._problems = problems
        self._texts = texts
        self._importer = importer
        self._asking = asking

    def read(
        self,
        items: Items,
        path: str,
        before: Mapping[str, Step | None],
        taken: dict[str, int],
        *,
        at_once: bool = False,
    ) -> tuple[Step, ...]:
        """Return the steps of a list; those that are wrong are left out.

        Args:
            items: the list.
            path: of it, as keys.
            before: the steps that are done when the first of these begins.
            taken: lines of names; those of these steps are added.
            at_once: whether they run at once, and do not see each other.
        """
        seen = dict(before)
        steps: list[Step] = []
        for number, item in enumerate(items.items):
            if not isinstance(item, Fields):
                self._problems.error(
                    StepConfigError, f"a step is a map; this is {shape(item)}", item, f"{path}[{number}]"
                )
                continue
            step = self._step(item, f"{path}[{number}]", dict(before) if at_once else seen, taken)
            if step is not None:
                steps.append(step)
            if not at_once:
                seen.update(_results(item, step))
        return tuple(steps)

    def _step(self, fields: Fields, path: str, seen: Mapping[str, Step | None], taken: dict[str, int]) -> Step | None:
        name = _plain(fields.entries.get("name"))
        shown = name if isinstance(name, str) else "?"
        path = f"{path}({shown})" if isinstance(name, str) else path
        kind = _plain(fields.entries.get("type"))
        kind = "llm" if kind is None else kind
        known = kind if kind in STEPS else None
        what = f"step {shown!r}" if isinstance(name, str) else "this step"
        errors = len(self._problems.errors)
        block = Block(
            self._problems,
            fields,
            step_keys(known) if known else _COMMON,
            what,
            path,
            StepConfigError,
            strict=known is not None,
            hint=_belongs,
        )
        self._take_name(block, taken)
        if known is None:
            return None
        scope = Scope(seen, shown)
        common = self._common(block, scope)
        step = self._of_type(known, block, scope, common, taken)
        return None if len(self._problems.errors) > errors else step

    def _take_name(self, block: Block, taken: dict[str, int]) -> None:
        name = block.value("name")
        if name is None:
            return
        if name in taken:
            block.error(f"duplicate step name {name!r}: first in line {taken[name]}", "name")
        else:
            taken[name] = block.fields.line
        if not name.isprintable():
            block.error(f"{block.what}: a name has no control characters, nor ends of lines", "name")
        if name.startswith("_"):
            block.error(f"{block.what}: a name does not begin with '_': expressions cannot read such names", "name")
        if "/" in name or "\\" in name or ".." in name:
            block.error(f"{block.what}: a name has no '/' and no '..' in it: files are called by it", "name")

    def _common(self, block: Block, scope: Scope) -> dict[str, Any]:
        condition = None
        text, node = block.value("condition"), block.node("condition")
        if text is not None and node is not None:
            condition = self._texts.expression(text, node, block.under("condition"), scope)
        required = block.value("required", True) and not block.value("optional", False)
        common = {
            "name": block.value("name", "?"),
            "mark": block.mark(),
            "condition": condition,
            "on_error": block.value("on_error", "raise"),
            "on_failure": self._reference(block, "on_failure"),
            "required": required,
            "save": _save(block),
            "place": block.value("place"),
        }
        worker = block.value("worker")
        return common if worker is None else {**common, "worker": worker}

    def _of_type(
        self, kind: str, block: Block, scope: Scope, common: dict[str, Any], taken: dict[str, int]
    ) -> Step | None:
        if kind == "llm":
            return self._asking.llm(block, scope, common)
        if kind == "ensemble":
            step = self._asking.ensemble(block, scope, common)
            _take_members(step, block, taken)
            return step
        if kind == "http":
            return self._http(block, scope, common)
        if kind == "parallel":
            return self._parallel(block, scope, common, taken)
        if kind == "condition":
            return self._condition(block, scope, common, taken)
        return self._function(kind, block, scope, common)

    def _reference(self, block: Block, name: str) -> Reference | None:
        text = block.value(name)
        if text is None:
            return None
        try:
            found = self._importer.find(text)
            expect_called(found, repr(text))
        except PipelineLoadError as error:
            block.error(f"{block.what}: {name}: {error.message}", name, type(error), error.suggestion)
            return None
        return Reference(text, found)

    def _function(self, kind: Any, block: Block, scope: Scope, common: dict[str, Any]) -> FunctionStep:
        node = block.value("inputs")
        inputs = None
        if node is not None:
            self._check_arguments(block, node)
            inputs = self._texts.bound(node, block.under("inputs"), scope)
        if kind == "validate" and block.node("fn") is None and block.node("condition") is None:
            block.error(f"{block.what} is missing required field 'condition' or 'fn': what should hold?")
        return FunctionStep(kind=kind, function=self._reference(block, "fn"), inputs=inputs, **common)

    def _check_arguments(self, block: Block, node: Fields) -> None:
        for name, entry in node.entries.items():
            if not isinstance(name, str):
                self._problems.error(
                    StepConfigError,
                    f"{block.what}: inputs are arguments by name; {entry.key.text} is read as {shape(entry.key)}:"
                    " put it in quotes",
                    entry.key,
                    block.under("inputs"),
                )

    def _http(self, block: Block, scope: Scope, common: dict[str, Any]) -> HttpStep | None:
        method = block.value("method", "GET")
        dynamic = "{{" in method
        if not method.strip():
            block.error(f"{block.what}: method must not be empty", "method")
        names = ("url", "headers", "params", "body", *(("method",) if dynamic else ()))
        said = {name: entry for name in names if (entry := block.fields.entries.get(name)) is not None}
        request = self._texts.bound(Fields(said, block.fields.line, block.fields.column), block.path, scope)
        if request is None:
            return None
        return HttpStep(
            method="" if dynamic else method.strip().upper(),
            request=request,
            timeout_s=block.value("timeout_seconds", 30.0),
            retries=block.value("retries", 2),
            backoff_s=block.value("backoff_seconds", 0.5),
            expected_status=block.value("expected_status"),
            response_format=block.value("response_format", "json"),
            **common,
        )

    def _parallel(self, block: Block, scope: Scope, common: dict[str, Any], taken: dict[str, int]) -> ParallelStep:
        items = block.value("steps", _NO_STEPS)
        steps = self.read(items, block.under("steps"), scope.visible, taken, at_once=True)
        for step in steps:
            if step.name in _VIEW:
                block.warn(
                    f"{block.what}: steps.{block.value('name')}.{step.name} is the {step.name} of the whole; write"
                    f' steps.{block.value("name")}["{step.name}"] for the step'
                )
        return ParallelStep(steps=steps, **common)

    def _condition(
        self, block: Block, scope: Scope, common: dict[str, Any], taken: dict[str, int]
    ) -> ConditionStep | None:
        text, node = block.value("if"), block.node("if")
        decides = None
        if text is not None and node is not None:
            decides = self._texts.expression(text, node, block.under("if"), scope)
        # Only one branch is carried out: they may use the same names.
        taken_then, taken_else = dict(taken), dict(taken)
        then = self.read(block.value("then", _NO_STEPS), block.under("then"), scope.visible, taken_then)
        otherwise = self.read(block.value("else", _NO_STEPS), block.under("else"), scope.visible, taken_else)
        taken.update({**taken_else, **taken_then})
        if block.node("then") is None and block.node("else") is None:
            block.warn(f"{block.what} has neither 'then' nor 'else': it does nothing")
        if decides is None:
            return None
        return ConditionStep(decides=decides, then=then, otherwise=otherwise, **common)


_NO_STEPS = Items((), 0, 0)
_COMMON = tuple(key for key in step_keys("llm") if key not in STEPS["llm"])


def _belongs(name: str) -> str | None:
    types = [kind for kind in STEP_TYPES if any(key.name == name for key in STEPS[kind])]
    return f"it is one of {', '.join(types)} steps" if types else None


def _save(block: Block) -> bool | str:
    save = block.value("save")
    if save is None:
        return True
    if save is False or (isinstance(save, str) and save):
        return save
    block.error(
        f"{block.what}: save must be false or the name of a file; it is {save!r}".replace("True", "true"), "save"
    )
    return False


def _take_members(step: EnsembleStep | None, block: Block, taken: dict[str, int]) -> None:
    for member in step.members if step is not None else ():
        if member.ask.name in taken:
            block.error(f"duplicate step name {member.ask.name!r}: first in line {taken[member.ask.name]}", "members")
        taken[member.ask.name] = member.ask.mark.line or 0


def _results(fields: Fields, step: Step | None) -> Iterator[tuple[str, Step | None]]:
    """Return the results that are there when a step is done, by name."""
    if step is None:
        # It is told of already; who reads it should not be.
        yield from ((name, None) for name, _ in declared_names(Items((fields,), fields.line, fields.column)))
        return
    for inner in (*substeps(step), step):
        yield inner.name, inner
        if isinstance(inner, EnsembleStep):
            yield from ((member.ask.name, member.ask) for member in inner.members)
