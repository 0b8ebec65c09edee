"""How a step that ended well moves the state: the table of the roles, the interview, the review, late news."""

from __future__ import annotations

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
    run_of,
    running,
    seen,
    started,
    statuses,
    task,
    tick,
)
from msgspec.structs import replace

from aiframe.core.effects import Archive, Decision, GoOn
from aiframe.core.events import Finished, Proposal, RunLost, RunStarted, RunTakenUp, StepEnded
from aiframe.core.machine import Refused, decide
from aiframe.core.model import (
    FailureKind,
    Project,
    Question,
    Role,
    Runner,
    Settings,
    State,
    Task,
    TaskStatus,
    Unknown,
    Wait,
)

S = State
DONE, REVIEW, IN_PROGRESS = TaskStatus.DONE, TaskStatus.REVIEW, TaskStatus.IN_PROGRESS
ASK = Question("Q1", "Which database?")
T1, T2 = task("T1", IN_PROGRESS), task("T2")


# A step begins --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "role"),
    [
        (S.INTAKE_READY, Role.INTAKE),
        (S.INTAKE_WAITING, Role.INTAKE),
        (S.SPEC_READY, Role.PO),
        (S.DEV_READY, Role.DEV),
        (S.DIAGNOSE_READY, Role.DIAGNOSE),
    ],
    ids=str,
)
def test_a_run_starts(state: State, role: Role) -> None:
    run = run_of(role)
    decision = decide(at(state, wait=Wait(T0, 5), pause_requested=True), RunStarted(run), RULES)
    assert decision.project == at(S.RUNNING, run=run)
    assert statuses(decision.effects) == ({"T1": IN_PROGRESS} if role is Role.DEV else {})


@pytest.mark.parametrize(
    "project",
    [running()]
    + [
        at(state)
        for state in (
            S.REVIEW_READY,
            S.REVIEW_WAITING,
            S.QUESTION_WAITING,
            S.PAUSE_INTERACT,
            S.PAUSED,
            S.DONE,
            S.ERROR,
            Unknown("X"),
        )
    ],
    ids=lambda project: str(project.state),
)
def test_no_run_starts_elsewhere(project: Project) -> None:
    with pytest.raises(Refused):
        decide(project, RunStarted(run_of(run_id="run-2")), RULES)


# INTAKE ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("interviews", "more", "proposal", "state", "confirms"),
    [
        pytest.param(0, {}, {"questions_written": True}, S.INTAKE_WAITING, True, id="first questions: wait"),
        pytest.param(
            0,
            {},
            {"questions_written": True, "state": S.SPEC_READY},
            S.INTAKE_WAITING,
            True,
            id="questions written count more than a proposed SPEC_READY",
        ),
        pytest.param(0, {}, {"state": S.SPEC_READY}, S.SPEC_READY, True, id="no questions: SPEC_READY"),
        pytest.param(0, {}, {}, S.SPEC_READY, True, id="nothing proposed: SPEC_READY"),
        pytest.param(0, {}, {"state": S.INTAKE_WAITING}, S.SPEC_READY, True, id="waiting proposed without questions"),
        pytest.param(
            1, {}, {"questions_written": True}, S.INTAKE_WAITING, False, id="questions again, once: confirmations off"
        ),
        pytest.param(
            1,
            {"require_confirmations": False},
            {"questions_written": True},
            S.SPEC_READY,
            False,
            id="confirmations off: assumptions",
        ),
        pytest.param(
            0,
            {"require_confirmations": False},
            {"questions_written": True},
            S.INTAKE_WAITING,
            False,
            id="the first questions need no confirmations",
        ),
        pytest.param(
            1,
            {"interactive_mode": False},
            {"questions_written": True},
            S.SPEC_READY,
            True,
            id="unattended: assumptions",
        ),
    ],
)
def test_intake(interviews: int, more: dict[str, Any], proposal: dict[str, Any], state: State, confirms: bool) -> None:
    project = running(Role.INTAKE, interviews=interviews, answers_done=True, **more)
    decision = end(project, finished(**proposal))
    assert decision.project.state is state
    assert decision.project.settings.require_confirmations is confirms
    assert not decision.project.answers_done
    assert decision.effects == (Archive("answers"),)


def test_the_interview_confirms_once() -> None:
    """Questions, questions once more, and from then on assumptions, however often the agent asks."""
    project, states = running(Role.INTAKE), []
    for _ in range(3):
        project = end(project, finished(questions_written=True)).project
        states.append(project.state)
        project = project.evolve(state=S.RUNNING, run=run_of(Role.INTAKE))
    assert states == [S.INTAKE_WAITING, S.INTAKE_WAITING, S.SPEC_READY]


# PO -------------------------------------------------------------------------------------------------------------------


def test_po_plans_and_locks_the_plan() -> None:
    after = end(running(Role.PO), Finished(), task(), spec_hash="abc").project
    assert (after.state, after.settings.plan_locked, after.planned_spec) == (S.DEV_READY, True, "abc")


@pytest.mark.parametrize(
    ("more", "state"),
    [
        pytest.param({}, S.QUESTION_WAITING, id="a question: wait"),
        pytest.param({"interactive_mode": False}, S.DEV_READY, id="unattended: go on"),
        pytest.param({"questions": (replace(ASK, answer="sqlite"),)}, S.DEV_READY, id="asked before: go on"),
    ],
)
def test_po_asks(more: dict[str, Any], state: State) -> None:
    after = end(running(Role.PO, **more), finished(question=ASK), task()).project
    assert after.state is state
    if state is S.QUESTION_WAITING:
        assert (after.questions, after.paused_from, after.settings.plan_locked) == ((ASK,), S.SPEC_READY, False)


# DEV ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "proposal", "state", "status", "goes_on"),
    [
        pytest.param({}, {}, S.DEV_READY, DONE, True, id="derived: done, and on"),
        pytest.param({}, {"state": S.DEV_READY}, S.DEV_READY, DONE, True, id="DEV_READY"),
        pytest.param({}, {"state": S.REVIEW_READY}, S.REVIEW_READY, DONE, False, id="REVIEW_READY"),
        pytest.param(
            {"interactive_mode": False},
            {"state": S.REVIEW_READY},
            S.DEV_READY,
            DONE,
            True,
            id="REVIEW_READY unattended",
        ),
        pytest.param({}, {"state": S.SPEC_READY}, S.SPEC_READY, DONE, False, id="SPEC_READY"),
        pytest.param(
            {"plan_locked": True}, {"state": S.SPEC_READY}, S.DEV_READY, DONE, True, id="SPEC_READY, but locked"
        ),
        pytest.param({}, {"state": S.DONE}, S.DEV_READY, DONE, True, id="DONE while a task is open"),
        pytest.param({}, {"state": S.ERROR, "reason": "no way"}, S.ERROR, DONE, False, id="ERROR"),
    ],
)
def test_dev(more: dict[str, Any], proposal: dict[str, Any], state: State, status: TaskStatus, goes_on: bool) -> None:
    decision = end(running(**more), finished(**proposal), T1, T2)
    assert decision.project.state is state
    assert statuses(decision.effects) == {"T1": status}
    assert (GoOn() in decision.effects) is goes_on
    if state is S.ERROR:
        assert decision.project.last_error == "no way"
        assert decision.project.failure is not None
        assert "aiframe resume" in decision.project.failure.hint


@pytest.mark.parametrize(
    ("work", "more", "items", "state", "status"),
    [
        pytest.param(T1, {}, (), S.DEV_READY, DONE, id="nothing asks for a person"),
        pytest.param(T1, {}, ("A", "B", "C", "D"), S.REVIEW_READY, DONE, id="the fifth since the last review"),
        pytest.param(T1, {}, ("A", "B", "C"), S.DEV_READY, DONE, id="the fourth"),
        pytest.param(T1, {"review_every_n_tasks": 1}, (), S.REVIEW_READY, DONE, id="every task"),
        pytest.param(T1, {"review_every_n_tasks": 0}, ("A",) * 9, S.DEV_READY, DONE, id="0: never"),
        pytest.param(replace(T1, review=True), {}, (), S.REVIEW_READY, REVIEW, id="review: true"),
        pytest.param(
            replace(T1, review=True), {"review_every_n_tasks": 0}, (), S.REVIEW_READY, REVIEW, id="review: true, 0"
        ),
        pytest.param(replace(T1, verify=("make", "manual")), {}, (), S.REVIEW_READY, REVIEW, id="manual"),
        pytest.param(replace(T1, verify=("manual: look",)), {}, (), S.REVIEW_READY, REVIEW, id="manual: look"),
        pytest.param(replace(T1, verify=()), {}, (), S.REVIEW_READY, REVIEW, id="no verify"),
        pytest.param(
            replace(T1, verify=(), review=True),
            {"interactive_mode": False},
            ("A",) * 9,
            S.DEV_READY,
            DONE,
            id="unattended",
        ),
    ],
)
def test_when_a_review_is_due(
    work: Task, more: dict[str, Any], items: tuple[str, ...], state: State, status: TaskStatus
) -> None:
    decision = end(running(review_items=items, **more), Finished(), work, T2)
    assert decision.project.state is state
    assert statuses(decision.effects) == {"T1": status}
    assert decision.project.review_items[-1] == "T1"


def test_a_question_of_dev_is_about_its_task() -> None:
    after = end(running(), finished(question=ASK), T1, T2).project
    assert after.open_questions() == (replace(ASK, task_id="T1"),)


def test_a_task_that_asks_instead_of_finishing_waits_while_the_others_go_on() -> None:
    decision = end(running(), broken(FailureKind.VERIFY_FAILED, question=ASK), T1, T2)
    assert statuses(decision.effects) == {"T1": TaskStatus.TODO}
    step = started(tick(decision.project, seen(task("T1"), T2)))
    assert step is not None
    assert step.task_id == "T2"


def test_the_last_task_leads_to_the_final_review_and_then_to_done() -> None:
    project = end(running(), Finished(), T1).project
    project = tick(project, seen(task("T1", DONE))).project
    assert project.state is S.REVIEW_WAITING
    assert tick(project, seen(task("T1", DONE), approval=True)).project.state is S.DONE


def test_a_success_forgets_what_went_wrong_before() -> None:
    project = running(
        streaks={"transient": 3},
        last_error="timeout",
        findings={"T1": "red", "T2": "blue"},
        trees={"T1": "t", "T2": "u"},
        diagnosis_done=True,
        diagnosed_role=Role.DEV,
        resume_state=S.DEV_READY,
    )
    after = end(project, Finished(), T1, T2).project
    assert (after.streaks, after.last_error, after.failure) == ({}, "", None)
    assert (after.findings, after.trees) == ({"T2": "blue"}, {"T2": "u"})
    assert (after.diagnosis_done, after.diagnosed_role, after.resume_state) == (False, None, None)


def test_the_success_of_another_role_keeps_the_diagnosis() -> None:
    project = running(Role.PO, diagnosis_done=True, diagnosed_role=Role.DEV, resume_state=S.DEV_READY)
    after = end(project, Finished(), T1).project
    assert (after.diagnosis_done, after.diagnosed_role, after.resume_state) == (True, Role.DEV, S.DEV_READY)


# DIAGNOSE -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resume", "proposal", "state", "locked"),
    [
        pytest.param(S.DEV_READY, {}, S.DEV_READY, True, id="nothing proposed: resume_state"),
        pytest.param(S.INTAKE_READY, {}, S.INTAKE_READY, True, id="resume_state of INTAKE"),
        pytest.param(S.DEV_READY, {"state": S.DEV_READY}, S.DEV_READY, True, id="resume_state proposed"),
        pytest.param(S.DEV_READY, {"state": S.SPEC_READY}, S.SPEC_READY, False, id="SPEC_READY lifts the lock"),
        pytest.param(S.DEV_READY, {"state": S.DONE}, S.DEV_READY, True, id="DONE is not for DIAGNOSE to propose"),
        pytest.param(None, {}, S.DEV_READY, True, id="no resume_state, as an old file may have it"),
    ],
)
def test_diagnose(resume: State | None, proposal: dict[str, Any], state: State, locked: bool) -> None:
    project = running(Role.DIAGNOSE, resume_state=resume, diagnosed_role=Role.DEV, plan_locked=True)
    after = end(project, finished(diagnosis="a slow test", **proposal)).project
    assert (after.state, after.settings.plan_locked) == (state, locked)
    assert (after.diagnosis_done, after.diagnosis, after.resume_state) == (True, "a slow test", resume)


def test_diagnose_proposes_a_larger_timeout() -> None:
    after = end(running(Role.DIAGNOSE, resume_state=S.DEV_READY), finished(timeout_sec=3600.0)).project
    assert after.settings == Settings(timeout_sec=3600.0)


# Late news, pause and interrupt while a step runs ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "project",
    [running(run=run_of(run_id="run-2")), at(S.DEV_READY), at(S.PAUSED), at(S.DONE), at(Unknown("X"))],
    ids=lambda project: str(project.state),
)
@pytest.mark.parametrize(
    "event",
    [
        pytest.param(StepEnded("run-1", seen(T1), Finished(Proposal())), id="finished"),
        pytest.param(StepEnded("run-1", seen(T1), broken(FailureKind.TIMEOUT)), id="broken"),
        pytest.param(RunLost("run-1", seen(T1)), id="lost"),
    ],
)
def test_late_news_changes_nothing(project: Project, event: StepEnded | RunLost) -> None:
    assert decide(project, event, RULES) == Decision(project)


@pytest.mark.parametrize(
    ("role", "ending", "state", "back"),
    [
        pytest.param(Role.DEV, Finished(), S.PAUSED, S.DEV_READY, id="DEV finished"),
        pytest.param(Role.DEV, broken(FailureKind.VERIFY_FAILED), S.PAUSED, S.DEV_READY, id="DEV has findings"),
        pytest.param(Role.DEV, broken(FailureKind.TIMEOUT), S.PAUSED, S.DIAGNOSE_READY, id="DEV timed out"),
        pytest.param(Role.DEV, broken(FailureKind.CANCELLED), S.PAUSED, S.DEV_READY, id="DEV stopped"),
        pytest.param(Role.DEV, broken(FailureKind.AUTH), S.ERROR, S.DEV_READY, id="an ERROR stays one"),
        pytest.param(Role.INTAKE, finished(questions_written=True), S.PAUSED, S.INTAKE_WAITING, id="INTAKE asks"),
        pytest.param(Role.PO, Finished(), S.PAUSED, S.DEV_READY, id="PO planned"),
        pytest.param(Role.PO, finished(question=ASK), S.PAUSED, S.SPEC_READY, id="PO asks"),
    ],
)
def test_a_pause_asked_for_while_a_step_runs(role: Role, ending: object, state: State, back: State) -> None:
    project = running(role, pause_requested=True)
    decision = end(project, ending, T1, T2)  # type: ignore[arg-type]
    assert (decision.project.state, decision.project.paused_from) == (state, back)
    assert not decision.project.pause_requested
    assert GoOn() not in decision.effects


def test_interrupt_flag_while_a_step_runs_stops_the_chain() -> None:
    decision = end(running(), Finished(), T1, T2, interrupt_flag=True)
    look = seen(task("T1", DONE), T2, interrupt_flag=True)
    assert tick(decision.project, look, tasks_taken=1).project == decision.project.evolve(
        state=S.PAUSE_INTERACT, paused_from=S.DEV_READY
    )


def test_interrupt_now_stops_the_step_and_waits_for_the_person() -> None:
    decision = end(running(), broken(FailureKind.CANCELLED), T1, T2, interrupt_flag=True)
    assert (decision.project.state, decision.project.paused_from) == (S.PAUSE_INTERACT, S.DEV_READY)


def test_a_run_that_was_lost_within_its_time_was_interrupted() -> None:
    decision = decide(running(), RunLost("run-1", seen(T1, clock=later(1800))), RULES)
    assert decision.project.state is S.DEV_READY
    assert decision.project.streaks == {FailureKind.INTERRUPTED: 1}
    assert statuses(decision.effects) == {"T1": TaskStatus.TODO}


def test_a_run_that_was_lost_past_its_time_timed_out() -> None:
    decision = decide(running(), RunLost("run-1", seen(T1, clock=later(1801))), RULES)
    assert (decision.project.state, decision.project.last_error) == (S.DIAGNOSE_READY, "timeout")


@pytest.mark.parametrize(("run_id", "taken"), [("run-1", True), ("run-0", False)], ids=["its own", "late news"])
def test_a_run_that_is_taken_up_has_another_runner_and_is_the_same_else(run_id: str, taken: bool) -> None:
    project = running(run=run_of(run_id="run-1"))
    other = Runner(pid=2, started=2.0)
    after = decide(project, RunTakenUp(run_id, other), RULES).project
    assert project.run is not None
    assert after == (project.evolve(run=replace(project.run, runner=other)) if taken else project)
