"""Tokens of the providers that have no tokenizer: words, which are what white space parts."""

from __future__ import annotations

__all__ = ["count_words", "say"]

import re

from plumb_agent.messages import Message, Reply, Request, TextBlock, ToolUseBlock, Usage, text_of

_WORD = re.compile(r"\S+")


def count_words(request: Request) -> int:
    """Return how many words a model is told."""
    words = sum(len(block.text.split()) for block in request.system)
    return words + sum(_words(message) for message in request.messages)


def _words(message: Message) -> int:
    return len(text_of(message.content).split())


def say(text: str, prompt_words: int, max_words: int, *calls: ToolUseBlock) -> Reply:
    """Return a reply of so many words at most; one that is longer is cut off, as a model's is.

    Args:
        text: all of it; empty if there are only calls.
        prompt_words: what the model was told.
        max_words: how many it may say.
        calls: of tools, behind the text.
    """
    words = list(_WORD.finditer(text))
    usage = Usage(prompt_words, min(len(words), max_words))
    blocks = (TextBlock(text[: words[max_words - 1].end()] if len(words) > max_words else text),) if text else ()
    if len(words) > max_words:
        return Reply(blocks, usage, "max_tokens")
    return Reply((*blocks, *calls), usage, "tool_use" if calls else "end_turn")
