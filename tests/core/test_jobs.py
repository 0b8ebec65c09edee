"""Jobs: which commands may start, what their ends lead to, and that none is forgotten or begun again without need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from core.builders import RULES, at, later, run_of, running, seen
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from aiframe.core.claims import claims_of, collide
from aiframe.core.effects import GoOn, SetStatus, StartStep
from aiframe.core.events import Ending, JobsEnded, JobsWent, StepEnded, Tick
from aiframe.core.lanes import Lane
from aiframe.core.machine import decide
from aiframe.core.model import CommandStep, Failure, FailureKind, Priority, Project, Rules, State, Task, TaskStatus
from aiframe.core.resources import Capacity, Resource
from aiframe.core.scheduling import input_key
from aiframe.core.transitions.jobs import jobs_to_start

S, K, TS = State, FailureKind, TaskStatus
RESOURCES = {"db": Resource("db", slots=1), "port": Resource("port", values=("9000", "9001"))}
TWO = replace(RULES, job_slots=2, resources=RESOURCES)


def job(name: str, *writes: str, **more: Any) -> Task:
    return Task(name, name, steps=(CommandStep("make"),), writes=writes, **more)


def for_agent(name: str, **more: Any) -> Task:
    return Task(name, name, verify=("make check",), **more)


# What starts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tasks", "at_work", "starts"),
    [
        pytest.param([job("A"), job("B"), job("C")], [], ["A", "B"], id="as many as there are slots"),
        pytest.param([job("A"), job("B"), job("C")], ["A"], ["B"], id="beside one at work"),
        pytest.param([job("A", "db"), job("B", "db"), job("C")], [], ["A", "C"], id="a lock is taken"),
        pytest.param([job("A"), for_agent("B"), job("C")], [], ["A"], id="an agent's task comes in its turn"),
        pytest.param([for_agent("A"), job("B")], [], [], id="an agent's task is first"),
        pytest.param([job("A"), job("B", blocked_by=("A",))], [], ["A"], id="one waits for the other"),
        pytest.param([job("A"), job("B", priority=Priority.HIGH), job("C")], ["C"], ["B"], id="by priority"),
        pytest.param([for_agent("A", blocked_by=("B",)), job("B")], [], ["B"], id="an agent's task that waits"),
        pytest.param([job("A", status=TS.FAILED), job("B", status=TS.DONE)], [], [], id="all over"),
        pytest.param([job("A", status=TS.IN_PROGRESS)], [], ["A"], id="left by a run that died"),
    ],
)
def test_starts(tasks: Sequence[Task], at_work: Sequence[str], starts: list[str]) -> None:
    lanes = [lane(each) for each in tasks if each.id in at_work]
    assert [each.task_id for each in jobs_to_start(tasks, lanes, Project(), TWO)] == starts


def lane(of: Task) -> Lane:
    return Lane(of.id, "", claims_of(of, RESOURCES))


def test_values() -> None:
    first, second = jobs_to_start([job("A", "port"), job("B", "port")], [], Project(), TWO)
    assert (first.values, second.values) == ({"port": "9000"}, {"port": "9001"})


def test_one_that_was_cut_off_too_often_ends_the_row() -> None:
    cut = Project(tries={input_key(job("A")): RULES.max_tries})
    assert jobs_to_start([job("A"), job("B")], [], cut, TWO) == ()


@pytest.mark.parametrize("slots", [1, 4])
def test_a_tick_starts_a_run_of_jobs_without_any_agent(slots: int) -> None:
    rules = replace(RULES, job_slots=slots, capacity=Capacity(1))
    decision = decide(at(S.DEV_READY), Tick(seen(job("A", max_duration_min=2), job("B"))), rules)
    (step,) = (effect for effect in decision.effects if isinstance(effect, StartStep))
    assert (step.task_id, step.agent, step.timeout_s) == ("A", "", 120)


# While they are at work -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "went", "statuses"),
    [
        pytest.param(TS.TODO, {"begun": ("A",)}, [("A", TS.IN_PROGRESS)], id="begun"),
        pytest.param(TS.IN_PROGRESS, {"done": ("A",)}, [("A", TS.DONE)], id="done"),
        pytest.param(TS.IN_PROGRESS, {"failed": ("A",)}, [("A", TS.FAILED)], id="failed"),
        pytest.param(TS.TODO, {"begun": ("A",), "done": ("A",)}, [("A", TS.DONE)], id="begun and done at once"),
        pytest.param(TS.CANCELLED, {"done": ("A",)}, [], id="a person has cancelled it"),
        pytest.param(TS.TODO, {"begun": ("gone",)}, [], id="it is not in the plan any more"),
    ],
)
def test_went(before: TaskStatus, went: dict[str, tuple[str, ...]], statuses: list[tuple[str, TaskStatus]]) -> None:
    event = JobsWent("run-1", seen(job("A", status=before)), 60, **went)
    decision = decide(running(), event, RULES)
    assert [(each.task_id, each.status) for each in decision.effects if isinstance(each, SetStatus)] == statuses
    assert decision.project.state is S.RUNNING


@pytest.mark.parametrize(("wanted", "timeout"), [(60.0, 1800.0), (5000.0, 5000.0)], ids=["enough", "more"])
def test_a_run_gets_the_time_that_its_jobs_need(wanted: float, timeout: float) -> None:
    after = decide(running(), JobsWent("run-1", seen(job("A")), wanted), RULES).project
    assert after.run is not None
    assert after.run.timeout_s == timeout


def test_words_of_another_run_change_nothing() -> None:
    project = running()
    assert decide(project, JobsWent("run-0", seen(job("A")), 9999, done=("A",)), RULES).project == project


# Their end ------------------------------------------------------------------------------------------------------------

GOES_ON = replace(RULES, continue_on_task_failure=True)
CUT_BY_PERSON = Failure(K.CANCELLED, "stopped")
DIED = Failure(K.INTERRUPTED, "the runner died")


@pytest.mark.parametrize(
    ("ending", "rules", "state", "statuses", "goes_on"),
    [
        pytest.param(JobsEnded(("A", "B")), RULES, S.DEV_READY, {"A": TS.DONE, "B": TS.DONE}, True, id="done"),
        pytest.param(JobsEnded(("A",), {"B": "x"}), RULES, S.ERROR, {"A": TS.DONE, "B": TS.FAILED}, False, id="failed"),
        pytest.param(
            JobsEnded(("A",), {"B": "x"}), GOES_ON, S.DEV_READY, {"A": TS.DONE, "B": TS.FAILED}, True, id="goes on"
        ),
        pytest.param(
            JobsEnded(("A",), {}, ("B",), CUT_BY_PERSON), RULES, S.PAUSED, {"A": TS.DONE, "B": TS.TODO}, False,
            id="stopped",
        ),
        pytest.param(
            JobsEnded(("A",), {}, ("B",), DIED), RULES, S.DEV_READY, {"A": TS.DONE, "B": TS.TODO}, False, id="died"
        ),
        pytest.param(
            JobsEnded((), {}, ("A",), Failure(K.SETUP, "no sandbox")), RULES, S.ERROR, {"A": TS.TODO}, False,
            id="set up wrong",
        ),
    ],
)  # fmt: skip
def test_end(ending: Ending, rules: Rules, state: State, statuses: dict[str, TaskStatus], goes_on: bool) -> None:
    tasks = (job("A", status=TS.IN_PROGRESS), job("B", status=TS.IN_PROGRESS))
    decision = decide(running(run=run_of(task_=tasks[0])), StepEnded("run-1", seen(*tasks), ending), rules)
    found = {each.task_id: each.status for each in decision.effects if isinstance(each, SetStatus)}
    assert (decision.project.state, found) == (state, statuses)
    assert any(isinstance(effect, GoOn) for effect in decision.effects) == goes_on


def test_a_failed_job_says_what_failed_and_how_to_try_it_again() -> None:
    ended = StepEnded("run-1", seen(job("A")), JobsEnded((), {"A": "step 1 of 1, `make`, failed with exit code 2"}))
    failure = decide(running(), ended, RULES).project.failure
    assert failure is not None
    assert (failure.message, failure.hint) == (
        "job A failed: step 1 of 1, `make`, failed with exit code 2",
        "read `aiframe logs`, then `aiframe retry A`",
    )


def test_a_job_that_ends_its_runner_each_time_is_not_begun_for_ever() -> None:
    project = at(S.DEV_READY)
    for number in range(RULES.interrupted_limit):
        assert project.state is S.DEV_READY
        run = run_of(task_=job("A"), run_id=f"run-{number}")
        project = project.evolve(state=S.RUNNING, run=run)
        ended = StepEnded(run.run_id, seen(job("A")), JobsEnded((), {}, ("A",), DIED))
        project = decide(project, ended, RULES).project
    assert project.state is S.ERROR


def test_a_pause_that_was_asked_for_meanwhile_comes_at_the_end() -> None:
    project = running(pause_requested=True)
    ended = StepEnded("run-1", seen(job("A")), JobsEnded(("A",)))
    assert decide(project, ended, RULES).project.state is S.PAUSED


# Any plan, any order --------------------------------------------------------------------------------------------------


@st.composite
def plans(draw: st.DrawFn) -> list[Task]:
    names = [f"J{number}" for number in range(draw(st.integers(1, 7)))]
    return [
        job(
            name,
            *draw(st.lists(st.sampled_from(["db", "port", "out/**"]), unique=True, max_size=2)),
            blocked_by=tuple(
                draw(st.lists(st.sampled_from(names[:number]), unique=True, max_size=2)) if number else ()
            ),
            priority=draw(st.sampled_from(Priority)),
        )
        for number, name in enumerate(names)
    ]


@settings(max_examples=150)
@given(plans(), st.integers(1, 3), st.lists(st.tuples(st.integers(0, 6), st.booleans()), max_size=40))
def test_every_job_is_done_once_and_none_gets_in_anothers_way(
    plan: list[Task], slots: int, moves: list[tuple[int, bool]]
) -> None:
    """Jobs end in any order, and runners die in between: what had ended stays so, and the rest is begun again."""
    rules = replace(RULES, job_slots=slots, resources=RESOURCES, interrupted_limit=1000, max_tries=1000)
    project, status, completed = at(S.DEV_READY, interactive_mode=False), {each.id: TS.TODO for each in plan}, []
    chance = iter(moves)
    for number in range(80):
        tasks = [replace(each, status=status[each.id]) for each in plan]
        decision = decide(project, Tick(seen(*tasks, clock=later(number))), rules)
        steps = [effect for effect in decision.effects if isinstance(effect, StartStep)]
        if not steps:
            project = decision.project
            break
        run = run_of(task_=next(each for each in plan if each.id == steps[0].task_id), run_id=f"run-{number}")
        project = decision.project.evolve(state=S.RUNNING, run=run, wait=None)
        at_work, done, died = list[Lane](), list[str](), False
        while not died:
            by_now = [replace(each, status=TS.DONE) if each.id in done else each for each in tasks]
            at_work += jobs_to_start(by_now, at_work, project, rules)
            assert len(at_work) <= slots
            assert not any(
                collide(one, other, RESOURCES)
                for place, first in enumerate(at_work) for second in at_work[place + 1 :]
                for one in first.claims for other in second.claims
            )  # fmt: skip
            if not at_work:
                break
            which, died = next(chance, (0, False))
            if not died:
                done.append(at_work.pop(which % len(at_work)).task_id)
        completed += done
        ending = JobsEnded(tuple(done), {}, tuple(each.task_id for each in at_work), DIED if died else None)
        after = decide(project, StepEnded(run.run_id, seen(*tasks, clock=later(number)), ending), rules)
        project = after.project
        status |= {effect.task_id: effect.status for effect in after.effects if isinstance(effect, SetStatus)}
    assert project.state is S.DONE
    assert sorted(completed) == sorted(each.id for each in plan)
