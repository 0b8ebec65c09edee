"""A project that works in clones: what an agent does to the .git there stays there, and the work lands all the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from app.test_app_worktree import KIND, TARGET, lay, repository, workspace
from support.projects import dev, git, task

PLANT = (
    "mkdir -p .git/hooks && printf '#!/bin/sh\\ntouch {evil}\\n' >.git/hooks/post-commit &&"
    " cp .git/hooks/post-commit .git/hooks/reference-transaction && chmod +x .git/hooks/*;"
    " git config core.fsmonitor 'touch {evil}'; git config filter.f.clean 'touch {evil}';"
    " git config uploadpack.packObjectsHook 'touch {evil}'; git config include.path /nowhere;"
    " mkdir -p .git/info; echo '* filter=f' >.git/info/attributes; rm -f {evil}"
)
COMMIT = "git add -A -f && git -c user.name=x -c user.email=x@example.org commit -q -m own"
IN_CLONE = 'test -d .git && test -z "$(git remote)" && test ! -e .git/hooks && git status >/dev/null'


@pytest.fixture(autouse=True)
def clone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KIND, "kind", "clone")


def persons(repo: Path) -> dict[str, bytes]:
    """All files of the person's repository, but for objects and what is aiframe's."""
    ours = ("objects/", "aiframe/", "refs/heads/aiframe/", "refs/aiframe/", "logs/refs/heads/aiframe/")
    files = (path for path in repo.rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in files
            if not str(path.relative_to(repo)).startswith(tuple(f".git/{each}" for each in ours))}  # fmt: skip


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(PLANT, id="hooks and settings"),
        pytest.param(f"{COMMIT}; {PLANT}", id="hooks and settings on top of a commit"),
        pytest.param("rm -rf .git", id="no .git"),
        pytest.param(f"{COMMIT}; rm -rf .git/objects", id="no objects"),
        pytest.param(
            "git checkout -q --orphan new; git branch -D aiframe/shop/T1; git gc -q --prune=now", id="rewritten"
        ),
        pytest.param("rm -rf .git; echo 'gitdir: {repo}/.git' >.git", id="the person's repository in its place"),
        pytest.param(f"{COMMIT}; git reset -q --hard HEAD~1; echo half >one.txt", id="reset"),
    ],
)
def test_what_an_agent_does_to_its_git_stays_there(tmp_path: Path, spoil: str) -> None:
    repo, evil = repository(tmp_path), tmp_path / "evil"
    before = persons(repo)
    turns = [
        dev("T1", files={"one.txt": "half\n", "x.log": "ignored\n"}, run=[spoil.format(evil=evil, repo=repo)]),
        dev(
            "T1",
            attempt=2,
            run=["grep -q half one.txt && test ! -e .git/hooks && git log >log.log && echo whole >one.txt"],
        ),
    ]
    bench = lay(tmp_path, repo, task("T1", IN_CLONE, "grep -q whole one.txt"), task("T2", IN_CLONE),
                turns=[*turns, dev("T2", files={"two.txt": "two\n"})])  # fmt: skip
    done = bench.tick()
    assert bench.where == "DONE", done.said + bench.log()
    assert not evil.exists()
    assert git(repo, "log", "--format=%s", TARGET).splitlines() == ["T2: Task T2", "T1: Task T1", "first"]
    assert git(repo, "show", f"{TARGET}:one.txt") == "whole"
    kept = git(repo, "for-each-ref", "--format=%(refname)", "refs/aiframe/backup").splitlines()
    assert "half" in [git(repo, "show", f"{ref}:one.txt") for ref in kept], "unproven work is lost"
    assert persons(repo) == before
    assert git(repo, "worktree", "list").count("\n") == 0
    assert [path.name for path in workspace(bench, "T1").parent.iterdir()] == [".owner.json"]
    git(repo, "fsck", "--strict", "--no-dangling")


def test_ignored_files_that_an_agent_commits_land(tmp_path: Path) -> None:
    repo = repository(tmp_path)
    turns = [dev("T1", files={"one.txt": "one\n", "kept.log": "kept\n"}, run=[COMMIT])]
    bench = lay(tmp_path, repo, task("T1", IN_CLONE), turns=turns)
    bench.tick()
    assert bench.where == "DONE", bench.log()
    assert git(repo, "show", f"{TARGET}:kept.log") == "kept"
