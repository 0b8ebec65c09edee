"""What a person does: commands and edits of STATE.json, from every state."""

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
)  # fmt: skip
from msgspec.structs import replace

from aiframe.core.effects import Decision, Recover
from aiframe.core.events import (
    AnswerGiven,
    AnswersDone,
    Broken,
    Change,
    DropPlan,
    Event,
    HandSet,
    Pause,
    PlanFrom,
    Replan,
    Resume,
    Retry,
    RunLost,
    RunStarted,
    StepEnded,
    TakeOver,
    TakePlan,
    Tick,
)
from aiframe.core.machine import Refused, decide
from aiframe.core.model import (
    STEP_ROLES,
    Failure,
    FailureKind,
    Moment,
    PlanMode,
    Planning,
    Project,
    Question,
    Role,
    Runner,
    Settings,
    State,
    TaskStatus,
    Unknown,
    Wait,
)
from aiframe.core.seen import Seen

S = State
UNKNOWN = Unknown("DAYDREAM")
FAILED = TaskStatus.FAILED
PLAN_QUESTION = Question("Q1", "Which database?")
TASK_QUESTION = Question("Q2", "Which colour?", task_id="T1")
IDLE: tuple[State | Unknown, ...] = (*(state for state in State if state is not S.RUNNING), UNKNOWN)


def in_state(state: State | Unknown, **more: Any) -> Project:
    """A project in *state*, whichever it is."""
    return running(**more) if state is S.RUNNING else at(state, **more)


def in_error(**more: Any) -> Project:
    """A project that gave up for a while, with everything that goes with it."""
    failure = Failure(FailureKind.AUTH, "401", "log in")
    fields = {"failure": failure, "last_error": "401", "wait": Wait(T0, 9), "streaks": {"transient": 2}}
    return at(S.ERROR, diagnosis_done=True, **{**fields, **more})


# pause ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("project", "back"),
    [
        *(
            pytest.param(at(state), state, id=state.value)
            for state in (
                S.INTAKE_READY,
                S.INTAKE_WAITING,
                S.SPEC_READY,
                S.DEV_READY,
                S.DIAGNOSE_READY,
                S.REVIEW_READY,
                S.REVIEW_WAITING,
            )
        ),
        pytest.param(at(S.PAUSE_INTERACT, paused_from=S.SPEC_READY), S.SPEC_READY, id="PAUSE_INTERACT"),
        pytest.param(at(S.QUESTION_WAITING, paused_from=S.SPEC_READY), S.SPEC_READY, id="QUESTION_WAITING"),
        pytest.param(at(S.PAUSED, paused_from=S.DEV_READY), S.DEV_READY, id="PAUSED"),
    ],
)
def test_pause(project: Project, back: State) -> None:
    after = decide(project, Pause(), RULES).project
    assert (after.state, after.paused_from) == (S.PAUSED, back)


def test_pause_while_a_step_runs_waits_for_its_end() -> None:
    assert decide(running(), Pause(), RULES) == Decision(running(pause_requested=True))


@pytest.mark.parametrize("state", [S.DONE, S.ERROR, UNKNOWN], ids=str)
def test_pause_is_refused(state: State | Unknown) -> None:
    with pytest.raises(Refused) as refused:
        decide(at(state), Pause(), RULES)
    assert "aiframe why" in refused.value.hint


# resume and continue --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("project", "state"),
    [
        pytest.param(at(S.PAUSED, paused_from=S.INTAKE_WAITING), S.INTAKE_WAITING, id="PAUSED: back"),
        pytest.param(at(S.PAUSE_INTERACT, paused_from=S.SPEC_READY), S.SPEC_READY, id="PAUSE_INTERACT: back"),
        pytest.param(at(S.PAUSED), S.INTAKE_READY, id="PAUSED by an old file: the interview"),
        pytest.param(at(S.PAUSED, interviews=1), S.SPEC_READY, id="PAUSED by an old file: the plan"),
        pytest.param(at(S.PAUSED, interactive_mode=False), S.SPEC_READY, id="PAUSED by an old file, unattended"),
        pytest.param(in_error(paused_from=S.SPEC_READY), S.SPEC_READY, id="ERROR: the recorded ready state"),
        pytest.param(in_error(), S.INTAKE_READY, id="ERROR by an old file"),
    ],
)
def test_resume(project: Project, state: State) -> None:
    after = decide(project, Resume(seen()), RULES).project
    assert (after.state, after.paused_from) == (state, None)


def test_resume_of_a_pause_by_an_old_file_with_tasks() -> None:
    assert decide(at(S.PAUSED), Resume(seen(task())), RULES).project.state is S.DEV_READY


def test_resume_from_error_forgets_the_failure_and_keeps_the_attempts() -> None:
    project = in_error(paused_from=S.DEV_READY, attempts={"T1@x": 3}, resume_state=S.DEV_READY, diagnosed_role=Role.DEV)
    after = decide(project, Resume(seen(task())), RULES).project
    assert after == at(
        S.DEV_READY, attempts={"T1@x": 3}, resume_state=S.DEV_READY, diagnosed_role=Role.DEV, diagnosis_done=False
    )


def test_resume_while_a_step_runs_takes_a_pause_back() -> None:
    assert decide(running(pause_requested=True), Resume(seen()), RULES) == Decision(running())


def test_resume_from_done_with_a_new_task() -> None:
    look = seen(task("T1", TaskStatus.DONE), task("T2"))
    assert decide(at(S.DONE), Resume(look), RULES).project.state is S.DEV_READY


def test_resume_from_done_without_one_is_refused() -> None:
    with pytest.raises(Refused, match="no open task"):
        decide(at(S.DONE), Resume(seen(task("T1", TaskStatus.DONE))), RULES)


@pytest.mark.parametrize(
    "state", [S.DEV_READY, S.INTAKE_WAITING, S.REVIEW_WAITING, S.QUESTION_WAITING, UNKNOWN], ids=str
)
def test_resume_of_nothing_is_refused(state: State | Unknown) -> None:
    with pytest.raises(Refused):
        decide(at(state), Resume(seen()), RULES)


def test_resume_now_cuts_a_wait_short() -> None:
    project = at(S.DEV_READY, wait=Wait(T0, 9999))
    assert started(tick(project, seen(task()))) is None
    after = decide(project, Resume(seen(task()), now=True), RULES).project
    assert started(tick(after, seen(task()))) is not None


@pytest.mark.parametrize(
    ("answer", "state"),
    [pytest.param("", S.QUESTION_WAITING, id="open"), pytest.param("sqlite", S.SPEC_READY, id="answered meanwhile")],
)
def test_a_pause_keeps_a_question_about_the_plan(answer: str, state: State) -> None:
    project = end(running(Role.PO), finished(question=PLAN_QUESTION)).project
    project = decide(project, Pause(), RULES).project
    if answer:
        project = decide(project, AnswerGiven("Q1", answer), RULES).project
    project = decide(project, Resume(seen()), RULES).project
    assert project.state is state
    project = project if answer else decide(project, AnswerGiven("Q1", "later"), RULES).project
    step = started(tick(project))
    assert step is not None
    assert step.role is Role.PO


# retry ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task_id", "status", "attempts"),
    [
        pytest.param("T1", {"T1": TaskStatus.TODO}, {"T2@x": 3, "T10@x": 3}, id="one task"),
        pytest.param("", {"T1": TaskStatus.TODO, "T2": TaskStatus.TODO}, {"T10@x": 3}, id="every failed task"),
    ],
)
def test_retry(task_id: str, status: dict[str, TaskStatus], attempts: dict[str, int]) -> None:
    project = in_error(paused_from=S.DEV_READY, attempts={"T1@x": 3, "T1@y": 1, "T2@x": 3, "T10@x": 3})
    decision = decide(project, Retry(seen(task("T1", FAILED), task("T2", FAILED), task("T10")), task_id), RULES)
    assert statuses(decision.effects) == status
    assert decision.project == at(S.DEV_READY, attempts=attempts)


def test_retry_of_an_error_without_a_failed_task_goes_back_to_the_recorded_state() -> None:
    decision = decide(in_error(paused_from=S.SPEC_READY), Retry(seen(task())), RULES)
    assert decision == Decision(at(S.SPEC_READY))


@pytest.mark.parametrize(
    ("project", "task_id", "words"),
    [
        pytest.param(in_error(), "T9", "no task T9", id="no such task"),
        pytest.param(running(), "T1", "running", id="a step runs"),
    ],
)
def test_retry_is_refused(project: Project, task_id: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        decide(project, Retry(seen(task()), task_id), RULES)


# replan, answers, settings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", IDLE, ids=str)
def test_replan(state: State | Unknown) -> None:
    after = decide(at(state, plan_locked=True, paused_from=S.DEV_READY), Replan(), RULES).project
    assert (after.state, after.settings.plan_locked, after.paused_from) == (S.SPEC_READY, False, None)


def test_replan_leaves_an_error_behind() -> None:
    assert decide(in_error(plan_locked=True), Replan(), RULES).project == at(S.SPEC_READY)


def test_replan_is_refused_while_a_step_runs() -> None:
    with pytest.raises(Refused, match="running"):
        decide(running(), Replan(), RULES)


def test_answers_done_starts_the_intake() -> None:
    after = decide(at(S.INTAKE_WAITING), AnswersDone(), RULES).project
    assert started(tick(after)) is not None


@pytest.mark.parametrize("state", [state for state in (*State, UNKNOWN) if state is not S.INTAKE_WAITING], ids=str)
def test_answers_done_is_refused(state: State | Unknown) -> None:
    with pytest.raises(Refused):
        decide(in_state(state), AnswersDone(), RULES)


@pytest.mark.parametrize(
    ("question", "about"),
    [pytest.param(TASK_QUESTION, "T1", id="a task's"), pytest.param(PLAN_QUESTION, "PO", id="the plan's")],
)
def test_an_answer_becomes_part_of_the_request(question: Question, about: str) -> None:
    project = at(S.QUESTION_WAITING, paused_from=S.DEV_READY, questions=(question,), requests={about: "Be quick."})
    after = decide(project, AnswerGiven(question.id, "Green."), RULES).project
    assert after.questions == (replace(question, answer="Green."),)
    assert after.requests[about] == f"Be quick.\n\nQuestion: {question.text}\nAnswer: Green."


@pytest.mark.parametrize(
    "questions", [(), (replace(TASK_QUESTION, answer="green"),)], ids=["never asked", "answered already"]
)
def test_an_answer_to_no_open_question_is_refused(questions: tuple[Question, ...]) -> None:
    with pytest.raises(Refused, match="Q2"):
        decide(at(S.QUESTION_WAITING, questions=questions), AnswerGiven("Q2", "green"), RULES)


@pytest.mark.parametrize("state", [*State, UNKNOWN], ids=str)
def test_a_changed_setting_moves_no_state(state: State | Unknown) -> None:
    values: dict[str, Any] = {"timeout_sec": 60, "interactive_mode": False}
    project = in_state(state)
    expected = Decision(project.evolve(settings=replace(project.settings, **values)))
    assert decide(project, Change(values), RULES) == expected


# Hand edits of STATE.json ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [state for state in IDLE if state is not S.PAUSED], ids=str)
@pytest.mark.parametrize("state", IDLE, ids=str)
def test_a_hand_set_state_is_honoured_from_any_state(state: State | Unknown, wanted: State | Unknown) -> None:
    project = in_error(paused_from=S.SPEC_READY) if state is S.ERROR else in_state(state)
    after = decide(project, HandSet(seen(task()), wanted), RULES).project
    assert (after.state, after.run) == (wanted, None)
    if state is S.ERROR and wanted is not S.ERROR:
        assert after.evolve(state=S.ERROR, paused_from=None) == at(S.ERROR)


@pytest.mark.parametrize("state", [*State, UNKNOWN], ids=str)
def test_running_cannot_be_set_by_hand(state: State | Unknown) -> None:
    assert decide(in_state(state), HandSet(seen(), S.RUNNING), RULES) == Decision(in_state(state))


@pytest.mark.parametrize(
    ("project", "back"),
    [
        pytest.param(at(S.SPEC_READY), S.SPEC_READY, id="SPEC_READY"),
        pytest.param(at(S.REVIEW_WAITING), S.REVIEW_WAITING, id="REVIEW_WAITING"),
        pytest.param(at(S.PAUSE_INTERACT, paused_from=S.SPEC_READY), S.SPEC_READY, id="PAUSE_INTERACT"),
        pytest.param(at(S.QUESTION_WAITING, paused_from=S.SPEC_READY), S.SPEC_READY, id="QUESTION_WAITING"),
        pytest.param(in_error(paused_from=S.SPEC_READY), S.SPEC_READY, id="ERROR"),
        pytest.param(at(S.DONE), S.DEV_READY, id="DONE"),
        pytest.param(at(UNKNOWN), S.DEV_READY, id="unknown"),
    ],
)
def test_paused_by_hand_knows_the_way_back(project: Project, back: State) -> None:
    paused = decide(project, HandSet(seen(task()), S.PAUSED), RULES).project
    assert paused.state is S.PAUSED
    assert decide(paused, Resume(seen(task())), RULES).project.state is back


@pytest.mark.parametrize("wanted", IDLE, ids=str)
@pytest.mark.parametrize(
    "look",
    [
        pytest.param(seen(lock_held=True), id="alive"),
        pytest.param(seen(clock=later(1861)), id="its runner is gone: what it left comes first"),
        pytest.param(seen(clock=replace(later(1861), host="there")), id="another host's, past its time"),
    ],
)
def test_while_a_step_is_not_settled_a_hand_edit_can_only_ask_for_a_pause(look: Seen, wanted: State | Unknown) -> None:
    event = HandSet(look, wanted, Settings(timeout_sec=1))
    assert decide(running(), event, RULES) == Decision(running(pause_requested=wanted is S.PAUSED))


@pytest.mark.parametrize("role", STEP_ROLES, ids=str)
def test_the_run_of_a_host_that_is_gone_can_be_taken_over_once_its_time_is_over(role: Role) -> None:
    there = seen(task("T1", TaskStatus.IN_PROGRESS), clock=replace(later(1861), host="there"))
    taken = decide(running(role), TakeOver(there), RULES).project
    assert taken == running(role, run=replace(run_of(role), runner=Runner(0, 0.0, host="there")))
    assert tick(taken, there).effects == (Recover("run-1"),)


@pytest.mark.parametrize(
    ("project", "clock", "says"),
    [
        pytest.param(running(), replace(later(1859), host="there"), "out of reach", id="in time"),
        pytest.param(running(), later(9999), "no step of another host", id="our own"),
        pytest.param(running(run=run_of(runner=Runner(4, 1.0))), later(9999), "no step of another", id="no host known"),
        pytest.param(at(S.PAUSED), later(9999), "no step of another host", id="nothing runs"),
    ],
)
def test_a_run_that_may_live_is_not_taken_over(project: Project, clock: Moment, says: str) -> None:
    with pytest.raises(Refused, match=says) as caught:
        decide(project, TakeOver(seen(clock=clock)), RULES)
    assert caught.value.hint


def test_a_hand_edit_of_settings_and_fields() -> None:
    event = HandSet(seen(), None, Settings(timeout_sec=60), {"diagnosis": "mine", "review_items": ("T1",)})
    after = decide(at(S.DEV_READY), event, RULES).project
    assert after == at(S.DEV_READY, timeout_sec=60, diagnosis="mine", review_items=("T1",))


def test_tasks_written_by_hand_need_no_interview() -> None:
    after = decide(at(S.INTAKE_READY), HandSet(seen(task()), S.DEV_READY), RULES).project
    step = started(tick(after, seen(task())))
    assert step is not None
    assert (step.role, step.task_id) == (Role.DEV, "T1")


# Everything, everywhere -----------------------------------------------------------------------------------------------

LOOK = seen(task(), task("T2", FAILED), form_done=True, approval=True)
PLANNING = Planning(PlanMode.REPLACE, "plan.md", "old", "old", (task(), task("T2")), S.DEV_READY)
EVENTS: tuple[Event, ...] = (
    Tick(LOOK),
    Tick(seen(), may_start=False),
    Tick(seen(task(), interrupt_flag=True, lock_held=True)),
    RunStarted(run_of()),
    *(StepEnded("run-1", LOOK, finished(state=state)) for state in State),
    *(StepEnded("run-1", LOOK, broken(kind)) for kind in FailureKind),
    StepEnded("run-1", LOOK, Broken((Failure(FailureKind.SETUP, ""),), question=PLAN_QUESTION)),
    RunLost("run-1", LOOK),
    *(HandSet(LOOK, state) for state in (*State, UNKNOWN, None)),
    TakeOver(LOOK),
    TakeOver(replace(LOOK, clock=replace(later(9999), host="there"))),
    Pause(),
    Resume(LOOK),
    Resume(LOOK, now=True),
    Retry(LOOK),
    Retry(LOOK, "T2"),
    Retry(LOOK, "T9"),
    Replan(),
    *(
        PlanFrom(LOOK, mode, "plan.md", "new", "old", "old", confirmed)
        for mode in PlanMode
        for confirmed in (True, False)
    ),
    TakePlan(LOOK),
    DropPlan(LOOK),
    AnswersDone(),
    AnswerGiven("Q2", "green"),
    Change({"interactive_mode": False}),
)


def decided_or_refused(project: Project, event: Event) -> Decision | tuple[str, str]:
    """The decision, or the words of the refusal; any other exception is a failure."""
    try:
        return decide(project, event, RULES)
    except Refused as refused:
        return refused.message, refused.hint


@pytest.mark.parametrize("event", EVENTS, ids=[f"{n}-{type(event).__name__}" for n, event in enumerate(EVENTS)])
def test_every_event_in_every_state_is_decided_or_refused(event: Event) -> None:
    projects = [in_state(state, questions=(TASK_QUESTION,)) for state in (*State, UNKNOWN) if state is not S.RUNNING]
    projects += [running(role, questions=(TASK_QUESTION,)) for role in STEP_ROLES]
    projects += [project.evolve(planning=PLANNING) for project in projects]
    projects += [project.evolve(planning=replace(PLANNING, made=True)) for project in projects if project.run is None]
    for project in projects:
        decided = decided_or_refused(project, event)
        assert decided == decided_or_refused(project, event)
        assert isinstance(decided, Decision) or all(decided)
