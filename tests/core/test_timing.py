"""Elapsed and waiting time over suspended machines, reboots, other hosts and clocks that jump."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiframe.core.model import Moment, Wait
from aiframe.core.timing import elapsed, rebased, remaining

START = Moment(wall=1000.0, mono=100.0, boot="b1", host="h1")


@pytest.mark.parametrize(
    ("now", "seconds"),
    [
        pytest.param(Moment(1030, 130, "b1", "h1"), 30, id="same boot: both clocks agree"),
        pytest.param(Moment(9000, 110, "b1", "h1"), 10, id="suspended: the monotonic clock stood still"),
        pytest.param(Moment(10, 110, "b1", "h1"), 10, id="same boot, wall clock set back"),
        pytest.param(Moment(1000, 90, "b1", "h1"), 0, id="never negative"),
        pytest.param(Moment(1050, 5, "b2", "h1"), 50, id="rebooted: the wall clock"),
        pytest.param(Moment(1050, 500, "b1", "h2"), 50, id="another host: the wall clock"),
        pytest.param(Moment(900, 5, "b2", "h1"), 0, id="rebooted, clock set back: never negative"),
    ],
)
def test_elapsed(now: Moment, seconds: float) -> None:
    assert elapsed(START, now) == seconds


def test_elapsed_without_a_known_boot_goes_by_the_wall_clock() -> None:
    assert elapsed(Moment(1000, 900), Moment(1005, 0)) == 5


@pytest.mark.parametrize(
    ("wall", "left", "after"),
    [
        pytest.param(1000, 60, Wait(1000, 60), id="just set"),
        pytest.param(1045, 15, Wait(1000, 60), id="running"),
        pytest.param(1060, 0, Wait(1000, 60), id="over"),
        pytest.param(99_999, 0, Wait(1000, 60), id="long over"),
        pytest.param(10, 60, Wait(10, 60), id="clock set back: no longer than asked"),
    ],
)
def test_a_wait(wall: float, left: float, after: Wait) -> None:
    wait, now = Wait(1000, 60), Moment(wall)
    assert remaining(wait, now) == left
    assert rebased(wait, now) == after


def test_no_wait() -> None:
    assert remaining(None, Moment(5)) == 0
    assert rebased(None, Moment(5)) is None


@given(
    wait=st.builds(Wait, st.integers(0, 10**9), st.integers(0, 10**6)),
    jump=st.integers(-(10**9), 10**9),
)
def test_a_wait_ends_within_its_length_however_the_clock_jumps(wait: Wait, jump: int) -> None:
    seen_at = Moment(wait.set_at + jump)
    kept = rebased(wait, seen_at)
    assert 0 <= remaining(kept, seen_at) <= wait.wait_s
    assert remaining(kept, Moment(seen_at.wall + wait.wait_s)) == 0
