"""Whose turn it is to land: by priority, then by who finished first; and none starves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiframe.core.landing import LONGEST_WAIT_S, Ticket, landing_order
from aiframe.core.model import Priority
from aiframe.core.scheduling import RANK

HIGH, MEDIUM, LOW = Priority.HIGH, Priority.MEDIUM, Priority.LOW
NOW = 10_000.0
LONG_AGO = NOW - LONGEST_WAIT_S


@pytest.mark.parametrize(
    ("tickets", "order"),
    [
        pytest.param([], "", id="nobody"),
        pytest.param([("a", NOW, LOW)], "a", id="one"),
        pytest.param([("a", NOW - 2, MEDIUM), ("b", NOW - 1, MEDIUM)], "ab", id="who finished first"),
        pytest.param([("b", NOW - 1, MEDIUM), ("a", NOW - 2, MEDIUM)], "ab", id="whoever drew first"),
        pytest.param([("a", NOW - 2, MEDIUM), ("b", NOW - 1, HIGH), ("c", NOW - 9, LOW)], "bac", id="priority first"),
        pytest.param([("b", NOW, MEDIUM), ("a", NOW, MEDIUM)], "ab", id="at the same moment"),
        pytest.param([("a", LONG_AGO, LOW), ("b", NOW - 1, HIGH)], "ab", id="waited long enough"),
        pytest.param([("a", LONG_AGO + 1, LOW), ("b", NOW - 1, HIGH)], "ba", id="not yet long enough"),
        pytest.param([("a", LONG_AGO - 2, LOW), ("b", LONG_AGO - 1, HIGH)], "ab", id="both waited long enough"),
        pytest.param([("a", NOW + 99, HIGH), ("b", NOW, HIGH)], "ba", id="a clock that was set back"),
    ],
)
def test_order(tickets: Sequence[tuple[str, float, Priority]], order: str) -> None:
    assert "".join(t.run_id for t in landing_order((Ticket(*each) for each in tickets), NOW)) == order


class Coming(NamedTuple):
    """Work that is proven *after_s* seconds after the one before it, and then takes *takes_s* to land."""

    after_s: float
    takes_s: float
    priority: Priority


COMING = st.builds(Coming, st.floats(0, 400), st.floats(1, 400), st.sampled_from(Priority))


@settings(deadline=None, max_examples=200)
@given(st.lists(COMING, min_size=1, max_size=25))
def test_all_land_in_order_and_none_is_overtaken_for_ever(coming: list[Coming]) -> None:
    """A queue is played to its end, one landing after the other."""
    waits: list[Ticket] = []
    clock, arrivals, takes = 0.0, list[Ticket](), dict[str, float]()
    at = 0.0
    for number, each in enumerate(coming):
        at += each.after_s
        arrivals.append(Ticket(f"{number:03}", at, each.priority))
        takes[f"{number:03}"] = each.takes_s
    begun: dict[str, float] = {}
    while arrivals or waits:
        waits += [ticket for ticket in arrivals if ticket.finished <= clock]
        arrivals = [ticket for ticket in arrivals if ticket.finished > clock]
        if not waits:
            clock = arrivals[0].finished
            continue
        first = landing_order(waits, clock)[0]
        for other in waits:
            if clock - other.finished >= LONGEST_WAIT_S:
                assert first.finished <= other.finished, "who has waited for long is overtaken no more"
            elif clock - first.finished < LONGEST_WAIT_S:
                assert (RANK[first.priority], first.finished) <= (RANK[other.priority], other.finished)
        begun[first.run_id] = clock
        waits.remove(first)
        clock += takes[first.run_id]
    assert len(begun) == len(coming)
