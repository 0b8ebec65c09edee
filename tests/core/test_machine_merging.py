"""Work that does not go together with what landed meanwhile: once back to its agent, then to a person."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from core.builders import RULES, broken, end, finished, run_of, running, seen, started, statuses, tick
from core.builders import task as a_task
from msgspec.structs import replace

from aiframe.core.effects import GoOn
from aiframe.core.events import Broken, Finished, Pause, Resume, Retry
from aiframe.core.explain import explain
from aiframe.core.machine import decide
from aiframe.core.model import FailureKind, Project, Role, State, TaskStatus

K, S = FailureKind, State
T1, T2 = a_task("T1", TaskStatus.IN_PROGRESS), a_task("T2")


def fails(*causes: str, kind: FailureKind = K.MERGE_FAILED) -> Broken:
    tree = "-".join(causes) if kind is K.MERGE_FAILED else ""
    return broken(kind, causes=causes, findings="what to mend", tree=tree)


def after(*endings: Broken | Finished) -> Project:
    """T1 after attempts that ended so, one after the other."""
    project = running()
    for ending in endings:
        project = end(project.evolve(state=S.RUNNING, run=run_of()), ending).project
    return project


@pytest.mark.parametrize(
    ("endings", "state"),
    [
        pytest.param([fails("conflict in a")], S.DEV_READY, id="the first conflict"),
        pytest.param([fails("conflict in a"), fails("conflict in a")], S.PAUSED, id="the same file again"),
        pytest.param([fails("conflict in a"), fails("conflict in b")], S.DEV_READY, id="another file"),
        pytest.param([fails("in a", "in b"), fails("in b")], S.PAUSED, id="one of them again"),
        pytest.param([fails("doctor"), fails("doctor")], S.PAUSED, id="the doctor twice"),
        pytest.param([fails("doctor"), fails("doctor", kind=K.VERIFY_FAILED)], S.PAUSED, id="and red without a merge"),
        pytest.param([fails("doctor"), fails("verify-1", kind=K.VERIFY_FAILED)], S.DEV_READY, id="another check"),
        pytest.param([fails("doctor", kind=K.VERIFY_FAILED)] * 2, S.DEV_READY, id="never merged"),
        pytest.param([fails("a"), fails("b"), fails("c")], S.DEV_READY, id="as many causes as attempts"),
        pytest.param([fails("a"), fails("b"), fails("c"), fails("d")], S.PAUSED, id="and no more"),
        pytest.param([fails("doctor"), finished(), fails("doctor")], S.DEV_READY, id="it landed in between"),
        pytest.param([broken(K.MERGE_FAILED)] * 2, S.PAUSED, id="without a name"),
    ],
)  # fmt: skip
def test_once_for_each_cause(endings: Sequence[Broken | Finished], state: State) -> None:
    assert after(*endings).state is state


def test_it_goes_back_at_once_and_costs_no_attempt() -> None:
    decision = end(running(), fails("doctor"))
    assert statuses(decision.effects) == {"T1": TaskStatus.TODO}
    assert GoOn() in decision.effects
    project = decision.project
    assert not project.attempts
    assert project.shown == {"T1": 1}
    assert project.findings == {"T1": "what to mend"}
    step = started(tick(project, seen(a_task("T1"), T2)))
    assert step is not None
    assert (step.task_id, step.attempt) == ("T1", 2)


def test_a_person_is_told_and_can_give_it_back() -> None:
    project = after(fails("doctor"), fails("doctor"))
    look = seen(a_task("T1"), T2)
    said = explain(project, look, RULES)
    assert "T1 does not go together with what landed meanwhile" in said.headline
    assert "aiframe retry T1" in said.cures[0]
    assert started(tick(project, look)) is None
    for word in (Retry(look, "T1"), Resume(look)):
        again = decide(project, word, RULES).project
        step = started(tick(again, look))
        assert step is not None
        assert step.task_id == "T1"
        assert end(again.evolve(state=S.RUNNING, run=run_of()), fails("doctor")).project.state is S.DEV_READY


def test_others_go_on_where_the_person_said_so() -> None:
    rules = replace(RULES, continue_on_task_failure=True)
    project = after(fails("doctor"))
    decision = end(project.evolve(state=S.RUNNING, run=run_of()), fails("doctor"), rules=rules)
    assert decision.project.state is S.DEV_READY
    assert statuses(decision.effects) == {"T1": TaskStatus.BLOCKED}
    assert GoOn() in decision.effects


def test_a_pause_on_the_way_is_no_word_about_the_work() -> None:
    project = decide(after(fails("doctor")), Pause(), RULES).project
    assert "on request" in explain(project, seen(T1), RULES).headline


def test_retry_forgets_what_it_was_sent_back_for() -> None:
    project = decide(after(fails("doctor")), Retry(seen(T1), "T1"), RULES).project
    assert not project.returned


def test_a_step_of_another_role_just_comes_again() -> None:
    assert end(running(Role.PO), fails("doctor")).project.state is S.SPEC_READY
