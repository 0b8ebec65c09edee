"""Changes carried over to another commit: what goes together, what does not, and that nothing else moves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from workspaces.person import commit_all, files_of, git, write

from aiframe.workspaces.carrying import carry_over
from aiframe.workspaces.git import Repository

LINES = "".join(f"{number}\n" for number in range(10))
FILES = {"a": LINES, "b": "b\n", "d/x": "x\n", "binary": "\0" * 20}


def changed(root: Path, base: str, changes: dict[str, str | None]) -> str:
    """A commit on top of *base* with *changes*."""
    git(root, "checkout", "-q", "--detach", base)
    git(root, "clean", "-qfd")
    for name in changes:  # what is in the way of a file or a folder of that name goes first
        for path in [root / name, *(root / name).parents]:
            if path.is_file() and path != root / name and path.is_relative_to(root):
                path.unlink()
        if (root / name).is_dir():
            for below in (root / name).iterdir():
                below.unlink()
            (root / name).rmdir()
    write(root, changes)
    return commit_all(root, "change")


@pytest.mark.parametrize(
    ("ours", "theirs", "result"),
    [
        pytest.param({"b": "new\n"}, {}, {"b": "new"}, id="theirs did nothing"),
        pytest.param({"b": "new\n"}, {"d/x": "y\n"}, {"b": "new", "d/x": "y"}, id="other files"),
        pytest.param({"b": "new\n"}, {"b": "new\n"}, {"b": "new"}, id="the same change"),
        pytest.param({"b": None}, {"b": None}, {"b": None}, id="both deleted it"),
        pytest.param(
            {"a": LINES.replace("1\n", "one\n")},
            {"a": LINES.replace("8\n", "eight\n")},
            {"a": LINES.replace("1\n", "one\n").replace("8\n", "eight\n").strip()},
            id="other lines of one file",
        ),
        pytest.param({"a": LINES.replace("1\n", "one\n")}, {"a": LINES.replace("1\n", "uno\n")}, "a", id="same line"),
        pytest.param({"b": None}, {"b": "new\n"}, "b", id="deleted and changed"),
        pytest.param({"b": "new\n"}, {"b": None}, "b", id="changed and deleted"),
        pytest.param({"n": "1\n"}, {"n": "2\n"}, "n", id="both added it"),
        pytest.param({"binary": "\0a"}, {"binary": "\0b"}, "binary", id="no text"),
        pytest.param({"n": "1\n"}, {"n/x": "2\n"}, "n/x", id="a file where they have a folder"),
        pytest.param({"n/x": "1\n"}, {"n": "2\n"}, "n", id="a folder where they have a file"),
        pytest.param({"d": "file\n"}, {"d/y": "2\n"}, "d/y", id="a folder became a file, and they added to it"),
        pytest.param({"TASKS.yaml": "ours\n"}, {"TASKS.yaml": "theirs\n"}, {"TASKS.yaml": "theirs"}, id="control file"),
    ],
)
def test_what_goes_together(
    repo: Repository, folder: Path, ours: dict[str, str | None], theirs: dict[str, str | None], result: object
) -> None:
    write(folder, FILES)
    git(folder, "config", "merge.evil.driver", "touch ran")
    write(folder, {".gitattributes": "a merge=evil\n"})
    base = commit_all(folder, "base")
    mine, onto = changed(folder, base, ours), changed(folder, base, theirs)
    before = (git(folder, "status", "--porcelain"), git(folder, "rev-parse", "HEAD"), git(folder, "for-each-ref"))
    carried = carry_over(repo, base, mine, onto, ("TASKS.yaml",))
    if isinstance(result, str):
        assert carried.conflicts == (result,)
        assert carried.tree == ""
    else:
        assert isinstance(result, dict)
        there = files_of(folder, carried.tree)
        assert {name: there.get(name) for name in result} == result
        rest = {name: text for name, text in files_of(folder, onto).items() if name not in result}
        assert {name: text for name, text in there.items() if name not in result} == rest
    after = (git(folder, "status", "--porcelain"), git(folder, "rev-parse", "HEAD"), git(folder, "for-each-ref"))
    assert after == before
    assert not (folder / "ran").exists()


def test_a_file_that_became_executable_stays_so(repo: Repository, folder: Path) -> None:
    write(folder, FILES)
    base = commit_all(folder, "base")
    os.chmod(folder / "a", 0o755)
    mine = commit_all(folder, "mode")
    onto = changed(folder, base, {"a": LINES.replace("8\n", "eight\n")})
    carried = carry_over(repo, base, mine, onto, ())
    assert git(folder, "ls-tree", carried.tree, "a").startswith("100755")
    assert "eight" in files_of(folder, carried.tree)["a"]
