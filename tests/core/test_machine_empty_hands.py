"""Where nothing is there to go on with: no task planned, nobody to ask, nothing to retry. None of it may go round."""

from __future__ import annotations

from typing import Any

import pytest
from core.builders import RULES, at, end, finished, running, seen, task, tick

from aiframe.core.effects import GoOn
from aiframe.core.events import Retry, StepEnded
from aiframe.core.machine import Refused, decide
from aiframe.core.model import Project, Question, Role, State, TaskStatus

ASK = Question("Q1", "Which database?")


@pytest.mark.parametrize(
    ("more", "question"),
    [
        pytest.param({}, None, id="nothing said"),
        pytest.param({"interactive_mode": False}, ASK, id="asks where nobody is"),
        pytest.param(
            {"questions": (Question("Q1", "Before?", answer="yes"),)}, Question("Q2", "Again?"), id="asks twice"
        ),
    ],
)
def test_an_empty_plan_is_asked_again_and_then_needs_a_person(more: dict[str, Any], question: Question | None) -> None:
    project: Project = running(Role.PO, **more)
    states = []
    for _ in range(RULES.repairs + 1):
        decision = decide(project, StepEnded("run-1", seen(), finished(question=question)), RULES)
        states.append(decision.project.state)
        project = running(Role.PO, **more).evolve(streaks=decision.project.streaks)
        assert decision.project.settings.plan_locked is False
    assert states == [State.SPEC_READY, State.SPEC_READY, State.ERROR]


@pytest.mark.parametrize(
    ("default", "answer"), [("sqlite", "sqlite"), ("", "Nobody can be asked: go on with a stated assumption.")]
)
def test_an_unattended_task_gets_the_default_for_an_answer(default: str, answer: str) -> None:
    question = Question("Q1", "Which database?", default=default)
    decision = end(running(interactive_mode=False), finished(question=question), task("T1"), task("T2"))
    project = decision.project
    assert [asked.answer for asked in project.questions] == [answer]
    assert answer in project.findings["T1"]
    assert GoOn() in decision.effects
    assert tick(project, seen(task("T1", TaskStatus.DONE), task("T2"))).project.state is State.DEV_READY


def test_retry_without_anything_failed_says_so() -> None:
    with pytest.raises(Refused, match="no task has failed"):
        decide(at(State.DEV_READY), Retry(seen(task("T1"))), RULES)
