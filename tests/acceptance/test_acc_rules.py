"""The rules of STATE_MACHINE.md through the real tick: real runner, real git, the scripted agent, edits by hand."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.projects import Bench, dev, git, lay_project, lock_free, play, task, tasks_yaml, wait_for

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
YEAR = 365 * 86400
DIAGNOSIS = {
    "role": "DIAGNOSE",
    "closing": {"summary": "It waits for a port.", "diagnosis": "It waits for port 8080, which nobody opens."},
}
PLAN = {"role": "PO", "files": {"TASKS.yaml": tasks_yaml(task("T1", "test -e one"))}, "closing": {"summary": "planned"}}
QUICK = 0.03
"""Minutes: the time of an attempt that is to run out."""


def interactive(state: str, **more: Any) -> dict[str, Any]:
    """STATE.json of a project with a person."""
    return {"state": state, "interactive_mode": True, **more}


def gated(task_id: str, **more: Any) -> dict[str, Any]:
    """A DEV turn that says ../begun and goes on at ../go."""
    return dev(task_id, run=["touch ../begun; while [ ! -e ../go ]; do sleep 0.05; done"], **more)


def begun(bench: Bench) -> None:
    """Wait until a gated turn has begun."""
    wait_for((bench.root.parent / "begun").exists, "the step's beginning")


def go(bench: Bench) -> None:
    """Let a gated turn go on, and wait for the end of its runner."""
    (bench.root.parent / "go").touch()
    wait_for(lambda: lock_free(bench), "the end of the step")


# A time that runs out -------------------------------------------------------------------------------------------------


def test_a_timeout_is_diagnosed_once_and_then_needs_a_person(tmp_path: Path) -> None:
    slow = task("T1", "true", max_duration_min=QUICK)
    bench = lay_project(tmp_path, slow, turns=[dev("T1", say="I listen.", hang=True), DIAGNOSIS])
    assert bench.tick().code == 1
    assert (bench.where, bench.state["last_error"], bench.state["resume_state"]) == (
        "DIAGNOSE_READY",
        "timeout",
        "DEV_READY",
    )
    assert bench.tick().code == 0
    assert (bench.where, bench.state["diagnosis_done"]) == ("DEV_READY", True)
    ended = bench.tick()
    assert ended.code == 1
    assert "port 8080" in ended.said
    assert (bench.where, bench.state["last_error"]) == ("ERROR", "timeout_after_diagnosis")
    assert bench.ended() == [
        ("DEV", "timeout", "DIAGNOSE_READY"),
        ("DIAGNOSE", "ok", "DEV_READY"),
        ("DEV", "timeout", "ERROR"),
    ]
    _, diagnose, again = bench.prompts()
    assert "I listen." in diagnose  # the log of the step that hung
    assert "It waits for port 8080, which nobody opens." in again


def test_a_diagnosis_that_helps(tmp_path: Path) -> None:
    slow = task("T1", "test -e one", max_duration_min=QUICK)
    turns = [dev("T1", attempt=1, hang=True), dev("T1", attempt=2, files={"one": ""}), DIAGNOSIS]
    bench = lay_project(tmp_path, slow, turns=turns)
    for _ in range(3):
        bench.tick()
        bench.write("TASKS.yaml", bench.text("TASKS.yaml").replace('"max_duration_min": 0.03', '"max_duration_min": 9'))
    assert (bench.where, bench.state["diagnosis_done"], bench.state["last_error"]) == ("DONE", False, "")


def test_an_agent_that_says_and_changes_nothing(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, task("T1", "true"), turns=[dev("T1", hang=True)], limits={"stall_sec": 1})
    assert bench.tick().code == 1
    assert (bench.where, bench.state["last_error"]) == ("DIAGNOSE_READY", "stalled")


# Attempts -------------------------------------------------------------------------------------------------------------


def test_a_task_that_fails_three_times(tmp_path: Path) -> None:
    tries = [dev("T1", attempt=n, files={"one": f"try {n}"}) for n in (1, 2, 3)]
    bench = lay_project(tmp_path, task("T1", "cat one; grep right one"), turns=tries)
    ended = bench.tick()
    assert ended.code == 1
    assert "aiframe retry T1" in ended.said
    assert (bench.where, bench.statuses()) == ("ERROR", {"T1": "failed"})
    assert bench.state["last_error"].startswith("task T1 failed")
    assert [outcome for _, outcome, _ in bench.ended()] == ["verify_failed"] * 3
    assert ["try 1" in bench.prompts()[1], "try 2" in bench.prompts()[2]] == [True, True]
    assert bench.commits() == []

    play(bench, [dev("T1", attempt=4, files={"one": "right"})])
    assert bench.do("retry", "T1").code == 0
    assert (bench.where, bench.statuses(), bench.control["attempts"]) == ("DEV_READY", {"T1": "todo"}, {})
    assert bench.tick().code == 0
    assert (bench.where, bench.statuses(), bench.commits()) == ("DONE", {"T1": "done"}, ["T1: Task T1"])


def test_the_same_files_twice_are_no_progress(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, task("T1", "false"), turns=[dev("T1", files={"one": "same"}), DIAGNOSIS])
    bench.tick()
    assert [outcome for _, outcome, _ in bench.ended()] == ["verify_failed", "no_progress"]
    assert (bench.where, bench.state["last_error"]) == ("DIAGNOSE_READY", "no_progress")


def test_a_failed_task_and_others_that_go_on(tmp_path: Path) -> None:
    tries = [dev("T1", attempt=n, files={"one": str(n)}) for n in (1, 2)]
    bench = lay_project(
        tmp_path, task("T1", "false"), task("T2", "true"), turns=[*tries, dev("T2", files={"two": ""})],
        limits={"max_attempts": 2}, settings={"on_task_failure": "continue"},
    )  # fmt: skip
    assert bench.tick().code == 1
    assert (bench.where, bench.statuses()) == ("ERROR", {"T1": "failed", "T2": "done"})
    assert "T1 is failed" in bench.state["last_error"]
    assert bench.git("ls-files", "one", "two") == "two"  # what failed is no part of what was proven


def test_a_done_task_set_back_again_and_again_is_not_bought_for_ever(tmp_path: Path) -> None:
    """F10: attempts are counted for the task's input, and nothing but `retry` gives them back."""
    bench = lay_project(
        tmp_path, task("T1", "true"), turns=[dev("T1", run=["echo x >> ../bought; cat ../bought > one"])]
    )
    for _ in range(5):
        bench.tick()
        bench.write("TASKS.yaml", bench.text("TASKS.yaml").replace('"done"', '"todo"').replace('"failed"', '"todo"'))
        bench.edit_state(state="DEV_READY")
    assert bench.tick().code == 1
    assert (tmp_path / "bought").read_text() == "x\n" * 3
    assert "all 3 attempts are used up" in bench.state["last_error"]


# By hand --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "tasks", "roles"),
    [
        pytest.param({"state": "DEV_READY"}, True, ["DEV"], id="DEV_READY, own tasks, no interview"),
        pytest.param({"state": "SPEC_READY"}, False, ["PO", "DEV"], id="SPEC_READY, no interview"),
        pytest.param({"state": "SPEC_READY", "plan_locked": True}, True, ["DEV"], id="SPEC_READY, plan locked"),
        pytest.param({"state": "INTAKE_READY"}, False, ["PO", "DEV"], id="unattended from an idea"),
    ],
)
def test_a_state_set_by_hand(tmp_path: Path, state: dict[str, Any], tasks: bool, roles: list[str]) -> None:
    given = (task("T1", "test -e one"),) if tasks else ()
    turns = [PLAN, dev("T1", files={"one": ""})]
    bench = lay_project(tmp_path, *given, turns=turns, state={**state, "interactive_mode": False})
    for _ in roles:
        assert bench.tick().code == 0
    assert [role for role, _, _ in bench.ended()] == roles
    assert (bench.where, bench.statuses(), bench.state["plan_locked"]) == (
        "DONE",
        {"T1": "done"},
        "PO" in roles or "plan_locked" in state,
    )


def test_a_hand_set_state_ends_an_error(tmp_path: Path) -> None:
    broken = dev("T1", fail={"kind": "auth", "message": "bad key"})
    bench = lay_project(tmp_path, task("T1", "true"), turns=[broken])
    assert bench.tick().code == 1
    play(bench, [dev("T1", files={"one": ""})])
    bench.edit_state(state="DEV_READY")
    assert bench.tick().code == 0
    assert (bench.where, bench.state["failure"], bench.state["last_error"]) == ("DONE", None, "")


def test_paused_by_hand_during_a_step(tmp_path: Path) -> None:
    bench = lay_project(
        tmp_path,
        task("T1", "true"),
        task("T2", "true"),
        turns=[gated("T1", files={"one": ""}), dev("T2", files={"two": ""})],
    )
    bench.tick("--no-wait")
    begun(bench)
    bench.edit_state(state="PAUSED")
    assert bench.tick("--no-wait").code == 0  # takes note of the wish, and starts nothing
    go(bench)
    assert (bench.where, bench.statuses()) == ("PAUSED", {"T1": "done", "T2": "todo"})
    assert bench.tick().code == 0
    assert bench.where == "PAUSED"
    bench.do("resume")
    bench.tick()
    assert (bench.where, bench.statuses()["T2"]) == ("DONE", "done")


def test_a_state_that_nobody_knows(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, task("T1", "true"), turns=[dev("T1")], state={"state": "DEV_REDY"})
    ended = bench.tick()
    assert "DEV_REDY" in ended.said
    assert "DEV_READY" in ended.said
    assert (bench.where, bench.ended()) == ("DEV_REDY", [])


# Projects of the original ---------------------------------------------------------------------------------------------


def legacy(folder: Path, state: dict[str, Any] | None = None) -> Bench:
    """A folder as the original framework leaves it: no PROJECT.yaml, no repository, the lock a folder."""
    root = folder / "old"
    (root / ".agent_lock").mkdir(parents=True)
    shutil.copy(FIXTURES / "TASKS.original.yaml", root / "TASKS.yaml")
    original = json.loads((FIXTURES / "STATE.original.json").read_bytes())
    bench = Bench(root)
    bench.write("STATE.json", json.dumps({**original, **(state or {})}, indent=2))
    return bench


def test_a_dead_run_of_the_original(tmp_path: Path) -> None:
    """Its RUNNING is long past its time: the timeout rule, and the diagnosis at once."""
    bench = legacy(tmp_path)
    tasks = bench.text("TASKS.yaml")
    bench.write("PROJECT.yaml", json.dumps({"agent": {"name": "scripted", "file": str(tmp_path / "script.json")}}))
    play(bench, [DIAGNOSIS])
    assert bench.tick().code == 0
    assert bench.ended() == [("DEV", "timeout", "DIAGNOSE_READY"), ("DIAGNOSE", "ok", "DEV_READY")]
    state = bench.state
    assert (state["state"], state["diagnosis_done"], state["auto_run"]) == ("DEV_READY", True, False)
    assert bench.text("TASKS.yaml") == tasks  # a left in_progress counts as todo
    assert not (bench.root / ".agent_lock").exists()
    assert git(bench.root, "rev-parse", "--show-toplevel") == str(bench.root)


def test_a_review_of_the_original_needs_no_settings_and_no_agent(tmp_path: Path) -> None:
    bench = legacy(tmp_path, {"state": "REVIEW_WAITING"})
    bench.write(
        "TASKS.yaml", bench.text("TASKS.yaml").replace("'in_progress'", "done").replace("priority: 3", "status: review")
    )
    before = bench.text("TASKS.yaml")
    assert "T1" in bench.tick().said
    assert bench.where == "REVIEW_WAITING"
    bench.write("notes/review_approval.md", "fine\n")
    assert bench.tick().code == 0
    assert (bench.where, bench.state["review_items"]) == ("DONE", [])
    assert bench.text("TASKS.yaml") == before.replace("status: review", "status: done")
    assert not (bench.root / "notes" / "review_approval.md").exists()


# Clocks ---------------------------------------------------------------------------------------------------------------


def killed_run(tmp_path: Path) -> Bench:
    """A project whose runner was killed in mid-step."""
    bench = lay_project(tmp_path, task("T1", "true"), turns=[gated("T1", files={"one": ""})])
    bench.tick("--no-wait")
    begun(bench)
    os.kill(bench.control["run"]["runner"]["pid"], signal.SIGKILL)
    wait_for(lambda: lock_free(bench), "the end of the runner")
    return bench


def rewrite_control(bench: Bench, change: Callable[[dict[str, Any]], None]) -> None:
    """Change what the control record says of the project; both copies."""
    for name in ("control.json", "control.json.good"):
        path = bench.control_dir / name
        record = json.loads(path.read_bytes())
        change(record["project"])
        path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("moved", "outcome"),
    [
        pytest.param({"wall": +YEAR}, "interrupted", id="same boot, the clock went back a year"),
        pytest.param({"wall": -YEAR}, "interrupted", id="same boot, the clock went on a year"),
        pytest.param({"wall": +YEAR, "boot": "before"}, "interrupted", id="another boot, in the future"),
        pytest.param({"wall": -60, "boot": "before"}, "interrupted", id="another boot, a minute ago"),
        pytest.param({"wall": -YEAR, "boot": "before"}, "timeout", id="another boot, a year ago"),
    ],
)
def test_a_clock_that_jumps_causes_no_false_timeout(tmp_path: Path, moved: dict[str, Any], outcome: str) -> None:
    """F23, for a run whose runner is dead."""
    bench = killed_run(tmp_path)

    def move(project: dict[str, Any]) -> None:
        project["run"]["started"]["wall"] += moved["wall"]
        project["run"]["started"]["boot"] = moved.get("boot", project["run"]["started"]["boot"])

    rewrite_control(bench, move)
    (tmp_path / "go").touch()
    play(bench, [dev("T1", files={"one": ""}), DIAGNOSIS])
    bench.tick()
    assert bench.ended()[0][1] == outcome
    assert bench.where == ("DONE" if outcome == "interrupted" else "DEV_READY")


@pytest.mark.parametrize("years", [pytest.param(+1, id="in the future"), pytest.param(-1, id="long past")])
def test_a_live_run_is_not_judged_by_the_wall_clock(tmp_path: Path, years: int) -> None:
    """F23: on the same boot the monotonic clock decides, so a live step is not stopped as hung."""
    bench = lay_project(tmp_path, task("T1", "true"), turns=[gated("T1", files={"one": ""})])
    bench.tick("--no-wait")
    begun(bench)

    def move(project: dict[str, Any]) -> None:
        project["run"]["started"]["wall"] += years * YEAR

    rewrite_control(bench, move)
    assert bench.tick("--no-wait").code == 0
    assert not lock_free(bench)
    go(bench)
    assert (bench.where, bench.ended()) == ("DONE", [("DEV", "ok", "DEV_READY")])


def test_a_wait_set_before_the_clock_went_back_still_ends(tmp_path: Path) -> None:
    """F23: a timer that would fire in a year is moved to where the clock is now."""
    limited = dev("T1", fail={"kind": "quota", "message": "limit", "reset_in": 600})
    bench = lay_project(tmp_path, task("T1", "true"), turns=[limited])
    bench.tick()

    def move(project: dict[str, Any]) -> None:
        project["wait"]["set_at"] += YEAR

    rewrite_control(bench, move)
    bench.tick()
    assert bench.control["wait"]["set_at"] + bench.control["wait"]["wait_s"] < time.time() + 601


# A person in between --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "each"), [pytest.param("1", 1, id="1"), pytest.param("", 3, id="by default 3")])
def test_how_many_tasks_one_tick_works_off(tmp_path: Path, limit: str, each: int) -> None:
    tasks = [task(f"T{n}", "true") for n in range(1, 5)]
    bench = lay_project(tmp_path, *tasks, turns=[dev(f"T{n}", files={f"{n}": ""}) for n in range(1, 5)])
    assert bench.tick(DEV_CHAIN_LIMIT=limit).code == 0
    assert list(bench.statuses().values()).count("done") == each
    assert bench.where == "DEV_READY"
    ids = [e["run_id"] for e in bench.events if e["kind"] == "step_started"]
    assert len(set(ids)) == each  # a run of its own for each


def test_an_interrupt_before_a_step(tmp_path: Path) -> None:
    bench = lay_project(
        tmp_path,
        task("T1", "true"),
        turns=[dev("T1", files={"one": ""})],
        state=interactive("DEV_READY", review_every_n_tasks=0),
    )
    bench.write("notes/interrupt.flag", "")
    bench.tick()
    assert (bench.where, bench.ended()) == ("PAUSE_INTERACT", [])
    assert bench.do("note", "Use tabs.").code == 0
    (bench.root / "notes" / "interrupt.flag").unlink()
    bench.tick()
    assert [outcome for _, outcome, _ in bench.ended()] == ["ok"]
    assert "Use tabs." in bench.prompts()[0]


def test_an_interrupt_during_a_step(tmp_path: Path) -> None:
    bench = lay_project(
        tmp_path,
        task("T1", "true"),
        task("T2", "true"),
        turns=[gated("T1", files={"one": ""}), dev("T2", files={"two": ""})],
        state=interactive("DEV_READY"),
    )
    bench.tick("--no-wait")
    begun(bench)
    assert bench.do("interrupt").code == 0
    go(bench)
    assert (bench.where, bench.statuses()) == ("PAUSE_INTERACT", {"T1": "done", "T2": "todo"})
    assert bench.do("continue").code == 0
    bench.tick()
    assert bench.statuses()["T2"] == "done"


def test_an_unattended_project_looks_for_no_interrupt_and_no_review(tmp_path: Path) -> None:
    looked_at = task("T1", "true", "manual: look at it on a phone", review=True)
    bench = lay_project(tmp_path, looked_at, turns=[dev("T1", files={"one": ""})])
    bench.write("notes/interrupt.flag", "")
    assert bench.tick().code == 0
    assert (bench.where, bench.statuses()) == ("DONE", {"T1": "done"})
    assert "look at it on a phone" in bench.log() + json.dumps(bench.results())


def test_a_rejected_review_sends_the_work_back_with_the_notes(tmp_path: Path) -> None:
    turns = [dev("T1", attempt=n, files={"one": f"{n}"}) for n in (1, 2)]
    bench = lay_project(tmp_path, task("T1", "true", review=True), turns=turns, state=interactive("DEV_READY"))
    bench.tick()
    assert (bench.where, bench.statuses()) == ("REVIEW_WAITING", {"T1": "review"})
    assert bench.do("reject", "--notes", "The button is too small.").code == 0
    bench.tick()
    assert (bench.where, bench.statuses()) == ("REVIEW_WAITING", {"T1": "review"})
    assert "The button is too small." in bench.prompts()[1]
    assert not (bench.root / "notes" / "review_rejection.md").exists()
    assert bench.do("approve").code == 0
    bench.tick()
    assert (bench.where, bench.statuses(), len(bench.commits())) == ("DONE", {"T1": "done"}, 2)


# Nothing to do, and nowhere to do it ----------------------------------------------------------------------------------


def test_a_tick_at_the_end_writes_nothing(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, task("T1", "true"), turns=[dev("T1", files={"one": ""})])
    bench.tick()
    assert bench.where == "DONE"
    before = bench.stamps()
    first, second = bench.tick(), bench.tick()
    assert (first.code, second.code, first.out) == (0, 0, second.out)
    assert bench.stamps() == before


def _holds_template_root(frame: Path) -> Path:
    (frame / "projects" / "shop" / "TEMPLATE_ROOT").touch()
    return frame / "projects" / "shop"


def _is_called_template(frame: Path) -> Path:
    return (frame / "projects" / "shop").rename(frame / "projects" / "My-Template-2")


def _is_the_frame(frame: Path) -> Path:
    (frame / "TEMPLATE_ROOT").touch()
    (frame / "STATE.json").write_text('{"state": "DEV_READY"}')
    return frame


@pytest.mark.parametrize("make", [_holds_template_root, _is_called_template, _is_the_frame])
def test_folders_that_no_tick_touches(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    lay_project(tmp_path / "projects", task("T1", "true"), turns=[dev("T1")])
    bench = Bench(make(tmp_path))
    before = bench.stamps()
    ended = bench.tick()
    assert ended.code == 2
    assert "--project" in ended.err
    assert "Traceback" not in ended.err
    assert bench.stamps() == before
