"""The real codex CLI in worktrees and clones of a repository: its sandbox keeps git read-only, aiframe commits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from acceptance.test_acc_codex import Desk, closing, into, turn
from app.test_app_worktree import TARGET, repository, shown
from support.codex_home import codex_program
from support.model_server import Asked, Reply, shell
from support.netns import loopback
from support.projects import git, task


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    codex_program()
    with loopback() as net:
        yield Desk(tmp_path, net)


def worker(asked: Asked) -> Reply:
    """A model that writes its file, tries to commit and to plant a hook, and says that all is well."""
    plant = "git commit -qm mine; touch $(git rev-parse --git-common-dir)/hooks/post-commit; pwd"
    return turn(asked, into("one.txt", "one\n"), shell(plant), closing())


@pytest.mark.parametrize("kind", ["worktree", "clone"])
def test_a_task_is_worked_in_a_worktree_and_landed(desk: Desk, kind: str) -> None:
    repo = repository(desk.folder)
    before = shown(repo)
    with desk.serve(worker) as server:
        workspace = {"kind": kind, "repo": str(repo)}
        bench = desk.bench(server.url, task("T1", "grep -qx one one.txt"), settings={"workspace": workspace})
        bench.tick(XDG_STATE_HOME=str(desk.folder / "state"))
        assert bench.where == "DONE", bench.log()
        said = json.dumps([asked.tool_outputs for asked in server.asked])
    assert str(desk.folder / "state" / "aiframe" / "workspaces" / "shop" / "T1") in said
    assert "Read-only file system" in said, "codex could write to git"
    assert git(repo, "log", "--format=%s", TARGET).splitlines() == ["T1: Task T1", "first"]
    assert git(repo, "show", f"{TARGET}:one.txt") == "one"
    assert not (repo / ".git" / "hooks" / "post-commit").exists()
    assert shown(repo) == before
