"""The scripts by which shells complete our commands, made of a table of them. Pure.

Each script knows the table by itself; it calls ``fabric completion workers`` for the names of workers, ``fabric
completion sessions LINE`` for the ids of sessions, and nothing else. A word is completed by the first of these that
holds: it is the value of a flag; it begins with a dash; it is the command; it is one of a few words, a worker, a
session, or the file of a program.
"""

from __future__ import annotations

__all__ = ["SHELLS", "Flag", "Verb", "bash", "fish", "zsh"]

from collections.abc import Iterable, Sequence
from typing import NamedTuple

SHELLS = ("bash", "fish", "zsh")


class Flag(NamedTuple):
    """A flag.

    Attributes:
        names: short ones first.
        says: what it means.
        takes_value: whether a value follows.
        choices: what that may be; none: a file, as any word may be.
        is_worker: whether it is one.
        is_session: whether it is the id of a session.
    """

    names: tuple[str, ...]
    says: str
    takes_value: bool = False
    choices: tuple[str, ...] = ()
    is_worker: bool = False
    is_session: bool = False


class Verb(NamedTuple):
    """A command, or one of a group: ``dead list``.

    Attributes:
        name: of it.
        says: what it does.
        flags: of it.
        words: that may be its arguments, or the commands of the group.
        takes_program: whether an argument may be the file of a program.
        takes_worker: whether one may be the name of a worker.
        takes_session: whether one may be the id of a session.
    """

    name: str
    says: str
    flags: tuple[Flag, ...]
    words: tuple[str, ...]
    takes_program: bool
    takes_worker: bool
    takes_session: bool = False


def _single(text: str) -> str:
    """Return a text in single quotes, for bash and zsh."""
    return "'" + text.replace("'", "'\\''") + "'"


def _valued(verbs: Iterable[Verb]) -> list[tuple[str, Flag]]:
    """Return every flag with a value, by command."""
    return [(verb.name, flag) for verb in verbs for flag in verb.flags if flag.takes_value]


def _asked(flag: Flag) -> str:
    """Return the function of a script that gives the values of a flag; empty: none does."""
    return "_fabric_workers" if flag.is_worker else "_fabric_sessions" if flag.is_session else ""


def _patterns(verb: str, flag: Flag) -> str:
    return "|".join(_single(f"{verb} {name}") for name in flag.names)


def _groups(verbs: Iterable[Verb]) -> list[str]:
    """Return the commands that are groups, those inside of groups, too: ``pipeline``, ``pipeline schema``."""
    return list(dict.fromkeys(verb.name.rpartition(" ")[0] for verb in verbs if " " in verb.name))


def _top(verbs: Iterable[Verb]) -> list[Verb]:
    return [verb for verb in verbs if verb.name and " " not in verb.name]


_VERB = """\
  # The command: the words before this one that are neither flags nor their values.
  for ((i = FIRST; i < AT; i++)); do
    word="${WORDS[i]}"
    if [[ -n $skip ]]; then skip=""; continue; fi
    case "$verb $word" in
VALUED) skip=1; continue ;;
    esac
    case "$word" in -*) continue ;; esac
    case "$verb" in
      '') verb="$word" ;;
      GROUPS) verb="$verb $word" ;;
    esac
  done
"""
"""For bash and zsh alike."""


def _find_verb(verbs: Sequence[Verb], words: str, first: int, at: str) -> str:
    valued = [f"      {_patterns(verb, flag)}" for verb, flag in _valued(verbs)]
    text = _VERB.replace("VALUED", "|\\\n".join(valued)).replace("GROUPS", "|".join(map(_single, _groups(verbs))))
    return text.replace("FIRST", str(first)).replace("AT", at).replace("WORDS", words)


def bash(verbs: Sequence[Verb]) -> str:
    """Return the script for bash, from 3.2 on."""
    values = [
        f"    {_patterns(verb, flag)}) {_bash_value(flag)}; return ;;"
        for verb, flag in _valued(verbs)
        if flag.choices or _asked(flag)
    ]
    files = "|".join(_patterns(verb, flag) for verb, flag in _valued(verbs) if not (flag.choices or _asked(flag)))
    cases = [f"    {_single(verb.name)}) {_bash_verb(verb)} ;;" for verb in verbs]
    return f"""\
# Completes the commands of fabric in bash: eval "$(fabric completion bash)"

_fabric_add() {{ # the lines of stdin that may be meant
  local line
  while IFS= read -r line; do COMPREPLY+=("$line"); done
}}
_fabric_words() {{ _fabric_add < <(compgen -W "$1" -- "$cur"); }}
_fabric_workers() {{ _fabric_words "$("${{COMP_WORDS[0]}}" completion workers 2>/dev/null)"; }}
_fabric_sessions() {{
  _fabric_words "$("${{COMP_WORDS[0]}}" completion sessions "${{COMP_LINE:0:COMP_POINT}}" 2>/dev/null)"
}}
_fabric_programs() {{
  compopt -o filenames 2>/dev/null
  _fabric_add < <(compgen -f -X '!*.plumb' -- "$cur"; compgen -d -- "$cur")
}}

_fabric() {{
  local cur="${{COMP_WORDS[COMP_CWORD]}}" prev="${{COMP_WORDS[COMP_CWORD-1]}}" verb="" word="" skip="" i
  COMPREPLY=()
  if [[ $cur == = ]]; then cur=""; fi
  if [[ $prev == = && COMP_CWORD -gt 1 ]]; then prev="${{COMP_WORDS[COMP_CWORD-2]}}"; fi
{_find_verb(verbs, "COMP_WORDS", 1, "COMP_CWORD")}
  case "$verb $prev" in
{_lines(values)}
    {files}) return ;; # a file, or what only the user knows
  esac
  case "$verb" in
{_lines(cases)}
  esac
}}
complete -o default -F _fabric fabric
"""


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines)


def _bash_value(flag: Flag) -> str:
    return _asked(flag) or f"_fabric_words {_single(' '.join(flag.choices))}"


def _bash_verb(verb: Verb) -> str:
    flags = " ".join(name for flag in verb.flags for name in flag.names)
    rest = [f"_fabric_words {_single(' '.join(verb.words))}"] if verb.words else []
    rest += ["_fabric_workers"] if verb.takes_worker else []
    rest += ["_fabric_sessions"] if verb.takes_session else []
    rest += ["_fabric_programs"] if verb.takes_program else []
    others = f"else {'; '.join(rest)}; " if rest else ""
    return f"if [[ $cur == -* ]]; then _fabric_words {_single(flags)}; {others}fi"


def zsh(verbs: Sequence[Verb]) -> str:
    """Return the script for zsh, to be evaluated or to be put into a folder of ``fpath``."""
    values = [f"    {_patterns(verb, flag)}) {_zsh_value(flag)}; return ;;" for verb, flag in _valued(verbs)]
    cases = [f"    {_single(verb.name)}) {_zsh_verb(verb)} ;;" for verb in verbs]
    return f"""\
#compdef fabric
# Completes the commands of fabric in zsh: eval "$(fabric completion zsh)", behind compinit; or put it into a file
# _fabric in a folder of fpath.

_fabric_workers() {{
  local -a found
  found=("${{(@f)$("${{words[1]}}" completion workers 2>/dev/null)}}")
  compadd -- $found
}}
_fabric_sessions() {{
  local -a found
  found=("${{(@f)$("${{words[1]}}" completion sessions "${{LBUFFER}}" 2>/dev/null)}}")
  compadd -- $found
}}

_fabric() {{
  local verb="" word="" skip="" i
  local -a told
{_find_verb(verbs, "words", 2, "CURRENT")}
  case "$verb ${{words[CURRENT-1]}}" in
{_lines(values)}
  esac
  case "$verb" in
{_lines(cases)}
  esac
}}

if [[ ${{funcstack[1]}} == _fabric ]]; then _fabric "$@"; else compdef _fabric fabric; fi
"""


def _zsh_value(flag: Flag) -> str:
    if asked := _asked(flag):
        return asked
    return f"compadd -- {' '.join(flag.choices)}" if flag.choices else "_files"


def _zsh_verb(verb: Verb) -> str:
    flags = " ".join(_told(name, flag.says) for flag in verb.flags for name in flag.names)
    rest = [f"compadd -- {' '.join(verb.words)}"] if verb.words else []
    rest += ["_fabric_workers"] if verb.takes_worker else []
    rest += ["_fabric_sessions"] if verb.takes_session else []
    rest += ["_files -g '*.plumb'"] if verb.takes_program else []
    if not rest:
        rest = ["_files"]
    dashed = f"told=({flags}); _describe -o option told"
    return f"if [[ ${{words[CURRENT]}} == -* ]]; then {dashed}; else {'; '.join(rest)}; fi"


def _told(name: str, says: str) -> str:
    return _single(name.replace(":", "\\:") + ":" + says)


_FISH = """\
# Completes the commands of fabric in fish: fabric completion fish > ~/.config/fish/completions/fabric.fish

function __fabric_at # whether the command is this one; none: whether there is none yet
    set -l found
    set -l skip 0
    for word in (commandline -opc)[2..-1]
        if test $skip = 1
            set skip 0
            continue
        end
        switch "$found $word"
            case VALUED
                set skip 1
                continue
        end
        switch $word
            case '-*'
                continue
        end
        test (count $found) -eq 0; or contains -- "$found" GROUPS; or continue
        set -a found $word
    end
    test "$found" = "$argv"
end
function __fabric_workers
    set -l words (commandline -opc)
    command $words[1] completion workers 2>/dev/null
end
function __fabric_sessions
    set -l words (commandline -opc)
    command $words[1] completion sessions (commandline -pc | string collect) 2>/dev/null
end
function __fabric_programs
    set -l word (commandline -ct)
    for path in $word*.plumb $word*/
        echo $path
    end
end

complete -c fabric -f
"""


def fish(verbs: Sequence[Verb]) -> str:
    """Return the script for fish, from 3.0 on."""
    valued = " ".join(_fish_quoted(f"{verb} {name}") for verb, flag in _valued(verbs) for name in flag.names)
    groups = " ".join(map(_fish_quoted, _groups(verbs)))
    lines = [_FISH.replace("VALUED", valued).replace("GROUPS", groups)]
    for verb in verbs:
        at = f"complete -c fabric -n {_fish_quoted(f'__fabric_at {verb.name}'.strip())}"
        says = {top.name: top.says for top in _top(verbs)} if not verb.name else {}
        lines += [f"{at} -a {_fish_quoted(word)} -d {_fish_quoted(says.get(word, ''))}" for word in verb.words]
        if verb.takes_worker:
            lines.append(f"{at} -a '(__fabric_workers)' -d worker")
        if verb.takes_session:
            lines.append(f"{at} -a '(__fabric_sessions)' -d session")
        if verb.takes_program:
            lines.append(f"{at} -a '(__fabric_programs)'")
        lines += [f"{at} {_fish_flag(flag)}" for flag in verb.flags]
    return "\n".join(lines) + "\n"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _fish_flag(flag: Flag) -> str:
    named = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in flag.names)
    value = ""
    if asked := _asked(flag):
        value = f" -x -a '(_{asked})'"
    elif flag.choices:
        value = f" -x -a {_fish_quoted(' '.join(flag.choices))}"
    elif flag.takes_value:
        value = " -r -F"
    return f"{named}{value} -d {_fish_quoted(flag.says)}"
