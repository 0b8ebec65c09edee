"""A container engine that is away for a while: no task has a part in it, it is told, and the work goes on by itself."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from app.test_app_container import Engine, containers, engine, lay
from app.test_app_worktree import TARGET
from support.engines import ENGINE
from support.needs import needs
from support.projects import Bench, git, task, wait_for

__all__ = ["engine"]
pytestmark = needs(ENGINE)

LONG_S = 4.0
"""So long is the engine away while a step waits for it: longer than its hiccups are."""
AWAY = "Cannot connect to the engine: it is away"
LINE = """
case $(cat) in *'one task: T1'*) name=T1;; *) name=T2;; esac
echo $name >>started.$name; touch begun.log
test $name = T2 || until [ -e go.log ]; do sleep 0.05; done
echo done >$name.txt
"""


def lay_away(folder: Path, engine: Engine, *tasks: dict[str, Any], **limits: Any) -> Bench:
    """A project with tasks side by side whose engine is away as long as there is a file `away` in *folder*.

    For a single call it is away where there is a file `once`, which holds the first word of that call.
    """
    settings = {"parallel": 2}
    bench = lay(folder, engine, LINE, *tasks, settings=settings, limits={"transient_base_sec": 0.2, **limits})
    programs = folder / "programs"
    programs.mkdir()
    wrapper = programs / ENGINE
    real = shutil.which(ENGINE)
    is_away = f'test -e {folder}/away || {{ test "$(cat {folder}/once 2>&1)" = "$1" && rm {folder}/once; }}'
    wrapper.write_text(f'#!/bin/sh\nif {is_away}; then echo "{AWAY}" >&2; exit 125; fi\nexec {real} "$@"\n')
    wrapper.chmod(0o755)
    return replace(bench, env={**bench.env, "PATH": f"{programs}:{bench.env['PATH']}"})


@contextmanager
def running(bench: Bench, folder: Path) -> Iterator[Callable[[], str]]:
    """`aiframe run` for the block, which ends with it; what it has said so far."""
    said = folder / "said"
    with said.open("ab") as out:
        run = subprocess.Popen(bench.argv("run"), cwd=bench.root, env=dict(bench.env), stdout=out, stderr=out)
        try:
            yield said.read_text
            run.wait(60)
        finally:
            run.kill()
            run.wait()


def workspace(bench: Bench, name: str) -> Path:
    return bench.root.parent / "state" / "aiframe" / "workspaces" / f"shop.{name}" / name


def at_work(bench: Bench, name: str) -> bool:
    return (workspace(bench, name) / "begun.log").exists()


def told(bench: Bench) -> bool:
    said = bench.do("why").out + bench.do("status").out
    return said.count(AWAY) >= 2 and "the work then goes on by itself" in said


def check_done(bench: Bench, *names: str, said: str = "") -> None:
    repo = bench.root.parent / "my app"
    assert bench.where == "DONE", said
    for name in names:
        assert git(repo, "show", f"{TARGET}:started.{name}") == name, "each agent was started once"
    assert bench.control["spending"]["project"]["attempts"] == len(names)
    assert containers(bench) == []


def test_the_end_of_an_agent_of_which_nobody_heard_counts_when_the_engine_is_back(
    tmp_path: Path, engine: Engine
) -> None:
    bench = lay_away(tmp_path, engine, task("T1", "test -s T1.txt"), task("T2", "test -s T2.txt", blocked_by=["T1"]))
    with running(bench, tmp_path) as said:
        wait_for(lambda: at_work(bench, "T1"), "the first agent")
        (tmp_path / "away").touch()
        (workspace(bench, "T1") / "go.log").touch()
        wait_for((workspace(bench, "T1") / "T1.txt").exists, "its end")
        time.sleep(LONG_S)
        (tmp_path / "away").unlink()
    check_done(bench, "T1", "T2", said=said())


def test_a_task_that_cannot_begin_is_begun_when_the_engine_is_back(tmp_path: Path, engine: Engine) -> None:
    """However often it was tried: this is no failure, and counts nowhere."""
    bench = lay_away(tmp_path, engine, task("T2", "test -s T2.txt"), transient_limit=2, max_tries=2)
    bench.do("run")
    check_done(bench, "T2")
    bench.write(
        "TASKS.yaml", bench.text("TASKS.yaml") + '  - {"id": "T3", "title": "x", "verify": ["test -s T2.txt"]}\n'
    )
    (tmp_path / "away").touch()
    bench.do("resume")
    with running(bench, tmp_path) as said:
        wait_for(lambda: told(bench), f"the word of it: {said()}")
        wait_for(lambda: len(list(bench.root.glob("lanes/*/logs/runs/*"))) > 2, "more tries than one may have")
        (tmp_path / "away").unlink()
    assert bench.where == "DONE", said()
    assert bench.control["spending"]["project"]["attempts"] == 2


def test_a_step_that_lost_its_runner_meanwhile_is_gone_on_with(tmp_path: Path, engine: Engine) -> None:
    bench = lay_away(tmp_path, engine, task("T1", "test -s T1.txt"), transient_limit=2)
    with running(bench, tmp_path) as said:
        wait_for(lambda: at_work(bench, "T1"), "the agent")
        (tmp_path / "away").touch()
        lane = Bench(bench.root / "lanes" / "shop.T1")
        psutil.Process(lane.control["run"]["runner"]["pid"]).kill()
        troubles = bench.control_dir / "lane-troubles.json"
        wait_for(lambda: troubles.exists() and AWAY in troubles.read_text(), "the word of it")
        wait_for(lambda: told(bench), f"the word of it: {said()}")
        (workspace(bench, "T1") / "go.log").touch()
        (tmp_path / "away").unlink()
    check_done(bench, "T1", said=said())


@pytest.mark.parametrize("call", ["image", "inspect", "create", "start"])
def test_an_engine_that_is_back_before_one_can_look_costs_nothing(tmp_path: Path, engine: Engine, call: str) -> None:
    bench = lay_away(tmp_path, engine, task("T2", "test -s T2.txt"))
    (tmp_path / "once").write_text(call)
    ran = bench.do("run")
    assert not (tmp_path / "once").exists()
    check_done(bench, "T2", said=ran.said)


def test_an_engine_that_never_worked_is_set_up_by_a_person(tmp_path: Path, engine: Engine) -> None:
    bench = lay_away(tmp_path, engine, task("T2", "test -s T2.txt"))
    (tmp_path / "away").touch()
    bench.do("run")
    assert (bench.where, bench.state["failure"]["kind"]) == ("ERROR", "setup")
