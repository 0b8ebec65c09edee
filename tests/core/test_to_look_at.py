"""What an agent asks a person to look at: from its closing words, through the review, until the review is over."""

from __future__ import annotations

import pytest
from core.builders import RULES, at, end, finished, running, seen, task, tick

from aiframe.core.explain import explain
from aiframe.core.model import Role, State, TaskStatus
from aiframe.core.seen import Rejection
from aiframe.core.verdict import Claim, judge

REVIEW = TaskStatus.REVIEW


@pytest.mark.parametrize(
    ("role", "said", "taken"),
    [
        pytest.param(Role.DEV, (), (), id="nothing"),
        pytest.param(Role.DEV, ("the report", "the menu"), ("the report", "the menu"), id="two things"),
        pytest.param(Role.DEV, ("two\n lines", " ", ""), ("two lines",), id="blanks"),
        pytest.param(Role.DEV, tuple("abcdefgh"), tuple("abcde"), id="too many"),
        pytest.param(Role.DEV, ("x" * 999,), ("x" * 300,), id="too long"),
        pytest.param(Role.PO, ("the plan",), (), id="no step of a task"),
    ],
)
def test_what_is_taken_of_it(role: Role, said: tuple[str, ...], taken: tuple[str, ...]) -> None:
    verdict = judge(Claim(review_items=said), role, "T1", running(role), RULES, open_tasks=True)
    assert verdict.proposal.to_look_at == taken


def test_the_reviewer_is_shown_it_and_afterwards_it_is_gone() -> None:
    work = task("T1", TaskStatus.IN_PROGRESS, review=True)
    waiting = tick(end(running(), finished(to_look_at=("the report",)), work).project, seen(task("T1", REVIEW))).project
    assert waiting.state is State.REVIEW_WAITING
    assert explain(waiting, seen(task("T1", REVIEW)), RULES).cures[0] == "look at T1: the report"
    for look in (seen(task("T1", REVIEW), approval=True), seen(task("T1", REVIEW), rejection=Rejection("no"))):
        assert tick(waiting, look).project.to_look_at == {}


def test_it_stands_beside_the_checks_that_a_person_makes_and_only_for_what_is_reviewed() -> None:
    project = at(State.REVIEW_WAITING, to_look_at={"T1": ("the report", "the menu"), "T2": ("nothing",)})
    look = seen(task("T1", REVIEW, verify=("manual: start it",)), task("T2"))
    said = explain(project, look, RULES)
    assert said.cures[0] == "look at T1: manual: start it; the report; the menu"


def test_a_second_try_says_anew_what_to_look_at() -> None:
    again = end(running(to_look_at={"T1": ("the old report",)}), finished()).project
    assert again.to_look_at["T1"] == ()
