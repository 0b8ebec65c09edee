"""What is spent, the limits of it, and what a limit that is reached does to a project."""

from __future__ import annotations

from typing import Any

import pytest
from core.builders import RULES, T0, at, broken, end, finished, later, run_of, running, seen, started, statuses, tick
from core.builders import task as a_task
from msgspec.structs import replace

from aiframe.core.budget import AMOUNTS, DAYS_KEPT, Budget, Limits, Spending, Spent, reached, told
from aiframe.core.effects import GoOn
from aiframe.core.events import Finished, Resume, RunLost, StepEnded
from aiframe.core.machine import Refused, decide
from aiframe.core.model import FailureKind, Project, Role, Rules, State, TaskStatus, Wait

S, K = State, FailureKind
TODAY, TOMORROW = "2026-02-28", "2026-03-01"
MIDNIGHT = T0 + 3600
T1 = a_task("T1", TaskStatus.IN_PROGRESS)
RUN = Spent(tokens=100, cost_usd=0.5, wall_s=60, attempts=1)


def look(*tasks: Any, **more: Any) -> Any:
    return seen(*(tasks or (a_task(), a_task("T2"))), **{"day": TODAY, "day_ends": MIDNIGHT, **more})


def rules(**scopes: Limits) -> Rules:
    return replace(RULES, budget=Budget(**scopes))


def after_run(project: Project, ending: Any, limits: Rules, spent: Spent = RUN) -> Any:
    """The run of *project* ends, having spent that much today."""
    assert project.run is not None
    return decide(project, StepEnded(project.run.run_id, look(T1, a_task("T2")), ending, spent), limits)


# Sums -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ending", [Finished(), broken(K.VERIFY_FAILED), broken(K.CANCELLED)], ids=["ok", "bad", "stop"]
)
def test_a_run_counts_once_for_project_day_and_task(ending: Any) -> None:
    project = running()
    after = after_run(project, ending, RULES).project
    assert after.spending == Spending(RUN, {TODAY: RUN}, {"T1": RUN})
    late = decide(after, StepEnded("run-1", look(), ending, RUN), RULES).project
    assert late.spending == after.spending


def test_a_lost_run_counts_as_far_as_it_is_known() -> None:
    after = decide(running(), RunLost("run-1", look(T1), RUN), RULES).project
    assert after.spending.tasks == {"T1": RUN}


def test_a_refused_quota_is_no_attempt() -> None:
    assert after_run(running(), broken(K.QUOTA), RULES).project.spending.project == replace(RUN, attempts=0)


def test_days_are_kept_for_a_while_and_the_sum_for_ever() -> None:
    spending = Spending()
    for number in range(DAYS_KEPT + 10):
        spending = spending.with_run(RUN, f"day {number:03}", "")
    assert (len(spending.days), min(spending.days)) == (DAYS_KEPT, "day 010")
    assert spending.project.attempts == DAYS_KEPT + 10


@pytest.mark.parametrize(
    ("spent", "words"),
    [
        pytest.param(Spent(12_300, 0.42, 312, 4), "12,300 tokens, $0.42, 0:05:12, 4 attempts", id="all known"),
        pytest.param(Spent(5, 0, 0, 1, 0, 1), "5 tokens, cost unknown, 0:00:00, 1 attempt", id="no cost told"),
        pytest.param(Spent(5, 1, 0, 2, 1, 1), "at least 5 tokens, at least $1.00, 0:00:00, 2 attempts", id="in part"),
        pytest.param(Spent(0, 0, 0, 1, 1, 1), "unknown tokens, cost unknown, 0:00:00, 1 attempt", id="nothing told"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_never_nothing(spent: Spent, words: str) -> None:
    assert told(spent) == words


@pytest.mark.parametrize("amount", AMOUNTS)
@pytest.mark.parametrize("scope", ["project", "day", "task"])
def test_a_limit_is_reached_at_its_value(scope: str, amount: Any) -> None:
    spending = Spending().with_run(RUN, TODAY, "T1")
    exact: Any = RUN.amount(amount)
    for limit, is_reached in ((exact, True), (exact * 2, False)):
        over = reached(spending, Budget(**{scope: Limits(**{amount: limit})}), TODAY, "T1")
        assert (over is not None) is is_reached
        if over is not None:
            assert (over.scope, over.amount) == (scope, amount)
            assert f"budget.{scope}.{amount}" in over.hint


# What a limit does ----------------------------------------------------------------------------------------------------

PROJECT, TASK, DAY = rules(project=Limits(100)), rules(task=Limits(100)), rules(day=Limits(100))
SPENT = Spending().with_run(RUN, TODAY, "T1")


@pytest.mark.parametrize("state", [S.INTAKE_READY, S.SPEC_READY, S.DEV_READY, S.DIAGNOSE_READY], ids=str)
def test_no_step_starts_once_the_projects_budget_is_spent(state: State) -> None:
    project = at(state, spending=SPENT)
    after = tick(project, look(), rules=PROJECT)
    assert (after.project.state, after.project.paused_from, started(after)) == (S.PAUSED, state, None)
    assert after.project.failure is not None
    assert "100 tokens, $0.50, 0:01:00, 1 attempt" in after.project.failure.message
    with pytest.raises(Refused, match="is spent"):
        decide(after.project, Resume(look()), PROJECT)
    raised = rules(project=Limits(101))
    on = decide(after.project, Resume(look()), raised).project
    assert started(tick(on, look(), rules=raised)) is not None


def test_what_is_done_is_kept_and_then_it_pauses() -> None:
    decision = after_run(running(), Finished(), PROJECT)
    assert statuses(decision.effects) == {"T1": TaskStatus.REVIEW} or statuses(decision.effects) == {
        "T1": TaskStatus.DONE
    }
    assert (
        tick(decision.project, look(a_task("T1", TaskStatus.DONE), a_task("T2")), rules=PROJECT).project.state
        is S.PAUSED
    )


def test_a_task_that_has_spent_its_budget_pauses_the_project() -> None:
    decision = after_run(running(), broken(K.BUDGET), TASK)
    assert (decision.project.state, decision.project.paused_from) == (S.PAUSED, S.DEV_READY)
    assert statuses(decision.effects) == {"T1": TaskStatus.TODO}
    assert "budget of task T1" in decision.project.last_error


def test_where_it_goes_on_with_others_the_task_fails_and_another_starts() -> None:
    goes_on = replace(TASK, continue_on_task_failure=True)
    decision = after_run(running(), broken(K.BUDGET), goes_on)
    assert (decision.project.state, GoOn() in decision.effects) == (S.DEV_READY, True)
    assert statuses(decision.effects) == {"T1": TaskStatus.FAILED}
    step = started(tick(at(S.DEV_READY, spending=SPENT), look(), rules=goes_on))
    assert step is not None
    assert step.task_id == "T2"


@pytest.mark.parametrize("ending", [None, broken(K.BUDGET)], ids=["before a step", "in a step"])
def test_the_days_budget_is_there_again_the_next_day(ending: Any) -> None:
    if ending is None:
        project = tick(at(S.DEV_READY, spending=SPENT), look(), rules=DAY).project
    else:
        project = after_run(running(), ending, DAY).project
    assert (project.state, project.wait) == (S.DEV_READY, Wait(T0, 3600))
    assert tick(project, look(), rules=DAY).project == project
    with pytest.raises(Refused, match="today's budget"):
        decide(project, Resume(look(), now=True), DAY)
    tomorrow = look(clock=later(3600), day=TOMORROW, day_ends=MIDNIGHT + 86400)
    after = tick(project, tomorrow, rules=DAY)
    assert started(after) is not None
    assert after.project.failure is None


def test_a_raised_budget_of_the_day_counts_at_once() -> None:
    project = tick(at(S.DEV_READY, spending=SPENT), look(), rules=DAY).project
    assert started(tick(project, look(), rules=rules(day=Limits(101)))) is not None


def test_a_budget_that_an_agent_itself_was_given_pauses() -> None:
    after = after_run(running(), broken(K.BUDGET), RULES).project
    assert (after.state, after.last_error) == (S.PAUSED, "it was budget")


def test_of_two_limits_the_one_that_needs_a_person_is_told() -> None:
    both = rules(project=Limits(100), day=Limits(100))
    assert tick(at(S.DEV_READY, spending=SPENT), look(), rules=both).project.state is S.PAUSED


def test_a_step_of_another_role_counts_for_no_task() -> None:
    project = running(Role.PO, run_of(Role.PO))
    assert after_run(project, finished(), RULES).project.spending.tasks == {}
    assert end(project, finished()).project.spending == Spending()
