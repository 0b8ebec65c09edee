"""Candidates that wait for a person's word: held, taken, sent back, landed."""

from __future__ import annotations

from typing import Any

import pytest
from core.builders import RULES, T0, at, broken, end, finished, running, seen, started, statuses, task, tick
from msgspec.structs import replace

from aiframe.core.budget import Budget, Limits, Spending, Spent
from aiframe.core.effects import Decision, GoOn, SetStatus
from aiframe.core.events import Approve, HandSet, Held, Resume, Retry, RunStarted, SendBack
from aiframe.core.explain import explain
from aiframe.core.machine import Refused, decide
from aiframe.core.model import (
    Failure,
    FailureKind,
    HeldWork,
    Project,
    Question,
    Role,
    State,
    TaskStatus,
    Wait,
)
from aiframe.core.scheduling import input_key
from aiframe.core.seen import Rejection

S, REVIEW, TODO, DONE = State, TaskStatus.REVIEW, TaskStatus.TODO, TaskStatus.DONE
HELD = Held("changes protected files", ("tests/a.py: changed",), "tree", "refs/held", "commit")
WORK = HeldWork(HELD.reason, "tree", "refs/held", "commit", HELD.findings)
TAKEN = HeldWork(HELD.reason, "tree", "refs/held", "commit", HELD.findings, approved=True)
OTHERS = pytest.mark.parametrize("interactive", [True, False], ids=["attended", "unattended"])


def held(work: HeldWork = WORK, state: State = S.REVIEW_WAITING, **more: Any) -> Project:
    """A project with a held candidate of T1."""
    return at(state, held={"T1": work}, to_look_at={"T1": (work.reason, *work.findings)}, **more)


@OTHERS
def test_a_held_candidate_puts_its_task_in_review_and_others_go_on(interactive: bool) -> None:
    decision = end(running(interactive_mode=interactive), HELD, task("T1", TaskStatus.IN_PROGRESS), task("T2"))
    assert decision.effects == (SetStatus("T1", REVIEW), GoOn())
    assert decision.project.held == {"T1": WORK}
    step = started(tick(decision.project, seen(task("T1", REVIEW), task("T2"))))
    assert step is not None
    assert step.task_id == "T2"


@OTHERS
def test_with_nothing_else_to_do_it_waits_for_the_person_also_unattended(interactive: bool) -> None:
    decision = tick(held(state=S.DEV_READY, interactive_mode=interactive), seen(task("T1", REVIEW)))
    assert (decision.project.state, decision.effects) == (S.REVIEW_WAITING, ())


def test_unattended_it_goes_on_once_there_is_something_else_to_do() -> None:
    project = held(interactive_mode=False)
    step = started(tick(project, seen(task("T1", REVIEW), task("T2"))))
    assert step is not None
    assert step.task_id == "T2"
    other = tick(project, seen(task("T1", REVIEW), task("T2", REVIEW)))
    assert statuses(other.effects) == {"T2": DONE}
    assert other.project.held == {"T1": WORK}


@pytest.mark.parametrize(
    ("state", "after"),
    [
        pytest.param(S.REVIEW_WAITING, S.DEV_READY, id="review"),
        pytest.param(S.DEV_READY, S.DEV_READY, id="ready"),
        pytest.param(S.PAUSED, S.PAUSED, id="paused"),
        pytest.param(S.ERROR, S.ERROR, id="error"),
    ],
)
def test_what_is_taken_lands_before_anything_new_begins(state: State, after: State) -> None:
    look = seen(task("T1", REVIEW), task("T0", priority="high"))
    decision = decide(held(state=state), Approve(look, "T1"), RULES)
    assert (decision.project.state, decision.project.held) == (after, {"T1": TAKEN})
    if after is S.DEV_READY:
        step = started(tick(decision.project, look))
        assert step is not None
        assert step.task_id == "T1"


def test_a_word_during_another_step_is_kept() -> None:
    project = running().evolve(held={"T2": WORK})
    decision = decide(project, Approve(seen(task("T1"), task("T2", REVIEW)), "T2"), RULES)
    assert decision == Decision(project.evolve(held={"T2": TAKEN}))


def test_it_goes_on_out_of_a_wait_for_an_answer() -> None:
    asked = (Question("Q1", "?", "T2"),)
    project = held(state=S.QUESTION_WAITING, questions=asked, paused_from=S.DEV_READY)
    decision = decide(project, Approve(seen(task("T1", REVIEW), task("T2")), "T1"), RULES)
    assert (decision.project.state, decision.project.paused_from) == (S.DEV_READY, None)


def test_it_lands_though_the_attempts_are_used_up() -> None:
    project = held(TAKEN, S.DEV_READY, attempts={input_key(task()): RULES.max_attempts})
    step = started(tick(project, seen(task("T1", REVIEW))))
    assert step is not None
    assert step.task_id == "T1"


def test_it_lands_though_a_quota_is_waited_for() -> None:
    rules = replace(RULES, agents={Role.DEV: ("codex",)})
    resting = {"codex": Wait(T0, 4000)}
    project = held(state=S.DEV_READY, wait=Wait(T0, 4000), resting=resting)
    look = seen(task("T1", REVIEW), task("T2"))
    taken = decide(project, Approve(look, "T1"), rules).project
    step = started(tick(taken, look, rules=rules))
    assert step is not None
    assert step.task_id == "T1"
    landed = taken.evolve(held={}, wait=None)
    waits = tick(landed, seen(task("T1", DONE), task("T2")), rules=rules)
    assert (started(waits), waits.project.wait) == (None, Wait(T0, 4000))


def test_it_lands_though_the_budget_is_spent() -> None:
    rules = replace(RULES, budget=Budget(project=Limits(tokens=10)))
    failure = Failure(FailureKind.BUDGET, "spent")
    spending = Spending(project=Spent(tokens=10))
    project = held(TAKEN, S.PAUSED, paused_from=S.DEV_READY, failure=failure, spending=spending)
    look = seen(task("T1", REVIEW), task("T2"))
    step = started(tick(decide(project, Resume(look), rules).project, look, rules=rules))
    assert step is not None
    assert step.task_id == "T1"
    with pytest.raises(Refused):
        decide(project.evolve(held={}), Resume(seen(task("T2"))), rules)


def test_what_has_landed_is_done_and_held_no_more() -> None:
    decision = end(running().evolve(held={"T1": TAKEN}), finished(), task(review=True), task("T2"))
    assert statuses(decision.effects) == {"T1": DONE}
    assert decision.project.held == {}
    assert decision.project.to_look_at == {}


@pytest.mark.parametrize(
    ("ending", "still"),
    [
        pytest.param(broken(FailureKind.VERIFY_FAILED), False, id="its checks fail now"),
        pytest.param(broken(FailureKind.TRANSIENT), True, id="git was busy"),
        pytest.param(broken(FailureKind.INTERRUPTED), True, id="the runner died"),
        pytest.param(broken(FailureKind.SETUP), True, id="a person has to mend something"),
    ],
)
def test_what_could_not_land_stays_taken_unless_it_was_judged(ending: Any, still: bool) -> None:
    decision = end(running().evolve(held={"T1": TAKEN}), ending, task("T1", TaskStatus.IN_PROGRESS))
    assert ("T1" in decision.project.held) is still
    assert statuses(decision.effects) == {"T1": TODO}


@pytest.mark.parametrize("kind", [FailureKind.VERIFY_FAILED, FailureKind.AUDIT_REJECTED])
def test_work_that_does_not_fit_any_more_can_be_done_again(kind: FailureKind) -> None:
    """It was approved, so what moved below it is no fault of the task: it begins anew, and the agent is told why."""
    key = input_key(task())
    used = {"attempts": {key: RULES.max_attempts}, "audits": {key: RULES.audit_rounds}}
    project = running().evolve(held={"T1": TAKEN}, shown={"T1": 5}, **used)
    decision = end(project, broken(kind), task("T1", TaskStatus.IN_PROGRESS))
    assert (decision.project.attempts, decision.project.shown) == ({key: RULES.max_attempts}, {"T1": 6})
    assert statuses(decision.effects) == {"T1": TODO}
    said = decision.project.requests["T1"]
    assert all(words in said for words in (HELD.reason, "could not land", f"it was {kind}"))
    step = started(tick(decision.project, seen(task("T1"))))
    assert step is not None
    assert step.input_key != key


@pytest.mark.parametrize(
    "ending",
    [
        pytest.param(finished(), id="it landed"),
        pytest.param(HELD, id="it is held once more"),
        pytest.param(broken(FailureKind.TIMEOUT), id="its checks hang"),
    ],
)
def test_a_landing_is_no_attempt(ending: Any) -> None:
    counts = {input_key(task()): 1}
    decision = end(running().evolve(held={"T1": TAKEN}, attempts=counts), ending, task("T1", TaskStatus.IN_PROGRESS))
    assert decision.project.attempts == counts


def test_a_landing_that_turns_out_to_be_something_else_is_held_again() -> None:
    decision = end(running().evolve(held={"T1": TAKEN}), HELD)
    assert decision.project.held == {"T1": WORK}


def test_sent_back_it_is_new_input_with_what_was_found() -> None:
    decision = decide(held(), SendBack(seen(task("T1", REVIEW)), "T1", "leave the tests alone"), RULES)
    assert decision.effects == (SetStatus("T1", TODO),)
    assert (decision.project.held, decision.project.state) == ({}, S.DEV_READY)
    said = decision.project.requests["T1"]
    assert all(words in said for words in (HELD.reason, *HELD.findings, "leave the tests alone"))


@pytest.mark.parametrize("event", [Approve, SendBack])
@pytest.mark.parametrize(
    ("project", "status"),
    [
        pytest.param(held(), TODO, id="not in review any more"),
        pytest.param(held(TAKEN), REVIEW, id="taken already"),
        pytest.param(at(S.REVIEW_WAITING), REVIEW, id="nothing is held"),
    ],
)
def test_a_word_that_fits_nothing_is_refused(event: Any, project: Project, status: TaskStatus) -> None:
    words = ("T1",) if event is Approve else ("T1", "no")
    with pytest.raises(Refused):
        decide(project, event(seen(task("T1", status)), *words), RULES)


def test_nothing_is_sent_back_while_a_step_runs() -> None:
    project = running().evolve(held={"T2": WORK})
    with pytest.raises(Refused):
        decide(project, SendBack(seen(task("T1"), task("T2", REVIEW)), "T2", "no"), RULES)


def test_the_review_of_everything_takes_what_is_held() -> None:
    look = seen(task("T1", REVIEW), task("T2", REVIEW), approval=True)
    decision = tick(held(), look)
    assert statuses(decision.effects) == {"T2": DONE}
    assert decision.project.held == {"T1": TAKEN}
    step = started(decision)
    assert step is not None
    assert step.task_id == "T1"


@pytest.mark.parametrize(
    ("named", "back", "stays"),
    [
        pytest.param((), {"T1": TODO, "T2": TODO}, {}, id="everything"),
        pytest.param(("T1",), {"T1": TODO, "T2": DONE}, {}, id="the held one"),
        pytest.param(("T2",), {"T2": TODO}, {"T1": WORK}, id="the other: what is held has not landed"),
    ],
)
def test_the_review_of_everything_sends_back(
    named: tuple[str, ...], back: dict[str, TaskStatus], stays: dict[str, HeldWork]
) -> None:
    look = seen(task("T1", REVIEW), task("T2", REVIEW), rejection=Rejection("no", named))
    decision = tick(held(), look, may_start=False)
    assert (statuses(decision.effects), decision.project.held) == (back, stays)


@pytest.mark.parametrize("how", ["retry", "by hand"])
def test_a_task_that_begins_anew_is_held_no_more(how: str) -> None:
    project = held(state=S.DEV_READY)
    if how == "retry":
        project = decide(project, Retry(seen(task("T1", REVIEW)), "T1"), RULES).project
    else:
        project = decide(project, HandSet(seen(task("T1"))), RULES).project
        run = running().run
        assert run is not None
        project = decide(project, RunStarted(run), RULES).project
    assert project.held == {}


def test_the_person_is_told_what_to_look_at() -> None:
    said = explain(held(), seen(task("T1", REVIEW)), RULES)
    assert "changes protected files" in said.cures[0]
    assert said.cures[1:3] == ("git show refs/held", "aiframe approve T1")
    assert "git -C '/my app' show refs/held" in explain(held(), seen(task("T1", REVIEW)), RULES, repo="'/my app'").cures


def test_much_to_look_at_is_told_in_a_line_that_can_be_read() -> None:
    looks = {"T1": tuple(f"deletion: {number}" for number in range(20)), "T2": ("the menu",)}
    project = held().evolve(to_look_at=looks)
    said = explain(project, seen(task("T1", REVIEW), task("T2", REVIEW)), RULES)
    assert said.cures[0] == f"look at T1: {'; '.join(f'deletion: {n}' for n in range(5))}; and 15 more"
    assert said.cures[1] == "look at T2: the menu"
