"""An agent or a check that spoils logs/ while its step writes there: nothing of the step is lost, and it is told."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from support.projects import Bench, dev, lay_project, lock_free, task, wait_for

CLEANED = pytest.param("git clean -fXdq; rm -rf logs", id="removed")
REPLACED = [
    pytest.param("rm -rf logs; ln -s nowhere logs", id="dangling link"),
    pytest.param("rm -rf logs; mkdir -p ../elsewhere; ln -s ../elsewhere logs", id="link elsewhere"),
    pytest.param("rm -rf logs; ln -s logs logs", id="link to itself"),
    pytest.param("rm -rf logs; touch logs", id="file"),
    pytest.param("rm -rf logs; mkfifo logs", id="pipe"),
    pytest.param("rm -rf logs/runs; ln -s ../nowhere logs/runs", id="folder of runs a link"),
    pytest.param("for log in logs/*.log; do rm $log; ln -s ../x $log; done; rm logs/*.ndjson; mkdir logs/events.ndjson",
                 id="files replaced"),
]  # fmt: skip


def kill_runner_after(bench: Bench, mark: Path) -> None:
    """Kill the runner as soon as its agent has left *mark*, and wait for its end."""
    bench.tick("--no-wait")
    wait_for(mark.exists, "the spoiling")
    os.kill(bench.control["run"]["runner"]["pid"], signal.SIGKILL)
    wait_for(lambda: lock_free(bench), "the end of the runner")


def check_logs(bench: Bench, folder: Path) -> None:
    """Every event and log of both steps is in logs/, a real folder, and nothing was written elsewhere."""
    assert not (bench.root / "logs").is_symlink()
    assert not list((folder / "elsewhere").iterdir() if (folder / "elsewhere").exists() else [])
    assert not (bench.root / "x").exists()
    kinds = [(event["kind"], event["run_id"]) for event in bench.events if event["kind"].startswith("step_")]
    runs = [run.name for run in bench.runs()]
    assert kinds == [(kind, run) for run in runs for kind in ("step_started", "step_ended")]
    for run in runs:
        log = bench.text(f"logs/tick-{run}.log")
        assert log.startswith("== DEV")
        assert "I work" in log  # what it said before logs/ was spoiled
        assert "I work" in bench.text(f"logs/runs/{run}/agent.jsonl")
        assert "# " in bench.text(f"logs/runs/{run}/prompt.md")


@pytest.mark.parametrize("command", [CLEANED, *REPLACED])
def test_f6_f27_a_dead_runner_is_recovered_whatever_stands_in_the_place_of_logs(tmp_path: Path, command: str) -> None:
    spoil = f"[ -e ../spoiled ] || {{ {command}; touch ../spoiled; sleep 60; }}"
    turns = [dev("T1", say="I work", run=[spoil], files={"one": ""})]
    bench = lay_project(tmp_path, task("T1", "test -e one"), turns=turns)
    kill_runner_after(bench, tmp_path / "spoiled")
    ended = bench.tick()
    assert ended.code == 0, ended.said
    assert (bench.where, bench.statuses()) == ("DONE", {"T1": "done"})
    assert [outcome for _, outcome, _ in bench.ended()] == ["interrupted", "ok"]
    check_logs(bench, tmp_path)
    assert bench.tick().code == 0


@pytest.mark.parametrize("spoiler", ["agent", "check"])
@pytest.mark.parametrize("command", [CLEANED, *REPLACED])
def test_f27_a_step_whose_logs_are_spoiled_goes_on_and_tells_it(tmp_path: Path, command: str, spoiler: str) -> None:
    run, check = ([command], "echo proven") if spoiler == "agent" else ([], f"{command}; echo proven")
    turns = [dev("T1", say="I work", files={"one": ""}), dev("T2", say="I work", run=run, files={"two": ""})]
    bench = lay_project(tmp_path, task("T1", "true"), task("T2", check), turns=turns, limits={"dev_chain_limit": 1})
    assert bench.tick().code == 0
    first = bench.runs()[0].name
    ended = bench.tick()
    assert ended.code == 0, ended.said
    assert (bench.where, bench.statuses()) == ("DONE", {"T1": "done", "T2": "done"})
    assert "done, commit" in ended.out  # who followed the step saw it to its end
    last = bench.runs()[-1].name
    assert [event["kind"] for event in bench.events if event["run_id"] == first] == ["step_started", "step_ended"]
    assert "I work" in bench.text(f"logs/tick-{last}.log")
    assert "done, commit" in bench.text(f"logs/tick-{last}.log")
    assert bench.text(f"logs/runs/{last}/gates/verify-1.log") == "proven\n"
    assert bench.results()[-1]["success"]
    told = " ".join(str(event["message"]) for event in bench.events if event["kind"] == "noted")
    assert "logs/" in told
    if not bench.text(f"logs/tick-{first}.log"):
        assert "of earlier runs" in told


def test_a_result_that_people_cannot_be_shown_is_settled_all_the_same(tmp_path: Path) -> None:
    check = "for run in logs/runs/*; do mkdir $run/result.json; done; test -e one"
    bench = lay_project(tmp_path, task("T1", check), turns=[dev("T1", files={"one": ""})])
    assert bench.tick().code == 0
    assert (bench.where, bench.commits()) == ("DONE", ["T1: Task T1"])
