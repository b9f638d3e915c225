"""``fabric check`` on files, folders and stdin."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from textwrap import dedent

import pytest
import typer

from fabric import __version__
from fabric.cli.check import check
from fabric.errors import ConfigError
from fabric.lang.diagnostic import CODES

GOOD = "let main : !int -> !int = map(value + 1)\n"
WARNED = 'let main : !string -> !string = agent { promt: "x" }\n'
BAD = "let main : !int -> !string = map(value + 1)\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PLUMB_PATH", raising=False)
    return tmp_path


def write(here, **texts):
    for name, text in texts.items():
        path = here / (name.replace("__", "/") + ".plumb")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def run(capfd, *programs, **options):
    """Return the exit code and what was written to stdout and stderr."""
    code = 0
    try:
        check(list(programs) or None, **options)
    except typer.Exit as end:
        code = end.exit_code
    return (code, *capfd.readouterr())


def test_a_program_that_checks_is_counted(here, capfd):
    """And nothing is said on stderr."""
    write(here, main="type A = int\n" + GOOD)
    assert run(capfd, "main.plumb") == (0, "main.plumb: ok (1 type, 1 binding)\n", "")
    assert run(capfd) == (0, "main.plumb: ok (1 type, 1 binding)\n", "")


def test_folders_are_looked_through(here, capfd):
    """In order, without hidden ones; a last line counts over all of them."""
    write(here, b=GOOD, a__deep__c=GOOD, a__b=WARNED, **{".venv__x": BAD})
    code, out, err = run(capfd, ".")
    assert (code, out.splitlines()) == (
        0,
        [
            "a/b.plumb: ok (0 types, 1 binding)",
            "a/deep/c.plumb: ok (0 types, 1 binding)",
            "b.plumb: ok (0 types, 1 binding)",
        ],
    )
    assert err.splitlines()[-1] == "3 programs, none of which fail · 0 errors, 1 warning"
    assert run(capfd, "a", "b.plumb")[1].splitlines() == out.splitlines()


def test_a_folder_without_programs_is_no_success(here):
    """A job that checks nothing should not be green."""
    (here / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"there is no \*\.plumb file in empty"):
        check(["empty"])


def test_a_file_that_others_use_needs_nothing_to_run(here, capfd):
    """Nor one in a folder of modules, nor one without processes; any other has to be a program."""
    write(here, main="use lib\nlet main : !int -> !Lib.N = Lib.f\n")
    write(here, lib="type N = int\nlet f : !int -> !N = id\nlet g : !N -> !N = id\n")
    code, out, err = run(capfd, ".")
    assert code == 0
    assert out == "lib.plumb: ok (1 type, 2 bindings; nothing to run)\nmain.plumb: ok (0 types, 1 binding)\n"
    assert err == "2 programs, none of which fail · 0 errors, 0 warnings\n"
    assert run(capfd, "lib.plumb")[0] == 2
    (here / "modules").mkdir()
    (here / "lib.plumb").rename(here / "modules" / "lib.plumb")
    assert run(capfd, "modules", include=[Path("modules")])[:2] == (
        0,
        "modules/lib.plumb: ok (1 type, 2 bindings; nothing to run)\n",
    )
    write(here, words="protocol Ask = send string . recv string . end\n")
    assert run(capfd, "words.plumb")[1] == "words.plumb: ok (0 types, 0 bindings, 1 protocol; nothing to run)\n"


def test_what_is_wrong_in_a_file_that_several_use_is_said_once(here, capfd):
    """Whoever uses it fails all the same."""
    program = "use lib\nlet main : !int -> !int = Lib.f\n"
    write(here, a=program, b=program, lib="let f : !int -> !int = map(nope)\n")
    code, out, err = run(capfd, ".")
    assert (code, out) == (2, "")
    assert err.count("error[E0414]") == 1
    assert err.splitlines()[-1].startswith("3 programs, 3 of which fail · 1 error, 0 warnings · nothing was started")
    _, out, _ = run(capfd, "a.plumb", "b.plumb", output="json")
    files = json.loads(out)["files"]
    assert [(file["file"], file["ok"], len(file["diagnostics"])) for file in files] == [
        ("a.plumb", False, 1),
        ("b.plumb", False, 0),
    ]


def test_strict_makes_warnings_fail_and_says_so(here, capfd):
    """With the same exit code as errors."""
    write(here, main=WARNED)
    code, out, err = run(capfd, "main.plumb")
    assert (code, out, err.splitlines()[-1]) == (0, "main.plumb: ok (0 types, 1 binding)\n", "0 errors, 1 warning")
    code, out, err = run(capfd, "main.plumb", strict=True)
    assert (code, out, err.splitlines()[-1]) == (2, "", "0 errors, 1 warning · warnings fail (--strict)")
    _, out, _ = run(capfd, "main.plumb", strict=True, output="json")
    assert json.loads(out)["ok"] is False


def test_quiet_prints_what_is_wrong_only(here, capfd):
    """Nothing if all is well."""
    write(here, a=GOOD, b=GOOD)
    assert run(capfd, "a.plumb", "b.plumb", quiet=True) == (0, "", "")
    write(here, b=BAD)
    code, out, err = run(capfd, "a.plumb", "b.plumb", quiet=True)
    assert (code, out) == (2, "")
    assert "error[E0412]" in err


def test_a_program_may_come_from_stdin(here, capfd, monkeypatch):
    """What it uses is looked for in the working directory."""
    write(here, lib="let f : !int -> !int = id\n")
    text = "use lib\nlet main : !int -> !string = Lib.f\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    code, out, err = run(capfd, "-")
    assert (code, out) == (2, "")
    assert "<stdin>:2:30" in err


def test_modules_are_looked_for_in_the_folders_of_the_flag_and_then_of_the_variable(here, capfd, monkeypatch):
    """Behind the folder of the file itself."""
    write(
        here, main="use lib\nlet main : !int -> !Lib.T = id\n", one__lib="type T = int\n", two__lib="type T = string\n"
    )
    assert run(capfd, "main.plumb")[0] == 2
    assert run(capfd, "main.plumb", include=[here / "one"])[0] == 0
    monkeypatch.setenv("PLUMB_PATH", f"{here / 'two'}:{here / 'one'}")
    assert run(capfd, "main.plumb")[0] == 2  # a string
    assert run(capfd, "main.plumb", include=[here / "one"])[0] == 0


def test_a_format_that_there_is_not_is_refused(here):
    """With those that there are."""
    with pytest.raises(ConfigError, match="--format xml: expected text, json or sarif"):
        check(["main.plumb"], output="xml")


# --- SARIF --------------------------------------------------------------------------------------------------------


def sarif(capfd, *programs, **options):
    _, out, err = run(capfd, *programs, output="sarif", **options)
    assert err == ""
    return json.loads(out)


def assert_is_sarif(log):
    """Look at what the standard requires of the parts that we write (SARIF 2.1.0, section 3)."""
    assert (log["version"], log["$schema"].rpartition("/")[2]) == ("2.1.0", "sarif-schema-2.1.0.json")
    (one,) = log["runs"]
    assert one["columnKind"] in ("utf16CodeUnits", "unicodeCodePoints")
    driver = one["tool"]["driver"]
    assert (driver["name"], driver["version"]) == ("fabric", __version__)
    rules = driver["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["name"].isalnum()
        assert rule["shortDescription"]["text"].endswith(".")
        assert rule["help"]["text"]
        assert rule["defaultConfiguration"]["level"] in ("none", "note", "warning", "error")
    for result in one["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] == rules[result["ruleIndex"]]["defaultConfiguration"]["level"]
        assert result["message"]["text"]
        related = result.get("relatedLocations", [])
        assert len({location["id"] for location in related}) == len(related)
        assert all(location["message"]["text"] for location in related)
        for location in (*result["locations"], *related):
            physical = location["physicalLocation"]
            assert not physical["artifactLocation"]["uri"].startswith("/")
            region = physical["region"]
            start, end = (region["startLine"], region["startColumn"]), (region["endLine"], region["endColumn"])
            assert (1, 1) <= start <= end


def test_a_sarif_log_has_what_the_standard_asks_for(here, capfd):
    """Every code is a rule; columns count characters from 1, the end is behind the last one."""
    write(
        here,
        sub__main=dedent("""\
            type V = { pass: bool }
            let a : !string -> !V = agent { }
            let b : !{ text: string } -> !string = agent { promt: "x" }
            (* 𝄞 *) let main : !string -> !string = plumb(i, o) { i ; a ; b ; o }
        """),
    )
    log = sarif(capfd, "sub")
    assert_is_sarif(log)
    assert [rule["id"] for rule in log["runs"][0]["tool"]["driver"]["rules"]] == sorted(CODES)
    error, warning = log["runs"][0]["results"]
    assert (error["ruleId"], warning["ruleId"]) == ("E0412", "W0610")
    assert error["locations"] == [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": "sub/main.plumb"},
                "region": {"startLine": 4, "startColumn": 59, "endLine": 4, "endColumn": 60},
            }
        }
    ]
    assert error["relatedLocations"][0]["physicalLocation"]["region"]["startLine"] == 3
    assert error["message"]["text"].startswith(
        "cannot wire !V to input of type !{ text: string }\nmissing fields: text"
    )


def test_a_sarif_log_of_a_program_that_checks_has_no_results(here, capfd):
    """It is there all the same, or a service would show old ones."""
    write(here, main=GOOD)
    log = sarif(capfd, "main.plumb")
    assert_is_sarif(log)
    assert log["runs"][0]["results"] == []


def test_paths_are_uris_in_a_sarif_log(here, capfd, tmp_path_factory):
    """Relative to the working directory; what lies outside of it is absolute."""
    write(here, **{"a b#c": BAD})
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write(elsewhere, main=BAD)
    log = sarif(capfd, str(here / "a b#c.plumb"), str(elsewhere / "main.plumb"))
    uris = [
        result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for result in log["runs"][0]["results"]
    ]
    assert uris == ["a%20b%23c.plumb", (elsewhere / "main.plumb").as_uri()]
