"""Kills while an agent works in a container: whoever dies, the agent is started once and nothing it says is lost."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from app.test_app_container import Engine, containers, engine, lay
from app.test_app_worktree import TARGET, workspace
from support.needs import needs
from support.projects import Bench, git, lock_free, task, wait_for

__all__ = ["engine"]
pytestmark = needs("podman")

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
            if process.name() == "podman" and "logs" in process.cmdline():
                process.kill()


def let_go(bench: Bench) -> None:
    (workspace(bench, "T1") / "go.log").touch()


@pytest.mark.parametrize(
    "disturb",
    [
        pytest.param(lambda bench: None, id="undisturbed"),
        pytest.param(kill_runner, id="runner"),
        pytest.param(kill_all, id="runner, guardian and follower"),
        pytest.param(kill_guardian, id="guardian"),
        pytest.param(kill_follower, id="follower"),
    ],
)
@pytest.mark.parametrize("unseen", [False, True], ids=["alive", "ended meanwhile"])
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
        said = bench.tick("--no-wait").said
        print("TICK", said)
    if not unseen:
        let_go(bench)
    try:
        wait_for(lambda: bench.where == "DONE" and lock_free(bench), "the end of the task", 15)
    except AssertionError:
        print("DIAG", bench.log(), bench.state, bench.text(".git/aiframe/runner.log"), containers(bench))
        raise
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
