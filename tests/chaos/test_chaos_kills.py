"""SIGKILL at random moments to every process that takes part in a step: the project ends as if nothing had happened."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from support.chaos import (
    REAPERS_TOO,
    Ground,
    Reached,
    check_whole,
    cure,
    dev_turn,
    ground,
    kill,
    one_task_plan,
    processes,
    reached,
    remains,
    rest,
    start_runner,
    wait_until,
)
from support.needs import needs

from aiframe.core.model import FailureKind, Rules, State, TaskStatus

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds its victims in /proc")

ROUNDS = int(os.environ.get("SOAK_ROUNDS", "36"))
ROUNDS_A_CASE = 6
VICTIMS = (
    "tick", "runner", "guardian", "agent", "tool", "verify", "git", "runner+guardian", "cookie", "all",
)  # fmt: skip


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Reached:
    """What the project comes to when nobody kills anything."""
    with ground(tmp_path_factory.mktemp("undisturbed")) as calm:
        assert rest(calm) == []
        check_whole(calm)
        assert sorted(calm.calls) == ["PO", "T1", "T2", "T3"]
        return reached(calm)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(math.ceil(ROUNDS / ROUNDS_A_CASE)))
def test_f6_f7_f28_killed_at_random_moments_it_ends_as_if_nothing_had_happened(
    seed: int, tmp_path: Path, undisturbed: Reached
) -> None:
    rng = random.Random(seed)
    victims = rng.sample(VICTIMS, ROUNDS_A_CASE)
    number = 0
    while victims:
        number += 1
        with ground(tmp_path / f"project-{number}") as site:
            hit = fire(site, rng, victims)
            errors = rest(site)
            print(f"killed {hit}, errors {errors}, agents started {site.calls}")
            check_whole(site, lost_its_reapers=not REAPERS_TOO.isdisjoint(hit))
            assert reached(site) == undisturbed
            assert errors == []
            victims = victims[len(hit) :]


def fire(site: Ground, rng: random.Random, victims: list[str]) -> list[str]:
    """Kill *victims* one after the other, at random moments, while the project is ticked; returns who was hit."""
    hit: list[str] = []
    tick = site.start_tick()
    try:
        while len(hit) < len(victims) and site.project.state is not State.DONE:
            time.sleep(rng.uniform(0, 0.7))
            if tick.poll() is not None:
                cure(site)
                tick = site.start_tick()
            if site.project.streaks.get(FailureKind.INTERRUPTED, 0) >= Rules().interrupted_limit - 1:
                continue  # once more without a finished step is an error, as it should be
            if kill(site, victims[len(hit)], patience_s=1.5):
                hit.append(victims[len(hit)])
    finally:
        settle(tick)
    return hit


def settle(tick: subprocess.Popen[bytes]) -> None:
    """Wait for a tick that goes on."""
    tick.wait(60)


A_JOB = "version: 1\ntasks:\n  - {id: J1, title: Waits, steps: ['test -e ../../../go || sleep $CHAOS_NAP']}\n"


@pytest.mark.parametrize("victim", ["guardian", "foreman", "runner+guardian+foreman"])
def test_the_processes_of_a_job_are_known_by_what_they_are_and_none_of_them_stays(tmp_path: Path, victim: str) -> None:
    with ground(tmp_path, state={"state": "DEV_READY"}, plan=A_JOB) as site:
        tick = site.start_tick()
        chain = ["runner", "guardian", "foreman", "job", "tool"]
        wait_until(lambda: [p.kind for p in processes(site) if p.kind != "tick"] == chain, 20, "a job at work")
        (site.root / "go").touch()
        assert kill(site, victim, patience_s=5)
        settle(tick)
        assert rest(site) == []
        assert remains(site) == []
        assert reached(site).statuses == {"J1": TaskStatus.DONE}


EVENTS = {"rename": "os.rename", "unlink": "os.remove"}
"""What Python tells an audit hook just before it does what makes a runner's progress durable: as good as the system
call itself, and a third of the work. Of fsync it tells nothing."""

SOAK = ROUNDS > 60
WINDOWS = [
    *[("rename", first, 3) for first in range(1, 4)],  # every one
    *[(call, first, 3 if SOAK else 12) for call in ("fsync", "unlink") for first in ((1, 2, 3) if SOAK else (5,))],
]
"""Which call, the first one to be killed at, and how many further the next: a soak takes every one of all."""


@pytest.mark.soak
@pytest.mark.parametrize(
    ("call", "first", "stride"),
    [pytest.param(*each, marks=needs("strace") if each[0] == "fsync" else ()) for each in WINDOWS],
)
def test_f28_killed_before_any_durable_write_of_a_step_the_rest_is_replayed(
    call: str, first: int, stride: int, tmp_path: Path
) -> None:
    """At every *stride*-th call from the *first* one on, until a step gets by without being killed."""
    number = first
    while True:
        with one_task(tmp_path / f"{call}-{number}") as site:
            killed = killed_at(site, call, number).wait(60) != 0
            assert rest(site) == []
            check_whole(site)
            assert reached(site).statuses == {"T1": TaskStatus.DONE}
            assert site.git("show", "HEAD:T1.txt") == "T1\n"
        if not killed:
            break
        number += stride
    assert number > first, "nothing was ever killed"


def killed_at(site: Ground, call: str, number: int) -> subprocess.Popen[bytes]:
    """A runner that is killed just before *call* number *number*."""
    if event := EVENTS.get(call):
        return start_runner(site, killed_at=(event, number))
    calls = "?fsync,?fdatasync"  # as strace names them on every machine
    inject = f"inject={calls}:signal=KILL:when={number}"
    return start_runner(site, ["strace", "-q", "-o", os.devnull, "-e", f"trace={calls}", "-e", inject])


def one_task(folder: Path) -> AbstractContextManager[Ground]:
    """A project with one small task that is to be worked off."""
    turn = dev_turn("T1", seconds=0) | {"delay": 0}
    return ground(folder, state={"state": "DEV_READY"}, turns=[turn], plan=one_task_plan())
