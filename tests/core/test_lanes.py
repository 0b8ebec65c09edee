"""Tasks side by side: none in another's way, all of them in the end, and the first in order first."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from aiframe.core.claims import Claim, claims_of, collide, writable_paths
from aiframe.core.lanes import Lane, roster
from aiframe.core.model import Priority, Task, TaskStatus
from aiframe.core.resources import Capacity, Resource

RESOURCES = {
    "api": Resource("api", ("src/api/**",)),
    "db": Resource("db", slots=2),
    "port": Resource("port", values=("9000", "9001")),
}


def task(name: str, *writes: str, reads: Sequence[str] = (), **more: Any) -> Task:
    return Task(name, name, writes=writes, reads=tuple(reads), **more)


def started(tasks: Sequence[Task], *lanes: Lane, slots: int = 9, agents: Mapping[str, int] | None = None) -> list[str]:
    found = roster(tasks, lanes, RESOURCES, Capacity(slots, agents or {}))
    return [lane.task_id for lane in found.start]


def lane(of: Task, **values: str) -> Lane:
    return Lane(of.id, of.agent, claims_of(of, RESOURCES), values)


# What starts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tasks", "starts"),
    [
        pytest.param([task("A"), task("B")], ["A", "B"], id="nothing claimed"),
        pytest.param([task("A", "api"), task("B", "api")], ["A"], id="two writers"),
        pytest.param([task("A", reads=["api"]), task("B", reads=["api"])], ["A", "B"], id="two readers"),
        pytest.param([task("A", reads=["api"]), task("B", "api")], ["A"], id="a reader, then a writer"),
        pytest.param([task("A", "api"), task("B", reads=["api"])], ["A"], id="a writer, then a reader"),
        pytest.param([task("A", "api"), task("B", "src/api/x.py")], ["A"], id="a file of a resource"),
        pytest.param([task("A", "src/a/**"), task("B", "src/b/**")], ["A", "B"], id="files apart"),
        pytest.param([task("A", "src/**"), task("B", reads=["src/b"])], ["A"], id="reading what is written"),
        pytest.param([task("A", "db"), task("B", "db"), task("C", "db")], ["A", "B"], id="two slots"),
        pytest.param([task("A", "port"), task("B", "port"), task("C", "port")], ["A", "B"], id="two values"),
        pytest.param(
            [task("A", "api"), task("B", "api", "db"), task("C", reads=["db"]), task("D", "db")],
            ["A", "C"],
            id="what the first that waits needs is kept for it",
        ),
        pytest.param(
            [
                task("A", "api", priority=Priority.HIGH),
                task("B", "api", priority=Priority.HIGH),
                task("C", "api", "docs/**"),
                task("D", "docs/**"),
            ],
            ["A", "D"],
            id="and not what the second needs",
        ),
        pytest.param([task("A"), task("B", priority=Priority.HIGH)], ["B", "A"], id="by priority"),
        pytest.param([task("A"), task("B"), task("C", blocked_by=("B",))], ["B", "A"], id="longest chain first"),
        pytest.param(
            [task("A"), task("B"), task("C", blocked_by=("A",), size="S"), task("D", blocked_by=("B",), size="L")],
            ["B", "A"],
            id="by the work of the chain",
        ),
        pytest.param(
            [task("A"), task("B"), *(task(name, blocked_by=("B",)) for name in "CD"), task("E", blocked_by=("A",))],
            ["B", "A"],
            id="of two chains as long the one with more beside it",
        ),
        pytest.param(
            [task("A", "api"), task("B", "api"), task("C", "docs/**"), task("D", "docs/**"), task("E", "docs/**")],
            ["C", "A"],
            id="what keeps more out",
        ),
        pytest.param(
            [task("A", "api"), task("B", "api", "src/b/**"), task("C", "src/b/**")],
            ["B"],
            id="what stands in the way of two, before each of them",
        ),
        pytest.param([task("A", size="S"), task("B", size="L"), task("C", size="M")], ["B", "C", "A"], id="by size"),
        pytest.param([task("A", blocked_by=("B",)), task("B")], ["B"], id="what it waits for"),
        pytest.param([task("A", status=TaskStatus.DONE), task("B", blocked_by=("A",))], ["B"], id="done before"),
    ],
)
def test_what_starts(tasks: list[Task], starts: list[str]) -> None:
    assert started(tasks) == starts


def test_slots_in_all_and_of_an_agent() -> None:
    tasks = [task("A", agent="codex"), task("B", agent="codex"), task("C", agent="claude")]
    assert started(tasks, slots=1) == ["A"]
    assert started(tasks, agents={"codex": 1}) == ["A", "C"]
    assert started(tasks, lane(tasks[0]), slots=2, agents={"codex": 1}) == ["C"]


def test_each_holder_gets_a_value_of_its_own() -> None:
    one, other, third = task("A", "port"), task("B", reads=["port"]), task("C", "port")
    both = roster([one, other], (), RESOURCES, Capacity(9)).start
    assert [dict(each.values) for each in both] == [{"port": "9000"}, {"port": "9001"}]
    later = roster([third], [lane(other, port="9001")], RESOURCES, Capacity(9)).start
    assert dict(later[0].values) == {"port": "9000"}


def test_a_value_stays_with_its_holder_that_no_longer_asks_for_it() -> None:
    """A person has taken the lock out of a task that is worked at."""
    one, other, third = task("A"), task("B", "port"), task("C", "port")
    lanes = [lane(one, port="9000"), lane(other, port="9001")]
    found = roster([one, other, third], lanes, RESOURCES, Capacity(9))
    assert found.start == ()
    assert [(each.task_id, each.what, each.holder) for each in found.waiting] == [("C", "port", "A")]


def test_why_a_task_waits() -> None:
    tasks = [task("A", "api"), task("B", "api"), task("C"), task("D")]
    waiting = roster(tasks, (), RESOURCES, Capacity(2)).waiting
    assert [(each.task_id, each.what, each.holder) for each in waiting] == [("B", "api", "A"), ("D", "a slot", "")]


def test_what_a_task_may_change() -> None:
    assert writable_paths(task("A", "api", "docs/*.md", "db"), RESOURCES) == ("src/api/**", "docs/*.md")


def test_claims_come_in_one_order() -> None:
    one, other = task("A", "port", "api", reads=["db", "api"]), task("A", "api", "port", reads=["api", "db"])
    assert claims_of(one, RESOURCES) == claims_of(other, RESOURCES)
    assert claims_of(one, RESOURCES) == (
        Claim("api", ("src/api/**",), True), Claim("db", (), False), Claim("port", (), True)
    )  # fmt: skip


# Whole plans ----------------------------------------------------------------------------------------------------------

LOCKS = st.lists(st.sampled_from(["api", "db", "port", "src/api/x.py", "src/**", "docs/**", "docs/a.md"]), max_size=3)


@st.composite
def plans(draw: st.DrawFn) -> tuple[list[Task], dict[str, int]]:
    """Tasks of which each may wait for some before it, and how long each takes."""
    tasks: list[Task] = []
    for number in range(draw(st.integers(1, 9))):
        before = draw(st.sets(st.sampled_from([t.id for t in tasks]), max_size=2)) if tasks else set()
        more = {"priority": draw(st.sampled_from(Priority)), "agent": draw(st.sampled_from(["", "codex"]))}
        tasks.append(task(f"T{number}", *draw(LOCKS), reads=draw(LOCKS), blocked_by=tuple(sorted(before)), **more))
    return draw(st.permutations(tasks)), {each.id: draw(st.integers(1, 5)) for each in tasks}


class Course(NamedTuple):
    """When each task began and ended, and the lanes that were there at each moment."""

    began: dict[str, int]
    ended: dict[str, int]
    moments: list[list[Lane]]


def carry(tasks: Sequence[Task], takes: Mapping[str, int], capacity: Capacity) -> Course:
    """Work a plan off: whatever may start does at once, and so at the end of each task."""
    course, lanes, ends, clock = Course({}, {}, []), dict[str, Lane](), list[tuple[int, str]](), 0
    while True:
        for new in roster(tasks, list(lanes.values()), RESOURCES, capacity).start:
            lanes[new.task_id], course.began[new.task_id] = new, clock
            heapq.heappush(ends, (clock + takes[new.task_id], new.task_id))
        course.moments.append(list(lanes.values()))
        if not ends:
            return course
        clock, name = heapq.heappop(ends)
        course.ended[name] = clock
        del lanes[name]
        tasks = [replace(each, status=TaskStatus.DONE) if each.id == name else each for each in tasks]


@given(plans(), st.integers(1, 4), st.integers(1, 2))
def test_any_plan_comes_to_its_end_and_nobody_is_in_anothers_way(
    plan: tuple[list[Task], dict[str, int]], slots: int, codex: int
) -> None:
    tasks, takes = plan
    course = carry(tasks, takes, Capacity(slots, {"codex": codex}))
    assert course.ended.keys() == takes.keys(), "a task never started"
    for each in tasks:
        assert all(course.ended[other] <= course.began[each.id] for other in each.blocked_by)
    for lanes in course.moments:
        assert len(lanes) <= slots
        assert sum(each.agent == "codex" for each in lanes) <= codex
        pairs = [(one, other) for one in lanes for other in lanes if one.task_id < other.task_id]
        for one, other in pairs:
            assert not any(collide(a, b, RESOURCES) for a in one.claims for b in other.claims)
            assert not one.values.items() & other.values.items()
        assert sum(any(claim.name == "db" for claim in each.claims) for each in lanes) <= 2


@given(plans(), st.integers(1, 4))
def test_nothing_waits_that_could_run(plan: tuple[list[Task], dict[str, int]], slots: int) -> None:
    """A slot is empty only while each ready task collides with one that runs, or with one that comes before it."""
    tasks, _ = plan
    found = roster(tasks, (), RESOURCES, Capacity(slots))
    if len(found.start) < slots:
        assert all(each.holder for each in found.waiting)
    free = {each.id for each in tasks if not each.blocked_by}
    assert {each.task_id for each in found.start} | {each.task_id for each in found.waiting} == free


@given(plans())
def test_with_one_slot_the_order_is_that_of_the_plan(plan: tuple[list[Task], dict[str, int]]) -> None:
    tasks, takes = plan
    course = carry(tasks, takes, Capacity(1))
    ranks = {each.id: [Priority.HIGH, Priority.MEDIUM, Priority.LOW].index(each.priority) for each in tasks}
    for one in tasks:
        for other in tasks:
            ready = max((course.ended[name] for name in one.blocked_by), default=0)
            if ranks[one.id] < ranks[other.id] and ready <= course.began[other.id]:
                assert course.began[one.id] < course.began[other.id]
