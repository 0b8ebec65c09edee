"""The table "States and what a tick does", row by row."""

from __future__ import annotations

from typing import Any

import pytest
from core.builders import NOW, RULES, RUNNER, T0, at, later, run_of, running, seen, started, statuses, task, tick
from msgspec.structs import replace

from aiframe.core.effects import Archive, Decision, Effect, Recover, StartStep, StopRunner
from aiframe.core.events import Resume
from aiframe.core.machine import decide
from aiframe.core.model import (
    STEP_ROLES,
    FailureKind,
    Moment,
    Project,
    Question,
    Role,
    Rules,
    State,
    Task,
    TaskStatus,
    Unknown,
    Wait,
)
from aiframe.core.scheduling import input_key
from aiframe.core.seen import Rejection, Seen, SeenLane

S = State
TODO, DONE, REVIEW = TaskStatus.TODO, TaskStatus.DONE, TaskStatus.REVIEW
UNATTENDED = {"interactive_mode": False}
PLAN_QUESTION = Question("Q1", "Which database?")
TASK_QUESTION = Question("Q2", "Which colour?", task_id="T1")


@pytest.mark.parametrize(
    ("project", "look", "state", "role"),
    [
        pytest.param(at(S.INTAKE_READY), seen(), S.INTAKE_READY, Role.INTAKE, id="INTAKE_READY: an INTAKE step"),
        pytest.param(at(S.INTAKE_READY, **UNATTENDED), seen(), S.SPEC_READY, Role.PO, id="INTAKE_READY unattended: PO"),
        pytest.param(at(S.INTAKE_WAITING), seen(), S.INTAKE_WAITING, None, id="INTAKE_WAITING: nothing"),
        pytest.param(
            at(S.INTAKE_WAITING), seen(form_done=True), S.INTAKE_WAITING, Role.INTAKE, id="INTAKE_WAITING: form done"
        ),
        pytest.param(
            at(S.INTAKE_WAITING, answers_done=True), seen(), S.INTAKE_WAITING, Role.INTAKE, id="INTAKE_WAITING: --done"
        ),
        pytest.param(
            at(S.INTAKE_WAITING, **UNATTENDED), seen(), S.INTAKE_WAITING, Role.INTAKE, id="INTAKE_WAITING: unattended"
        ),
        pytest.param(at(S.SPEC_READY), seen(task()), S.SPEC_READY, Role.PO, id="SPEC_READY: a PO step"),
        pytest.param(at(S.SPEC_READY, plan_locked=True), seen(task()), S.DEV_READY, Role.DEV, id="SPEC_READY locked"),
        pytest.param(at(S.DEV_READY), seen(task()), S.DEV_READY, Role.DEV, id="DEV_READY: a DEV step"),
        pytest.param(
            at(S.DIAGNOSE_READY, resume_state=S.SPEC_READY),
            seen(),
            S.DIAGNOSE_READY,
            Role.DIAGNOSE,
            id="DIAGNOSE_READY: a DIAGNOSE step",
        ),
        pytest.param(at(S.REVIEW_READY), seen(task("T1", REVIEW)), S.REVIEW_WAITING, None, id="REVIEW_READY: wait"),
        pytest.param(at(S.REVIEW_READY, **UNATTENDED), seen(task()), S.DEV_READY, Role.DEV, id="REVIEW_READY alone"),
        pytest.param(at(S.REVIEW_WAITING), seen(task()), S.REVIEW_WAITING, None, id="REVIEW_WAITING: nothing"),
        pytest.param(
            at(S.REVIEW_WAITING, **UNATTENDED), seen(task()), S.DEV_READY, Role.DEV, id="REVIEW_WAITING alone"
        ),
        pytest.param(
            at(S.PAUSED, paused_from=S.DEV_READY), seen(task()), S.PAUSED, None, id="PAUSED: nothing until resume"
        ),
        pytest.param(at(S.DONE), seen(task("T1", DONE)), S.DONE, None, id="DONE: nothing"),
        pytest.param(
            at(S.DONE), seen(task("T1", DONE), task("T2")), S.DONE, None, id="DONE: a new todo waits for resume"
        ),
        pytest.param(at(S.ERROR, paused_from=S.DEV_READY), seen(task()), S.ERROR, None, id="ERROR: nothing"),
        pytest.param(at(Unknown("DAYDREAM")), seen(task()), Unknown("DAYDREAM"), None, id="unknown state: nothing"),
    ],
)
def test_a_tick(project: Project, look: Seen, state: State | Unknown, role: Role | None) -> None:
    decision = tick(project, look)
    step = started(decision)
    assert (decision.project.state, step and step.role) == (state, role)


@pytest.mark.parametrize(
    ("project", "look", "after", "effects"),
    [
        pytest.param(running(), seen(lock_held=True), S.RUNNING, (), id="lock held: nothing"),
        pytest.param(
            running(),
            seen(lock_held=True, clock=later(1860)),
            S.RUNNING,
            (),
            id="lock held, at timeout + grace: nothing",
        ),
        pytest.param(
            running(),
            seen(lock_held=True, clock=later(1861)),
            S.RUNNING,
            (StopRunner(RUNNER, "run-1"),),
            id="lock held, past timeout + grace: hung, stop it",
        ),
        pytest.param(running(), seen(), S.RUNNING, (Recover("run-1"),), id="lock free: recover at once"),
        pytest.param(running(), seen(clock=later(9999)), S.RUNNING, (Recover("run-1"),), id="lock free, past timeout"),
        pytest.param(
            running(), seen(clock=replace(NOW, host="there")), S.RUNNING, (), id="foreign host, lock free: nothing"
        ),
        pytest.param(
            running(),
            seen(lock_held=True, clock=replace(later(9999), host="there")),
            S.RUNNING,
            (),
            id="foreign host, long past: nothing",
        ),
        pytest.param(
            running(), seen(interrupt_flag=True, lock_held=True), S.RUNNING, (), id="interrupt.flag: step goes on"
        ),
        pytest.param(
            running(),
            seen(lock_held=True, clock=replace(later(0), wall=T0 + 99_999)),
            S.RUNNING,
            (),
            id="suspended or clock set forward on the same boot: nothing",
        ),
        pytest.param(
            running(),
            seen(lock_held=True, clock=Moment(T0 - 50_000, 0.0, "boot-2", "here")),
            S.RUNNING,
            (),
            id="clock set back over a reboot: nothing",
        ),
    ],
)
def test_a_tick_while_running(project: Project, look: Seen, after: State, effects: tuple[Effect, ...]) -> None:
    assert tick(project, look) == Decision(project.evolve(state=after), effects)


@pytest.mark.parametrize(
    ("tasks", "more", "state", "status"),
    [
        pytest.param((), {}, S.SPEC_READY, {}, id="never a task: SPEC_READY"),
        pytest.param((task("T1", DONE), task("T2", TaskStatus.CANCELLED)), {}, S.REVIEW_WAITING, {}, id="final review"),
        pytest.param((task("T1", DONE),), UNATTENDED, S.DONE, {}, id="all closed, unattended: DONE"),
        pytest.param((task("T1", REVIEW),), {}, S.REVIEW_WAITING, {}, id="a task in review"),
        pytest.param((task("T1", REVIEW),), UNATTENDED, S.DONE, {"T1": DONE}, id="a task in review, unattended"),
        pytest.param((task("T1", REVIEW), task("T2", TaskStatus.FAILED)), {}, S.REVIEW_WAITING, {}, id="review first"),
        pytest.param((task("T1", TaskStatus.FAILED), task("T2", DONE)), {}, S.ERROR, {}, id="a failed task"),
        pytest.param((task("T1", TaskStatus.BLOCKED),), {}, S.ERROR, {}, id="a blocked task"),
        pytest.param((task("T1", TaskStatus.BLOCKED),), UNATTENDED, S.ERROR, {}, id="a blocked task, unattended"),
    ],
)
def test_dev_ready_and_no_task_ready(
    tasks: tuple[Task, ...], more: dict[str, Any], state: State, status: dict[str, TaskStatus]
) -> None:
    decision = tick(at(S.DEV_READY, **more), seen(*tasks))
    assert (decision.project.state, statuses(decision.effects)) == (state, status)


def test_where_there_never_was_a_task_one_plans() -> None:
    assert started(tick(at(S.DEV_READY), seen())) == StartStep(Role.PO, 1800)


@pytest.mark.parametrize(
    ("project", "look"),
    [
        pytest.param(at(S.DEV_READY, plan_locked=True), seen(), id="the plan is locked"),
        pytest.param(at(S.DEV_READY, planned_spec="abc"), seen(), id="one was made"),
        pytest.param(at(S.DEV_READY, shown={"T1": 1}), seen(), id="a task was worked at"),
        pytest.param(at(S.DEV_READY, closed_lanes=("T1",)), seen(), id="a lane was"),
        pytest.param(at(S.DEV_READY), seen(lanes=(SeenLane("T1", landed=True),)), id="a lane is open"),
        pytest.param(at(S.DEV_READY), seen(lanes=(SeenLane("T1", rests=True),)), id="a lane rests"),
    ],
)
def test_from_a_plan_that_is_gone_nothing_is_concluded(project: Project, look: Seen) -> None:
    assert tick(project, look) == Decision(project)


def test_a_plan_locked_before_it_was_worked_off_is_not_made_anew_when_it_is_gone() -> None:
    decision = tick(at(S.SPEC_READY, plan_locked=True), seen())
    assert (decision.project.state, decision.effects) == (S.DEV_READY, ())
    assert decision.project.settings.plan_locked


def test_an_error_for_stuck_tasks_names_each_and_its_reason() -> None:
    stuck = (
        task("T1", TaskStatus.FAILED), task("T2", blocked_by=("T1", "T4")), task("T3", TaskStatus.BLOCKED),
        task("T4", TaskStatus.CANCELLED),
    )  # fmt: skip
    failure = tick(at(S.DEV_READY), seen(*stuck)).project.failure
    assert failure is not None
    for words in ("T1 is failed", "T2 waits for T1 and T4, which is cancelled", "T3 is blocked"):
        assert words in failure.message
    assert "aiframe retry" in failure.hint
    assert "take a cancelled one out of blocked_by" in failure.hint


@pytest.mark.parametrize(
    ("project", "tasks", "state", "task_id"),
    [
        pytest.param(at(S.DEV_READY), (task(),), S.QUESTION_WAITING, None, id="every ready task waits"),
        pytest.param(at(S.DEV_READY), (task(), task("T2")), S.DEV_READY, "T2", id="another task can go on"),
        pytest.param(
            at(S.DEV_READY),
            (task(), task("T2", REVIEW)),
            S.QUESTION_WAITING,
            None,
            id="a question comes before a review",
        ),
        pytest.param(
            at(S.QUESTION_WAITING, paused_from=S.DEV_READY), (task(),), S.QUESTION_WAITING, None, id="waits on"
        ),
        pytest.param(
            at(S.QUESTION_WAITING, paused_from=S.DEV_READY), (task(), task("T2")), S.DEV_READY, "T2", id="a new task"
        ),
        pytest.param(
            at(S.QUESTION_WAITING, paused_from=S.DEV_READY),
            (task("T1", TaskStatus.CANCELLED),),
            S.REVIEW_WAITING,
            None,
            id="the asking task was cancelled: nobody waits any more",
        ),
    ],
)
def test_a_question_about_a_task(project: Project, tasks: tuple[Task, ...], state: State, task_id: str | None) -> None:
    decision = tick(project.evolve(questions=(TASK_QUESTION,)), seen(*tasks))
    step = started(decision)
    assert (decision.project.state, step and step.task_id) == (state, task_id)


@pytest.mark.parametrize(
    ("question", "state", "role"),
    [
        pytest.param(PLAN_QUESTION, S.QUESTION_WAITING, None, id="open: nothing"),
        pytest.param(replace(PLAN_QUESTION, answer="sqlite"), S.SPEC_READY, Role.PO, id="answered: the PO plans"),
    ],
)
def test_a_question_about_the_plan(question: Question, state: State, role: Role | None) -> None:
    decision = tick(at(S.QUESTION_WAITING, paused_from=S.SPEC_READY, questions=(question,)), seen(task()))
    step = started(decision)
    assert (decision.project.state, step and step.role) == (state, role)


def test_an_answered_task_goes_on_with_attempts_of_its_own() -> None:
    answered = replace(TASK_QUESTION, answer="green")
    project = at(S.QUESTION_WAITING, paused_from=S.DEV_READY, questions=(answered,), requests={"T1": "green"})
    step = started(tick(project, seen(task())))
    assert step is not None
    assert step.input_key == input_key(task(), "green") != input_key(task())


REVIEWED = (task("T1", REVIEW), task("T2", DONE), task("T3"))


@pytest.mark.parametrize(
    ("look", "state", "status", "archived"),
    [
        pytest.param(seen(*REVIEWED, approval=True), S.DEV_READY, {"T1": DONE}, "approval", id="approved, a task left"),
        pytest.param(
            seen(*REVIEWED[:2], approval=True), S.DONE, {"T1": DONE}, "approval", id="approved, none left: DONE"
        ),
        pytest.param(
            seen(task("T1", REVIEW), task("T2", TaskStatus.FAILED), approval=True),
            S.ERROR,
            {"T1": DONE},
            "approval",
            id="approved, but a task has failed: not DONE",
        ),
        pytest.param(
            seen(*REVIEWED, rejection=Rejection("too slow", ("T2",))),
            S.DEV_READY,
            {"T2": TODO, "T1": DONE},
            "rejection",
            id="rejected by name: the others pass",
        ),
        pytest.param(
            seen(*REVIEWED, rejection=Rejection("too slow")),
            S.DEV_READY,
            {"T1": TODO, "T2": TODO},
            "rejection",
            id="rejected without a name: all reviewed tasks",
        ),
        pytest.param(
            seen(*REVIEWED, rejection=Rejection("no", ("T1",)), approval=True),
            S.DEV_READY,
            {"T1": TODO},
            "rejection",
            id="both: the rejection decides",
        ),
    ],
)
def test_a_review(look: Seen, state: State, status: dict[str, TaskStatus], archived: str) -> None:
    decision = tick(at(S.REVIEW_WAITING, review_items=("T1", "T2")), look, may_start=False)
    assert decision.project.state is state
    assert decision.project.review_items == ()
    assert statuses(decision.effects) == status
    assert Archive(archived) in decision.effects


def test_a_rejection_becomes_part_of_what_the_task_asks_for() -> None:
    look = seen(task("T1", REVIEW), rejection=Rejection("Too slow."))
    project = tick(at(S.REVIEW_WAITING, requests={"T1": "Be quick."}, review_items=("T1",)), look).project
    assert project.requests["T1"] == "Be quick.\n\nToo slow."


def test_an_unattended_review_accepts_what_is_in_review() -> None:
    decision = tick(at(S.REVIEW_WAITING, **UNATTENDED, review_items=("T1",)), seen(task("T1", REVIEW)))
    assert decision.project.state is S.DONE
    assert statuses(decision.effects) == {"T1": DONE}


# Interrupts and waiting times -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state",
    [S.INTAKE_READY, S.SPEC_READY, S.DEV_READY, S.DIAGNOSE_READY, S.REVIEW_READY],
    ids=lambda state: state.value,
)
def test_interrupt_flag_in_a_ready_state(state: State) -> None:
    interrupted = tick(at(state), seen(task(), interrupt_flag=True))
    assert interrupted == Decision(at(S.PAUSE_INTERACT, paused_from=state))


@pytest.mark.parametrize(
    ("form_done", "state"),
    [
        pytest.param(True, S.PAUSE_INTERACT, id="before a step would start"),
        pytest.param(False, S.INTAKE_WAITING, id="nothing would start"),
    ],
)
def test_interrupt_flag_while_the_interview_waits(form_done: bool, state: State) -> None:
    after = tick(at(S.INTAKE_WAITING), seen(form_done=form_done, interrupt_flag=True)).project
    assert after.state is state
    resumed = decide(after, Resume(seen()), RULES).project if state is S.PAUSE_INTERACT else after
    assert resumed.state is S.INTAKE_WAITING


@pytest.mark.parametrize(
    ("more", "flag", "state"),
    [
        pytest.param({}, True, S.PAUSE_INTERACT, id="the flag stays: nothing"),
        pytest.param({}, False, S.DEV_READY, id="the flag is deleted: back"),
        pytest.param(UNATTENDED, True, S.DEV_READY, id="unattended: back, whatever the flag says"),
    ],
)
def test_pause_interact(more: dict[str, Any], flag: bool, state: State) -> None:
    project = at(S.PAUSE_INTERACT, paused_from=S.DEV_READY, **more)
    assert tick(project, seen(task(), interrupt_flag=flag)).project.state is state


@pytest.mark.parametrize(
    ("clock", "starts"),
    [
        pytest.param(later(0), False, id="just set"),
        pytest.param(later(99), False, id="not yet"),
        pytest.param(later(100), True, id="due"),
        pytest.param(later(-5000), False, id="clock set back: waits, but no longer than was asked"),
    ],
)
@pytest.mark.parametrize(
    "state", [S.INTAKE_READY, S.INTAKE_WAITING, S.SPEC_READY, S.DEV_READY, S.DIAGNOSE_READY], ids=str
)
def test_not_before(state: State, clock: Moment, starts: bool) -> None:
    decision = tick(at(state, wait=Wait(T0, 100)), seen(task(), clock=clock, form_done=True))
    assert (started(decision) is not None) is starts


def test_a_clock_set_back_moves_the_wait_along() -> None:
    project = tick(at(S.DEV_READY, wait=Wait(T0, 100)), seen(task(), clock=later(-5000))).project
    assert project.wait == Wait(T0 - 5000, 100)
    assert started(tick(project, seen(task(), clock=later(-4900)))) is not None


def test_an_interrupt_is_seen_while_waiting_too() -> None:
    project = at(S.DEV_READY, wait=Wait(T0, 100))
    assert tick(project, seen(task(), interrupt_flag=True)).project.state is S.PAUSE_INTERACT


# The step that a tick asks for ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("taken", "may_start", "starts"),
    [
        pytest.param(0, True, True, id="first"),
        pytest.param(2, True, True, id="third"),
        pytest.param(3, True, False, id="the chain is at its limit"),
        pytest.param(0, False, False, id="this look has had its step"),
    ],
)
def test_the_chain_of_dev_steps(taken: int, may_start: bool, starts: bool) -> None:
    decision = tick(at(S.DEV_READY), seen(task()), tasks_taken=taken, may_start=may_start)
    assert (started(decision) is not None) is starts
    assert decision.project.state is S.DEV_READY


@pytest.mark.parametrize(
    ("own", "timeout_s"),
    [
        pytest.param(None, 1800, id="the project's"),
        pytest.param(5, 300, id="a task may ask for less"),
        pytest.param(60, 1800, id="but not for more"),
    ],
)
def test_the_timeout_of_a_dev_step(own: float | None, timeout_s: float) -> None:
    step = started(tick(at(S.DEV_READY), seen(task(max_duration_min=own))))
    assert step is not None
    assert step.timeout_s == timeout_s


def test_the_attempt_that_people_see() -> None:
    step = started(tick(at(S.DEV_READY, shown={"T1": 4}), seen(task())))
    assert step == StartStep(Role.DEV, 1800, "T1", 5, input_key(task()))


@pytest.mark.parametrize(
    ("rules", "state", "task_id"),
    [
        pytest.param(RULES, S.ERROR, None, id="ERROR"),
        pytest.param(Rules(continue_on_task_failure=True), S.DEV_READY, "T2", id="on_task_failure: continue"),
    ],
)
def test_a_task_without_attempts_left_is_failed_and_never_started(
    rules: Rules, state: State, task_id: str | None
) -> None:
    project = at(S.DEV_READY, attempts={input_key(task()): 3})
    decision = tick(project, seen(task(), task("T2")), rules=rules)
    step = started(decision)
    assert (decision.project.state, step and step.task_id) == (state, task_id)
    assert statuses(decision.effects) == {"T1": TaskStatus.FAILED}
    if state is S.ERROR:
        failure = decision.project.failure
        assert failure is not None
        assert failure.kind is FailureKind.VERIFY_FAILED
        assert "aiframe retry T1" in failure.hint


def test_a_task_left_in_progress_starts_again() -> None:
    step = started(tick(at(S.DEV_READY), seen(task("T1", TaskStatus.IN_PROGRESS))))
    assert step is not None
    assert step.task_id == "T1"


def test_a_tick_of_a_run_at_work_never_starts_another() -> None:
    for role in STEP_ROLES:
        project = running(role, run=run_of(role))
        assert started(tick(project, seen(task(), lock_held=True, form_done=True, approval=True))) is None
