"""Nothing that aiframe does by itself may make more starts of an agent than the attempts that a task has."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Any

import pytest
from core.builders import NOW, RULES, at, broken, end, finished, run_of, running, seen, started, task, tick
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from aiframe.core.budget import Spent
from aiframe.core.events import (
    AnswerGiven,
    AnswersDone,
    Change,
    Event,
    HandSet,
    Pause,
    Resume,
    Retry,
    RunLost,
    RunStarted,
    StepEnded,
    Tick,
)
from aiframe.core.machine import Refused, decide
from aiframe.core.model import FailureKind, Project, Question, Role, Settings, State, TaskStatus
from aiframe.core.scheduling import input_key
from aiframe.core.seen import Seen

KEY = input_key(task())
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
    ("values", "expected"),
    [
        pytest.param({}, Settings(60, plan_locked=True), id="nothing"),
        pytest.param({"timeout_sec": 9.0}, Settings(9, plan_locked=True), id="one value"),
        pytest.param({"interactive_mode": False, "plan_locked": False}, Settings(60, False), id="two values"),
    ],
)
def test_a_change_touches_only_the_settings_it_names(values: dict[str, Any], expected: Settings) -> None:
    project = at(State.DEV_READY, timeout_sec=60, plan_locked=True)
    assert decide(project, Change(values), RULES).project.settings == expected


# No sequence of events buys steps without end (F10) -------------------------------------------------------------------

FEW = replace(RULES, max_tries=5)
BROKEN = st.sampled_from(
    [[kind] for kind in FailureKind] + [[FailureKind.TRANSIENT, FailureKind.VERIFY_FAILED], [FailureKind.QUOTA]]
)
SPENT = st.sampled_from([Spent(attempts=1), Spent(tokens=50, attempts=1)])
PERSON = st.sampled_from(["", "resume", "resume --now", "hand edit", "pause", "set", "done", "answer", "status line"])


def nudged(project: Project, what: str, look: Seen) -> Project:
    """The project after a person, or a script that never gives up, did one thing; never `retry`."""
    number = len(project.questions)
    events: dict[str, Event] = {
        "resume": Resume(look),
        "resume --now": Resume(look, now=True),
        "hand edit": HandSet(look, State.DEV_READY, fields={"diagnosis_done": False, "last_error": ""}),
        "pause": Pause(),
        "set": Change({"timeout_sec": 60.0 + number}),
        "done": HandSet(look, State.DONE),
        "answer": AnswersDone(),
    }
    with suppress(Refused):
        return decide(project, events[what], FEW).project if what in events else project
    return project


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from([State.DEV_READY, State.SPEC_READY]), st.booleans())
def test_what_comes_to_nothing_is_not_bought_for_ever(data: st.DataObject, begin: State, goes_on: bool) -> None:
    """Without `retry` and with no step that finishes: the steps that spend tokens are bounded, whatever happens."""
    rules = replace(FEW, continue_on_task_failure=goes_on)
    project, clock, paid, tries = at(begin, interactive_mode=False), NOW, 0, Counter[str]()
    for turn in range(60):
        clock = replace(clock, wall=clock.wall + 1e6, mono=clock.mono + 1e6)
        tasks = (task(), task("T2")) if begin is State.DEV_READY else ()
        look = seen(*tasks, clock=clock)  # every tick finds the tasks as todo again
        project = nudged(project, data.draw(PERSON), look)
        if project.state in (State.ERROR, State.PAUSED, State.PAUSE_INTERACT, State.DONE):
            project = nudged(project, "hand edit" if turn % 2 else "resume", look)
        step = started(decide(project, Tick(look), rules))
        if step is None:
            project = decide(project, Tick(look), rules).project
            continue
        spent, kinds = data.draw(SPENT), data.draw(BROKEN)
        run = replace(run_of(step.role, task(step.task_id) if step.task_id else None), started=clock)
        run = replace(run, run_id=f"run-{turn}", input_key=step.input_key)
        project = decide(project, RunStarted(run), rules).project
        lost = FailureKind.INTERRUPTED in kinds
        ended = RunLost(run.run_id, look, spent) if lost else StepEnded(run.run_id, look, broken(*kinds), spent)
        project = decide(project, ended, rules).project
        free = kinds == [FailureKind.QUOTA] and not spent.tokens
        if not free:
            paid += 1
            tries[step.input_key or step.role.value] += 1
    assert all(count <= FEW.max_tries for count in tries.values())
    assert all(count <= FEW.max_attempts for count in project.attempts.values())
    assert paid <= FEW.max_tries * 5  # two tasks, the plan, the interview, the diagnosis


def test_only_retry_gives_tries_back() -> None:
    project = at(State.DEV_READY, tries={KEY: 20})
    stopped = tick(project, seen(task()))
    assert stopped.project.state is State.ERROR
    assert "came to nothing" in stopped.project.last_error
    again = decide(stopped.project, Retry(seen(task(status=TaskStatus.FAILED))), RULES).project
    assert started(tick(again, seen(task()))) is not None


def test_a_role_that_comes_to_nothing_needs_a_person() -> None:
    stopped = tick(at(State.SPEC_READY, tries={"PO": 20})).project
    assert (stopped.state, stopped.paused_from) == (State.ERROR, State.SPEC_READY)
    assert started(tick(decide(stopped, Resume(seen()), RULES).project)) is None
    assert started(tick(decide(stopped, Retry(seen()), RULES).project)) is not None


def test_a_plan_that_was_made_starts_the_count_of_its_role_over() -> None:
    project = running(Role.PO, tries={"PO": 19, KEY: 4})
    assert end(project, finished(), task()).project.tries == {KEY: 4}


@pytest.mark.parametrize(("tokens", "tries"), [(0, {}), (70, {KEY: 1})], ids=["at once", "in mid-step"])
def test_a_quota_that_is_met_after_work_counts_as_a_try(tokens: int, tries: dict[str, int]) -> None:
    ended = StepEnded("run-1", seen(task()), broken(FailureKind.QUOTA), Spent(tokens=tokens, attempts=1))
    assert decide(running(), ended, RULES).project.tries == tries
