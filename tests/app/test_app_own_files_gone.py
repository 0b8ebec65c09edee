"""Commands of jobs and agents that remove aiframe's own files: nothing begins again for ever, and no end is lost."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from support.lanes import lay_lanes
from support.projects import Bench, dev, git, lay_project, lock_free, task, wait_for

GIT, CONTROL, LOCK = "rm -rf {0}/.git", "rm -rf {0}/.git/aiframe", "rm -f {0}/.git/aiframe-run.lock"


def job(name: str, *steps: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "title": f"Job {name}", "status": "todo", "steps": list(steps), **more}


def begun(folder: Path) -> list[str]:
    """What was begun, a name for each time."""
    path = folder / "begun"
    return path.read_text().split() if path.exists() else []


def harmful(folder: Path, harm: str) -> tuple[str, str]:
    return f"echo J1 >>{folder}/begun", harm.format('"$AIFRAME_PROJECT"')


@pytest.mark.parametrize("harm", [pytest.param(GIT, id="all of .git"), pytest.param(CONTROL, id="aiframe's folder")])
@pytest.mark.parametrize("at_end", [False, True], ids=["at work", "at its end"])
def test_a_job_that_removes_the_record_stops_the_project_which_says_so(tmp_path: Path, harm: str, at_end: bool) -> None:
    steps = harmful(tmp_path, harm)
    bench = lay_project(tmp_path, job("J0", "true"), job("J1", *steps, *([] if at_end else ["sleep 9"])))
    ran = bench.do("run")
    said = "was removed while jobs were at work"
    assert (ran.code, bench.where, said in bench.state["last_error"]) == (1, "ERROR", True), ran.said
    assert ".git" in ran.out
    assert "aiframe resume" in ran.out
    assert bench.do("tick").code == 1
    assert begun(tmp_path) == ["J1"]
    assert bench.statuses() == {"J0": "done", "J1": "done" if at_end else "todo"}
    assert bench.state["generation"] > 1, "the project goes on from where it stood"
    bench.do("resume")
    assert bench.do("run").code == (0 if at_end else 1)
    assert begun(tmp_path) == (["J1"] if at_end else ["J1", "J1"]), "once for each word of the person"
    assert git(bench.root, "log", "--oneline") != ""


def test_a_job_that_removes_the_run_lock_keeps_its_run(tmp_path: Path) -> None:
    """Ticks meanwhile begin nothing: the runner that the project names is alive."""
    bench = lay_project(
        tmp_path, job("J1", *harmful(tmp_path, LOCK), f"while ! test -e {tmp_path}/go; do sleep 0.05; done")
    )
    assert bench.do("tick", "--no-wait").code == 0
    wait_for(
        lambda: begun(tmp_path) and not (bench.root / ".git" / "aiframe-run.lock").exists(), "the lock's file to go"
    )
    assert "a step is running" in bench.do("tick", "--no-wait").out
    (tmp_path / "go").touch()
    assert bench.do("run").code == 0
    assert (bench.statuses(), begun(tmp_path)) == ({"J1": "done"}, ["J1"])


def test_an_agent_that_removes_all_of_git_is_paid_once(tmp_path: Path) -> None:
    lines = [f"echo T1 >>{tmp_path}/begun; rm -rf .git; sleep 1"]
    bench = lay_project(tmp_path, task("T1", "true"), turns=[dev("T1", files={"new": "x"}, run=lines)])
    ran = bench.do("run")
    assert (ran.code, bench.where) == (1, "ERROR"), ran.said
    assert "restore .git from a backup or a clone" in ran.out
    bench.do("run")
    assert begun(tmp_path) == ["T1"]


def test_where_the_record_and_its_runner_are_gone_a_person_has_to_look(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, job("J1", f"echo J1 >>{tmp_path}/begun", "sleep 9"))
    bench.do("tick", "--no-wait")
    wait_for(lambda: begun(tmp_path), "the job at work")
    os.kill(bench.state["runner"]["pid"], signal.SIGKILL)
    shutil.rmtree(bench.root / ".git")
    wait_for(lambda: lock_free(bench) if (bench.root / ".git" / "aiframe-run.lock").exists() else True, "nobody")
    ran = bench.do("run")
    assert (ran.code, bench.where) == (1, "ERROR"), ran.said
    assert "aiframe's own record was lost" in bench.state["last_error"]
    assert begun(tmp_path) == ["J1"]
    bench.do("resume")
    bench.write("TASKS.yaml", bench.text("TASKS.yaml").replace("sleep 9", "true"))
    assert (bench.do("run").code, bench.statuses()) == (0, {"J1": "done"})


def test_a_job_that_removes_the_whole_project_ends_the_run(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, job("J1", f"echo J1 >>{tmp_path}/begun", 'rm -rf "$AIFRAME_PROJECT"', "sleep 9"))
    ran = bench.run("run", "--project", str(bench.root), cwd=tmp_path)
    assert (ran.code, f"there is no folder {bench.root}" in ran.err) == (2, True), ran.said
    assert not bench.root.exists()
    assert begun(tmp_path) == ["J1"]


def test_a_job_that_removes_state_json_is_begun_once(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, job("J1", *harmful(tmp_path, "rm {0}/STATE.json")))
    bench.do("run")
    assert bench.do("run").code == 0
    assert (bench.where, begun(tmp_path)) == ("DONE", ["J1"])


@pytest.mark.parametrize("changed", [False, True], ids=["as it was", "with other steps"])
@pytest.mark.parametrize("long", [False, True], ids=["at its end", "for longer"])
def test_how_a_job_ended_that_removes_the_plan_counts_when_that_is_back(
    tmp_path: Path, changed: bool, long: bool
) -> None:
    steps = [*harmful(tmp_path, "rm {0}/TASKS.yaml"), *(["sleep 3"] if long else [])]
    bench = lay_project(tmp_path, job("J1", *steps), job("J2", f"echo J2 >>{tmp_path}/begun", blocked_by=["J1"]))
    plan = bench.text("TASKS.yaml")
    for _ in range(2):
        ran = bench.do("run")
    assert "bring TASKS.yaml back" in ran.err
    assert begun(tmp_path) == ["J1", "J2"], "the run goes on by the plan as it knew it"
    bench.write("TASKS.yaml", plan.replace("rm ", "true ") if changed else plan)
    ran = bench.do("run")
    assert (ran.code, bench.where, bench.statuses()) == (0, "DONE", {"J1": "done", "J2": "done"}), ran.said
    assert begun(tmp_path) == ["J1", "J2", *(["J1"] if changed else [])], "what was not done yet, and no more"


def test_a_lane_whose_job_removes_it_each_time_is_given_up(tmp_path: Path) -> None:
    lane = "../../.."
    bench: Bench = lay_lanes(
        tmp_path, job("J1", f"echo J1 >>{tmp_path}/begun", GIT.format(lane), "sleep 9"), work={}, parallel=2,
        limits={"transient_base_sec": 0.1},
    )  # fmt: skip
    ran = bench.do("run")
    assert (ran.code, bench.where, bench.statuses()) == (1, "ERROR", {"J1": "failed"}), ran.said
    assert "was removed while it was worked at (6 times in a row)" in bench.state["last_error"]
    assert "aiframe retry J1" in ran.out
    assert len(begun(tmp_path)) == 6
