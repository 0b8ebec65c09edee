"""Who plays a step: the first agent of its role, and another in its place while its quota is used up."""

from __future__ import annotations

from typing import Any

import pytest
from core.builders import NOW, RULES, T0, at, broken, end, later, run_of, running, seen, started, tick
from core.builders import task as a_task
from msgspec.structs import replace

from aiframe.core.budget import Spent
from aiframe.core.effects import GoOn
from aiframe.core.events import Resume, StepEnded
from aiframe.core.machine import decide
from aiframe.core.model import FailureKind, Project, Role, Rules, State, TaskStatus, Wait

K, S = FailureKind, State
T1 = a_task("T1", TaskStatus.IN_PROGRESS)
TWO = replace(RULES, agents=dict.fromkeys(Role, ("codex", "claude/opus")))
ONE = replace(RULES, agents=dict.fromkeys(Role, ("codex",)))


def limited(
    project: Project, agent: str, rules: Rules = TWO, *, reset_in: float | None = None, first: str = ""
) -> Project:
    """*project* after *agent*, which plays for *first*, has met its limit."""
    run = replace(run_of(), agent=agent, instead_of=first)
    reset_at = None if reset_in is None else T0 + reset_in
    ending = broken(K.QUOTA, reset_at=reset_at)
    return end(project.evolve(state=S.RUNNING, run=run), ending, T1, a_task("T2"), rules=rules).project


def player(project: Project, rules: Rules = TWO, after_s: float = 0.0, **task: Any) -> tuple[str, str] | None:
    step = started(tick(project, seen(a_task("T1", **task), clock=later(after_s)), rules=rules))
    return (step.agent, step.instead_of) if step is not None else None


def test_the_first_one_plays() -> None:
    assert player(at(S.DEV_READY)) == ("codex", "")


def test_without_settings_nobody_is_named() -> None:
    assert player(at(S.DEV_READY), RULES) == ("", "")


def test_a_used_up_quota_is_no_wait_where_another_can_play() -> None:
    run = replace(run_of(), agent="codex")
    decision = end(running(run=run), broken(K.QUOTA, reset_at=T0 + 4000), T1, a_task("T2"), rules=TWO)
    assert GoOn() in decision.effects
    assert (decision.project.state, decision.project.wait) == (S.DEV_READY, None)
    assert decision.project.attempts == {}
    assert player(decision.project) == ("claude/opus", "codex")


@pytest.mark.parametrize(("after_s", "plays"), [(3999, ("claude/opus", "codex")), (4000, ("codex", ""))], ids=str)
def test_the_first_one_is_back_after_its_reset(after_s: float, plays: tuple[str, str]) -> None:
    assert player(limited(at(S.DEV_READY), "codex", reset_in=4000), after_s=after_s) == plays


@pytest.mark.parametrize(
    ("first_s", "second_s", "wait_s", "next_one"),
    [
        pytest.param(4000, 600, 600, ("claude/opus", "codex"), id="the other one's"),
        pytest.param(600, 4000, 600, ("codex", ""), id="the first one's"),
    ],
)
def test_with_both_used_up_the_earlier_reset_is_waited_for(
    first_s: float, second_s: float, wait_s: float, next_one: tuple[str, str]
) -> None:
    project = limited(at(S.DEV_READY), "codex", reset_in=first_s)
    project = limited(project, "claude/opus", reset_in=second_s, first="codex")
    assert project.wait == Wait(T0, wait_s)
    assert player(project, after_s=wait_s - 1) is None
    assert player(project, after_s=wait_s) == next_one


def test_a_person_may_cut_it_short() -> None:
    project = limited(limited(at(S.DEV_READY), "codex", reset_in=600), "claude/opus", reset_in=600, first="codex")
    after = decide(project, Resume(seen(a_task()), now=True), TWO).project
    assert player(after) == ("codex", "")


def test_a_stand_ins_waits_do_not_lengthen_those_of_the_first() -> None:
    project = limited(limited(at(S.DEV_READY), "codex"), "claude/opus", first="codex")
    assert {name: wait.wait_s for name, wait in project.resting.items()} == {"codex": 900, "claude/opus": 900}
    project = limited(project, "codex")
    assert project.resting["codex"].wait_s == 1800


@pytest.mark.parametrize(("attempts", "rests"), [(1, False), (0, True)], ids=["it worked", "nobody was asked"])
def test_whoever_worked_rests_no_more(attempts: int, rests: bool) -> None:
    run = replace(run_of(), agent="codex")
    project = running(run=run, resting={"codex": Wait(T0, 1)})
    ended = StepEnded(run.run_id, seen(T1), broken(K.VERIFY_FAILED), Spent(attempts=attempts))
    assert bool(decide(project, ended, TWO).project.resting) is rests


def test_the_own_agent_of_a_task_has_no_stand_in() -> None:
    resting = {"gemini": Wait(T0, 100)}
    assert player(at(S.DEV_READY, resting=resting), agent="gemini") is None
    other = tick(at(S.DEV_READY, resting=resting), seen(a_task("T1", agent="gemini"), a_task("T2")), rules=TWO)
    step = started(other)
    assert step is not None
    assert (step.task_id, step.agent) == ("T2", "codex")
    assert player(at(S.DEV_READY, resting=resting), after_s=100, agent="gemini") == ("gemini", "")


def test_one_agent_alone_waits_as_ever() -> None:
    project = limited(at(S.DEV_READY), "codex", ONE, reset_in=4000)
    assert project.wait == Wait(T0, 4000)
    assert player(project, ONE, after_s=3999) is None


def test_an_agent_that_the_settings_no_longer_name_stops_nobody() -> None:
    project = limited(at(S.DEV_READY), "gone", ONE, reset_in=4000)
    assert project.resting == {}
    assert project.wait == Wait(NOW.wall, 4000)
