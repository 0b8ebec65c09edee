"""An agent, or a check, that leaves a git repository of its own inside the workspace: a finding, and no stop."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.projects import Bench, dev, git, lay_project, play, task

GIT = "git -c user.name=Agent -c user.email=agent@example.org"
MAKES = "mkdir -p vendor/lib && cd vendor/lib && git init -q && echo 1 > code"
COMMITS = f"{MAKES} && git add code && {GIT} commit -qm inner"
REMOVES = "rm -rf vendor/lib/.git"
IGNORES = "echo /vendor/ > .gitignore"
CHECK = "test -f code -o -f vendor/lib/code"


def laid(tmp_path: Path, kind: str, *tasks: dict[str, Any], turns: list[Any]) -> Bench:
    """A project that works in place, or for a person's repository in `my app`."""
    if kind == "inplace":
        return lay_project(tmp_path, *tasks, turns=turns)
    host = tmp_path / "my app"
    host.mkdir()
    git(host, "init", "-q", "-b", "master")
    git(host, "commit", "-q", "--allow-empty", "-m", "first")
    bench = lay_project(tmp_path, *tasks, turns=turns, settings={"workspace": {"kind": kind, "repo": str(host)}})
    return replace(bench, env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")})


@pytest.mark.parametrize("kind", ["inplace", "worktree"])
@pytest.mark.parametrize("makes", [MAKES, COMMITS], ids=["without commit", "with commit"])
@pytest.mark.parametrize(
    ("mends", "kept"), [(REMOVES, "vendor/lib/code"), (IGNORES, ".gitignore")], ids=["removed", "ignored"]
)
def test_it_goes_back_to_the_agent_which_mends_it(tmp_path: Path, kind: str, makes: str, mends: str, kept: str) -> None:
    turns = [dev("T1", attempt=1, run=[makes]), dev("T1", attempt=2, run=[mends])]
    bench = laid(tmp_path, kind, task("T1", CHECK), turns=turns)
    ran = bench.tick()
    assert [outcome for _, outcome, _ in bench.ended()] == ["verify_failed", "ok"], ran.said + bench.log()
    told = bench.prompts()[1]
    assert "vendor/lib" in told
    assert "remove its .git" in told
    assert ".gitignore" in told
    assert bench.where == "DONE"
    place = bench.root if kind == "inplace" else tmp_path / "my app"
    commit = bench.results()[-1]["commit"]
    assert kept in Bench(place).git("ls-tree", "-r", "--name-only", commit).splitlines()


def test_the_target_moves_while_it_lies_there(tmp_path: Path) -> None:
    """The files cannot be merged with what came: the agent is told of them first."""
    turns = [dev("T1", attempt=1, run=[MAKES]), dev("T1", attempt=2), dev("T1", attempt=3, run=[REMOVES])]
    bench = laid(tmp_path, "worktree", task("T1", "test -f vendor/lib/code"), turns=turns)
    host = Bench(tmp_path / "my app")
    moves = f"cd '{host.root}' && {GIT} commit -q --allow-empty -m more && git branch -f aiframe/shop/landed master"
    turns[0]["run"].append(moves)
    play(bench, turns)
    bench.tick()
    assert [outcome for _, outcome, _ in bench.ended()] == ["verify_failed", "verify_failed", "ok"], bench.log()
    assert bench.where == "DONE"
    assert (host.git("log", "-2", "--format=%s", "aiframe/shop/landed")).splitlines() == ["T1: Task T1", "more"]


@pytest.mark.parametrize("kind", ["inplace", "worktree"])
def test_all_attempts_used_up_leaves_it_where_it_is(tmp_path: Path, kind: str) -> None:
    bench = laid(tmp_path, kind, task("T1", CHECK), turns=[dev("T1", run=[COMMITS])] * 3)
    bench.tick()
    assert [outcome for _, outcome, _ in bench.ended()] == ["verify_failed"] * 3, bench.log()
    assert (bench.where, bench.statuses()) == ("ERROR", {"T1": "failed"})
    place = bench.root if kind == "inplace" else tmp_path / "state/aiframe/workspaces/shop/T1"
    assert Bench(place).git("-C", "vendor/lib", "log", "--format=%s") == "inner"
    assert (place / "vendor" / "lib" / "code").read_text() == "1\n"
    assert "remove its .git" in bench.do("why").out


@pytest.mark.parametrize("makes", [MAKES, COMMITS], ids=["without commit", "with commit"])
def test_the_next_task_begins_without_it_and_it_is_kept(tmp_path: Path, makes: str) -> None:
    bench = lay_project(
        tmp_path, task("T1", "true"), task("T2", "test -f two && ! test -e vendor"),
        turns=[dev("T1", files={"one": "1\n"}, run=[makes]), dev("T2", files={"two": "2\n"})],
        limits={"max_attempts": 1}, settings={"on_task_failure": "continue"},
    )  # fmt: skip
    ran = bench.tick()
    assert bench.statuses() == {"T1": "failed", "T2": "done"}, ran.said + bench.log()
    assert bench.commits() == ["T2: Task T2"]
    assert bench.git("ls-files", "one", "vendor") == ""
    ref = "refs/aiframe/unverified/T1-left"
    assert (bench.git("show", f"{ref}:one"), bench.git("show", f"{ref}:vendor/lib/code")) == ("1", "1")
    inner = [path for path in (bench.control_dir / "quarantine").iterdir() if (path / "HEAD").exists()]
    assert len(inner) == 1
    assert str(inner[0]) in bench.log()


def test_what_a_person_made_there_since_is_theirs(tmp_path: Path) -> None:
    bench = lay_project(
        tmp_path, task("T1", "true"), task("T2", "true"), limits={"max_attempts": 1},
        turns=[dev("T1", run=[MAKES]), dev("T2", files={"two": "2\n"})],
    )  # fmt: skip
    bench.tick()
    assert bench.where == "ERROR"
    (bench.root / "mine").mkdir()
    git(bench.root / "mine", "init", "-q")
    bench.do("resume")
    bench.write("TASKS.yaml", bench.text("TASKS.yaml").replace('"failed"', '"cancelled"'))
    bench.tick()
    assert (bench.where, bench.ended()[-1][1]) == ("ERROR", "setup"), bench.log()
    assert (bench.root / "mine" / ".git" / "HEAD").exists()
    assert (bench.root / "vendor" / "lib" / ".git" / "HEAD").exists()


def test_a_check_that_makes_one_has_changed_what_it_proves(tmp_path: Path) -> None:
    check = "test -e mended || git init -q made && touch made/x"
    turns = [
        dev("T1", attempt=1, files={"one": "1"}),
        dev("T1", attempt=2, files={"mended": ""}, run=["rm -rf made/.git"]),
    ]
    bench = lay_project(tmp_path, task("T1", check), turns=turns)
    bench.tick()
    assert next(outcome for _, outcome, _ in bench.ended()) == "verify_failed", bench.log()
    assert "the verify commands changed the files they were to prove: made" in bench.prompts()[1]
    assert bench.where == "DONE", bench.log()
