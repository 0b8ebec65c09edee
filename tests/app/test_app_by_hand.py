"""The agent ``human``: a person does the work, aiframe asks, waits and checks, and nothing of theirs is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from app.test_app_worktree import TARGET, commit, lay, repository, shown, workspace
from support.projects import Bench, dev, git, lay_project, play, task

HUMAN = {"name": "human"}


def handed_over(folder: Path, *tasks: Any, **more: Any) -> Bench:
    """A project whose first task lies in a person's hands."""
    bench = lay_project(folder, *(tasks or (task("T1", "test -f made.txt"),)), agent=HUMAN, **more)
    ran = bench.tick()
    assert (ran.code, bench.where) == (0, "WORK_WAITING"), ran.said
    return bench


def test_the_step_shows_the_prompt_and_the_project_waits(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, task("T1", "true", description="Build the till."), agent=HUMAN)
    ran = bench.tick()
    assert ran.code == 0, ran.said
    assert "Build the till." in ran.out
    assert "T1 is in your hands" in ran.out
    assert "aiframe done T1" in ran.out
    assert "Build the till." in bench.text("notes/prompt.md")
    assert bench.prompts()[0] in bench.text("notes/prompt.md")
    assert bench.statuses() == {"T1": "in_progress"}
    assert bench.ended() == [("DEV", "handed", "WORK_WAITING")]
    before = bench.stamps()
    assert bench.tick().code == 0
    assert {name for name in bench.stamps() if bench.stamps()[name] != before.get(name)} == set(), "a tick at rest"


def test_what_the_person_made_is_checked_and_committed(tmp_path: Path) -> None:
    bench = handed_over(tmp_path)
    bench.write("made.txt", "by hand\n")
    ran = bench.do("done")
    assert ran.code == 0, ran.said
    assert "Handed in: T1" in ran.out
    assert (bench.where, bench.statuses()) == ("DONE", {"T1": "done"})
    assert bench.commits() == ["T1: Task T1"]
    assert bench.git("show", "HEAD:made.txt") == "by hand"
    assert "Aiframe-Agent: human" in bench.git("log", "--format=%B", "--grep=^T1:")


def test_what_the_checks_find_goes_back_to_the_person_however_often(tmp_path: Path) -> None:
    bench = handed_over(tmp_path, limits={"max_attempts": 1})
    bench.write("half.txt", "half of it\n")
    for number in range(4):
        ran = bench.do("done", "T1")
        assert (ran.code, bench.where) == (1, "WORK_WAITING"), (number, ran.said)
    assert "T1 is in your hands: the verify command `test -f made.txt` failed" in ran.out
    assert "What the checks found" in bench.text("notes/prompt.md")
    assert "test -f made.txt" in bench.text("notes/prompt.md")
    assert bench.text("half.txt") == "half of it\n"
    assert [event["outcome"] for event in bench.events if event["kind"] == "step_ended"][1:] == ["verify_failed"] * 4
    assert bench.results()[-1]["error"].startswith("verify_failed: ")
    assert "T1 is in your hands" in bench.do("digest").out
    bench.write("made.txt", "now\n")
    assert bench.do("done").code == 0
    assert bench.statuses() == {"T1": "done"}
    assert bench.git("show", "HEAD:half.txt") == "half of it"


@pytest.mark.parametrize(
    "commit", [pytest.param(False, id="files left as they are"), pytest.param(True, id="committed by the person")]
)
def test_commits_of_the_person_count_as_theirs(tmp_path: Path, commit: bool) -> None:
    bench = handed_over(tmp_path)
    bench.write("made.txt", "by hand\n")
    if commit:
        bench.git("add", "made.txt")
        bench.git("commit", "-qm", "mine")
    assert bench.do("done").code == 0
    assert bench.statuses() == {"T1": "done"}
    assert bench.git("show", "HEAD:made.txt") == "by hand"
    assert bool(commit) == ("mine" in bench.git("log", "--format=%s"))


def test_what_lay_about_before_is_kept_apart_and_the_next_task_is_handed_over_in_turn(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, task("T1", "test -f one"), task("T2", "test -f two"), agent=HUMAN)
    bench.write("before.txt", "mine\n")
    bench.tick()
    assert bench.git("show", "HEAD:before.txt") == "mine"
    bench.write("one", "1")
    ran = bench.do("done")
    assert (ran.code, bench.where) == (0, "WORK_WAITING"), ran.said
    assert bench.statuses() == {"T1": "done", "T2": "in_progress"}
    bench.write("two", "2")
    assert bench.do("done", "T2").code == 0
    assert bench.commits() == ["T1: Task T1", "T2: Task T2"]


def test_a_person_writes_the_specification_and_the_plan(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, agent=HUMAN, state={"state": "INTAKE_READY"})
    bench.write("SPEC.md", "")
    assert (bench.tick().code, bench.where) == (0, "WORK_WAITING")
    ran = bench.do("done")
    assert (ran.code, bench.where) == (1, "WORK_WAITING"), ran.said
    assert "SPEC.md says nothing" in ran.out
    bench.write("SPEC.md", "# Till\n\nIt adds up.\n")
    assert bench.do("done").code == 0
    bench.tick()
    assert (bench.where, bench.control["handed"]["role"]) == ("WORK_WAITING", "PO")
    ran = bench.do("done")
    assert (ran.code, bench.where) == (1, "WORK_WAITING"), ran.said
    assert "TASKS.yaml holds no task" in ran.out
    bench.write("TASKS.yaml", "tasks:\n  - {id: T1, titel: a}\n")
    ran = bench.do("done")
    assert ran.code == 2
    assert "TASKS.yaml:2" in ran.said
    bench.write("TASKS.yaml", f"tasks:\n  - {json.dumps(task('T1', 'test -f made.txt'))}\n")
    assert bench.do("done").code == 0
    bench.tick()
    assert bench.control["handed"]["task_id"] == "T1"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["done", "T9"], "T9 is not in your hands", id="another task"),
        pytest.param(["resume"], "nothing to resume", id="resume"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(tmp_path: Path, words: list[str], said: str) -> None:
    bench = handed_over(tmp_path)
    before = bench.stamps()
    ran = bench.do(*words)
    assert ran.code == 2
    assert said in ran.err
    assert bench.stamps() == before


def test_nothing_is_handed_in_where_nothing_is_in_hand(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, task("T1", "true"))
    ran = bench.do("done")
    assert ran.code == 2
    assert "no work is in your hands: the project is in DEV_READY" in ran.err


def test_a_pause_and_a_stop_keep_the_work_in_hand(tmp_path: Path) -> None:
    bench = handed_over(tmp_path)
    bench.write("made.txt", "x")
    assert "Paused in WORK_WAITING" in bench.do("pause").out
    assert bench.do("done").code == 2
    bench.do("resume")
    assert bench.where == "WORK_WAITING"
    assert bench.do("done").code == 0
    assert bench.statuses() == {"T1": "done"}


def test_an_agent_takes_over_after_retry(tmp_path: Path) -> None:
    bench = handed_over(tmp_path)
    script = tmp_path / "script.json"
    bench.write("PROJECT.yaml", json.dumps({"agent": {"name": "scripted", "file": str(script)}, "sandbox": "none"}))
    play(bench, [dev("T1", files={"made.txt": "by the agent\n"})])
    assert "T1" in bench.do("retry", "T1").out
    assert bench.tick().code == 0
    assert bench.statuses() == {"T1": "done"}
    assert bench.control["handed"] is None


def test_a_task_that_is_taken_out_of_the_plan_is_not_waited_for(tmp_path: Path) -> None:
    bench = handed_over(tmp_path, task("T1", "false"), task("T2", "true"))
    bench.write("TASKS.yaml", bench.text("TASKS.yaml").replace("in_progress", "cancelled"))
    bench.tick()
    assert bench.control["handed"]["task_id"] == "T2"


def test_work_that_a_person_may_not_land_alone_is_held(tmp_path: Path) -> None:
    bench = handed_over(tmp_path, settings={"gates": {"protect": ["tests/**"]}})
    bench.write("made.txt", "x")
    bench.write("tests/test_it.py", "assert True\n")
    bench.do("done")
    assert bench.statuses() == {"T1": "review"}
    assert bench.control["handed"] is None


# In a worktree of a person's repository -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "own_commit", [pytest.param(False, id="files left as they are"), pytest.param(True, id="committed by the person")]
)
@pytest.mark.parametrize(
    "moved", [pytest.param(False, id="still"), pytest.param(True, id="the target moves meanwhile")]
)
def test_a_person_works_in_the_worktree_that_is_named(tmp_path: Path, own_commit: bool, moved: bool) -> None:
    repo = repository(tmp_path)
    before = shown(repo)
    bench = lay(tmp_path, repo, task("T1", "test -f made.txt", agent="human"), turns=[])
    assert (bench.tick().code, bench.where) == (0, "WORK_WAITING")
    there = workspace(bench, "T1")
    assert str(there) in bench.text("notes/prompt.md")
    assert str(there) in bench.do("why").out
    (there / "half.txt").write_text("half\n")
    assert (bench.do("done").code, bench.where) == (1, "WORK_WAITING")
    assert (there / "half.txt").read_text() == "half\n"
    (there / "made.txt").write_text("made\n")
    if own_commit:
        git(there, "add", "-A")
        git(there, "commit", "-q", "-m", "mine")
    if moved:
        commit(repo, TARGET, other_txt="from elsewhere\n")
    ran = bench.do("done")
    assert (ran.code, bench.where) == (0, "DONE"), ran.said
    assert git(repo, "show", f"{TARGET}:half.txt") == "half"
    assert git(repo, "log", "-1", "--format=%s %(trailers:key=Aiframe-Agent,valueonly)", TARGET).strip() == (
        "T1: Task T1 human"
    )
    assert shown(repo) == before
