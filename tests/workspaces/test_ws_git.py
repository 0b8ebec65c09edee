"""What git says when it fails, and what a person is told to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from workspaces.person import DAY, git, write

from aiframe.process import Captured
from aiframe.workspaces import inplace
from aiframe.workspaces.git import Repository
from aiframe.workspaces.git_errors import GitError, checked, cure


@pytest.mark.parametrize(
    ("said", "told"),
    [
        pytest.param("fatal: Unable to create '/p/index.lock': File exists.", "remove /p/index.lock", id="lock"),
        pytest.param("fatal: cannot lock ref 'refs/heads/main': x", "run the command again", id="ref"),
        pytest.param(
            "fatal: cannot lock ref 'refs/heads/v': 'refs/heads/v/1' exists; cannot create 'refs/heads/v'",
            "git branch -m v/1 OTHER", id="a branch in the way of a branch",
        ),
        pytest.param("error: write error: No space left on device", "make room", id="disk full"),
        pytest.param("sha1 file 'index.lock' write error. Out of diskspace", "make room", id="disk full, index"),
        pytest.param("fatal: cannot create: Read-only file system", "writable", id="read-only"),
        pytest.param("error: open(\"x\"): Permission denied", "chmod", id="permission"),
        pytest.param("fatal: bad object 1234", "git fsck", id="damaged"),
        pytest.param("fatal: Needed a single revision", "`aiframe resume` goes on", id="collected too early"),
        pytest.param("fatal: bad config line 3 in file .git/config", ".git/config", id="configuration"),
        pytest.param("fatal: not a git repository: x", ".git folder", id="no repository"),
        pytest.param("fatal: something new", "git's message", id="anything else"),
    ],
)  # fmt: skip
def test_every_failure_has_a_cure(said: str, told: str) -> None:
    assert told in cure(said)
    with pytest.raises(GitError) as caught:
        checked("add", Captured(128, b"", said.encode() + b"\nhint: noise\n"))
    assert caught.value.command == "add"
    assert "noise" not in caught.value.message
    assert told in caught.value.hint


def test_the_folder_of_other_branches_is_no_branch(repo: Repository, folder: Path) -> None:
    git(folder, "branch", "release/1")
    assert repo.commit_of("refs/heads/release") is None
    assert repo.commit_of("refs/heads/release/1") == git(folder, "rev-parse", "HEAD")


def test_damaged_history_is_an_error_and_not_a_traceback(repo: Repository, folder: Path) -> None:
    git(folder, "commit", "-q", "--allow-empty", "-m", "a person's")  # what this process has seen whole, it believes
    commit = git(folder, "rev-parse", "HEAD")
    write(folder, {"src/app.py": "2\n"})
    (folder / ".git/objects" / commit[:2] / commit[2:]).unlink()
    for call in (
        lambda: inplace.head(repo),
        lambda: inplace.candidate(repo, commit, ()),
        lambda: inplace.checkpoint(repo, (), "m", DAY),
        lambda: inplace.ensure_repository(folder, ()),
    ):
        with pytest.raises(GitError) as caught:
            call()
        assert caught.value.hint
    assert (folder / "src/app.py").read_text() == "2\n"
    assert git(folder, "rev-parse", "HEAD") == commit
