"""Waiting between two looks at the lanes: until a step ends, for its slot is somebody else's then."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from aiframe.app.project.lane_stamps import await_an_end
from aiframe.app.project.lanes import LaneRecord, lane_root, write_record
from aiframe.store.layout import Layout
from aiframe.store.locks import RunLock

LONG_S = 20.0


def lane(root: Path, name: str) -> Layout:
    made = Layout(lane_root(root, name))
    made.control_dir.mkdir(parents=True)
    write_record(made.root, LaneRecord(name))
    return made


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
