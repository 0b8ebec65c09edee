"""A plan from a person's document: asked for in any state, made by the PO, and taken or dropped by the person."""

from __future__ import annotations

from typing import Any

import pytest
from core.builders import RULES, at, broken, end, finished, running, seen, started, statuses, task, tick
from msgspec.structs import replace

from aiframe.core.effects import Write
from aiframe.core.events import AnswerGiven, DropPlan, HandSet, PlanFrom, Replan, Resume, Retry, TakePlan
from aiframe.core.machine import Refused, decide
from aiframe.core.model import (
    Failure,
    FailureKind,
    HeldWork,
    PlanMode,
    Planning,
    Project,
    Question,
    Role,
    State,
    TaskStatus,
    Unknown,
)

S = State
OLD = (task("T1", TaskStatus.DONE), task("T2"))
IDLE = [*(state for state in State if state is not S.RUNNING), Unknown("DAYDREAM")]
REPLACING = Planning(PlanMode.REPLACE, "plan.md", "old spec", "old tasks", OLD, S.DEV_READY, plan_locked=True)
WAITS = replace(REPLACING, made=True)


def asked_for(mode: PlanMode = PlanMode.APPEND, **more: Any) -> PlanFrom:
    return PlanFrom(seen(*OLD), mode, "plan.md", "new spec", "old spec", "old tasks", **more)


# Asked for ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", IDLE, ids=str)
def test_it_is_planned_without_an_interview(state: State | Unknown) -> None:
    project = at(state, plan_locked=True, paused_from=S.DEV_READY if state is S.PAUSED else None)
    decision = decide(project, asked_for(), RULES)
    after = decision.project
    assert (after.state, after.settings.plan_locked, after.paused_from) == (S.SPEC_READY, False, None)
    assert decision.effects == (Write("SPEC.md", "new spec"),)
    step = started(tick(after, seen(*OLD)))
    assert step is not None
    assert step.role is Role.PO


def test_an_unattended_project_plans_as_well() -> None:
    after = decide(at(S.INTAKE_READY, interactive_mode=False), asked_for(PlanMode.NEW), RULES).project
    step = started(tick(after, seen()))
    assert step is not None
    assert step.role is Role.PO


@pytest.mark.parametrize(
    ("project", "says"),
    [
        pytest.param(running(), "a step is running", id="a step runs"),
        pytest.param(running(Role.PO, planning=REPLACING), "a step is running", id="the plan is being made"),
        pytest.param(at(S.SPEC_READY, planning=REPLACING), "being made from plan.md", id="about to be made"),
        pytest.param(at(S.PAUSED, planning=REPLACING), "being made from plan.md", id="paused on the way"),
        pytest.param(at(S.PAUSED, planning=WAITS), "waits for your word", id="made already"),
    ],
)
def test_one_plan_at_a_time(project: Project, says: str) -> None:
    with pytest.raises(Refused, match=says) as caught:
        decide(project, asked_for(), RULES)
    assert caught.value.hint


def test_after_one_that_failed_another_may_be_asked_for_and_the_way_back_stays_the_first() -> None:
    failed = at(S.ERROR, planning=REPLACING, failure=Failure(FailureKind.SETUP, "no"), last_error="no")
    event = PlanFrom(seen(task("T9")), PlanMode.APPEND, "other.md", "newer spec", "spec", "tasks", confirmed=True)
    after = decide(failed, event, RULES).project
    expected = replace(REPLACING, mode=PlanMode.APPEND, source="other.md", confirmed=True)
    assert (after.state, after.failure, after.planning) == (S.SPEC_READY, None, expected)


def test_what_was_said_to_the_planner_of_an_older_document_is_over() -> None:
    questions = (Question("Q1", "Colour?"), Question("Q2", "Size?", "T2"))
    project = at(S.QUESTION_WAITING, paused_from=S.SPEC_READY, questions=questions, findings={"PO": "no", "T2": "mend"})
    after = decide(project, asked_for(), RULES).project
    assert [question.id for question in after.open_questions()] == ["Q2"]
    assert after.findings == {"T2": "mend"}


# Made -----------------------------------------------------------------------------------------------------------------


def made(mode: PlanMode, *, confirmed: bool = False, **more: Any) -> Project:
    planning = replace(REPLACING, mode=mode, confirmed=confirmed)
    project = running(Role.PO, planning=planning, **more)
    return end(project, finished(state=S.DEV_READY), *OLD, spec_hash="new").project


@pytest.mark.parametrize(
    ("mode", "confirmed", "state"),
    [
        pytest.param(PlanMode.NEW, False, S.DEV_READY, id="new"),
        pytest.param(PlanMode.APPEND, False, S.DEV_READY, id="append"),
        pytest.param(PlanMode.REPLACE, True, S.DEV_READY, id="replace, said yes before"),
        pytest.param(PlanMode.REPLACE, False, S.PAUSED, id="replace"),
    ],
)
def test_a_plan_is_ready_for_its_tasks_and_one_that_replaces_waits(
    mode: PlanMode, confirmed: bool, state: State
) -> None:
    after = made(mode, confirmed=confirmed)
    assert (after.state, after.settings.plan_locked, after.planned_spec) == (state, True, "new")
    assert (after.planning == WAITS) is (state is S.PAUSED)
    if state is S.DEV_READY:
        assert after.planning is None
    else:
        assert tick(after, seen(*OLD)).effects == ()


@pytest.mark.parametrize("mode", PlanMode)
def test_what_the_planner_asks_and_what_fails_leaves_the_plan_to_be_made(mode: PlanMode) -> None:
    project = running(Role.PO, planning=replace(REPLACING, mode=mode))
    asks = end(project, finished(question=Question("Q1", "Colour?")), *OLD).project
    assert (asks.state, asks.planning) == (S.QUESTION_WAITING, project.planning)
    answered = decide(asks, AnswerGiven("Q1", "Green"), RULES).project
    assert started(tick(answered, seen(*OLD))) is not None
    failed = end(project, broken(FailureKind.INVALID_OUTPUT), *OLD).project
    assert (failed.state, failed.planning) == (S.SPEC_READY, project.planning)


# Taken or dropped -----------------------------------------------------------------------------------------------------


def test_taken_it_forgets_what_was_said_of_tasks_that_are_others_now() -> None:
    held = {name: HeldWork("why", "tree", "ref", "commit") for name in ("T1", "T2")}
    books = {"T1": "a", "T2": "b"}
    questions = (Question("Q1", "?", "T2"), Question("Q2", "?", "T1"))
    project = made(
        PlanMode.REPLACE, held=held, trees=books, findings=books, requests=books, review_items=("T1", "T2"),
        to_look_at={"T1": ("a",), "T2": ("b",)}, questions=questions,
    )  # fmt: skip
    new = (OLD[0], task("T2", title="another"), task("T3"))
    after = decide(project, TakePlan(seen(*new)), RULES).project
    assert (after.state, after.planning, after.paused_from) == (S.DEV_READY, None, None)
    assert [*after.held, *after.trees, *after.findings, *after.requests, *after.to_look_at] == ["T1"] * 5
    assert after.review_items == ("T1",)
    assert [question.id for question in after.open_questions()] == ["Q2"]


@pytest.mark.parametrize(
    "planning", [pytest.param(WAITS, id="made"), pytest.param(REPLACING, id="not made yet")]
)  # fmt: skip
@pytest.mark.parametrize("state", [S.PAUSED, S.ERROR, S.SPEC_READY, S.QUESTION_WAITING], ids=str)
def test_dropped_all_is_as_before(planning: Planning, state: State) -> None:
    project = at(state, planning=planning, planned_spec="new", paused_from=S.DEV_READY)
    decision = decide(project, DropPlan(seen(*OLD)), RULES)
    assert decision.project == at(S.DEV_READY, plan_locked=True)
    assert decision.effects == (Write("SPEC.md", "old spec"), Write("TASKS.yaml", "old tasks"))
    assert statuses(decision.effects) == {}


@pytest.mark.parametrize("state", IDLE, ids=str)
def test_dropped_the_project_is_where_it_was(state: State | Unknown) -> None:
    before = at(state, paused_from=S.DEV_READY if state in (S.PAUSED, S.ERROR) else None)
    asked = decide(before, asked_for(), RULES).project
    after = decide(asked, DropPlan(seen(*OLD)), RULES).project
    stopped = isinstance(state, Unknown) or state is S.ERROR
    assert after == (at(S.DEV_READY) if stopped else before)


@pytest.mark.parametrize("event", [TakePlan(seen()), DropPlan(seen())], ids=["take", "drop"])
@pytest.mark.parametrize("project", [at(S.PAUSED), running(Role.PO, planning=REPLACING)], ids=["none", "running"])
def test_a_word_about_no_plan_is_refused(project: Project, event: TakePlan | DropPlan) -> None:
    with pytest.raises(Refused) as caught:
        decide(project, event, RULES)
    assert caught.value.hint


@pytest.mark.parametrize("event", [Resume(seen(*OLD)), Resume(seen(*OLD), now=True), Retry(seen(*OLD), "T2")])
def test_nothing_goes_on_past_a_plan_that_waits(event: Resume | Retry) -> None:
    with pytest.raises(Refused, match="waits for your word") as caught:
        decide(at(S.PAUSED, planning=WAITS, paused_from=S.DEV_READY), event, RULES)
    assert "aiframe accept" in caught.value.hint


@pytest.mark.parametrize(
    ("event", "planning"),
    [
        pytest.param(Replan(), REPLACING, id="replan: it is made once more"),
        pytest.param(HandSet(seen(*OLD), S.SPEC_READY), REPLACING, id="SPEC_READY by hand: made once more"),
        pytest.param(HandSet(seen(*OLD), S.DEV_READY), None, id="DEV_READY by hand: taken"),
    ],
)
def test_ways_round_a_word(event: Replan | HandSet, planning: Planning | None) -> None:
    after = decide(at(S.PAUSED, planning=WAITS, paused_from=S.DEV_READY), event, RULES).project
    assert after.planning == planning


def test_a_plan_that_is_locked_by_hand_is_no_more_being_made() -> None:
    after = tick(at(S.SPEC_READY, plan_locked=True, planning=REPLACING), seen(*OLD)).project
    assert (after.state, after.planning) == (S.DEV_READY, None)
