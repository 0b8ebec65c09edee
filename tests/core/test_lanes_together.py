"""What lanes spend and meet is their project's: its budgets, its errors, and what its tasks say by now."""

from __future__ import annotations

from typing import Any

import pytest
from core.builders import NOW, RULES, seen, task
from msgspec.structs import replace

from aiframe.core.budget import Budget, Limits, Spending, Spent
from aiframe.core.effects import CloseLane, OpenLane, ParkLane, SetStatus
from aiframe.core.events import Resume, Tick
from aiframe.core.machine import Refused, decide
from aiframe.core.model import Failure, FailureKind, Project, Role, State, TaskStatus, Wait
from aiframe.core.resources import Capacity
from aiframe.core.scheduling import input_key
from aiframe.core.seen import SeenLane
from aiframe.core.transitions.lanes import roster_of

DEV = Project(state=State.DEV_READY)
TODAY = "2026-02-28"
TOGETHER = replace(RULES, capacity=Capacity(4))
SPENT = Spending().with_run(Spent(tokens=100, attempts=1), TODAY, "T1")


def at_work(name: str = "T1", **more: Any) -> SeenLane:
    return SeenLane(name, spending=SPENT, running=True, **more)


def look(lane: SeenLane, **more: Any) -> Any:
    return replace(seen(task("T1", status=TaskStatus.IN_PROGRESS)), lanes=(lane,), day=TODAY, day_ends=1e9, **more)


@pytest.mark.parametrize(
    ("budget", "state"),
    [
        pytest.param(Budget(project=Limits(tokens=100)), State.PAUSED, id="of the project"),
        pytest.param(Budget(day=Limits(tokens=100)), State.DEV_READY, id="of the day"),
        pytest.param(Budget(project=Limits(tokens=101)), State.DEV_READY, id="not yet"),
    ],
)
def test_a_budget_counts_what_open_lanes_have_spent(budget: Budget, state: State) -> None:
    rules = replace(TOGETHER, budget=budget)
    after = decide(DEV, Tick(look(at_work())), rules).project
    assert (after.state, after.wait is not None) == (state, budget.day.tokens == 100)
    assert after.spending == Spending(), "it is booked when the lane is closed"
    again = decide(after, Tick(look(at_work())), rules)
    assert (again.project, again.effects) == (after, ()), "and it does not go back and forth"
    if state is State.PAUSED:
        with pytest.raises(Refused, match="is spent"):
            decide(after, Resume(look(at_work())), rules)


@pytest.mark.parametrize(
    ("limits", "state"),
    [
        pytest.param(Limits(tokens=150), State.PAUSED, id="what a step has used counts at once"),
        pytest.param(Limits(attempts=2), State.DEV_READY, id="and its attempt when it has ended"),
    ],
)
def test_a_budget_counts_the_steps_that_run(limits: Limits, state: State) -> None:
    """Else a lane that its budget has ended would begin a step again, until the steps of all others end."""
    rules = replace(TOGETHER, budget=Budget(project=limits))
    lane = at_work(unsettled=Spent(tokens=50, attempts=1))
    assert decide(DEV, Tick(look(lane)), rules).project.state is state


def test_a_lane_is_put_away_with_all_that_it_has_spent() -> None:
    """Also by a step that was cut off; one that lives is to end first."""
    over = replace(look(at_work()), tasks=(task("T1", status=TaskStatus.CANCELLED),))
    assert decide(DEV, Tick(over), TOGETHER).effects == ()
    cut_off = replace(at_work(unsettled=Spent(tokens=50, attempts=1)), running=False)
    decision = decide(DEV, Tick(replace(over, lanes=(cut_off,))), TOGETHER)
    assert CloseLane("T1") in decision.effects
    assert decision.project.spending.project == Spent(tokens=150, attempts=2)


def test_a_day_that_is_over_lets_them_go_on() -> None:
    rules = replace(TOGETHER, budget=Budget(day=Limits(tokens=100)))
    failure = Failure(FailureKind.BUDGET, "spent")
    waiting = DEV.evolve(failure=failure, wait=Wait(0.0, 1e9))
    tomorrow = replace(look(at_work()), day="2026-03-01")
    assert decide(waiting, Tick(tomorrow), rules).project.wait is None


@pytest.mark.parametrize(
    ("kind", "state", "status"),
    [
        pytest.param(FailureKind.AUTH, State.ERROR, TaskStatus.TODO, id="any task would meet it"),
        pytest.param(FailureKind.VERIFY_FAILED, State.DEV_READY, TaskStatus.FAILED, id="this task's own"),
    ],
)
def test_a_failure_that_any_task_would_meet_costs_none(kind: FailureKind, state: State, status: TaskStatus) -> None:
    failed = at_work(failure=Failure(kind, "no", "mend it"))
    rules = replace(TOGETHER, continue_on_task_failure=True)
    two = replace(look(failed), tasks=(*look(failed).tasks, task("T2")))
    decision = decide(DEV, Tick(two), rules)
    assert decision.project.state is state
    assert SetStatus("T1", status) in decision.effects


@pytest.mark.parametrize(
    ("words", "taken"),
    [
        pytest.param("as they are", True, id="the same words"),
        pytest.param("", True, id="not known"),
        pytest.param("T1@others", False, id="others by now"),
    ],
)
def test_what_was_done_by_other_words_is_not_done(words: str, taken: bool) -> None:
    there = task("T1", status=TaskStatus.IN_PROGRESS)
    lane = replace(at_work(landed=True, words=input_key(there) if words == "as they are" else words), running=False)
    decision = decide(DEV, Tick(look(lane)), TOGETHER)
    assert (SetStatus("T1", TaskStatus.DONE) in decision.effects) is taken
    assert (OpenLane("T1") in decision.effects) is not taken


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        pytest.param(FailureKind.AUTH, TaskStatus.TODO, id="any task would meet it"),
        pytest.param(FailureKind.VERIFY_FAILED, TaskStatus.FAILED, id="this task's own"),
    ],
)
def test_killed_when_only_its_status_was_written_a_failure_still_stops_the_project(
    kind: FailureKind, written: TaskStatus
) -> None:
    lane = replace(at_work(failure=Failure(kind, "no", "mend it")), running=False)
    there = replace(look(lane), tasks=(task("T1", written), task("T2")))
    decision = decide(DEV, Tick(there), TOGETHER)
    assert decision.project.state is State.ERROR
    assert not [effect for effect in decision.effects if isinstance(effect, OpenLane)]
    after = replace(there, lanes=(replace(lane, granted=False),))
    resumed = decide(decision.project, Resume(after), TOGETHER).project
    opened = [each.task_id for each in decide(resumed, Tick(after), TOGETHER).effects if isinstance(each, OpenLane)]
    assert opened == (["T1", "T2"] if written is TaskStatus.TODO else ["T2"]), "a person's word is enough"


def test_a_task_that_failed_lets_go_of_its_locks_for_good() -> None:
    """Or it would have them again, beside who got them meanwhile, as soon as a person lets it be tried anew."""
    rules = replace(TOGETHER, continue_on_task_failure=True)
    one = task("T1", status=TaskStatus.IN_PROGRESS, writes=("api/**",))
    other = task("T2", writes=("api/**",))
    failed = replace(at_work(failure=Failure(FailureKind.VERIFY_FAILED, "no")), running=False)
    first = decide(DEV, Tick(replace(seen(one, other), lanes=(failed,), day=TODAY)), rules)
    assert [effect for effect in first.effects if isinstance(effect, ParkLane | OpenLane)] == [
        ParkLane("T1"), OpenLane("T2")
    ]  # fmt: skip
    tried_anew = replace(failed, failure=None, granted=False)
    lanes = (tried_anew, at_work("T2"))
    tasks = (replace(one, status=TaskStatus.TODO), replace(other, status=TaskStatus.IN_PROGRESS))
    assert decide(DEV, Tick(replace(seen(*tasks), lanes=lanes, day=TODAY)), rules).effects == ()


@pytest.mark.parametrize(
    ("waits", "opened"),
    [
        pytest.param([Wait(NOW.wall, 900)], ["T3"], id="its quota is used up"),
        pytest.param([Wait(NOW.wall - 900, 900)], ["T2", "T3"], id="it is there again"),
        pytest.param([Wait(NOW.wall - 60, 3600), Wait(NOW.wall - 30, 20)], ["T2", "T3"], id="the last word counts"),
    ],
)
def test_what_an_agent_refused_to_one_task_it_is_not_asked_for_by_all(waits: list[Wait], opened: list[str]) -> None:
    rules = replace(TOGETHER, agents={Role.DEV: ("codex",)}, capacity=Capacity(9))
    refused = tuple(
        replace(at_work(f"R{n}", rests=True, granted=False, resting={"codex": wait}), running=False)
        for n, wait in enumerate(waits)
    )
    tasks = (*(task(lane.task_id, TaskStatus.IN_PROGRESS) for lane in refused), task("T2"), task("T3", agent="claude"))
    there = replace(seen(*tasks), lanes=refused)
    found = decide(DEV, Tick(there), rules).effects
    assert [effect.task_id for effect in found if isinstance(effect, OpenLane)] == opened
    told = [(each.task_id, each.what) for each in roster_of(there, rules).waiting]
    assert told == ([] if "T2" in opened else [("T2", "the quota of codex")])


@pytest.mark.parametrize(
    ("attempts", "running", "begin"),
    [
        pytest.param(1, 0, 1, id="one for three"), pytest.param(2, 1, 1, id="beside one that runs"),
        pytest.param(2, 2, 0, id="all at work"), pytest.param(None, 1, 2, id="no limit"),
    ],
)  # fmt: skip
def test_no_more_tasks_begin_than_there_are_attempts_for(attempts: int | None, running: int, begin: int) -> None:
    names = ("T1", "T2", "T3")
    lanes = tuple(SeenLane(name, running=True) for name in names[:running])
    status = dict.fromkeys(names[:running], TaskStatus.IN_PROGRESS)
    tasks = [task(name, status=status.get(name, TaskStatus.TODO)) for name in names]
    rules = replace(TOGETHER, capacity=Capacity(3), budget=Budget(project=Limits(attempts=attempts)))
    decision = decide(DEV, Tick(replace(seen(*tasks), lanes=lanes, day=TODAY, day_ends=1e9)), rules)
    assert decision.project.state is State.DEV_READY
    assert sum(isinstance(effect, OpenLane) for effect in decision.effects) == begin
