"""Lanes rest with their project, all of them, and go on with it; and none holds what others need for ever."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from msgspec.structs import replace
from support.scripted_lanes import lay, proven

from aiframe.app.lanes.halting import halt_all
from aiframe.app.lanes.opening import open_
from aiframe.app.lanes.tending import tend
from aiframe.app.lanes.turn import turn
from aiframe.app.project.advance import held
from aiframe.app.project.lanes import lane_root, open_lane, read_record, write_record
from aiframe.app.project.site import Site, open_site
from aiframe.app.reports.status import take_snapshot
from aiframe.core.effects import OpenLane
from aiframe.core.errors import UnreadableFile
from aiframe.core.events import RunStarted
from aiframe.core.model import Role, Run, State
from aiframe.core.transitions.merging import AGAIN
from aiframe.process import now, this_process
from aiframe.store.layout import IGNORED, Layout
from aiframe.store.locks import RunLock
from aiframe.workspaces.create import ensure_repository


def side_by_side(folder: Path, *names: str) -> Site:
    """A project with a lane for each of *names*, in which nothing has run yet."""
    bench = lay(folder, *(proven(name, status="in_progress") for name in names), turns=[], attended=False)
    site = open_site(bench.root, bench.env)
    ensure_repository(bench.root, IGNORED)
    for name in names:
        open_(site, OpenLane(name))
    return site


def begun(site: Site) -> list[Path]:
    """Look at the lanes of *site* once; those that may go on."""
    found: list[Path] = []
    tend(site, lambda root, _: found.append(root))
    return found


def state_of(root: Path, site: Site) -> object:
    return open_lane(root, site.environ).store.load().project.state


@pytest.mark.parametrize(
    ("since_s", "ended"),
    [pytest.param(30, False, id="within its time"), pytest.param(3600, True, id="long past its time")],
)
def test_a_step_that_hangs_is_looked_after_in_its_lane(tmp_path: Path, since_s: float, ended: bool) -> None:
    """It holds a slot and locks, and nobody else would ever end it."""
    site = side_by_side(tmp_path, "T1")
    began = replace(now(), wall=now().wall - since_s, boot="before")
    root = lane_root(site.root, "T1")
    run = Run("r1", Role.DEV, began, 600.0, replace(this_process(), host=began.host), task_id="T1")
    with held(open_lane(root, site.environ), is_runner=True) as draft:
        draft.decide(RunStarted(run))
    lock = RunLock.try_take(Layout(root))
    assert lock is not None
    assert begun(site) == ([root] if ended else [])
    lock.close_here()


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", '{"task_id": 1}'])
def test_one_whose_record_says_nothing_keeps_no_other_waiting(tmp_path: Path, text: str) -> None:
    site = side_by_side(tmp_path, "T1", "T2")
    one, other = (lane_root(site.root, name) for name in ("T1", "T2"))
    Layout(one).lane_record.write_text(text)
    found: list[Path] = []
    news = " ".join(tend(site, lambda root, _: found.append(root)).news)
    assert found == [other]
    assert f"T1 cannot be looked after: {Layout(one).lane_record}" in news
    assert "T1 cannot be looked after" in " ".join(
        line.waits.headline for line in take_snapshot(site.root, site.environ).lanes
    )


def test_one_that_cannot_be_paused_keeps_no_other_going(tmp_path: Path) -> None:
    site = side_by_side(tmp_path, "T1", "T2")
    one, other = (lane_root(site.root, name) for name in ("T1", "T2"))
    (one / "PROJECT.yaml").write_text("{")
    with pytest.raises(UnreadableFile):
        halt_all(site, at_once=True)
    assert state_of(other, site) is State.PAUSED


def test_a_pause_waits_for_who_may_just_let_one_go_on(tmp_path: Path) -> None:
    """Else that one would begin a step behind the back of who said stop."""
    site = side_by_side(tmp_path, "T1")
    root = lane_root(site.root, "T1")
    with turn(site) as mine:
        assert mine
        pausing = threading.Thread(target=lambda: halt_all(site, at_once=False))
        pausing.start()
        pausing.join(0.3)
        assert state_of(root, site) is State.DEV_READY
    pausing.join()
    assert state_of(root, site) is State.PAUSED


def test_killed_before_a_lane_was_told_it_is_told_again(tmp_path: Path) -> None:
    site = side_by_side(tmp_path, "T1")
    root = lane_root(site.root, "T1")
    record = read_record(root)
    assert record is not None
    write_record(root, replace(record, halted=True))  # and then nothing more
    halt_all(site, at_once=False)
    assert state_of(root, site) is State.PAUSED


@pytest.mark.parametrize(
    ("said", "after"),
    [
        pytest.param("", State.DEV_READY, id="by its project alone"),
        pytest.param(AGAIN, State.PAUSED, id="for a person's word as well"),
    ],
)
def test_a_lane_goes_on_with_its_project_unless_it_waits_for_a_word(tmp_path: Path, said: str, after: State) -> None:
    site = side_by_side(tmp_path, "T1")
    root = lane_root(site.root, "T1")
    halt_all(site, at_once=False)
    with held(open_lane(root, site.environ)) as draft:
        draft.project = draft.project.evolve(last_error=said)
    begun(site)
    record = read_record(root)
    assert record is not None
    assert not record.halted
    assert state_of(root, site) is after
