"""Lines on stderr."""

import json

from plumb_agent.logs import Logger


def lines(*secrets: str, debug: bool = False) -> tuple[Logger, list[bytes]]:
    """Return a logger and what it writes."""
    written: list[bytes] = []
    return Logger(written.append, debug=debug, secrets=secrets), written


def test_a_secret_is_in_no_line():
    """However JSON spells it, in whatever field and kind of line; the line is JSON all the same."""
    keys = ("sk-abcdefgh", 'quo"ted\\back', "ümläut-key")
    logger, written = lines(*keys, debug=True)
    for key in keys:
        logger.log("debug", "message", {"content": [key, {"deep": f"x{key}y"}], key: 1})
        logger.error("code", f"refused {key}", {"traceback": key})
    assert len(written) == 6
    for line in written:
        plain = json.dumps(json.loads(line), ensure_ascii=False)
        assert "[redacted]" in plain
        assert not any(key in plain or json.dumps(key)[1:-1] in plain for key in keys)


def test_a_secret_that_holds_another_goes_whole():
    """No half of it stays."""
    logger, written = lines("sk-abcdefgh", "sk-abcdefgh-and-more")
    logger.error("code", "sk-abcdefgh-and-more")
    assert json.loads(written[0])["error"] == "[redacted]"


def test_what_is_too_short_to_be_a_key_is_no_secret():
    """An empty variable would be found everywhere."""
    logger, written = lines("", "error")
    logger.error("code", "an error")
    assert json.loads(written[0]) == {"error": "an error", "code": "code"}


def test_debug_lines_are_written_where_they_are_wanted():
    """And warnings everywhere."""
    logger, written = lines()
    logger.log("debug", "a", {})
    logger.log("warning", "b", {})
    assert [json.loads(line)["event"] for line in written] == ["b"]
