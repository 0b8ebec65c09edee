"""Nothing that aiframe does by itself may make more starts of an agent than the attempts that a task has."""

from __future__ import annotations

from typing import Any

import pytest
from core.builders import RULES, at, broken, end, finished, run_of, running, seen, started, task, tick

from aiframe.core.events import AnswerGiven, Change
from aiframe.core.machine import decide
from aiframe.core.model import FailureKind, Project, Question, Settings, State

ALONE: dict[str, Any] = {"interactive_mode": False}


def worked_off(project: Project, *, limit: int, default: str = "") -> tuple[Project, list[str]]:
    """The project once no step starts any more, and what each start was told; every step asks and fails."""
    told: list[str] = []
    while len(told) < limit:
        step = started(tick(project, seen(task())))
        if step is None:
            return tick(project, seen(task())).project, told
        told.append(project.findings.get("T1", ""))
        number = len(told)
        run = run_of(input_key=step.input_key)
        asks = Question(f"Q{number}", f"How ({number})?", default=default)
        failed = broken(
            FailureKind.VERIFY_FAILED, findings=f"test {number} failed", tree=f"tree {number}", question=asks
        )
        project = end(project.evolve(state=State.RUNNING, run=run), failed, task()).project
    return project, told


@pytest.mark.parametrize("default", ["sqlite", ""], ids=["a default", "no default"])
def test_a_question_that_nobody_answers_gives_no_attempts_back(default: str) -> None:
    project, told = worked_off(at(State.DEV_READY, **ALONE), limit=10, default=default)
    assert (project.state, len(told)) == (State.ERROR, RULES.max_attempts)
    answer = default or "Nobody can be asked: go on with a stated assumption."
    assert told[1] == f"test 1 failed\n\nQuestion: How (1)?\nAnswer: {answer}"
    assert project.requests == {}
    assert project.open_questions() == ()


def test_the_answer_of_a_person_gives_attempts_back() -> None:
    project = end(running(), broken(FailureKind.VERIFY_FAILED, question=Question("Q1", "How?")), task()).project
    project = decide(project, AnswerGiven("Q1", "so"), RULES).project
    assert project.requests["T1"] == "Question: How?\nAnswer: so"
    assert "T1" not in project.findings
    step = started(tick(project.evolve(state=State.DEV_READY, paused_from=None), seen(task())))
    assert step is not None
    assert project.attempts.get(step.input_key, 0) == 0


def test_an_automatic_answer_keeps_what_a_person_asked() -> None:
    project = running(**ALONE, requests={"T1": "Be quick."})
    after = end(project, finished(question=Question("Q1", "How?", default="so")), task()).project
    assert (after.requests, after.findings) == ({"T1": "Be quick."}, {"T1": "Question: How?\nAnswer: so"})


@pytest.mark.parametrize(
    ("values", "settings"),
    [
        pytest.param({}, Settings(60, plan_locked=True), id="nothing"),
        pytest.param({"timeout_sec": 9.0}, Settings(9, plan_locked=True), id="one value"),
        pytest.param({"interactive_mode": False, "plan_locked": False}, Settings(60, False), id="two values"),
    ],
)
def test_a_change_touches_only_the_settings_it_names(values: dict[str, Any], settings: Settings) -> None:
    project = at(State.DEV_READY, timeout_sec=60, plan_locked=True)
    assert decide(project, Change(values), RULES).project.settings == settings
