"""Kills while an agent works in a container: whoever dies, the agent is started once and nothing it says is lost."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import yaml
from app.test_app_container import Engine, ask, containers, engine, lay
from app.test_app_worktree import TARGET, workspace
from support.engines import BROKEN, ENGINE
from support.needs import needs
from support.projects import Bench, git, lock_free, task, wait_for

from aiframe.app.attempts.underway import release
from aiframe.app.project.site import open_site

__all__ = ["engine"]
pytestmark = needs(ENGINE)

AGENT = """
echo started >>starts.txt; printf 'first\\n'; printf 'an error\\n' >&2
touch begun.log
until [ -e go.log ]; do sleep 0.05; done
printf 'second\\nthird, without an end of line'
echo one >one.txt
"""
CHECKS = ("test -s one.txt",)


def runner_of(bench: Bench) -> psutil.Process:
    return psutil.Process(bench.control["run"]["runner"]["pid"])


def begin(bench: Bench) -> str:
    """Start a step; the run's id, once its agent works."""
    bench.tick("--no-wait")
    wait_for((workspace(bench, "T1") / "begun.log").exists, "the agent's start")
    wait_for(lambda: "first" in bench.log(), "the agent's first word")
    return str(bench.control["run"]["run_id"])


def kill_runner(bench: Bench) -> None:
    runner_of(bench).kill()


def kill_all(bench: Bench) -> None:
    runner = runner_of(bench)
    below = runner.children(recursive=True)
    runner.kill()
    for process in below:
        if process.is_running():
            process.kill()


def kill_guardian(bench: Bench) -> None:
    for process in runner_of(bench).children():
        process.kill()


def kill_follower(bench: Bench) -> None:
    with suppress(psutil.Error):  # of others, which come and go
        for process in runner_of(bench).children(recursive=True):
            if process.name() == ENGINE and "logs" in process.cmdline():
                process.kill()


def let_go(bench: Bench) -> None:
    (workspace(bench, "T1") / "go.log").touch()


@pytest.mark.parametrize(
    ("disturb", "unseen"),
    [
        pytest.param(kill_runner, False, id="runner"),
        pytest.param(kill_all, False, id="runner, guardian and follower"),
        pytest.param(kill_all, True, id="runner, guardian and follower, and the agent ends before another looks"),
        pytest.param(kill_guardian, False, id="guardian"),
        pytest.param(kill_follower, False, id="follower"),
    ],
)
def test_whoever_is_killed_the_same_run_comes_to_the_same_end(
    tmp_path: Path, engine: Engine, disturb: Callable[[Bench], None], unseen: bool
) -> None:
    bench = lay(tmp_path, engine, AGENT, task("T1", *CHECKS))
    run_id = begin(bench)
    disturb(bench)
    if unseen:
        let_go(bench)
        wait_for((workspace(bench, "T1") / "one.txt").exists, "the agent's end")
    if disturb in (kill_runner, kill_all):
        wait_for(lambda: lock_free(bench), "the runner's death")
        bench.tick("--no-wait")
    if not unseen:
        let_go(bench)
    wait_for(lambda: bench.where == "DONE" and lock_free(bench), "the end of the task")
    repo = tmp_path / "my app"
    assert git(repo, "show", f"{TARGET}:starts.txt") == "started"
    assert git(repo, "log", "--format=%s", TARGET).splitlines() == ["T1: Task T1", "first"]
    assert [event["run_id"] for event in bench.events if event["kind"] == "step_started"] == [run_id]
    assert bench.ended() == [("DEV", "ok", "DEV_READY")]
    (result,) = bench.results()
    assert (result["run_id"], result["attempt"]) == (run_id, 1)
    assert result["output"] == "first\nsecond\nthird, without an end of line"
    raw = (bench.runs()[0] / "agent.jsonl").read_text()
    assert raw == "first\nsecond\nthird, without an end of line"
    assert "an error" in bench.log()
    assert bench.control["spending"]["project"]["attempts"] == 1
    assert containers(bench) == []


def test_a_container_that_is_killed_costs_its_attempt_and_no_more(tmp_path: Path, engine: Engine) -> None:
    bench = lay(tmp_path, engine, AGENT, task("T1", *CHECKS))
    first = begin(bench)
    ask(bench, "kill", *containers(bench))
    wait_for(lambda: lock_free(bench) and bench.where == "DEV_READY", "the end of the step")
    assert bench.ended() == [("DEV", "transient", "DEV_READY")]
    assert "SIGKILL" in bench.state["last_error"]
    assert containers(bench) == []
    let_go(bench)
    bench.do("resume", "--now")
    bench.tick()
    assert bench.where == "DONE", bench.log()
    assert git(tmp_path / "my app", "show", f"{TARGET}:starts.txt").split() == ["started"] * 2
    assert bench.results()[-1]["run_id"] != first


def test_a_container_whose_own_keeper_is_killed_with_it_is_noticed(tmp_path: Path, engine: Engine) -> None:
    """podman itself goes on saying that it runs."""
    bench = lay(tmp_path, engine, AGENT, task("T1", *CHECKS))
    begin(bench)
    inner = psutil.Process(int(ask(bench, "inspect", "--format={{.State.Pid}}", *containers(bench))))
    keeper = inner.parent()
    assert keeper is not None
    assert runner_of(bench) not in keeper.parents(), "who kills the runner with all below it kills the container"
    for process in (keeper, inner):
        process.kill()
    wait_for(lambda: lock_free(bench) and bench.where == "DEV_READY", "the end of the step")
    assert bench.ended() == [("DEV", "transient", "DEV_READY")]
    assert containers(bench) == []


def test_a_container_that_vanished_with_its_runner_is_run_anew(tmp_path: Path, engine: Engine) -> None:
    bench = lay(tmp_path, engine, AGENT, task("T1", *CHECKS))
    begin(bench)
    kill_all(bench)
    (name,) = containers(bench)
    ask(bench, "kill", name)  # or podman would wait for it to end by itself
    ask(bench, "rm", "--force", name)
    let_go(bench)
    wait_for(lambda: lock_free(bench), "the runner's death")
    bench.tick()
    assert bench.where == "DONE", bench.log()
    assert bench.ended() == [("DEV", "interrupted", "DEV_READY"), ("DEV", "ok", "DEV_READY")]
    assert not (bench.runs()[0] / "stdin").exists(), "a container that comes late could still begin"


def test_an_engine_that_does_not_answer_is_told_until_it_does(tmp_path: Path, engine: Engine) -> None:
    """The agent may be at work in there: nothing is put back, and nothing forgotten, before that is known."""
    bench = lay(tmp_path, engine, AGENT, task("T1", *CHECKS))
    run_id = begin(bench)
    kill_all(bench)
    wait_for(lambda: lock_free(bench), "the runner's death")
    for _ in range(2):
        done = bench.tick(**BROKEN)
        assert done.code != 0, done.said
        assert bench.where == "RUNNING", done.said
    for verb in ("why", "status"):
        said = bench.do(verb).said
        assert "The last runner gave up: the engine does not tell which containers there are" in said
        assert "podman ps --all" in said
    site = open_site(bench.root, {**bench.env, **BROKEN})
    assert "not removed" in release(site, run_id)
    assert (bench.control_dir / "underway.json").exists(), "forgotten, though its container is there"
    let_go(bench)
    bench.tick()
    assert bench.where == "DONE", bench.log()
    assert git(bench.root.parent / "my app", "show", f"{TARGET}:starts.txt") == "started"
    assert containers(bench) == []


@pytest.mark.parametrize("alone", [False, True], ids=["with its runner", "without a runner"])
def test_stop_ends_the_container(tmp_path: Path, engine: Engine, alone: bool) -> None:
    bench = lay(tmp_path, engine, AGENT, task("T1", *CHECKS))
    begin(bench)
    (name,) = containers(bench)
    if alone:
        kill_all(bench)
        wait_for(lambda: lock_free(bench), "the runner's death")
    said = bench.do("stop")
    assert "Stopped" in said.out, said.said
    if alone:
        assert ask(bench, "inspect", "--format={{.State.Running}}", name) == "false"
        bench.tick()
    assert bench.where == "PAUSED", bench.log()
    assert bench.ended() == [("DEV", "cancelled", "PAUSED")]
    assert containers(bench) == []
    assert git(tmp_path / "my app", "show", "aiframe/shop/T1:starts.txt") == "started", "what it left is lost"


@pytest.mark.parametrize("ending", ["timeout", "stalled"])
def test_an_agent_that_does_not_end_is_ended(tmp_path: Path, engine: Engine, ending: str) -> None:
    bench = lay(tmp_path, engine, AGENT, task("T1", *CHECKS), limits={"stall_sec": 1} if ending == "stalled" else {})
    if ending == "timeout":
        bench.edit_state(timeout_sec=4)
    bench.tick()
    assert bench.where == "DIAGNOSE_READY", bench.log()
    assert bench.state["last_error"] == ending
    assert containers(bench) == []


def test_a_container_that_nobody_looks_after_ends_itself(tmp_path: Path, engine: Engine) -> None:
    bench = lay(tmp_path, engine, AGENT, task("T1", *CHECKS))
    bench.edit_state(timeout_sec=6)
    begin(bench)
    kill_all(bench)
    (name,) = containers(bench)

    def over() -> bool:
        return ask(bench, "inspect", "--format={{.State.Running}}", name) == "false"

    wait_for(over, "its own end")
    bench.tick()
    assert bench.where == "DIAGNOSE_READY", bench.log()
    assert bench.state["last_error"] == "timeout"
    assert len(bench.ended()) == 1
    assert containers(bench) == []


def test_a_kill_while_checks_run_does_not_ask_the_agent_again(tmp_path: Path, engine: Engine) -> None:
    """What the agent said is read once more; the checks, which cost nothing, run once more."""
    marker = tmp_path / "checked"
    check = f"test -e {marker} || {{ touch {marker}; sleep 60; }}"
    bench = lay(tmp_path, engine, AGENT, task("T1", *CHECKS, check))
    run_id = begin(bench)
    let_go(bench)
    wait_for(marker.exists, "the check")
    kill_all(bench)
    wait_for(lambda: lock_free(bench), "the runner's death")
    bench.tick()
    assert bench.where == "DONE", bench.log()
    assert [run.name for run in bench.runs()] == [run_id]
    assert git(tmp_path / "my app", "show", f"{TARGET}:starts.txt") == "started"
    assert bench.results()[0]["output"].startswith("first\nsecond")
    assert containers(bench) == []


AUDITOR = """
echo audited >>~/audits; touch ~/begun
until [ -e ~/go ]; do sleep 0.05; done
touch one.txt 2>/dev/null || echo '{"approved": true, "findings": []}'
"""


def test_a_kill_in_an_audit_asks_neither_of_the_two_again(tmp_path: Path, engine: Engine) -> None:
    auditor = {"name": "command", "argv": ["sh", "-c", AUDITOR]}
    bench = lay(tmp_path, engine, AGENT, task("T1", *CHECKS), settings={"gates": {"audit": {"agent": auditor}}})
    home = workspace(bench, ".T1.audit-home")
    run_id = begin(bench)
    let_go(bench)
    wait_for((home / "begun").exists, "the audit")
    kill_all(bench)
    wait_for(lambda: lock_free(bench), "the runner's death")
    bench.tick("--no-wait")
    wait_for(lambda: bench.log().count("audit by") == 2, "the second runner's audit")
    assert (home / "audits").read_text() == "audited\n"
    (home / "go").touch()
    wait_for(lambda: bench.where == "DONE" and lock_free(bench), "the end of the task")
    assert [run.name for run in bench.runs()] == [run_id]
    assert git(tmp_path / "my app", "show", f"{TARGET}:starts.txt") == "started"
    assert [gate["name"] for gate in bench.results()[0]["gates"]] == ["verify-1", "audit"]
    assert containers(bench) == []


def test_nothing_that_an_agent_plants_is_emptied_when_its_run_is_taken_up(tmp_path: Path, engine: Engine) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("mine\n")
    planted = f"ln -s '{mine}' '{{run_dir}}/agent.jsonl'; mkdir -p '{{run_dir}}/x/agent.jsonl' '{{run_dir}}/x/stdin'\n"
    bench = lay(tmp_path, engine, planted + AGENT, task("T1", *CHECKS))
    begin(bench)
    kill_all(bench)
    let_go(bench)
    wait_for(lambda: lock_free(bench), "the runner's death")
    done = bench.tick()
    assert bench.where == "DONE", done.said + bench.log()
    assert mine.read_text() == "mine\n"
    assert len(bench.ended()) == 1


def test_another_kind_of_workspace_leaves_no_agent_at_work(tmp_path: Path, engine: Engine) -> None:
    bench = lay(tmp_path, engine, AGENT, task("T1", *CHECKS))
    begin(bench)
    kill_all(bench)
    wait_for(lambda: lock_free(bench), "the runner's death")
    settings = yaml.safe_load(bench.text("PROJECT.yaml"))
    settings["workspace"] = {"kind": "clone", "repo": settings["workspace"]["repo"]}
    bench.write("PROJECT.yaml", yaml.safe_dump(settings))
    bench.tick("--no-wait")
    wait_for(lambda: len(bench.runs()) == 2, "the next step")
    assert containers(bench) == []
    let_go(bench)
    wait_for(lambda: bench.where == "DONE" and lock_free(bench), "the end of the task")
