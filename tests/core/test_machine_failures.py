"""The table "Failure classes", row by row, and what attempts are counted against."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from core.builders import (
    RULES,
    T0,
    at,
    broken,
    end,
    finished,
    later,
    repeat,
    run_of,
    running,
    seen,
    started,
    statuses,
    tick,
)
from core.builders import task as a_task

from aiframe.core.effects import GoOn
from aiframe.core.events import Broken, Change, Finished, HandSet, Resume, Retry
from aiframe.core.machine import decide
from aiframe.core.model import (
    READY_STATE,
    STEP_ROLES,
    Failure,
    FailureKind,
    Project,
    Role,
    Rules,
    State,
    TaskStatus,
    Wait,
)
from aiframe.core.scheduling import input_key
from aiframe.core.seen import Rejection

S, K = State, FailureKind
T1, T2 = a_task("T1", TaskStatus.IN_PROGRESS), a_task("T2")
KEY = input_key(T1)
HANGS = (K.TIMEOUT, K.STALLED, K.NO_PROGRESS)


# One failure, first time, by role -------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", STEP_ROLES, ids=str)
@pytest.mark.parametrize("kind", [K.CANCELLED, K.BUDGET], ids=str)
def test_cancelled_and_budget_pause(role: Role, kind: FailureKind) -> None:
    after = end(running(role), broken(kind)).project
    assert (after.state, after.paused_from, after.last_error) == (S.PAUSED, READY_STATE[role], f"it was {kind}")
    assert not after.attempts


@pytest.mark.parametrize("role", STEP_ROLES, ids=str)
@pytest.mark.parametrize("kind", [K.AUTH, K.SETUP], ids=str)
def test_auth_and_setup_are_an_error_at_once(role: Role, kind: FailureKind) -> None:
    after = end(running(role), broken(kind)).project
    assert (after.state, after.paused_from, after.failure) == (
        S.ERROR,
        READY_STATE[role],
        Failure(kind, f"it was {kind}"),
    )
    assert not after.attempts


@pytest.mark.parametrize("role", STEP_ROLES, ids=str)
@pytest.mark.parametrize("kind", [K.QUOTA, K.TRANSIENT, K.INTERRUPTED, K.INVALID_OUTPUT], ids=str)
def test_these_come_back_to_the_same_ready_state(role: Role, kind: FailureKind) -> None:
    project = running(role, resume_state=S.SPEC_READY, diagnosed_role=Role.PO)
    after = end(project, broken(kind)).project
    assert (after.state, after.resume_state, after.diagnosed_role) == (READY_STATE[role], S.SPEC_READY, Role.PO)
    assert not after.attempts


@pytest.mark.parametrize("role", [Role.INTAKE, Role.PO, Role.DEV], ids=str)
@pytest.mark.parametrize("kind", HANGS, ids=str)
def test_the_first_hang_is_diagnosed(role: Role, kind: FailureKind) -> None:
    after = end(running(role), broken(kind)).project
    assert (after.state, after.resume_state) == (S.DIAGNOSE_READY, READY_STATE[role])
    assert (after.diagnosed_role, after.diagnosis_done, after.last_error) == (role, False, kind.value)


@pytest.mark.parametrize("role", [Role.INTAKE, Role.PO, Role.DEV], ids=str)
@pytest.mark.parametrize("kind", HANGS, ids=str)
def test_a_hang_after_the_diagnosis_is_an_error(role: Role, kind: FailureKind) -> None:
    project = end(running(role), broken(K.TIMEOUT)).project
    project = end(project.evolve(state=S.RUNNING, run=run_of(Role.DIAGNOSE)), Finished()).project
    assert project.state is READY_STATE[role]
    after = end(project.evolve(state=S.RUNNING, run=run_of(role)), broken(kind)).project
    assert (after.state, after.last_error) == (S.ERROR, f"{kind}_after_diagnosis")
    assert after.paused_from is READY_STATE[role]


@pytest.mark.parametrize("kind", HANGS, ids=str)
@pytest.mark.parametrize("resume", [S.INTAKE_READY, S.SPEC_READY, S.DEV_READY], ids=str)
def test_a_diagnosis_that_hangs_is_an_error(kind: FailureKind, resume: State) -> None:
    after = end(running(Role.DIAGNOSE, resume_state=resume), broken(kind)).project
    assert (after.state, after.paused_from) == (S.ERROR, resume)
    assert after.last_error == f"{kind}_in_diagnosis"


def test_after_a_success_a_hang_is_diagnosed_again() -> None:
    project = running(diagnosis_done=True, diagnosed_role=Role.DEV, resume_state=S.DEV_READY)
    project = end(project, Finished(), T1, T2).project
    assert end(project.evolve(state=S.RUNNING, run=run_of()), broken(K.TIMEOUT)).project.state is S.DIAGNOSE_READY


def test_the_hang_of_another_role_is_diagnosed() -> None:
    project = running(Role.DEV, diagnosis_done=True, diagnosed_role=Role.PO, resume_state=S.SPEC_READY)
    after = end(project, broken(K.TIMEOUT)).project
    assert (after.state, after.resume_state, after.diagnosed_role) == (S.DIAGNOSE_READY, S.DEV_READY, Role.DEV)


# Waits and streaks ----------------------------------------------------------------------------------------------------


def test_transient_backs_off_and_the_sixth_in_a_row_is_an_error() -> None:
    project, waits = running(), []
    for _ in range(5):
        project = end(project.evolve(state=S.RUNNING, run=run_of()), broken(K.TRANSIENT)).project
        assert (project.state, project.last_error) == (S.DEV_READY, "it was transient")
        waits.append(project.wait)
    assert waits == [Wait(T0, seconds) for seconds in (10, 20, 40, 80, 160)]
    project = end(project.evolve(state=S.RUNNING, run=run_of()), broken(K.TRANSIENT)).project
    assert (project.state, project.paused_from) == (S.ERROR, S.DEV_READY)
    assert project.failure is not None
    assert "6 times in a row" in project.failure.message


def test_transient_waits_five_minutes_at_most() -> None:
    patient = Rules(transient_limit=100)
    assert repeat(running(), broken(K.TRANSIENT), 9, rules=patient).wait == Wait(T0, 300)


AWAY = Broken((Failure(K.TRANSIENT, "the engine is away", outage=True),))


@pytest.mark.parametrize(("nth", "wait_s"), [(1, 10), (2, 20), (5, 160), (6, 300), (60, 300)], ids=str)
def test_an_outage_is_waited_for_and_counts_nowhere(nth: int, wait_s: float) -> None:
    after = repeat(running(), AWAY, nth)
    assert (after.state, after.wait) == (S.DEV_READY, Wait(T0, wait_s))
    assert (after.attempts, after.tries, after.spending.project.attempts) == ({}, {}, 0)


@pytest.mark.parametrize(
    ("nth", "wait_s"), [(1, 900), (2, 1800), (3, 3600), (4, 7200), (5, 14_400), (6, 18_000), (60, 18_000)], ids=str
)
def test_quota_without_a_reset_doubles_up_to_five_hours_and_never_ends_in_error(nth: int, wait_s: float) -> None:
    after = repeat(running(), broken(K.QUOTA), nth)
    assert (after.state, after.wait) == (S.DEV_READY, Wait(T0, wait_s))


@pytest.mark.parametrize(
    ("reset_at", "wait_s"),
    [
        pytest.param(T0 + 4000, 4000, id="the reported reset"),
        pytest.param(T0 + 90_000, 90_000, id="even beyond five hours"),
        pytest.param(T0 - 5, 900, id="one that has passed counts as none"),
    ],
)
def test_quota_with_a_reset(reset_at: float, wait_s: float) -> None:
    after = end(running(), broken(K.QUOTA, reset_at=reset_at)).project
    assert after.wait == Wait(T0, wait_s)
    assert started(tick(after, seen(T1, clock=later(wait_s - 1)))) is None
    assert started(tick(after, seen(T1, clock=later(wait_s)))) is not None


@pytest.mark.parametrize(("kind", "fine"), [(K.INTERRUPTED, 3), (K.TRANSIENT, 5), (K.INVALID_OUTPUT, 2)], ids=str)
@pytest.mark.parametrize("role", STEP_ROLES, ids=str)
def test_streaks_that_end_in_error(role: Role, kind: FailureKind, fine: int) -> None:
    project = running(role, resume_state=S.SPEC_READY)
    assert repeat(project, broken(kind), fine).state is READY_STATE[role]
    after = repeat(project, broken(kind), fine + 1)
    assert (after.state, after.paused_from) == (S.ERROR, READY_STATE[role])


@pytest.mark.parametrize(
    "ending",
    [
        pytest.param(Finished(), id="finished"),
        pytest.param(broken(K.VERIFY_FAILED), id="verify failed"),
        pytest.param(broken(K.AUDIT_REJECTED), id="audit rejected"),
        pytest.param(broken(K.NO_PROGRESS), id="no progress"),
    ],
)
@pytest.mark.parametrize("kind", [K.INTERRUPTED, K.TRANSIENT, K.INVALID_OUTPUT, K.QUOTA], ids=str)
def test_a_step_that_ran_to_its_end_ends_the_streak(kind: FailureKind, ending: Finished) -> None:
    project = repeat(running(), broken(kind), 2)
    assert project.streaks == {kind: 2}
    project = end(project.evolve(state=S.RUNNING, run=run_of()), ending, T1, T2).project
    assert project.streaks == {}


def test_an_invalid_answer_is_asked_for_once_more_by_the_same_runner() -> None:
    decision = end(running(), broken(K.INVALID_OUTPUT, findings="TASKS.yaml:3: no id"), T1, T2)
    assert GoOn() in decision.effects
    assert decision.project.findings == {"T1": "TASKS.yaml:3: no id"}


def test_findings_of_a_role_are_kept_by_its_name() -> None:
    assert end(running(Role.PO), broken(K.INVALID_OUTPUT, findings="no plan")).project.findings == {"PO": "no plan"}


# Attempts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [K.VERIFY_FAILED, K.AUDIT_REJECTED], ids=str)
def test_the_findings_go_back_to_the_agent(kind: FailureKind) -> None:
    decision = end(running(), broken(kind, findings="1 test failed", tree="aaa"), T1, T2)
    assert decision.project.state is S.DEV_READY
    assert decision.project.findings == {"T1": "1 test failed"}
    assert decision.project.trees == {"T1": "aaa"}
    assert decision.project.attempts == {KEY: 1}
    assert statuses(decision.effects) == {"T1": TaskStatus.TODO}
    assert GoOn() in decision.effects


@pytest.mark.parametrize(
    ("rules", "state", "goes_on"),
    [
        pytest.param(RULES, S.ERROR, False, id="ERROR"),
        pytest.param(Rules(continue_on_task_failure=True), S.DEV_READY, True, id="continue"),
    ],
)
@pytest.mark.parametrize("kind", [K.VERIFY_FAILED, K.AUDIT_REJECTED], ids=str)
def test_the_third_attempt_is_the_last(kind: FailureKind, rules: Rules, state: State, goes_on: bool) -> None:
    project = repeat(running(), broken(kind), 2, rules=rules)
    assert project.state is S.DEV_READY
    decision = end(project.evolve(state=S.RUNNING, run=run_of()), broken(kind), T1, T2, rules=rules)
    assert decision.project.state is state
    assert statuses(decision.effects) == {"T1": TaskStatus.FAILED}
    assert (GoOn() in decision.effects) is goes_on
    if state is S.ERROR:
        assert decision.project.failure is not None
        assert "T1" in decision.project.failure.message
        assert "aiframe retry T1" in decision.project.failure.hint


@pytest.mark.parametrize("kind", HANGS, ids=str)
def test_a_hang_uses_an_attempt_and_without_one_left_nothing_is_diagnosed(kind: FailureKind) -> None:
    after = end(running(), broken(kind)).project
    assert after.attempts == {KEY: 1}
    decision = end(running(attempts={KEY: 2}), broken(kind))
    assert decision.project.state is S.ERROR
    assert statuses(decision.effects) == {"T1": TaskStatus.FAILED}


@pytest.mark.parametrize("kind", [K.VERIFY_FAILED, K.AUDIT_REJECTED], ids=str)
def test_the_same_tree_twice_is_no_progress(kind: FailureKind) -> None:
    project = repeat(running(), broken(kind, tree="aaa"), 2)
    assert (project.state, project.last_error, project.resume_state) == (S.DIAGNOSE_READY, "no_progress", S.DEV_READY)


def test_another_tree_is_progress() -> None:
    project = repeat(running(), broken(K.VERIFY_FAILED, tree="aaa"), 1)
    project = end(project.evolve(state=S.RUNNING, run=run_of()), broken(K.VERIFY_FAILED, tree="bbb")).project
    assert (project.state, project.trees) == (S.DEV_READY, {"T1": "bbb"})


@pytest.mark.parametrize(
    ("project", "event"),
    [
        pytest.param(at(S.ERROR, paused_from=S.DEV_READY), Resume(seen(a_task())), id="resume from ERROR"),
        pytest.param(at(S.PAUSED, paused_from=S.DEV_READY), Resume(seen(a_task())), id="resume from PAUSED"),
        pytest.param(at(S.ERROR), HandSet(seen(a_task()), S.DEV_READY), id="hand edit of ERROR"),
        pytest.param(at(S.INTAKE_READY), HandSet(seen(a_task()), S.DEV_READY), id="hand edit"),
        pytest.param(at(S.DEV_READY), Change({"timeout_sec": 9999}), id="another setting"),
    ],
)
def test_attempts_are_kept_by(project: Project, event: Resume | HandSet | Change) -> None:
    project = project.evolve(attempts={KEY: 3}, shown={"T1": 3})
    after = decide(project, event, RULES).project
    assert (after.state, after.attempts, after.shown) == (S.DEV_READY, {KEY: 3}, {"T1": 3})
    assert tick(after, seen(a_task())).project.state is S.ERROR


def test_attempts_are_kept_by_a_diagnosis_a_reset_task_line_and_recovery() -> None:
    project = running(Role.DIAGNOSE, resume_state=S.DEV_READY, diagnosed_role=Role.DEV, attempts={KEY: 3})
    after = end(project, finished(diagnosis="x", timeout_sec=7200.0)).project
    assert after.attempts == {KEY: 3}
    assert tick(after, seen(a_task("T1", TaskStatus.TODO))).project.state is S.ERROR
    assert end(running(attempts={KEY: 2}), broken(K.INTERRUPTED)).project.attempts == {KEY: 2}


def test_only_retry_gives_attempts_back_and_the_shown_number_goes_on() -> None:
    project = at(S.ERROR, paused_from=S.DEV_READY, attempts={KEY: 3, "T2@x": 2}, shown={"T1": 3}, trees={"T1": "aaa"})
    failed = seen(a_task("T1", TaskStatus.FAILED))
    decision = decide(project, Retry(failed, "T1"), RULES)
    assert decision.project.attempts == {"T2@x": 2}
    assert decision.project.trees == {}
    assert statuses(decision.effects) == {"T1": TaskStatus.TODO}
    step = started(tick(decision.project, seen(a_task())))
    assert step is not None
    assert step.attempt == 4


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"description": "something else"}, id="description"),
        pytest.param({"verify": ("make other",)}, id="verify"),
    ],
)
def test_another_input_has_attempts_of_its_own(changed: dict[str, Any]) -> None:
    assert started(tick(at(S.DEV_READY, attempts={KEY: 3}), seen(a_task(**changed)))) is not None


def test_a_rejected_review_has_attempts_of_its_own() -> None:
    project = at(S.REVIEW_WAITING, attempts={KEY: 3}, review_items=("T1",), shown={"T1": 3})
    step = started(tick(project, seen(a_task("T1", TaskStatus.DONE), rejection=Rejection("no"))))
    assert step is not None
    assert (step.task_id, step.attempt) == ("T1", 4)


# Two at once ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("graver", "other"), list(combinations(FailureKind, 2)), ids=lambda kind: kind.value)
def test_of_two_failures_the_one_further_up_decides(graver: FailureKind, other: FailureKind) -> None:
    alone = end(running(), broken(graver))
    assert end(running(), broken(graver, other)) == end(running(), broken(other, graver)) == alone
