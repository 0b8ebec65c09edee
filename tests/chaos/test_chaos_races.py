"""Many ticks and commands at once: one run starts, no update is lost, and nobody takes the living for dead."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from support.chaos import (
    Ground,
    check_whole,
    dev_turn,
    ground,
    kill,
    one_task_plan,
    processes,
    remains,
    rest,
    wait_until,
)

from aiframe.core.model import State
from aiframe.store.journal import read_events
from aiframe.store.locks import is_run_locked

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds processes in /proc")

BURST = """
import os, sys
from pathlib import Path
import aiframe.cli.main
from aiframe.app.reports.follow import follow_run
from aiframe.app.tick import tick
root, many = Path(sys.argv[1]), int(sys.argv[2])
read, write = os.pipe()
children = []
for _ in range(many):
    child = os.fork()
    if child == 0:
        os.close(write)
        os.read(read, 1)
        tick(root, os.environ, wait=False, out=print)
        os._exit(0)
    children.append(child)
os.close(read)
os.close(write)
sys.exit(any([os.waitpid(child, 0)[1] for child in children]))
"""
"""MANY ticks that begin in the same moment: all have loaded what they need, and wait for the end of one pipe."""


def busy(folder: Path, seconds: float = 1.0) -> AbstractContextManager[Ground]:
    """A project with one task that takes *seconds* and is to be worked off."""
    turn = dev_turn("T1", seconds=seconds) | {"delay": 0}
    return ground(folder, state={"state": "DEV_READY"}, turns=[turn], plan=one_task_plan())


def kinds(site: Ground) -> list[str]:
    """The kinds of all events so far."""
    return [str(event["kind"]) for event in read_events(site.layout)]


def test_f13_fifty_commands_at_once_start_one_run(tmp_path: Path) -> None:
    with busy(tmp_path, 0.3) as site:
        ticks = [site.start_tick("--no-wait") for _ in range(50)]
        assert {tick.wait(60) for tick in ticks} == {0}
        rest(site)
        assert site.calls == ["T1"]
        assert kinds(site).count("step_started") == 1
        check_whole(site)


@pytest.mark.parametrize("round_number", range(2))
def test_f13_fifty_ticks_in_the_same_moment_start_one_run(round_number: int, tmp_path: Path) -> None:
    with busy(tmp_path, 0.3) as site:
        for _ in range(3):  # before the run, while it starts, and while it is at work
            burst = [sys.executable, "-P", "-c", BURST, str(site.root), "50"]
            done = subprocess.run(burst, env=dict(site.environ), capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stderr
        rest(site)
        assert site.calls == ["T1"]
        assert kinds(site).count("step_started") == 1
        check_whole(site)


def command(site: Ground, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `aiframe WORDS` on the project; a refusal is no crash."""
    done = site.run(*words, "--project", str(site.root))
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done


def test_f13_ticks_commands_and_looks_at_once_lose_no_update_and_see_nobody_dead(tmp_path: Path) -> None:
    """Two people change a setting each, while the project is paused, resumed and ticked."""
    with ground(tmp_path) as site:
        last = {}

        def set_often(name: str, base: int) -> None:
            for number in range(base, base + 4):
                done = command(site, "set", f"{name}={number}")
                assert done.returncode == 0, done.stderr
                last[name] = number

        def pause_often() -> None:
            for _ in range(3):
                assert command(site, "pause").returncode == 0
                assert command(site, "resume").returncode in (0, 2)  # 2: nothing to resume any more

        def look_often() -> None:
            for _ in range(4):
                assert command(site, "status", "--json").returncode in (0, 1)
                site.tick("--no-wait")

        failed = at_once(
            [
                lambda: set_often("timeout_sec", 1000),
                lambda: set_often("review_every_n_tasks", 50),
                pause_often,
                look_often,
            ]
        )
        assert failed == []
        if site.project.state is State.PAUSED:
            command(site, "resume")
        rest(site)
        settings = site.project.settings
        assert {"timeout_sec": settings.timeout_sec, "review_every_n_tasks": settings.review_every_n_tasks} == last
        outcomes = [event.get("outcome") for event in read_events(site.layout) if event["kind"] == "step_ended"]
        assert set(outcomes) == {"ok"}, "a living run was taken for dead"
        assert site.calls == ["PO", "T1", "T2", "T3"]
        check_whole(site)


@pytest.mark.parametrize("words", [("pause",), ("set", "timeout_sec=900"), ("interrupt",), ("stop",)], ids=" ".join)
def test_f30_a_command_before_the_first_tick_leaves_a_whole_repository(words: tuple[str, ...], tmp_path: Path) -> None:
    with busy(tmp_path, 0) as site:
        command(site, "set", "interactive_mode=true")
        assert command(site, *words).returncode == 0
        command(site, "resume")
        command(site, "set", "interactive_mode=false")
        rest(site)
        check_whole(site)


def at_once(works: list[Callable[[], None]]) -> list[BaseException]:
    """Do *works*, each in a thread; what went wrong in them."""
    failed: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failed


def test_f13_approvals_at_once_are_taken_once(tmp_path: Path) -> None:
    state = {"state": "DEV_READY", "interactive_mode": True, "review_every_n_tasks": 1}
    turn = dev_turn("T1", seconds=0) | {"delay": 0}
    with ground(tmp_path, state=state, turns=[turn], plan=one_task_plan()) as site:
        wait_for_review(site)
        assert at_once([lambda: void(command(site, "approve")), lambda: void(site.tick())] * 4) == []
        rest(site)
        assert len(list((site.layout.notes / "reviews").iterdir())) == 1
        assert not site.layout.approval.exists()
        check_whole(site)


def wait_for_review(site: Ground) -> None:
    """Tick until the project waits for a person's word."""
    for _ in range(6):
        if site.project.state is State.REVIEW_WAITING:
            return
        site.tick()
    raise AssertionError(f"no review came: {site.project.state}")


def void(_: object) -> None:
    """For a work that gives something that nobody wants."""


# A runner that dies ---------------------------------------------------------------------------------------------------


def test_f6_the_next_tick_sees_a_dead_runner_long_before_the_timeout(tmp_path: Path) -> None:
    with busy(tmp_path, 30) as site:
        assert site.tick("--no-wait").returncode == 0
        wait_until(lambda: site.calls == ["T1"], 20, "the agent is at work")
        assert kill(site, "runner", 1)
        wait_until(lambda: not is_run_locked(site.layout), 10, "the run lock is free")
        assert json.loads(site.layout.state_json.read_text())["state"] == "RUNNING"
        began = time.monotonic()
        assert site.tick("--no-wait").returncode == 0
        wait_until(lambda: site.calls == ["T1", "T1"], 20, "the agent is at work again")
        assert time.monotonic() - began < 20
        ends = [event for event in read_events(site.layout) if event["kind"] == "step_ended"]
        assert [end["outcome"] for end in ends] == ["interrupted"]
        assert ends[0]["message"]
        command(site, "stop")
        assert remains(site) == []


def test_f29_nobody_ticks_and_yet_nothing_of_a_dead_runners_agent_works_on(tmp_path: Path) -> None:
    with busy(tmp_path, 60) as site:
        assert site.tick("--no-wait").returncode == 0
        wait_until(lambda: site.calls == ["T1"], 20, "the agent is at work")
        wait_until(lambda: sum(site.nap in process.argv for process in processes(site)) >= 3, 10, "the daemons are up")
        assert kill(site, "runner", 1)
        assert remains(site, grace_s=10) == []


def test_f9_a_runner_that_is_slow_to_start_is_not_taken_for_dead(tmp_path: Path) -> None:
    """It is stopped in the moment it appears: its ticks see the lock, and start neither another one nor a recovery."""
    with busy(tmp_path, 0) as site:
        assert site.tick("--no-wait").returncode == 0
        runner = next(process.pid for process in processes(site) if process.kind == "runner")
        os.kill(runner, signal.SIGSTOP)
        try:
            for _ in range(5):
                assert site.tick("--no-wait").returncode == 0
            assert [process.pid for process in processes(site) if process.kind == "runner"] == [runner]
        finally:
            os.kill(runner, signal.SIGCONT)
        rest(site)
        assert kinds(site).count("step_started") == 1
        assert "interrupted" not in [event.get("outcome") for event in read_events(site.layout)]
        check_whole(site)
