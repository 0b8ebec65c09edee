"""Jobs: tasks of commands, from a line in TASKS.yaml to its end, whatever becomes of runners and people meanwhile."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.lanes import TARGET, lay_lanes
from support.needs import needs
from support.projects import Bench, dev, git, lay_project, lock_free, task, wait_for


def job(name: str, *steps: str | dict[str, str], **more: Any) -> dict[str, Any]:
    return {"id": name, "title": f"Job {name}", "status": "todo", "steps": list(steps), **more}


def lay(folder: Path, *tasks: dict[str, Any], parallel: int = 1, **more: Any) -> Bench:
    settings = {"parallel": parallel, **more.pop("settings", {})}
    return lay_project(folder, *tasks, settings=settings, **more)


def output(bench: Bench, name: str) -> str:
    """What the job *name* printed in its last run."""
    paths = sorted(bench.root.glob(f"logs/runs/*/jobs/{name}.log"), key=lambda path: path.stat().st_mtime_ns)
    return paths[-1].read_text()


# One job --------------------------------------------------------------------------------------------------------------


def test_steps_in_their_order_in_a_folder_of_their_own(tmp_path: Path) -> None:
    steps: list[str | dict[str, str]] = [
        "echo made > out.txt",
        {"desc": "Show it", "cmd": "cat out.txt; basename $PWD; echo $AIFRAME_TASK"},
    ]
    bench = lay(tmp_path, job("J1", *steps, verify=["grep made out.txt", "test -e $AIFRAME_PROJECT/TASKS.yaml"]))
    ran = bench.do("run")
    assert (ran.code, bench.where, bench.statuses()) == (0, "DONE", {"J1": "done"}), ran.said
    assert bench.text("logs/jobs/J1/out.txt") == "made\n"
    assert output(bench, "J1").splitlines()[:5] == [
        "$ echo made > out.txt", "$ cat out.txt; basename $PWD; echo $AIFRAME_TASK", "made", "J1", "J1",
    ]  # fmt: skip
    assert "-- J1: done in" in ran.out
    assert bench.commits() == []


@pytest.mark.parametrize(
    ("steps", "more", "why"),
    [
        pytest.param(
            ["true", "exit 3", "touch after"], {}, "step 2 of 3, `exit 3`, failed with exit code 3", id="step"
        ),
        pytest.param(["true"], {"verify": ["false"]}, "check 1 of 1, `false`, failed with exit code 1", id="check"),
        pytest.param(["kill -9 $$"], {}, "step 1 of 1, `kill -9 $$`, was killed by signal 9", id="killed"),
        pytest.param(["sleep 60"], {"max_duration_min": 0.01}, "it did not end within 0.6 s", id="too long"),
        pytest.param(['rm -rf "$PWD"', "true"], {}, "does not exist", id="its folder is gone"),
        pytest.param(["no-such-program"], {}, "failed with exit code 127", id="no such program"),
    ],
)
def test_what_goes_wrong(tmp_path: Path, steps: list[str], more: dict[str, Any], why: str) -> None:
    bench = lay(tmp_path, job("J1", *steps, **more), job("J2", "true", blocked_by=["J1"]))
    ran = bench.do("run")
    assert (ran.code, bench.where, bench.statuses()) == (1, "ERROR", {"J1": "failed", "J2": "todo"})
    assert why in bench.state["last_error"]
    assert why in ran.out
    assert "aiframe retry J1" in ran.out
    assert not (bench.root / "logs/jobs/J1/after").exists()


def test_a_long_command_is_said_in_part(tmp_path: Path) -> None:
    bench = lay(tmp_path, job("J1", f"exit 3\n# {'x' * 5000}"))
    bench.do("run")
    assert "`exit 3 # xxx" in bench.state["last_error"]
    assert "xxx...`, failed with exit code 3" in bench.state["last_error"]
    assert len(bench.state["last_error"]) < 300


def test_of_a_job_that_is_done_the_plan_alone_can_ask_once_more(tmp_path: Path) -> None:
    bench = lay(tmp_path, job("J1", "true"))
    bench.do("run")
    for verb in ("retry", "undo"):
        said = bench.do(verb, "J1")
        assert (said.code, "write `status: todo` in TASKS.yaml" in said.err) == (2, True), said.said


@pytest.mark.parametrize("is_interactive", [True, False])
def test_a_new_project_whose_plan_is_jobs_asks_no_agent(tmp_path: Path, is_interactive: bool) -> None:
    state = {"state": "INTAKE_READY", "interactive_mode": is_interactive}
    bench = lay(tmp_path, job("J1", "true"), state=state, agent={"name": "codex"})
    assert bench.do("why").out.startswith("The jobs can begin\n")
    ran = bench.do("run")
    assert (ran.code, bench.statuses()) == (0, {"J1": "done"}), ran.said
    assert bench.ended()[0][:2] == ("DEV", "ok")


def test_a_failed_job_is_tried_again_when_a_person_says_so_and_its_folder_is_kept(tmp_path: Path) -> None:
    bench = lay(tmp_path, job("J1", "echo try >> tries; test -e ../../../ready"))
    assert bench.do("run").code == 1
    assert bench.do("run").code == 1  # nobody has said a word
    bench.write("ready", "")
    assert bench.do("retry", "J1").code == 0
    assert bench.do("run").code == 0
    assert bench.statuses() == {"J1": "done"}
    assert [bench.text(f"logs/jobs/{name}/tries") for name in ("J1", "J1~1")] == ["try\n", "try\n"]
    assert not (bench.root / "logs/jobs/J1~2").exists()


def test_others_go_on_beside_a_failed_one_where_the_person_wants_that(tmp_path: Path) -> None:
    tasks = [job("J1", "false"), job("J2", "true"), job("J3", "true", blocked_by=["J1"])]
    bench = lay(tmp_path, *tasks, settings={"on_task_failure": "continue"})
    bench.do("run")
    assert bench.statuses() == {"J1": "failed", "J2": "done", "J3": "todo"}


def test_nothing_of_a_job_is_left(tmp_path: Path) -> None:
    left = "setsid sh -c 'echo $$ > pid; exec sleep 77' & while ! test -s pid; do sleep 0.01; done"
    bench = lay(tmp_path, job("J1", left), job("J2", "cat ../J1/pid && ! kill -0 $(cat ../J1/pid)", blocked_by=["J1"]))
    assert bench.do("run").code == 0, bench.log()


@needs("bwrap")
def test_commands_run_in_the_sandbox_of_checks(tmp_path: Path) -> None:
    harm = ["touch ../../../evil ../evil; true", "! cat $KEYS/secret", "! grep -v -e '|' -e lo: /proc/net/dev"]
    steps = [line.replace("$KEYS", str(tmp_path)) for line in harm]
    bench = lay(tmp_path, job("J1", *steps, "echo mine > own; sleep 33 &"), job("J2", "true"), parallel=2)
    bench.write("PROJECT.yaml", bench.text("PROJECT.yaml").replace('"none"', '"auto"'))
    (tmp_path / "secret").write_text("x")
    ran = bench.do("run")
    assert ran.code == 0, output(bench, "J1")
    assert bench.text("logs/jobs/J1/own") == "mine\n"
    assert list(bench.root.rglob("evil")) == []


def test_in_a_project_with_workspaces_a_job_is_a_lane_and_lands_nothing(tmp_path: Path) -> None:
    tasks = [
        job(
            "J1",
            "echo made > out; echo $AIFRAME_RESOURCE_PORT > port; echo $AIFRAME_PROJECT > project",
            locks={"writes": ["port"]},
        ),
        task("T1", "test -e new"),
    ]
    resources = {"port": {"range": [9000, 9001]}}
    bench = lay_lanes(tmp_path, *tasks, work={"T1": "touch new"}, parallel=2, resources=resources)
    ran = bench.do("run")
    assert (ran.code, bench.statuses()) == (0, {"J1": "done", "T1": "done"}), ran.said
    assert bench.text("logs/jobs/J1/project").strip() == str(bench.root)
    assert (bench.text("logs/jobs/J1/out"), bench.text("logs/jobs/J1/port")) == ("made\n", "9000\n")
    assert git(tmp_path / "app", "ls-tree", "--name-only", TARGET).split() == ["a.txt", "b.txt", "new"]
    assert (tmp_path / "asked").read_text().split() == ["T1"]


@needs("prlimit")
def test_a_log_that_cannot_be_written_stops_the_project_and_says_so(tmp_path: Path) -> None:
    bench = lay(tmp_path, job("J1", "head -c 3000000 /dev/zero", "touch ../../../after"))
    full = Bench(bench.root, prefix=("prlimit", "--fsize=1000000"))
    ran = full.do("run")
    assert (ran.code, bench.where, bench.statuses()) == (1, "ERROR", {"J1": "todo"}), ran.said
    assert "/jobs: cannot write: File too large" in bench.state["last_error"]
    assert not (bench.root / "after").exists()
    assert bench.do("resume").code == 0
    assert (bench.do("run").code, bench.statuses()) == (0, {"J1": "done"})


# Several --------------------------------------------------------------------------------------------------------------

MEET = "touch ../../../here-{0}; while ! test -e ../../../here-{1}; do sleep 0.05; done"
ALONE = "mkdir ../../../busy && sleep 0.05 && rmdir ../../../busy"


@pytest.mark.parametrize(
    ("tasks", "parallel"),
    [
        pytest.param([job("A", MEET.format("A", "B")), job("B", MEET.format("B", "A"))], 2, id="side by side"),
        pytest.param([job(name, ALONE) for name in "ABC"], 1, id="one slot"),
        pytest.param([job(name, ALONE, locks={"writes": ["db"]}) for name in "ABC"], 3, id="a lock"),
        pytest.param(
            [
                job(name, "mkdir ../../../$AIFRAME_RESOURCE_PORT && sleep 0.1", locks={"writes": ["port"]})
                for name in "AB"
            ],
            2,
            id="values of their own",
        ),
        pytest.param(
            [job("B", "test -e ../A/out", blocked_by=["A"]), job("A", "touch out")], 2, id="one after the other"
        ),
    ],
)
def test_several(tmp_path: Path, tasks: list[dict[str, Any]], parallel: int) -> None:
    resources = {"db": {"slots": 1}, "port": {"range": [9000, 9001]}}
    bench = lay(tmp_path, *tasks, parallel=parallel, settings={"resources": resources})
    ran = bench.do("run")
    assert (ran.code, set(bench.statuses().values())) == (0, {"done"}), ran.said


def test_jobs_and_agents_take_turns_in_the_order_of_the_plan(tmp_path: Path) -> None:
    tasks = [
        job("J1", "echo J1 >> ../../../../order"),
        task("T1", "test -e made", description="an agent's"),
        job("J2", "test -e ../../../made && echo J2 >> ../../../../order"),
    ]
    turn = dev("T1", files={"made": "x\n"})
    bench = lay(tmp_path, *tasks, turns=[turn])
    ran = bench.do("run")
    assert (ran.code, bench.where) == (0, "DONE"), ran.said
    assert (tmp_path / "order").read_text() == "J1\nJ2\n"
    assert len(bench.commits()) == 1


@pytest.mark.parametrize(
    ("tasks", "code"),
    [
        pytest.param([job("J1", "true"), task("T1", "true")], 1, id="with a task for an agent"),
        pytest.param([job("J1", "true"), task("T1", "true", status="done")], 0, id="whose agents are through"),
    ],
)
def test_in_one_folder_only_jobs_are_worked_at_side_by_side(tmp_path: Path, tasks: list[Any], code: int) -> None:
    bench = lay(tmp_path, *tasks, parallel=2)
    ran = bench.do("run")
    assert ran.code == code, ran.said
    assert ("one folder for all of them" in ran.err) == bool(code)


def test_dry_run_tells_which_start_together(tmp_path: Path) -> None:
    bench = lay(tmp_path, job("A", "true"), job("B", "true"), job("C", "true", blocked_by=["A"]), parallel=2)
    assert bench.do("run", "--dry-run").out.split() == ["1.", "together:", "A", "B", "2.", "C"]


def test_each_job_is_told_by_itself(tmp_path: Path) -> None:
    bench = lay(tmp_path, job("A", "true"), job("B", "exit 4"), parallel=2)
    bench.do("run")
    rows = [line.split()[2:7] for line in bench.do("history").out.splitlines()[1:3]]
    assert sorted((row[1], row[2], row[3]) for row in rows) == [("A", "1", "done"), ("B", "1", "verify_failed")]
    assert bench.do("history", "A").out.count("\n") == 3
    assert "done: A, try 1" in bench.do("digest").out
    log = bench.do("logs", "--event", "job_ended", "--json").out.splitlines()
    assert {(json.loads(line)["task"], json.loads(line)["passed"]) for line in log} == {("A", True), ("B", False)}


def test_the_logs_of_a_run_are_cleaned_when_all_its_jobs_are_over(tmp_path: Path) -> None:
    many = [job(f"J{n}", "echo made > out") for n in range(7)]
    bench = lay(tmp_path, *many, job("F", "test -e ../../../ready"), settings={"on_task_failure": "continue"})
    bench.do("run")
    assert (bench.do("retry", "F").code, bench.do("run").code) == (0, 1)
    kept = bench.do("clean", "--dry-run").out.splitlines()
    assert [line.partition(": ")[0] for line in kept[:2]] == ["kept", "kept"]
    assert "(J0, J1, J2, J3, J4 and 3 more): F is not over (failed)" in kept[0]
    bench.write("ready", "")
    assert (bench.do("retry", "F").code, bench.do("run").code) == (0, 0)
    said = bench.do("clean").out
    assert said.count("removed: logs") == 2
    assert bench.text("logs/jobs/J0/out") == "made\n"


# People ---------------------------------------------------------------------------------------------------------------

WAITS = "touch ../../../begun; while ! test -e ../../../go; do sleep 0.02; done; echo x >> ../../../times"


def begun(bench: Bench) -> None:
    assert bench.tick("--no-wait").code == 0
    wait_for((bench.root / "begun").exists, "the job")


def test_stop_cuts_what_is_at_work_and_it_begins_again(tmp_path: Path) -> None:
    bench = lay(tmp_path, job("J1", "echo x >> ../../../once"), job("J2", WAITS), parallel=2)
    begun(bench)
    assert bench.do("stop").code == 0
    assert (bench.where, bench.statuses()) == ("PAUSED", {"J1": "done", "J2": "todo"})
    bench.write("go", "")
    assert bench.do("resume").code == 0
    assert bench.do("run").code == 0
    assert (bench.statuses(), bench.text("once"), bench.text("times")) == ({"J1": "done", "J2": "done"}, "x\n", "x\n")


def test_pause_lets_those_at_work_end_and_begins_no_more(tmp_path: Path) -> None:
    bench = lay(tmp_path, job("J1", WAITS), job("J2", "true", blocked_by=["J1"]))
    begun(bench)
    assert bench.do("pause").code == 0
    bench.write("go", "")
    wait_for(lambda: lock_free(bench), "the end of the run")
    assert bench.statuses()["J1"] == "done"
    assert bench.where == "PAUSED"


def test_the_plan_is_followed_while_a_run_goes_on(tmp_path: Path) -> None:
    bench = lay(tmp_path, job("J1", WAITS), parallel=2)
    begun(bench)
    text = bench.text("TASKS.yaml")
    bench.write("TASKS.yaml", text + '  - {"id": "J2", "title": "New", "steps": ["touch ../../../go"]}  # by hand\n')
    wait_for(lambda: bench.statuses() == {"J1": "done", "J2": "done"}, "the new job")
    wait_for(lambda: lock_free(bench), "the end of the run")
    assert "# by hand" in bench.text("TASKS.yaml")
    assert bench.text("times") == "x\n"


@pytest.mark.parametrize("status", ["todo", "in_progress"])
def test_an_older_text_that_an_editor_saves_has_nothing_done_twice(tmp_path: Path, status: str) -> None:
    once = "echo $AIFRAME_TASK >> ../../../times"
    tasks = [job("D", once, status=status), job("F", once, "exit 1", status=status), job("L", WAITS, status=status)]
    bench = lay(tmp_path, *tasks, parallel=3, settings={"on_task_failure": "continue"})
    older = bench.text("TASKS.yaml")
    begun(bench)
    told = {"D": "done", "F": "failed", "L": "in_progress"}
    wait_for(lambda: bench.statuses() == told, "what has ended")
    other = job("N", "true")
    bench.write("TASKS.yaml", f"{older}  - {json.dumps(other)}\n")
    wait_for(lambda: bench.statuses() == {**told, "N": "done"}, "what is so")
    bench.write("go", "")
    wait_for(lambda: lock_free(bench), "the end of the run")
    assert bench.statuses() == {"D": "done", "F": "failed", "L": "done", "N": "done"}
    assert Counter(bench.text("times").split()) == {"D": 1, "F": 1, "x": 1}


def test_a_failed_job_whose_steps_a_person_corrects_begins_again_in_the_same_run(tmp_path: Path) -> None:
    tasks = [job("F", "exit 1"), job("L", WAITS)]
    bench = lay(tmp_path, *tasks, parallel=2, settings={"on_task_failure": "continue"})
    begun(bench)
    wait_for(lambda: bench.statuses()["F"] == "failed", "its end")
    bench.write(
        "TASKS.yaml", bench.text("TASKS.yaml").replace('"failed"', '"todo"').replace("exit 1", "touch ../F/well")
    )
    wait_for((bench.root / "logs/jobs/F/well").exists, "its second try")
    bench.write("go", "")
    wait_for(lambda: lock_free(bench), "the end of the run")
    assert bench.statuses() == {"F": "done", "L": "done"}


ONCE = "echo x >> ../../../tries; test -e ../../../ready"
"""A step that fails until a person has put something right."""


@pytest.mark.parametrize("named", [True, False], ids=["named", "all that failed"])
@pytest.mark.parametrize("goes_on", [True, False], ids=["others go on", "others stop"])
def test_a_failed_job_is_retried_while_others_are_at_work(tmp_path: Path, named: bool, goes_on: bool) -> None:
    settings = {"on_task_failure": "continue"} if goes_on else {}
    bench = lay(tmp_path, job("F", ONCE), job("L", WAITS), parallel=2, settings=settings)
    begun(bench)
    wait_for(lambda: bench.statuses()["F"] == "failed", "its end")
    bench.write("ready", "")
    said = bench.do("retry", *(["F"] if named else []))
    assert (said.code, "To be tried again, with all attempts: F. Next:" in said.out) == (0, True), said.said
    if goes_on:
        wait_for(lambda: bench.statuses()["F"] == "done", "its second try, in the same run")
    bench.write("go", "")
    wait_for(lambda: lock_free(bench), "the end of the run")
    assert (bench.where, bench.statuses()) == ("DONE", {"F": "done", "L": "done"}), bench.log()
    assert (bench.text("tries"), bench.text("times")) == ("x\nx\n", "x\n")


@pytest.mark.parametrize("looked", [False, True], ids=["at once", "after the runner has begun it"])
def test_a_retry_outlives_the_runner(tmp_path: Path, looked: bool) -> None:
    bench = lay(tmp_path, job("F", ONCE), job("L", WAITS), parallel=2, settings={"on_task_failure": "continue"})
    begun(bench)
    wait_for(lambda: bench.statuses()["F"] == "failed", "its end")
    pid = bench.state["runner"]["pid"]
    if looked:
        bench.write(
            "TASKS.yaml",
            bench.text("TASKS.yaml").replace("test -e ../../../ready", "test -e ../../../ready || sleep 9"),
        )
    assert bench.do("retry", "F").code == 0
    wait_for(lambda: not looked or bench.text("tries") == "x\nx\n", "its second try")
    os.kill(pid, signal.SIGKILL)
    bench.write("ready", "")
    bench.write("go", "")
    assert bench.do("run").code == 0
    assert bench.statuses() == {"F": "done", "L": "done"}
    assert bench.text("tries").count("x") in ((3,) if looked else (2, 3)), "its first try, and those that were wanted"


@pytest.mark.parametrize(
    ("name", "said"),
    [("L", "a step is running"), ("X", "a step is running"), ("D", "D is done: there is nothing to try again")],
)
def test_of_a_run_of_jobs_only_those_that_failed_are_retried(tmp_path: Path, name: str, said: str) -> None:
    bench = lay(tmp_path, job("D", "true"), job("L", WAITS), parallel=2)
    begun(bench)
    wait_for(lambda: bench.statuses()["D"] == "done", "the other")
    ran = bench.do("retry", name)
    assert (ran.code, said in ran.err) == (2, True), ran.said
    assert bench.do("stop").code == 0


def test_jobs_take_no_notes_and_that_is_said(tmp_path: Path) -> None:
    bench = lay(tmp_path, job("L", WAITS))
    begun(bench)
    ran = bench.do("note", "--task", "L", "hurry")
    assert (ran.code, "L is a job: commands do its work, and none of them reads notes" in ran.err) == (2, True), (
        ran.said
    )
    assert bench.do("stop").code == 0


def test_a_plan_that_is_half_written_loses_nothing(tmp_path: Path) -> None:
    bench = lay(tmp_path, job("J1", WAITS))
    begun(bench)
    text = bench.text("TASKS.yaml")
    bench.write("TASKS.yaml", text + "  - {id: J2, tit")
    bench.write("go", "")
    wait_for(lambda: lock_free(bench), "the end of the run")
    assert bench.tick().code == 2
    bench.write("TASKS.yaml", text)
    assert bench.do("run").code == 0
    assert (bench.statuses(), bench.text("times")) == ({"J1": "done"}, "x\n")


# Kills ----------------------------------------------------------------------------------------------------------------


def test_what_had_ended_is_not_begun_again_after_a_kill(tmp_path: Path) -> None:
    once = [job(f"J{n}", "echo $AIFRAME_TASK >> ../../../times") for n in range(6)]
    bench = lay(tmp_path, *once, job("L", WAITS), parallel=2)
    begun(bench)
    wait_for(lambda: bench.log().count(": done in") == len(once), "the end of the others")
    os.kill(bench.control["run"]["runner"]["pid"], signal.SIGKILL)
    wait_for(lambda: lock_free(bench), "its end")
    bench.write("go", "")
    ran = bench.do("run")
    assert (ran.code, set(bench.statuses().values())) == (0, {"done"}), ran.said
    assert Counter(bench.text("times").split()) == {**{f"J{n}": 1 for n in range(6)}, "x": 1}


@pytest.mark.parametrize("delays_s", [(0.1, 0.3, 0.2), (0.4, 0.15, 0.25)], ids=["early", "late"])
def test_kills_at_any_moment_lose_nothing(tmp_path: Path, delays_s: Sequence[float]) -> None:
    tasks = [job(f"J{n}", "sleep 0.02; echo $AIFRAME_TASK >> ../../../times") for n in range(30)]
    bench = lay(tmp_path, *tasks, parallel=2)
    for delay in delays_s:
        bench.tick("--no-wait")
        run = wait_for(lambda: lock_free(bench) or bench.control.get("run"), "a run")
        if isinstance(run, dict):
            time.sleep(delay)
            with suppress(ProcessLookupError):
                os.kill(run["runner"]["pid"], signal.SIGKILL)
            wait_for(lambda: lock_free(bench), "its end")
    ran = bench.do("run")
    assert (ran.code, set(bench.statuses().values())) == (0, {"done"}), ran.said
    assert set(bench.text("times").split()) == {f"J{n}" for n in range(30)}


@pytest.mark.parametrize("depth", [1, 2], ids=["guardian", "foreman"])
@pytest.mark.parametrize("on_failure", ["stop", "continue"])
def test_jobs_whose_foreman_is_killed_begin_again_and_no_other_fails(
    tmp_path: Path, depth: int, on_failure: str
) -> None:
    waits = [job(name, WAITS.replace("begun", f"begun-{name}")) for name in "AB"]
    tasks = [job("J1", "echo J1 >> ../../../times"), *waits, job("J2", "echo J2 >> ../../../times")]
    bench = lay(tmp_path, *tasks, parallel=2, settings={"on_task_failure": on_failure})
    assert bench.tick("--no-wait").code == 0
    for name in "AB":
        wait_for((bench.root / f"begun-{name}").exists, "the jobs")
    pid = bench.control["run"]["runner"]["pid"]
    for _ in range(depth):
        pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: lock_free(bench), "its end")
    assert "failed" not in bench.statuses().values()
    bench.write("go", "")
    ran = bench.do("run")
    assert (ran.code, set(bench.statuses().values())) == (0, {"done"}), ran.said
    assert Counter(bench.text("times").split()) == {"J1": 1, "J2": 1, "x": 2}


def test_a_job_that_outlives_all_who_watched_it_is_ended_before_it_begins_again(tmp_path: Path) -> None:
    begins = "echo $$ > ../../../pid; touch ../../../begun; exec sleep 600"
    again = "! grep -s State: /proc/$(cat ../../../pid)/status | grep -v Z"
    bench = lay(tmp_path, job("J1", f"if test -e ../../../pid; then {again}; else {begins}; fi"))
    begun(bench)
    runner = bench.control["run"]["runner"]["pid"]
    guardian = int(Path(f"/proc/{runner}/task/{runner}/children").read_text().split()[0])
    foreman = int(Path(f"/proc/{guardian}/task/{guardian}/children").read_text().split()[0])
    os.kill(runner, signal.SIGSTOP)  # so that it does not see what happens to the others
    for pid in (guardian, foreman, runner):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: lock_free(bench), "its end")
    assert Path(f"/proc/{bench.text('pid').strip()}").exists()
    ran = bench.do("run")
    assert (ran.code, bench.statuses()) == (0, {"J1": "done"}), ran.said


def test_a_job_whose_time_is_over_has_failed_though_its_foreman_is_killed_meanwhile(tmp_path: Path) -> None:
    stays = "trap 'touch ../../../asked' TERM; while true; do sleep 0.05; done"
    bench = lay(tmp_path, job("J1", stays, max_duration_min=0.01))
    assert bench.tick("--no-wait").code == 0
    wait_for((bench.root / "asked").exists, "the end of its time")
    pid = bench.control["run"]["runner"]["pid"]
    guardian = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    os.kill(guardian, signal.SIGKILL)
    wait_for(lambda: lock_free(bench), "its end")
    assert (bench.where, bench.statuses()) == ("ERROR", {"J1": "failed"})
    assert "it did not end within 0.6 s" in bench.state["last_error"]
