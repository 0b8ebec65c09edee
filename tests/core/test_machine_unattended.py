"""`watch --unattended`: reviews are put off while a task can go on, and nothing of them is lost."""

from __future__ import annotations

import pytest
from core.builders import RULES, at, end, finished, running, seen, started, statuses, task, tick
from msgspec.structs import replace

from aiframe.core.effects import Archive
from aiframe.core.explain import explain
from aiframe.core.model import Project, Question, State, TaskStatus
from aiframe.core.seen import Rejection, Seen

S = State
ALONE = replace(RULES, unattended=True)
TODO, DONE, REVIEW = TaskStatus.TODO, TaskStatus.DONE, TaskStatus.REVIEW
IN_REVIEW = task("T1", REVIEW, review=True)
ASKED = Question("Q1", "Which colour?", task_id="T2")


@pytest.mark.parametrize(
    ("project", "look", "state", "task_id"),
    [
        pytest.param(at(S.REVIEW_READY), seen(IN_REVIEW, task("T2")), S.DEV_READY, "T2", id="a review is due: put off"),
        pytest.param(at(S.REVIEW_WAITING), seen(IN_REVIEW, task("T2")), S.DEV_READY, "T2", id="one waits: put off"),
        pytest.param(at(S.REVIEW_READY), seen(IN_REVIEW), S.REVIEW_WAITING, None, id="nothing else to do: it waits"),
        pytest.param(at(S.REVIEW_WAITING), seen(IN_REVIEW), S.REVIEW_WAITING, None, id="nothing else: it waits on"),
        pytest.param(
            at(S.REVIEW_WAITING), seen(IN_REVIEW, task("T2", blocked_by=("T1",))), S.REVIEW_WAITING, None, id="blocked"
        ),
        pytest.param(
            at(S.REVIEW_READY, questions=(ASKED,)), seen(IN_REVIEW, task("T2")), S.REVIEW_WAITING, None, id="asked"
        ),
        pytest.param(at(S.DEV_READY), seen(IN_REVIEW, task("T2")), S.DEV_READY, "T2", id="DEV_READY: others go on"),
        pytest.param(at(S.DEV_READY), seen(task("T1", DONE)), S.REVIEW_WAITING, None, id="the last review waits"),
        pytest.param(at(S.INTAKE_WAITING), seen(), S.INTAKE_WAITING, None, id="the interview still waits"),
        pytest.param(at(S.PAUSED, paused_from=S.DEV_READY), seen(task()), S.PAUSED, None, id="a pause holds"),
    ],
)
def test_a_tick_with_nobody_there(project: Project, look: Seen, state: State, task_id: str | None) -> None:
    project = project.evolve(review_items=("T1",), to_look_at={"T1": ("the colours",)})
    decision = tick(project, look, rules=ALONE)
    step = started(decision)
    assert (decision.project.state, step and step.task_id) == (state, task_id)
    assert decision.project.review_items == ("T1",)
    assert decision.project.to_look_at == {"T1": ("the colours",)}
    assert decision.project.settings.interactive_mode
    assert statuses(decision.effects) == {}


@pytest.mark.parametrize(
    ("look", "status"),
    [
        pytest.param(seen(IN_REVIEW, task("T2"), approval=True), {"T1": DONE}, id="approval"),
        pytest.param(seen(IN_REVIEW, task("T2"), rejection=Rejection("no")), {"T1": TODO}, id="rejection"),
    ],
)
def test_a_word_that_is_there_is_taken_first(look: Seen, status: dict[str, TaskStatus]) -> None:
    decision = tick(at(S.REVIEW_WAITING, review_items=("T1",)), look, rules=ALONE)
    assert decision.project.review_items == ()
    assert statuses(decision.effects) == status
    assert any(isinstance(effect, Archive) for effect in decision.effects)


def test_a_task_that_needs_a_person_is_not_done_for_want_of_one() -> None:
    there = (task("T1", TaskStatus.IN_PROGRESS, verify=("manual: look",)), task("T2"))
    ended = end(running(), finished(), *there, rules=ALONE)
    assert statuses(ended.effects) == {"T1": REVIEW}
    after = tick(ended.project, seen(task("T1", REVIEW), task("T2")), rules=ALONE)
    step = started(after)
    assert step is not None
    assert step.task_id == "T2"
    assert after.project.review_items == ("T1",)


@pytest.mark.parametrize(
    ("project", "look", "cures"),
    [
        pytest.param(
            at(S.DEV_READY, questions=(ASKED,)),
            seen(IN_REVIEW, task("T2"), task("T3")),
            {
                "aiframe digest (meanwhile for you: 1 review)",
                "aiframe questions (1 question of an agent waits for you)",
            },
            id="both, between two steps",
        ),
        pytest.param(
            running(),
            seen(task("T1", REVIEW), task("T2", REVIEW), lock_held=True),
            {"aiframe digest (meanwhile for you: 2 reviews)"},
            id="reviews, in a step",
        ),
    ],
)
def test_what_is_collected_is_told_while_the_project_goes_on(project: Project, look: Seen, cures: set[str]) -> None:
    assert cures <= set(explain(project, look, RULES).cures)
