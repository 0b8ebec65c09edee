"""Which task comes next, and what its attempts are counted against."""

from __future__ import annotations

from typing import Any

import pytest
from core.builders import task
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from aiframe.core.model import Priority, Task, TaskStatus
from aiframe.core.scheduling import all_closed, input_key, is_startable, ready_tasks

HIGH, MEDIUM, LOW = Priority.HIGH, Priority.MEDIUM, Priority.LOW
DONE = TaskStatus.DONE


@pytest.mark.parametrize(
    ("tasks", "waiting", "ready"),
    [
        pytest.param((), (), [], id="none"),
        pytest.param((task("A"), task("B")), (), ["A", "B"], id="the order of the file"),
        pytest.param(
            (task("A", priority=LOW), task("B"), task("C", priority=HIGH), task("D", priority=HIGH)),
            (),
            ["C", "D", "B", "A"],
            id="priority, then the order of the file",
        ),
        pytest.param((task("A", blocked_by=("B",)), task("B")), (), ["B"], id="what blocks comes first"),
        pytest.param(
            (task("A", blocked_by=("B",), priority=HIGH), task("B", DONE), task("C")), (), ["A", "C"], id="free"
        ),
        pytest.param((task("A", blocked_by=("B",)), task("B", TaskStatus.REVIEW)), (), [], id="review is not done"),
        pytest.param((task("A", blocked_by=("B",)), task("B", TaskStatus.CANCELLED)), (), [], id="nor is cancelled"),
        pytest.param((task("A", blocked_by=("B", "C")), task("B", DONE), task("C")), (), ["C"], id="all must be done"),
        pytest.param((task("A"), task("B")), {"A"}, ["B"], id="waits for an answer"),
    ],
)
def test_ready_tasks(tasks: tuple[Task, ...], waiting: set[str], ready: list[str]) -> None:
    assert [each.id for each in ready_tasks(tasks, waiting)] == ready


@pytest.mark.parametrize(
    ("status", "startable", "closed"),
    [
        (TaskStatus.TODO, True, False),
        (TaskStatus.IN_PROGRESS, True, False),
        (TaskStatus.REVIEW, False, False),
        (TaskStatus.DONE, False, True),
        (TaskStatus.FAILED, False, False),
        (TaskStatus.BLOCKED, False, False),
        (TaskStatus.CANCELLED, False, True),
    ],
    ids=str,
)
def test_what_a_status_means(status: TaskStatus, startable: bool, closed: bool) -> None:
    assert is_startable(task("A", status)) is startable
    assert bool(ready_tasks([task("A", status)])) is startable
    assert all_closed([task("A", status)]) is closed


BASE = task("A", description="words", dod=("d",), notes="n")


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(replace(BASE, status=TaskStatus.FAILED), id="status"),
        pytest.param(replace(BASE, priority=HIGH), id="priority"),
        pytest.param(replace(BASE, notes="by the agent"), id="notes"),
        pytest.param(replace(BASE, blocked_by=("B",)), id="blocked_by"),
    ],
)
def test_the_input_is_the_same_after_a_change_of(changed: Task) -> None:
    assert input_key(changed) == input_key(BASE)


@pytest.mark.parametrize(
    ("changed", "request_"),
    [
        pytest.param(replace(BASE, id="B"), "", id="id"),
        pytest.param(replace(BASE, title="other"), "", id="title"),
        pytest.param(replace(BASE, description="other"), "", id="description"),
        pytest.param(replace(BASE, dod=("d", "e")), "", id="dod"),
        pytest.param(replace(BASE, verify=("make all",)), "", id="verify"),
        pytest.param(BASE, "and in green", id="a person's request"),
    ],
)
def test_the_input_is_another_after_a_change_of(changed: Task, request_: str) -> None:
    assert input_key(changed, request_) != input_key(BASE)


def test_an_input_key_begins_with_the_task_and_takes_any_text() -> None:
    assert input_key(task("A-1", title="half a pair: \ud800")).startswith("A-1@")


@pytest.mark.parametrize(
    ("more", "commands", "manual", "needs_person"),
    [
        pytest.param({"verify": ("make",)}, ("make",), (), False, id="a command"),
        pytest.param({"verify": ("make", "manual: look")}, ("make",), ("manual: look",), True, id="and a manual check"),
        pytest.param({"verify": (" Manual ",)}, (), (" Manual ",), True, id="any case, any spaces"),
        pytest.param({"verify": ("manually-named-tool",)}, ("manually-named-tool",), (), False, id="a tool's name"),
        pytest.param({"verify": ()}, (), (), True, id="nothing to run"),
        pytest.param({"verify": ("make",), "review": True}, ("make",), (), True, id="review: true"),
    ],
)
def test_what_needs_a_person(
    more: dict[str, Any], commands: tuple[str, ...], manual: tuple[str, ...], needs_person: bool
) -> None:
    work = task(**more)
    assert (work.commands, work.manual_checks, work.needs_person) == (commands, manual, needs_person)


IDS = ["A", "B", "C", "D"]


@given(
    statuses=st.lists(st.sampled_from(TaskStatus), min_size=4, max_size=4),
    blocks=st.lists(st.sets(st.sampled_from(IDS)), min_size=4, max_size=4),
    waiting=st.sets(st.sampled_from(IDS)),
)
def test_a_ready_task_lacks_nothing(statuses: list[TaskStatus], blocks: list[set[str]], waiting: set[str]) -> None:
    tasks = [
        task(name, status, blocked_by=tuple(sorted(needs)))
        for name, status, needs in zip(IDS, statuses, blocks, strict=True)
    ]
    status_of = {each.id: each.status for each in tasks}
    ready = {each.id for each in ready_tasks(tasks, waiting)}
    for each in tasks:
        lacks = (
            not is_startable(each) or each.id in waiting or any(status_of[need] is not DONE for need in each.blocked_by)
        )
        assert (each.id in ready) is not lacks
