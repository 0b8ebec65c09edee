"""How much work waits for a task: what depends on it, and what it keeps out."""

from __future__ import annotations

from typing import Any

import pytest

from aiframe.core.model import Task, TaskStatus
from aiframe.core.resources import Resource
from aiframe.core.urgency import Urgency, urgencies

RESOURCES = {
    "api": Resource("api", ("src/api/**",)),
    "one": Resource("one", slots=1),
    "two": Resource("two", slots=2),
}


def task(name: str, *writes: str, **more: Any) -> Task:
    return Task(name, name, writes=writes, **more)


@pytest.mark.parametrize(
    ("others", "held_up", "behind"),
    [
        pytest.param([], 2, 0, id="itself"),
        pytest.param([task("B", blocked_by=("A",), size="L")], 6, 4, id="what depends on it"),
        pytest.param(
            [task("B", blocked_by=("A",)), task("C", blocked_by=("B",)), task("D", blocked_by=("A",), size="S")],
            6, 5, id="the longest chain, and all of them",
        ),
        pytest.param(
            [task("B", blocked_by=("A",)), task("C", blocked_by=("A",)), task("D", blocked_by=("B", "C"))],
            6, 6, id="each once",
        ),
        pytest.param([task("B", blocked_by=("A",), status=TaskStatus.DONE)], 2, 0, id="not what is done"),
        pytest.param([task("B", "api"), task("C", "src/api/x.py", size="L")], 5, 0, id="half of what it keeps out"),
        pytest.param([task("B", "docs/**"), task("C")], 2, 0, id="not what can run beside it"),
        pytest.param([task("B", "api", status=TaskStatus.DONE)], 2, 0, id="nor what is over"),
        pytest.param([task("busy", "api")], 2, 0, id="nor what runs already"),
        pytest.param([task("B", "one")], 3, 0, id="one slot"),
        pytest.param([task("B", "two")], 2, 0, id="two slots"),
        pytest.param([Task("B", "B", reads=("api", "docs/**"))], 3, 0, id="a reader"),
    ],
)  # fmt: skip
def test_urgency(others: list[Task], held_up: float, behind: int) -> None:
    first = task("A", "api", "one", "two")
    assert urgencies([*others, first], RESOURCES, {"busy"})["A"] == Urgency(held_up, behind)
