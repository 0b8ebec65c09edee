"""Waiting between two looks at the lanes: until a step ends, for its slot is somebody else's then; not for ever."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from msgspec.structs import replace
from support.scripted_lanes import lay as lay_scripted
from support.scripted_lanes import proven

from aiframe.app.lanes.opening import open_
from aiframe.app.lanes.tending import tend
from aiframe.app.project.advance import held
from aiframe.app.project.lane_stamps import await_an_end
from aiframe.app.project.lanes import LaneRecord, lane_root, open_lane, write_record
from aiframe.app.project.site import Site, open_site
from aiframe.core.events import OpenLane, RunStarted
from aiframe.core.model import Role, Run
from aiframe.process import now, this_process
from aiframe.store.layout import IGNORED, Layout
from aiframe.store.locks import RunLock
from aiframe.workspaces.create import ensure_repository

LONG_S = 20.0


def lane(root: Path, name: str) -> Layout:
    made = Layout(lane_root(root, name))
    made.control_dir.mkdir(parents=True)
    write_record(made.root, LaneRecord(name))
    return made


def side_by_side(folder: Path) -> Site:
    """A project with a lane for T1, in which nothing has run yet."""
    bench = lay_scripted(folder, proven("T1", status="in_progress"), turns=[], attended=False)
    site = open_site(bench.root, bench.env)
    ensure_repository(bench.root, IGNORED)
    open_(site, OpenLane("T1"))
    return site


def alive(of: Layout) -> RunLock:
    """The lock of a step that lives in a lane."""
    lock = RunLock.try_take(of)
    assert lock is not None
    return lock


def waited(root: Path, within_s: float) -> tuple[bool, float]:
    """Whether a step has ended, and the seconds until that was said."""
    began = time.monotonic()
    return await_an_end(root, within_s), time.monotonic() - began


def test_the_end_of_one_step_is_enough(tmp_path: Path) -> None:
    first, other = alive(lane(tmp_path, "T1")), alive(lane(tmp_path, "T2"))
    threading.Timer(0.1, first.close_here).start()
    ended, seconds = waited(tmp_path, LONG_S)
    assert ended
    assert seconds < LONG_S / 2
    other.close_here()


@pytest.mark.parametrize("lives", [pytest.param(True, id="one lives, one rests"), pytest.param(False, id="all rest")])
def test_a_lane_at_rest_wakes_nobody(tmp_path: Path, lives: bool) -> None:
    lane(tmp_path, "T1")
    other = lane(tmp_path, "T2")
    lock = alive(other) if lives else None
    ended, seconds = waited(tmp_path, 0.1)
    assert not ended
    assert seconds >= 0.1
    if lock is not None:
        lock.close_here()


def test_no_lanes(tmp_path: Path) -> None:
    ended, seconds = waited(tmp_path, 0.01)
    assert not ended
    assert seconds >= 0.01


@pytest.mark.parametrize(
    ("since_s", "ended"),
    [pytest.param(30, False, id="within its time"), pytest.param(3600, True, id="long past its time")],
)
def test_a_step_that_hangs_is_looked_after_in_its_lane(tmp_path: Path, since_s: float, ended: bool) -> None:
    """It holds a slot and locks, and nobody else would ever end it."""
    site = side_by_side(tmp_path)
    began = replace(now(), wall=now().wall - since_s, boot="before")
    root = lane_root(site.root, "T1")
    run = Run("r1", Role.DEV, began, 600.0, replace(this_process(), host=began.host), task_id="T1")
    with held(open_lane(root, site.environ), is_runner=True) as draft:
        draft.decide(RunStarted(run))
    lock = alive(Layout(root))
    looked_at: list[Path] = []
    tend(site, lambda place, _: looked_at.append(place))
    assert looked_at == ([root] if ended else [])
    lock.close_here()
