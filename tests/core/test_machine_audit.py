"""What an audit's failures do to a project: its rejections are counted, and its quota is nobody else's."""

from __future__ import annotations

import pytest
from core.builders import RULES, T0, at, broken, end, later, run_of, running, seen, started, statuses, tick
from core.builders import task as a_task
from msgspec.structs import replace

from aiframe.core.events import Retry
from aiframe.core.machine import decide
from aiframe.core.model import STEP_ROLES, FailureKind, Role, Run, State, TaskStatus

K, S = FailureKind, State
T1 = a_task("T1", TaskStatus.IN_PROGRESS)


@pytest.mark.parametrize(
    ("kinds", "rounds", "fate"),
    [
        pytest.param([K.AUDIT_REJECTED], 1, TaskStatus.FAILED, id="the first of one"),
        pytest.param([K.AUDIT_REJECTED], 2, TaskStatus.TODO, id="the first of two"),
        pytest.param([K.AUDIT_REJECTED, K.AUDIT_REJECTED], 2, TaskStatus.FAILED, id="the second of two"),
        pytest.param([K.VERIFY_FAILED, K.AUDIT_REJECTED], 2, TaskStatus.TODO, id="a failed check is no round"),
        pytest.param([K.AUDIT_REJECTED, K.VERIFY_FAILED], 1 + 1, TaskStatus.TODO, id="nor is one after it"),
    ],
)
def test_rounds(kinds: list[FailureKind], rounds: int, fate: TaskStatus) -> None:
    rules, project = replace(RULES, audit_rounds=rounds, max_attempts=9), at(S.DEV_READY)
    for kind in kinds:
        decision = end(project.evolve(state=S.RUNNING, run=run_of()), broken(kind), T1, rules=rules)
        project = decision.project
    assert statuses(decision.effects) == {"T1": fate}
    assert sum(project.audits.values()) == kinds.count(K.AUDIT_REJECTED)


def test_retry_gives_the_rounds_back() -> None:
    project = end(running(), broken(K.AUDIT_REJECTED), T1).project
    assert sum(project.audits.values()) == 1
    assert decide(project, Retry(seen(T1), "T1"), RULES).project.audits == {}


def test_its_quota_is_waited_for_and_nobody_stands_in() -> None:
    rules = replace(RULES, agents=dict.fromkeys(STEP_ROLES, ("codex", "claude")))
    ending = broken(K.QUOTA, reset_at=T0 + 4000)
    ending = replace(ending, failures=tuple(replace(failure, agent="codex") for failure in ending.failures))
    project = end(running(run=replace(run_of(), agent="codex")), ending, T1, rules=rules).project
    assert (project.resting, project.wait is not None) == ({}, True)
    for after_s, starts in ((3999, False), (4000, True)):
        step = started(tick(project, seen(a_task("T1"), clock=later(after_s)), rules=rules))
        assert (step is not None) is starts


def test_an_audit_is_no_step() -> None:
    run = run_of()
    with pytest.raises(ValueError, match="AUDIT has no step of its own"):
        Run(run.run_id, Role.AUDIT, run.started, run.timeout_s, run.runner)
