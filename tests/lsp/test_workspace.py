"""Open texts, the files they use, and what is known of them."""

from __future__ import annotations

import errno

from fabric.lsp.workspace import Workspace

MAIN, WORDS = "/x/main.plumb", "/x/words.plumb"
USER = "use words let main : !Words.T -> !int = id"


class Disk:
    """Files by path; counts what is read."""

    def __init__(self, **files):
        self.files = {f"/x/{name}.plumb": text for name, text in files.items()}
        self.reads = []

    def read(self, path):
        self.reads.append(str(path))
        if str(path) not in self.files:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        return self.files[str(path)]


def codes(workspace):
    """Return the codes of what is wrong, by file."""
    return {path: [found.code for found in diagnostics] for path, diagnostics in workspace.diagnostics().items()}


def test_an_open_text_comes_before_the_disk():
    """And the disk again when it is closed."""
    disk = Disk(words="type T = int")
    workspace = Workspace(read=disk.read)
    workspace.put(MAIN, USER)
    assert codes(workspace) == {MAIN: []}
    workspace.put(WORDS, "type T = string")
    assert codes(workspace) == {MAIN: ["E0412"], WORDS: ["E0206"]}
    workspace.close(WORDS)
    assert codes(workspace) == {MAIN: []}


def test_a_file_that_was_missing_is_looked_for_again():
    """Whoever looked for it is checked again when it comes."""
    disk = Disk()
    workspace = Workspace(read=disk.read)
    workspace.put(MAIN, USER)
    assert codes(workspace) == {MAIN: ["E0207"]}
    disk.files[WORDS] = "type T = int"
    assert codes(workspace) == {MAIN: ["E0207"]}
    workspace.touch(WORDS)
    assert codes(workspace) == {MAIN: []}


def test_only_what_changed_is_checked_again():
    """A text that uses nothing that changed is not read a second time."""
    disk = Disk(words="type T = int")
    workspace = Workspace(read=disk.read)
    workspace.put(MAIN, USER)
    workspace.put("/x/other.plumb", "let main : !int -> !int = id")
    first = workspace.checked(MAIN)
    workspace.put("/x/other.plumb", "let main : !int -> !int = copy")
    assert workspace.checked(MAIN) is first
    workspace.touch(WORDS)
    assert workspace.checked(MAIN) is not first


def test_what_is_wrong_in_a_used_file_is_said_once():
    """Though two open texts use it, and it may be open itself."""
    disk = Disk(words="type T = strin")
    workspace = Workspace(read=disk.read)
    workspace.put(MAIN, USER)
    workspace.put("/x/second.plumb", USER)
    assert codes(workspace)[WORDS] == ["E0201"]
    workspace.put(WORDS, "type T = strin")
    assert codes(workspace)[WORDS] == ["E0201", "E0206"]


def test_files_that_use_each_other_are_both_wrong():
    """Each is told in the place where the circle closes, seen from the other."""
    workspace = Workspace(read=Disk().read)
    workspace.put(MAIN, "use words let main : !int -> !int = id")
    workspace.put(WORDS, "use main type T = int")
    assert "E0208" in codes(workspace)[MAIN]
    assert "E0208" in codes(workspace)[WORDS]


def test_what_cannot_be_read_does_not_hide_what_could():
    """The last text without syntax errors is kept beside the one that there is."""
    workspace = Workspace(read=Disk().read)
    workspace.put(MAIN, "let a : !int -> !int = id let main : !int -> !int = a ; id")
    assert {*workspace.checked(MAIN).readable.processes} == {"a", "main"}
    workspace.put(MAIN, "let a : !int - let main : !int -> !int = a ; id")
    assert {*workspace.checked(MAIN).readable.processes} == {"a", "main"}
    assert {*workspace.checked(MAIN).file.processes} == {"main"}


def test_a_text_that_is_not_open_is_unknown():
    """Requests may come late."""
    workspace = Workspace(read=Disk().read)
    workspace.close(MAIN)
    assert workspace.checked(MAIN) is None
    assert workspace.diagnostics() == {}


def test_modules_are_looked_for_in_folders_too(tmp_path):
    """Those of the command line, and the installed library; not the file itself."""
    (tmp_path / "words.plumb").write_text("type T = int")
    (tmp_path / "main.plumb").write_text("")
    main = str(tmp_path / "sub" / "main.plumb")
    workspace = Workspace([tmp_path])
    workspace.put(main, USER)
    assert codes(workspace) == {main: []}
    assert {"fs", "words"} <= {*workspace.modules(main)}
    assert "main" not in workspace.modules(main)
