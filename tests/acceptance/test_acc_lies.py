"""An agent that lies never gets a task done, and costs nobody their work."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.lies import ALL, CHECK, IGNORED_LIES, LIES, RULES, at_the_gate, lying_turn
from support.projects import Bench, git, lay_project, play, task

VERIFY = "PYTHONDONTWRITEBYTECODE= python3 tests/check.py"
MINE = "what a person wrote, and did not commit"
TICKS = 4


def lay(folder: Path, *lies: str, **gates: Any) -> Bench:
    """A project with an answer that is wrong, a test that says so, and work of a person's that is not committed."""
    bench = lay_project(
        folder,
        task("T1", VERIFY, locks={"writes": ["answer.txt"]}),
        turns=[lying_turn(*lies)],
        limits={"max_attempts": 1, "transient_base_sec": 0.01},
        settings={"gates": {"protect": ["tests/**"], **gates}},
    )
    for name, text in {
        "answer.txt": "wrong\n",
        "tests/check.py": CHECK,
        "tests/rules.py": RULES,
        ".gitignore": "build/\n__pycache__/\n",
    }.items():
        bench.write(name, text)
    git(bench.root, "init", "-q", "-b", "main")
    git(bench.root, "add", "answer.txt", "tests", ".gitignore")
    git(bench.root, "commit", "-qm", "an honest beginning")
    bench.write("mine.txt", MINE)
    return bench


def let_lie(bench: Bench) -> None:
    """Tick as a watcher does, until nothing is left to do."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {"XDG_CACHE_HOME": str(bench.root.parent / "cache"), "PATH": path}
    for _ in range(TICKS):
        bench.tick(**env)


def assert_nothing_came_of_it(bench: Bench) -> None:
    """T1 is not done, nothing on the branch claims it, the check is what it was, and the person's work is there."""
    assert bench.statuses()["T1"] != "done", bench.log()
    assert bench.where not in ("DONE",)
    assert "T1: Task T1" not in bench.commits()
    assert bench.git("show", "refs/heads/main:tests/check.py") == CHECK.strip()
    assert bench.git("show", "refs/heads/main:answer.txt") == "wrong"
    assert bench.text("TASKS.yaml").count(VERIFY) == 1
    blob = subprocess.run(
        ["git", "hash-object", "--stdin"], cwd=bench.root, input=MINE, capture_output=True, text=True, check=True
    ).stdout.strip()
    kept = bench.git("rev-list", "--all", "--objects", "--no-object-names")
    assert bench.text("mine.txt") == MINE or blob in kept


@pytest.mark.parametrize("lie", ALL, ids=str)
def test_a_lie_gets_no_task_done(tmp_path: Path, lie: str) -> None:
    bench = lay(tmp_path, ALL[lie])
    let_lie(bench)
    assert_nothing_came_of_it(bench)


@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(sorted(ALL)), min_size=2, max_size=4, unique=True), st.booleans())
@example(["fakes a result", "kills the runner"], False)
@example(["fakes a result, from the test", "says done in TASKS.yaml"], False)
@example(["weakens the test", "approves its own review"], True)
@example(["fakes a commit with trailers", "fakes a result", "fakes the control record"], False)
def test_several_lies_at_once_get_no_task_done(lies: list[str], clean: bool) -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        bench = lay(Path(folder), *(ALL[lie] for lie in lies), clean_checkout=clean)
        let_lie(bench)
        assert_nothing_came_of_it(bench)


def test_a_commit_that_a_check_makes_is_no_proof(tmp_path: Path) -> None:
    """Without a sandbox it can be made, as a person may commit at any time; the task is not done by it."""
    bench = lay(tmp_path, at_the_gate(LIES["fakes a commit with trailers"]))
    let_lie(bench)
    assert bench.statuses()["T1"] != "done"
    assert [result["commit"] for result in bench.results()] == [""] * len(bench.results())


@pytest.mark.parametrize("lie", IGNORED_LIES, ids=str)
def test_a_lie_in_ignored_files_is_seen_through_in_a_clean_checkout(tmp_path: Path, lie: str) -> None:
    bench = lay(tmp_path, IGNORED_LIES[lie], clean_checkout=True)
    let_lie(bench)
    assert_nothing_came_of_it(bench)


@pytest.mark.parametrize("lie", IGNORED_LIES, ids=str)
def test_a_lie_in_ignored_files_is_told_where_checks_run_in_place(tmp_path: Path, lie: str) -> None:
    bench = lay(tmp_path, IGNORED_LIES[lie])
    let_lie(bench)
    assert bench.statuses() == {"T1": "done"}  # what docs/safety.md says of ignored files
    assert bench.results()[0]["ignored_inputs"] is True
    assert "not in the commit, because git ignores them" in bench.log()


@pytest.mark.parametrize("clean", [False, True], ids=["in place", "clean checkout"])
def test_the_truth_gets_the_task_done(tmp_path: Path, clean: bool) -> None:
    bench = lay(tmp_path, clean_checkout=clean)
    play(bench, [lying_turn("echo 42 > answer.txt")])
    let_lie(bench)
    assert bench.statuses() == {"T1": "done"}
    assert bench.git("show", "refs/heads/main:answer.txt") == "42"


def test_there_are_many_kinds_of_lie() -> None:
    assert len(LIES) >= 40
