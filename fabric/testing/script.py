"""What a scripted model answers to whom: rules, tried in the order in which they were given."""

from __future__ import annotations

__all__ = ["Rule", "Script", "names_of", "shown"]

import re
from collections.abc import Mapping
from typing import Any

from fabric.testing.answers import ModelRequest, Reply, read_answer

ANY = "*"
"""The key of a script for every agent."""

SHOWN_CHARS = 160
"""Of a prompt in a message."""


class Rule:
    """Answers, and the requests that they are for. Everything given has to fit.

    Args:
        answers: a list is used up, one answer for each request; anything else is answered each time. A function is
            called with the request, and returns an answer, or ``NotImplemented`` to leave it to the rules behind.
        agent: its name in the program.
        model: its name.
        prompt: a part of the newest message of the user.
        system: a part of the system prompt.

    Attributes:
        agent: as given; ``None`` is any.
    """

    def __init__(
        self,
        answers: Any,
        agent: str | None = None,
        model: str | None = None,
        prompt: str | None = None,
        system: str | None = None,
    ) -> None:
        self._answers = answers
        self._is_list = isinstance(answers, list)
        self._used = 0
        self.agent, self._model, self._prompt, self._system = agent, model, prompt, system

    def fits(self, request: ModelRequest) -> bool:
        """Whether it is for this request. One that is used up still is."""
        return (
            (self.agent is None or self.agent in names_of(request.agent))
            and (self._model is None or self._model == request.model)
            and (self._prompt is None or self._prompt in request.prompt)
            and (self._system is None or self._system in request.system)
        )

    @property
    def left(self) -> int:
        """How many answers of a list have not been used."""
        return len(self._answers) - self._used if self._is_list else 0

    @property
    def used_up(self) -> bool:
        """Whether there were some, and all are used."""
        return self._is_list and not self.left

    def why_not(self, request: ModelRequest) -> str:
        """Say why it has no answer to a request."""
        if not self.fits(request):
            return "does not fit"
        return "its list is used up" if self.used_up else "leaves it to others"

    def answer(self, request: ModelRequest) -> Any:
        """Return the answer to a request, or ``NotImplemented``."""
        answer = self._answers[self._used] if self._is_list else self._answers
        if callable(answer):
            answer = answer(request)
        if answer is not NotImplemented:
            self._used += 1
        return answer

    def __str__(self) -> str:
        given = {"agent": self.agent, "model": self._model, "prompt": self._prompt, "system": self._system}
        return ", ".join(f"{name} {value!r}" for name, value in given.items() if value is not None) or "any request"


class Script:
    """Rules.

    Args:
        script: answers for any agent, or a mapping of agents' names to theirs; ``"*"`` is any agent, and comes last.
    """

    def __init__(self, script: Any = None) -> None:
        self.rules: list[Rule] = []
        if isinstance(script, Mapping):
            named = sorted(script.items(), key=lambda item: item[0] == ANY)
            self.rules = [Rule(answers, None if agent == ANY else agent) for agent, answers in named]
        elif script is not None:
            self.rules = [Rule(script)]

    def answer(self, request: ModelRequest) -> Reply | str:
        """Return the answer to a request, or why there is none, in words."""
        for rule in self.rules:
            if not rule.fits(request) or rule.used_up:
                continue
            try:
                answer = rule.answer(request)
                if answer is not NotImplemented:
                    return read_answer(answer, request)
            except Exception as error:  # noqa: BLE001 - the test's own function may raise anything
                return f"the script for {shown(request)} failed with {type(error).__name__}: {error}"
        known = "; ".join(f"{rule}: {rule.why_not(request)}" for rule in self.rules) or "nothing"
        return f"no answer is scripted for {shown(request)}. Scripted is: {known}"

    @property
    def agents(self) -> list[str]:
        """The agents that rules name, in the order of the rules."""
        return list(dict.fromkeys(rule.agent for rule in self.rules if rule.agent is not None))

    @property
    def unused(self) -> list[str]:
        """The rules whose lists have answers left, with how many."""
        return [f"{rule}: {rule.left} left" for rule in self.rules if rule.left]


_COPY = re.compile(r"@\d+|\.\d+$")
"""What tells the instances of one binding apart."""


def names_of(agent: str) -> set[str]:
    """Return what an agent may be called: as a worker, without the number of an instance, as in its own file."""
    plain = _COPY.sub("", agent)
    return {agent, plain, plain.rpartition(".")[2]}


def shown(request: ModelRequest) -> str:
    """Name a request for a person."""
    prompt = request.prompt if len(request.prompt) <= SHOWN_CHARS else request.prompt[:SHOWN_CHARS] + "…"
    results = f", with {len(request.results)} results of tools" if request.results else ""
    return f"agent {request.agent or '(unknown)'!r}, model {request.model!r}, prompt {prompt!r}{results}"
