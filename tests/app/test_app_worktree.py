"""A project that works for a person's repository: each task in a worktree, landed only proven; theirs is untouched."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.projects import Bench, Ran, dev, git, lay_project, lock_free, play, task, tasks_yaml, wait_for

TARGET = "aiframe/shop/landed"
KIND = {"kind": "worktree"}


BOTH = pytest.mark.parametrize("kind", ["worktree", "clone"], indirect=True)
"""For what hangs on how files get from a workspace to the person's repository and back."""


@pytest.fixture(autouse=True)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The kind of workspace of a person's repository."""
    named = str(getattr(request, "param", "worktree"))
    monkeypatch.setitem(KIND, "kind", named)
    return named


def repository(folder: Path, files: Mapping[str, str] | None = None) -> Path:
    """A person's repository on master."""
    root = folder / "my app"
    for name, text in (files or {"a.txt": "a\n", "b.txt": "b\n", ".gitignore": "*.log\n"}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    git(root, "init", "-q", "-b", "master")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "first")
    return root


def lay(folder: Path, repo: Path | str, *tasks: Mapping[str, Any], turns: list[Any], **settings: Any) -> Bench:
    """A project for *repo*; *settings* are more keys of `workspace`."""
    workspace = {**KIND, "repo": str(repo), **settings}
    bench = lay_project(folder, *tasks, turns=turns, settings={"workspace": workspace})
    return replace(bench, env={**os.environ, "XDG_STATE_HOME": str(folder / "state")})


def workspace(bench: Bench, name: str) -> Path:
    return bench.root.parent / "state" / "aiframe" / "workspaces" / "shop" / name


def shown(repo: Path) -> tuple[str, str, str]:
    """What a person sees of the checkout."""
    return git(repo, "status", "--porcelain=v2", "--branch"), git(repo, "rev-parse", "HEAD"), git(repo, "stash", "list")


def commit(repo: Path, branch: str, **files: str) -> None:
    """A person's commit on *branch*, from a worktree of theirs."""
    theirs = repo.parent / "theirs"
    git(repo, "worktree", "add", "-q", str(theirs), branch)
    for name, text in files.items():
        (theirs / name.replace("_", ".")).write_text(text)
    git(theirs, "add", "-A")
    git(theirs, "commit", "-q", "-m", "by a person")
    git(repo, "worktree", "remove", "-f", str(theirs))


@BOTH
def test_two_tasks_land_and_the_checkout_is_untouched(tmp_path: Path) -> None:
    repo = repository(tmp_path)
    (repo / "a.txt").write_text("a person is at work\n")
    before = shown(repo)
    bench = lay(
        tmp_path, repo, task("T1", "grep -q one one.txt"), task("T2", "grep -q one one.txt && test -f two.txt"),
        turns=[dev("T1", files={"one.txt": "one\n"}), dev("T2", files={"two.txt": "two\n"})],
    )  # fmt: skip
    done = bench.tick()
    assert bench.where == "DONE", done.said + bench.log()
    assert git(repo, "log", "--format=%s", TARGET).splitlines() == ["T2: Task T2", "T1: Task T1", "first"]
    for result in bench.results():
        assert git(repo, "merge-base", "--is-ancestor", result["commit"], TARGET) == ""
        assert {gate["tree"] for gate in result["gates"]} == {git(repo, "rev-parse", result["commit"] + "^{tree}")}
    assert shown(repo) == before
    assert git(repo, "worktree", "list").count("\n") == 0, "the workspaces of finished tasks are left"
    assert git(repo, "branch", "--format=%(refname:short)").splitlines() == [TARGET, "master"]
    assert bench.git("status", "--porcelain") == ""
    assert [git(repo, "log", "-1", "--format=%(trailers:key=Aiframe-Task,valueonly)", TARGET).strip()] == ["T2"]


def test_prompts_name_the_workspace_and_the_projects_own_documents(tmp_path: Path) -> None:
    repo = repository(tmp_path)
    bench = lay(tmp_path, repo, task("T1", "true"), turns=[dev("T1", files={"one.txt": "one\n"})])
    bench.tick()
    (prompt,) = bench.prompts()
    assert str(workspace(bench, "T1")) in prompt
    assert str(bench.root / "notes" / "context_snapshot.md") in prompt


@BOTH
def test_red_checks_leave_an_unverified_commit_and_the_next_attempt_goes_on(tmp_path: Path) -> None:
    repo = repository(tmp_path)
    turns = [
        dev("T1", files={"one.txt": "half\n"}),
        dev("T1", attempt=2, run=["grep -q half one.txt && echo whole >one.txt"]),
    ]
    bench = lay(tmp_path, repo, task("T1", "grep -q whole one.txt"), turns=turns)
    bench.tick()
    assert bench.where == "DONE", bench.log()
    assert git(repo, "log", "--format=%s", TARGET).splitlines() == ["T1: Task T1", "first"]
    kept = git(repo, "for-each-ref", "--format=%(refname)", "refs/aiframe/backup").splitlines()
    assert [git(repo, "show", f"{ref}:one.txt") for ref in kept] == ["half"]


@BOTH
@pytest.mark.parametrize("ending", ["timeout", "stopped"])
def test_what_a_stopped_attempt_left_is_on_the_branch(tmp_path: Path, ending: str) -> None:
    repo = repository(tmp_path)
    turns = [dev("T1", files={"one.txt": "half\n"}, run=["touch begun; sleep 30"])]
    bench = lay(tmp_path, repo, task("T1", "true"), turns=turns)
    if ending == "timeout":
        bench.edit_state(timeout_sec=2)
        bench.tick()
    else:
        bench.tick("--no-wait")
        wait_for((workspace(bench, "T1") / "begun").exists, "the agent's start")
        bench.do("stop")
        wait_for(lambda: lock_free(bench), "the end of the step")
    assert bench.where == ("DIAGNOSE_READY" if ending == "timeout" else "PAUSED"), bench.log()
    assert git(repo, "log", "-1", "--format=%s", "aiframe/shop/T1") == "unverified: T1"
    assert git(repo, "show", "aiframe/shop/T1:one.txt") == "half"
    assert git(repo, "rev-parse", TARGET) == git(repo, "rev-parse", "master")


@BOTH
def test_a_target_that_moved_meanwhile_is_merged_and_proven(tmp_path: Path) -> None:
    repo = repository(tmp_path)
    moves = f"cd '{repo}' && git worktree add -q ../t {TARGET} && echo d >../t/d.txt && git -C ../t add -A &&"
    moves += " git -C ../t -c user.name=p -c user.email=p@example.org commit -q -m person"
    turns = [dev("T1", files={"one.txt": "one\n"}, run=[moves])]
    bench = lay(tmp_path, repo, task("T1", "test -f d.txt -a -f one.txt"), turns=turns)
    done = bench.tick()
    assert bench.where == "DONE", done.said + bench.log()
    assert git(repo, "log", "--format=%s", TARGET).splitlines() == ["T1: Task T1", "person", "first"]


@BOTH
@pytest.mark.parametrize("copied", [False, True], ids=["renamed", "copied"])
def test_a_project_of_another_name_goes_on_with_what_has_landed(tmp_path: Path, copied: bool) -> None:
    repo, first = repository(tmp_path), task("T1", "test -f one.txt")
    bench = lay(tmp_path, repo, first, turns=[dev("T1", files={"one.txt": "one\n"})])
    bench.tick()
    there = replace(bench, root=tmp_path / "store")
    if copied:
        shutil.copytree(bench.root, there.root, symlinks=True)
    else:
        bench.root.rename(there.root)
        (bench.root / "logs").mkdir(parents=True)  # as a step leaves it that is still at work there
    second = task("T2", "test -f one.txt && test -f two.txt", blocked_by=["T1"])
    there.write("TASKS.yaml", tasks_yaml({**first, "status": "done"}, second))
    play(there, [dev("T2", files={"two.txt": "two\n"})])
    there.do("resume")
    there.tick()
    assert there.where == "DONE", there.log()
    subjects = {
        name: git(repo, "log", "--format=%s", name).splitlines()
        for name in git(repo, "for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads/aiframe").splitlines()
    }
    whole = ["T2: Task T2", "T1: Task T1", "first"]
    assert subjects == ({TARGET: whole[1:], "aiframe/store/landed": whole} if copied else {TARGET: whole})


def test_a_conflict_goes_back_to_the_agent_with_both_versions(tmp_path: Path) -> None:
    repo = repository(tmp_path)
    moves = f"cd '{repo}' && git worktree add -q ../t {TARGET} && echo theirs >../t/a.txt && git -C ../t add -A &&"
    moves += " git -C ../t -c user.name=p -c user.email=p@example.org commit -q -m person"
    moves += " && git worktree remove -f ../t"
    turns = [
        dev("T1", files={"a.txt": "mine\n"}, run=[moves]),
        dev("T1", attempt=2, run=["grep -q '<<<<<<<' a.txt &&  printf 'theirs\\nmine\\n' >a.txt"]),
    ]
    bench = lay(tmp_path, repo, task("T1", "grep -q mine a.txt"), turns=turns)
    bench.tick()
    assert bench.where == "DONE", bench.log()
    assert "a.txt" in bench.prompts()[1]
    assert "conflict" in bench.prompts()[1]
    assert git(repo, "show", f"{TARGET}:a.txt") == "theirs\nmine"
    assert git(repo, "log", "--format=%s", TARGET).splitlines() == ["T1: Task T1", "person", "first"]


def test_a_conflict_that_the_agent_leaves_in_a_file_never_lands(tmp_path: Path) -> None:
    """F4. Checks need not notice: a page of text passes with the markers in it."""
    repo = repository(tmp_path)
    moves = f"cd '{repo}' && git worktree add -q ../t {TARGET} && echo theirs >../t/a.txt && git -C ../t add -A &&"
    moves += " git -C ../t -c user.name=p -c user.email=p@example.org commit -q -m person"
    turns = [
        dev("T1", files={"a.txt": "mine\n"}, run=[moves]),
        dev("T1", attempt=2, files={"more.txt": "more\n"}),
        dev("T1", attempt=3, files={"a.txt": "theirs\nmine\n"}),
    ]
    bench = lay(tmp_path, repo, task("T1", "grep -q mine a.txt"), turns=turns)
    bench.tick()
    second = bench.results()[1]
    assert "a.txt" in second["error"], bench.log()
    assert bench.where == "PAUSED", "once more for the same cause, and a person has the word"
    assert "conflict markers are left in a.txt" in bench.do("why").said
    bench.do("retry", "T1")
    bench.tick()
    assert "conflict markers" in bench.prompts()[2]
    assert bench.where == "DONE", bench.log()
    assert git(repo, "show", f"{TARGET}:a.txt") == "theirs\nmine"
    assert git(repo, "log", "--format=%s", TARGET).splitlines() == ["T1: Task T1", "person", "first"]


def test_the_work_follows_a_base_that_holds_all_that_landed(tmp_path: Path) -> None:
    repo = repository(tmp_path)
    bench = lay(
        tmp_path, repo, task("T1", "true"), task("T2", "test -f d.txt", blocked_by=["T1"]),
        turns=[dev("T1", files={"one.txt": "one\n"}), dev("T2", files={"two.txt": "two\n"})],
    )  # fmt: skip
    bench.tick(DEV_CHAIN_LIMIT="1")
    git(repo, "merge", "-q", TARGET)
    (repo / "d.txt").write_text("by a person\n")
    git(repo, "add", "-A")
    git(repo, "commit", "-q", "-m", "person")
    bench.tick()
    assert bench.where == "DONE", bench.log()
    assert git(repo, "log", "--format=%s", TARGET).splitlines() == ["T2: Task T2", "person", "T1: Task T1", "first"]


@pytest.mark.parametrize(
    ("move", "said"),
    [
        pytest.param(
            ("commit", "-q", "--allow-empty", "-m", "person"), "merge aiframe/shop/landed into master", id="moved"
        ),
        pytest.param(("branch", "-m", "trunk"), "master is gone", id="renamed"),
    ],
)
def test_a_base_that_went_another_way_is_told_and_the_work_goes_on(
    tmp_path: Path, move: tuple[str, ...], said: str
) -> None:
    """F2."""
    repo = repository(tmp_path)
    turns = [dev("T1", files={"one.txt": "one\n"}), dev("T2", files={"two.txt": "two\n"})]
    bench = lay(tmp_path, repo, task("T1", "true"), task("T2", "true"), turns=turns)
    bench.tick(DEV_CHAIN_LIMIT="1")
    git(repo, *move)
    bench.tick()
    assert bench.where == "DONE", bench.log()
    assert said in bench.log()
    assert git(repo, "log", "--format=%s", TARGET).splitlines() == ["T2: Task T2", "T1: Task T1", "first"]


def test_a_dirty_checkout_of_the_target_makes_the_work_wait(tmp_path: Path) -> None:
    repo = repository(tmp_path)
    (repo / "b.txt").write_text("a person is at work\n")
    before = shown(repo)
    turns = [dev("T1", files={"one.txt": "one\n"})]
    bench = lay(tmp_path, repo, task("T1", "true"), turns=turns, target="master")
    bench.tick()
    assert bench.statuses() == {"T1": "review"}, bench.log()
    assert "checked out" in bench.log()
    assert shown(repo) == before
    git(repo, "checkout", "-q", "b.txt")
    (repo / "d.txt").write_text("by a person\n")
    git(repo, "add", "-A")
    git(repo, "commit", "-q", "-m", "person")
    approved = bench.do("approve", "T1")
    assert approved.code == 0, approved.said
    bench.tick()
    assert bench.where == "DONE", bench.log()
    assert len(bench.results()) == 2
    assert git(repo, "log", "--format=%s").splitlines() == ["T1: Task T1", "person", "first"]
    assert git(repo, "status", "--porcelain") == ""
    assert (repo / "one.txt").exists()


def test_undo_takes_the_work_back_on_the_target(tmp_path: Path) -> None:
    repo = repository(tmp_path)
    turns = [dev("T1", files={"one.txt": "one\n"}), dev("T2", files={"two.txt": "two\n"})]
    bench = lay(tmp_path, repo, task("T1", "true"), task("T2", "true"), turns=turns)
    bench.tick()
    before = shown(repo)
    undone = bench.do("undo", "T1")
    assert undone.code == 0, undone.said
    assert git(repo, "ls-tree", "--name-only", TARGET).splitlines() == [".gitignore", "a.txt", "b.txt", "two.txt"]
    assert bench.statuses() == {"T1": "todo", "T2": "done"}
    bench.do("resume")
    bench.tick()
    assert bench.where == "DONE", bench.log()
    assert git(repo, "show", f"{TARGET}:one.txt") == "one"
    assert git(repo, "log", "--format=%s", TARGET).splitlines()[:2] == ["T1: Task T1", "aiframe: undo T1"]
    assert shown(repo) == before


@BOTH
def test_an_undo_takes_in_what_lands_in_the_same_moment(tmp_path: Path) -> None:
    repo = repository(tmp_path)
    bench = lay(tmp_path, repo, task("T1", "true"), turns=[dev("T1", files={"one.txt": "one\n"})])
    bench.tick()
    branch, target = (repo / ".git" / "refs" / "heads" / name for name in ("aiframe/shop/T1", TARGET))
    landed = target.read_text()
    other = git(repo, "commit-tree", "-p", TARGET, "-m", "other", f"{TARGET}^{{tree}}")
    (tmp_path / "other").write_text(f"{other}\n")
    done = list[Ran]()
    undo = threading.Thread(target=lambda: done.append(bench.do("undo", "T1")))
    undo.start()
    while undo.is_alive():  # once the undo is made, and before it lands, somebody else's work does
        with suppress(OSError):
            if branch.read_text() not in (landed, "") and (tmp_path / "other").exists():
                (tmp_path / "other").rename(target)
    undo.join()
    assert done[0].code == 0, done[0].said
    subjects = git(repo, "log", "--format=%s", TARGET).splitlines()
    assert subjects == ["aiframe: undo T1", "other", "T1: Task T1", "first"]


@BOTH
def test_undo_lands_nothing_that_a_later_attempt_left(tmp_path: Path) -> None:
    """F4. Only what has landed is taken back; what is not proven stays in a backup ref."""
    repo = repository(tmp_path)
    turns = [dev("T1", files={"one.txt": "one\n"})]
    bench = lay(tmp_path, repo, task("T1", "test ! -f bad.txt"), turns=turns)
    bench.tick()
    assert bench.where == "DONE", bench.log()
    play(bench, [dev("T1", files={"bad.txt": "bad\n"})])
    bench.write("TASKS.yaml", bench.text("TASKS.yaml").replace("done", "todo"))
    bench.do("resume")
    bench.tick()
    assert git(repo, "show", "aiframe/shop/T1:bad.txt") == "bad", bench.log()
    (workspace(bench, "T1") / "more.txt").write_text("left\n")
    undone = bench.do("undo", "T1")
    assert undone.code == 0, undone.said
    assert git(repo, "log", "--format=%s", TARGET).splitlines() == ["aiframe: undo T1", "T1: Task T1", "first"]
    assert git(repo, "rev-parse", f"{TARGET}^{{tree}}") == git(repo, "rev-parse", "master^{tree}")
    kept = git(repo, "for-each-ref", "--format=%(refname)", "refs/aiframe/backup").splitlines()
    held = [git(repo, "ls-tree", "--name-only", ref).splitlines() for ref in kept]
    assert any({"bad.txt", "more.txt"} <= set(names) for names in held)
    play(bench, turns)
    bench.tick()
    assert bench.where == "DONE", bench.log()
    assert git(repo, "ls-tree", "--name-only", TARGET).splitlines() == [".gitignore", "a.txt", "b.txt", "one.txt"]


@BOTH
def test_work_that_exceeds_its_scope_is_held_and_lands_on_a_persons_word(tmp_path: Path) -> None:
    repo = repository(tmp_path)
    turns = [dev("T1", files={"one.txt": "one\n", "b.txt": "more\n"}), dev("T2", files={"two.txt": "two\n"})]
    declared = task("T1", "true", locks={"writes": ["one.txt"]})
    bench = lay(tmp_path, repo, declared, task("T2", "true"), turns=turns)
    bench.tick()
    assert bench.statuses() == {"T1": "review", "T2": "done"}, bench.log()
    assert git(repo, "log", "--format=%s", TARGET).splitlines() == ["T2: Task T2", "first"]
    bench.do("approve", "T1")
    bench.tick()
    assert bench.where == "DONE", bench.log()
    assert git(repo, "log", "--format=%s", TARGET).splitlines() == ["T1: Task T1", "T2: Task T2", "first"]


@BOTH
def test_an_agent_that_moves_the_target_is_held_to_its_scope(tmp_path: Path) -> None:
    """F5. What lands by another way counts as the attempt's own."""
    repo = repository(tmp_path)
    smuggle = (
        "echo weak >b.txt && git add b.txt && git -c user.name=x -c user.email=x@example.org commit -q -m smuggled"
        f" && git update-ref refs/heads/{TARGET} HEAD"
    )
    turns = [dev("T1", files={"one.txt": "one\n"}, run=[smuggle])]
    bench = lay(tmp_path, repo, task("T1", "true", locks={"writes": ["one.txt"]}), turns=turns)
    bench.tick()
    assert bench.statuses() == {"T1": "review"}, bench.log()
    assert "b.txt" in bench.log()


def test_work_whose_target_is_set_back_meanwhile_is_held_and_says_so(tmp_path: Path) -> None:
    repo = repository(tmp_path)
    back = f"git update-ref refs/heads/{TARGET} HEAD~1"
    locked = task("T2", "true", locks={"writes": ["two.txt"]}, blocked_by=["T1"])
    turns = [dev("T1", files={"one.txt": "one\n"}), dev("T2", files={"two.txt": "two\n"}, run=[back])]
    bench = lay(tmp_path, repo, task("T1", "true"), locked, turns=turns)
    bench.tick()
    assert bench.statuses() == {"T1": "done", "T2": "review"}, bench.log()
    for words in ("one.txt deleted", f"{TARGET} was set back or rewritten meanwhile"):
        assert words in bench.do("why").out
    bench.do("approve", "T2")
    bench.tick()
    assert (bench.where, bench.statuses()["T2"]) == ("DONE", "done"), bench.log()
    assert git(repo, "show", "--format=", "--name-only", TARGET) == "two.txt"


def test_a_clean_checkout_of_the_target_moves_along(tmp_path: Path) -> None:
    repo = repository(tmp_path)
    bench = lay(tmp_path, repo, task("T1", "true"), turns=[dev("T1", files={"one.txt": "one\n"})], target="master")
    bench.tick()
    assert bench.where == "DONE", bench.log()
    assert (repo / "one.txt").read_text() == "one\n"
    assert git(repo, "status", "--porcelain") == ""
    assert git(repo, "log", "--format=%s").splitlines() == ["T1: Task T1", "first"]


@BOTH
def test_planted_hooks_and_settings_never_run(tmp_path: Path) -> None:
    """F26 for linked worktrees."""
    repo, evil = repository(tmp_path), tmp_path / "evil"
    plant = (
        f"printf '#!/bin/sh\\ntouch {evil}\\n' | tee '{repo}/.git/hooks/post-checkout' '{repo}/.git/hooks/post-merge'"
        f" '{repo}/.git/hooks/reference-transaction' '{repo}/.git/hooks/post-commit' >/dev/null;"
        f" chmod +x '{repo}'/.git/hooks/*; git config core.fsmonitor 'touch {evil}';"
        f" git config filter.f.clean 'touch {evil}'; git config diff.external 'touch {evil}';"
        f" echo '* filter=f' >'{repo}/.git/info/attributes'; rm -f {evil}"
    )
    turns = [dev("T1", files={"one.txt": "one\n"}, run=[plant])]
    bench = lay(tmp_path, repo, task("T1", "true"), turns=turns)
    before = (repo / ".git" / "config").read_bytes()
    bench.tick()
    assert bench.where == "DONE", bench.log()
    assert not evil.exists()
    assert not list((repo / ".git" / "hooks").glob("post-commit"))
    assert (repo / ".git" / "config").read_bytes() == before
    assert not (repo / ".git" / "info" / "attributes").exists()
    assert "post-commit" in bench.log()


# Setting up


@pytest.mark.parametrize(
    ("files", "told"),
    [
        pytest.param({"made.log": "made\n"}, True, id="nothing but ignored files"),
        pytest.param({"made.log": "made\n", "one.txt": "one\n"}, False, id="others too"),
        pytest.param({}, False, id="nothing at all"),
    ],
)
def test_work_that_git_ignores_as_a_whole_is_told(tmp_path: Path, files: dict[str, str], told: bool) -> None:
    turns = [dev("T1", files=files)]
    bench = lay(tmp_path, repository(tmp_path), task("T1", "test -f made.log || test -f a.txt"), turns=turns)
    bench.tick()
    assert bench.statuses() == {"T1": "done"}, bench.log()
    words = "nothing of it is in the commit; git ignores made.log"
    assert [words in said for said in (bench.do("digest").out, bench.log())] == [told, told]


def test_setup_runs_once_in_a_workspace_and_again_when_it_changes(tmp_path: Path) -> None:
    repo, count = repository(tmp_path), tmp_path / "count"
    turns = [
        dev("T1", files={"one.txt": "half\n"}), dev("T1", attempt=2, files={"one.txt": "more\n"}),
        dev("T1", attempt=3, files={"one.txt": "whole\n"}),
    ]  # fmt: skip
    verify = "grep -q made made.log && grep -q whole one.txt"
    setup = [f"echo x >>{count}; echo made >made.log"]
    bench = lay(tmp_path, repo, task("T1", verify), turns=turns, setup=setup)
    settings = json.loads(bench.text("PROJECT.yaml"))
    settings["limits"] = {"max_attempts": 2}
    bench.write("PROJECT.yaml", json.dumps(settings))
    bench.tick()
    assert bench.where == "ERROR", bench.log()
    assert count.read_text() == "x\n"
    settings["workspace"]["setup"].append(f"echo y >>{count}")
    bench.write("PROJECT.yaml", json.dumps(settings))
    bench.do("retry", "T1")
    bench.tick()
    assert bench.where == "DONE", bench.log()
    assert count.read_text() == "x\nx\ny\n"


@pytest.mark.parametrize(
    ("setup", "said"),
    [
        pytest.param("exit 3", "exit code 3", id="fails"),
        pytest.param("echo x >>a.txt", "a.txt", id="changes a tracked file"),
        pytest.param("echo x >new.txt", "new.txt", id="makes a file that is not ignored"),
        pytest.param("sleep 30", "within", id="never ends"),
    ],
)
def test_setup_that_fails_stops_the_step_before_an_agent_is_paid(tmp_path: Path, setup: str, said: str) -> None:
    repo = repository(tmp_path)
    turns = [dev("T1", files={"one.txt": "one\n"})]
    bench = lay(tmp_path, repo, task("T1", "true"), turns=turns, setup=[setup], setup_timeout_min=0.03)
    bench.tick()
    assert bench.where == "ERROR"
    assert said in bench.log()
    assert not (workspace(bench, "T1") / "one.txt").exists()
    assert bench.state["failure"]["hint"]


@BOTH
@pytest.mark.parametrize("setup", ["echo x >>a.txt; echo x >new.txt", "rm b.txt; echo x >>a.txt; exit 3"])
def test_what_a_setup_spoiled_is_never_taken_for_work(tmp_path: Path, setup: str) -> None:
    repo = repository(tmp_path)
    bench = lay(tmp_path, repo, task("T1", "true"), turns=[dev("T1", files={"one.txt": "one\n"})], setup=[setup])
    bench.tick()
    assert bench.where == "ERROR", bench.log()
    bench.write("PROJECT.yaml", bench.text("PROJECT.yaml").replace(setup, "true"))
    bench.do("resume")
    bench.tick()
    assert bench.where == "DONE", bench.log()
    assert git(repo, "diff", "--name-status", "master", TARGET).split() == ["A", "one.txt"]


@BOTH
def test_what_a_setup_spoiled_that_was_killed_is_never_taken_for_work(tmp_path: Path) -> None:
    repo = repository(tmp_path)
    setup = "echo x >>a.txt; touch ../begun; sleep 60"
    bench = lay(tmp_path, repo, task("T1", "true"), turns=[dev("T1", files={"one.txt": "one\n"})], setup=[setup])
    bench.tick("--no-wait")
    wait_for((workspace(bench, "T1").parent / "begun").exists, "the setup")
    os.kill(bench.control["run"]["runner"]["pid"], signal.SIGKILL)
    wait_for(lambda: lock_free(bench), "the end of the runner")
    bench.write("PROJECT.yaml", bench.text("PROJECT.yaml").replace(setup, "true"))
    bench.tick()
    assert bench.where == "DONE", bench.log()
    assert git(repo, "diff", "--name-status", "master", TARGET).split() == ["A", "one.txt"]


def test_a_setup_that_a_person_stops_is_no_error(tmp_path: Path) -> None:
    repo = repository(tmp_path)
    bench = lay(tmp_path, repo, task("T1", "true"), turns=[dev("T1")], setup=["touch begun; sleep 60"])
    bench.tick("--no-wait")
    wait_for((workspace(bench, "T1") / "begun").exists, "the setup")
    bench.do("stop")
    wait_for(lambda: lock_free(bench), "the end of the step")
    assert (bench.where, bench.state["failure"]["kind"]) == ("PAUSED", "cancelled"), bench.log()


@BOTH
def test_checks_in_a_clean_checkout(tmp_path: Path) -> None:
    repo = repository(tmp_path)
    turns = [dev("T1", files={"one.txt": "one\n", "left.log": "x\n"})]
    verify = "test -f made.log && test ! -e left.log && test ! -e .git"
    bench = lay(tmp_path, repo, task("T1", verify), turns=turns, setup=["echo made >made.log"])
    settings = json.loads(bench.text("PROJECT.yaml"))
    bench.write("PROJECT.yaml", json.dumps({**settings, "gates": {"clean_checkout": True}}))
    bench.tick(XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert bench.where == "DONE", bench.log()
    assert git(repo, "log", "--format=%s", TARGET).splitlines() == ["T1: Task T1", "first"]


# What a person may name


@pytest.mark.parametrize(
    ("spoil", "said", "cure"),
    [
        pytest.param({"repo": "nowhere"}, "no folder", "workspace.repo in PROJECT.yaml", id="no folder"),
        pytest.param({"repo": "."}, "the project itself", "inplace", id="the project itself"),
        pytest.param({"base": "gone"}, "no commit gone", "git branch", id="no such base"),
        pytest.param({"target": "a..b/c.lock"}, "", "git branch", id="no name of a branch"),
    ],
)
def test_what_cannot_be_worked_in_is_said_with_the_cure(
    tmp_path: Path, spoil: Mapping[str, str], said: str, cure: str
) -> None:
    repo = repository(tmp_path)
    before = git(repo, "for-each-ref"), sorted(os.listdir(repo / ".git"))
    settings = {"repo": str(repo), **spoil}
    bench = lay(tmp_path, settings.pop("repo"), task("T1", "true"), turns=[dev("T1")], **settings)
    done = bench.tick()
    failure = bench.state.get("failure") or {"message": done.said, "hint": done.said}
    assert said in failure["message"]
    assert cure in failure["hint"] + done.said
    assert (git(repo, "for-each-ref"), sorted(os.listdir(repo / ".git"))) == before


@BOTH
@pytest.mark.parametrize(
    "deletes",
    [
        pytest.param('rm -rf "$PWD"', id="the folder"),
        pytest.param('cd "$PWD"; rm -rf "$PWD"; mkdir -p "$PWD/src"; echo half >"$PWD/src/one.txt"', id="and goes on"),
    ],
)
def test_a_workspace_deleted_while_its_agent_works_is_made_anew(tmp_path: Path, kind: str, deletes: str) -> None:
    """None of its files counts as deleted by the agent, and the attempt is not charged."""
    repo = repository(tmp_path, {"a.txt": "a\n", "b.txt": "b\n"})
    turns = [dev("T1", run=[deletes]), dev("T1", repeat=1, run=["test -f a.txt && test -f b.txt && echo one >one.txt"])]
    limits = {"transient_base_sec": 0.1, "max_attempts": 1}
    bench = lay(tmp_path, repo, task("T1", "grep -q one one.txt"), turns=turns)
    bench.write("PROJECT.yaml", json.dumps({**json.loads(bench.text("PROJECT.yaml")), "limits": limits}))
    said = bench.do("run").said
    assert bench.where == "DONE", said + bench.log()
    assert git(repo, "log", "--format=%s", TARGET).splitlines() == ["T1: Task T1", "first"]
    assert git(repo, "ls-tree", "--name-only", TARGET).splitlines() == ["a.txt", "b.txt", "one.txt"]
    assert [ended[1] for ended in bench.ended()] == ["transient", "ok"]
    assert "unverified" not in git(repo, "log", "--all", "--format=%s")


def test_work_that_leaves_neither_of_two_files_waits_for_a_person(tmp_path: Path) -> None:
    repo = repository(tmp_path, {"a.txt": "a\n", "b.txt": "b\n"})
    bench = lay(tmp_path, repo, task("T1", "true"), turns=[dev("T1", run=["rm a.txt b.txt"])])
    bench.tick()
    assert bench.control["held"]["T1"]["reason"] == "it deletes 2 of 2 files"
    assert git(repo, "ls-tree", "--name-only", TARGET).splitlines() == ["a.txt", "b.txt"]
