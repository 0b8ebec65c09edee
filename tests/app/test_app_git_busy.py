"""Somebody else's git at work while a step wants to commit: no proven work is lost, and none is bought twice."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.projects import Bench, dev, lay_project, lock_free, task, wait_for

WORK = "echo x >> ../starts; echo 1 > one"


def shop(folder: Path, *verify: str) -> Bench:
    """A project with a repository of its own and one task that counts the starts of its agent."""
    bench = lay_project(folder, task("T1", *verify), turns=[dev("T1", run=[WORK])], state="PAUSED")
    bench.write("theirs.txt", "1\n")
    bench.do("resume")
    return bench


def starts(bench: Bench) -> int:
    return (bench.root.parent / "starts").read_text().count("x")


@contextmanager
def open_editor(bench: Bench) -> Iterator[Callable[[], int]]:
    """A person's `git commit -a` whose editor is open; it holds the lock of the index until the given function is
    called, which ends it and gives its exit code."""
    bench.write("theirs.txt", "2\n")
    go = bench.root.parent / "editor-done"
    editor = f"sh -c 'while [ ! -e {go} ]; do sleep 0.05; done; echo theirs > $1' sh"
    words = ["git", "-c", f"core.editor={editor}", "-c", "user.name=P", "-c", "user.email=p@q", "commit", "-qa"]
    with subprocess.Popen(words, cwd=bench.root, stdin=subprocess.DEVNULL) as process:

        def close() -> int:
            go.touch()
            return process.wait(20)

        try:
            wait_for((bench.root / ".git" / "index.lock").exists, "the lock of the index")
            yield close
        finally:
            close()


def test_a_lock_that_is_there_for_the_whole_settle_is_waited_for(tmp_path: Path) -> None:
    bench = shop(tmp_path, "test -e one; echo x >> ../checks")
    lock = bench.write(".git/index.lock", "")
    ended = bench.tick()
    assert ended.code == 1
    assert (bench.where, bench.ended()[-1][1]) == ("DEV_READY", "transient")
    assert "index.lock" in ended.out
    assert "when no git process is left, remove" in bench.state["failure"]["hint"]
    assert "index.lock" in bench.do("why").out
    assert bench.text("one") == "1\n"
    lock.unlink()
    bench.do("resume", "--now")
    assert bench.tick().code == 0
    assert (bench.where, bench.commits()) == ("DONE", ["T1: Task T1"])
    assert starts(bench) == 1
    assert bench.text("../checks") == "x\n"
    assert bench.git("show", "HEAD:one") == "1"
    assert "no agent was asked again" in bench.text("logs/events.ndjson")
    assert (
        bench.git("log", "-1", "--format=%(trailers:key=Aiframe-Run,valueonly)", "--", "one").strip()
        == bench.runs()[-1].name
    )
    assert bench.git("status", "--porcelain") == ""


def test_a_lock_that_nobody_takes_away_needs_a_person_in_the_end(tmp_path: Path) -> None:
    bench = shop(tmp_path, "test -e one")
    bench.write(".git/index.lock", "")
    for _ in range(6):
        bench.tick()
        bench.do("resume", "--now")
    assert bench.where == "ERROR" or bench.ended()[-1][2] == "ERROR"
    assert starts(bench) == 1
    assert bench.statuses() == {"T1": "todo"}


def test_a_person_who_commits_during_the_step_loses_nothing(tmp_path: Path) -> None:
    bench = shop(tmp_path, "touch ../checked; while [ ! -e ../go ]; do sleep 0.05; done; test -e one")
    bench.tick("--no-wait")
    wait_for((tmp_path / "checked").exists, "the check")
    bench.git("commit", "-q", "--allow-empty", "-m", "theirs")
    (tmp_path / "go").touch()
    wait_for(lambda: lock_free(bench), "the end of the step")
    assert (bench.where, bench.ended()[-1][1]) == ("DEV_READY", "transient")
    assert "somebody committed" in bench.state["failure"]["message"]
    bench.do("resume", "--now")
    assert bench.tick().code == 0
    assert (bench.where, bench.commits()) == ("DONE", ["T1: Task T1"])
    assert "theirs" in bench.git("log", "--format=%s").splitlines()
    assert starts(bench) == 2


def test_a_person_who_commits_during_a_check_that_fails_keeps_the_commit_on_the_branch(tmp_path: Path) -> None:
    turns = [dev("T1", run=["date +%N > bad; git add bad; git -c user.name=a -c user.email=a@b commit -qm sneaky"])]
    wait = "touch ../checked; while [ ! -e ../go ]; do sleep 0.05; done; false"
    bench = lay_project(tmp_path, task("T1", wait), turns=turns, limits={"max_attempts": 1})
    bench.tick("--no-wait")
    wait_for((tmp_path / "checked").exists, "the check")
    bench.git("commit", "-q", "--allow-empty", "-m", "theirs")
    (tmp_path / "go").touch()
    wait_for(lambda: lock_free(bench), "the end of the step")
    assert bench.statuses() == {"T1": "failed"}
    assert "theirs" in bench.git("log", "--format=%s").splitlines()
    assert "sneaky" in bench.git("log", "--format=%s").splitlines()  # below it, and said
    assert "stay on the branch" in bench.text("logs/events.ndjson")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda bench: bench.write("one", "another\n"), id="the work"),
        pytest.param(lambda bench: bench.write("two", ""), id="a file besides"),
        pytest.param(lambda bench: bench.git("commit", "-q", "--allow-empty", "-m", "theirs"), id="the base"),
        pytest.param(lambda bench: bench.write("TASKS.yaml", bench.text("TASKS.yaml").replace("Task T1", "Other")),
                     id="the task"),
    ],
)  # fmt: skip
def test_proven_work_is_proven_again_where_anything_has_changed(
    tmp_path: Path, change: Callable[[Bench], object]
) -> None:
    bench = shop(tmp_path, "test -e one; echo x >> ../checks")
    lock = bench.write(".git/index.lock", "")
    bench.tick()
    lock.unlink()
    change(bench)
    bench.do("resume", "--now")
    assert bench.tick().code == 0
    assert bench.where == "DONE"
    assert starts(bench) == 2
    assert bench.text("../checks") == "x\nx\n"


def test_a_person_with_an_open_editor_keeps_the_commit_that_is_written(tmp_path: Path) -> None:
    bench = shop(tmp_path, "test -e one")
    with open_editor(bench) as close:
        bench.tick()
        assert (bench.where, bench.ended()[-1][1]) == ("DEV_READY", "transient")
        assert close() == 0
    bench.do("resume", "--now")
    bench.tick()
    assert (bench.where, bench.commits()) == ("DONE", ["T1: Task T1"])
    assert bench.git("log", "--format=%s").splitlines().count("theirs") == 1
    assert bench.git("show", "HEAD:theirs.txt") == "2"
