"""Work that a person does by hand: handed over, waited for, handed in, given back, and taken away."""

from __future__ import annotations

import pytest
from core.builders import RULES, at, broken, end, finished, run_of, running, seen, started, task, tick
from msgspec.structs import replace

from aiframe.core.events import Event, Handed, HandSet, Held, Replan, Resume, Retry, RunStarted, WorkDone
from aiframe.core.machine import Refused, decide
from aiframe.core.model import Failure, FailureKind, HandedWork, Project, Role, State, TaskStatus

S, K = State, FailureKind
ASKED = Handed("notes/prompt.md", "/work")
FOUND = Handed("notes/prompt.md", "/work", Failure(K.VERIFY_FAILED, "make check failed"), "two of three")
WORK = HandedWork(Role.DEV, "T1", "notes/prompt.md", "/work")
DONE = replace(WORK, done=True)
BUSY = task("T1", TaskStatus.IN_PROGRESS)


def in_hand(work: HandedWork = WORK, state: State = S.WORK_WAITING, **more: object) -> Project:
    """A project whose T1 is with a person."""
    return at(state, handed=work, **more)


@pytest.mark.parametrize("interactive", [True, False], ids=["attended", "unattended"])
def test_handed_over_it_waits_and_nothing_else_starts(interactive: bool) -> None:
    project = end(running(interactive_mode=interactive), ASKED, BUSY, task("T2")).project
    assert (project.state, project.handed, project.failure) == (S.WORK_WAITING, WORK, None)
    assert tick(project, seen(BUSY, task("T2"))) == tick(project, seen(BUSY)), "another task changes nothing"
    assert started(tick(project, seen(BUSY, task("T2")))) is None


@pytest.mark.parametrize("role", [Role.INTAKE, Role.PO, Role.DEV, Role.DIAGNOSE])
def test_handed_in_its_own_step_comes_next(role: Role) -> None:
    task_id = "T1" if role is Role.DEV else ""
    project = in_hand(HandedWork(role, task_id, "p", "w"), resume_state=S.DEV_READY)
    after = decide(project, WorkDone(seen(BUSY)), RULES).project
    step = started(tick(after, seen(task("T0"), BUSY) if role is Role.DEV else seen()))
    assert step is not None
    assert (step.role, step.task_id) == (role, task_id)
    assert after.handed is not None
    assert after.handed.done


def test_it_comes_before_other_tasks_and_after_any_number_of_tries() -> None:
    project = in_hand(DONE, S.DEV_READY, attempts={run_of().input_key: RULES.max_attempts})
    step = started(tick(project, seen(task("T0", priority="high"), BUSY)))
    assert step is not None
    assert step.task_id == "T1"


def test_what_was_found_goes_back_and_costs_no_attempt() -> None:
    project = running(handed=DONE)
    for number in range(1, 9):
        after = end(project, FOUND).project
        assert (after.state, after.handed, after.attempts) == (S.WORK_WAITING, WORK, {})
        assert (after.findings["T1"], after.last_error) == ("two of three", "make check failed")
        assert after.shown["T1"] == number
        project = after.evolve(state=S.RUNNING, run=project.run, handed=DONE)


@pytest.mark.parametrize(
    ("ending", "left"),
    [
        pytest.param(finished(), None, id="passed"),
        pytest.param(Held("too much", (), "tree", "ref"), None, id="held"),
        pytest.param(broken(K.CANCELLED), DONE, id="stopped: it is still handed in"),
        pytest.param(broken(K.SETUP), DONE, id="the checks cannot run"),
        pytest.param(broken(K.TRANSIENT), DONE, id="git was busy"),
    ],
)
def test_what_is_left_in_hand(ending: object, left: HandedWork | None) -> None:
    assert end(running(handed=DONE), ending).project.handed == left  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("event", "state"),
    [
        pytest.param(Retry(seen(BUSY), "T1"), S.DEV_READY, id="retry: an agent may have it"),
        pytest.param(Replan(), S.SPEC_READY, id="replan"),
    ],
)
def test_taken_out_of_hand(event: Event, state: State) -> None:
    after = decide(in_hand(), event, RULES).project
    assert (after.state, after.handed) == (state, None)


def test_another_step_takes_it_out_of_hand() -> None:
    project = in_hand(state=S.DEV_READY)
    other = decide(project, RunStarted(run_of(task_=task("T2"))), RULES).project
    same = decide(project, RunStarted(run_of()), RULES).project
    assert (other.handed, same.handed) == (None, WORK)


@pytest.mark.parametrize(
    ("status", "waits"),
    [(status, status in (TaskStatus.TODO, TaskStatus.IN_PROGRESS)) for status in TaskStatus],
    ids=[str(status) for status in TaskStatus],
)
def test_a_task_that_a_person_closes_is_not_waited_for(status: TaskStatus, waits: bool) -> None:
    after = tick(in_hand(), seen(task("T1", status), task("T2"))).project
    assert (after.state is S.WORK_WAITING) is waits
    assert (after.handed is not None) is waits


@pytest.mark.parametrize(
    ("project", "named"),
    [
        pytest.param(in_hand(), "T2", id="another task"),
        pytest.param(in_hand(state=S.PAUSED, paused_from=S.WORK_WAITING), "", id="paused"),
        pytest.param(in_hand(DONE, S.DEV_READY), "", id="twice"),
        pytest.param(at(S.DEV_READY), "", id="nothing in hand"),
        pytest.param(running(), "", id="a step runs"),
    ],
)
def test_handing_in_what_is_not_in_hand_is_refused(project: Project, named: str) -> None:
    with pytest.raises(Refused):
        decide(project, WorkDone(seen(BUSY), named), RULES)


def test_a_pause_comes_back_to_it_and_a_state_by_hand_needs_none() -> None:
    paused = in_hand(state=S.PAUSED, paused_from=S.WORK_WAITING)
    assert decide(paused, Resume(seen(BUSY)), RULES).project == in_hand()
    by_hand = decide(at(S.DEV_READY), HandSet(seen(BUSY), S.WORK_WAITING), RULES).project
    step = started(tick(by_hand, seen(BUSY)))
    assert step is not None
    assert step.task_id == "T1"
