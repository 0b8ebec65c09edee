"""Jobs, tasks whose work is commands: one run works off as many as are ready, and says now and then how far it is.

What a job's commands did cannot be undone, nor does aiframe know whether it may be done twice: one that failed is not
tried again until a person says so. One that was cut off is begun anew, for nobody could say how far it came.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile

from msgspec.structs import replace

from aiframe.core.effects import Decision, GoOn, SetStatus
from aiframe.core.events import JobsEnded, JobsWent
from aiframe.core.lanes import Lane, most_urgent_first, roster
from aiframe.core.model import Failure, FailureKind, Project, Rules, Run, State, Task, TaskStatus
from aiframe.core.resources import Capacity
from aiframe.core.scheduling import CLOSED, input_key, is_job, ready_tasks
from aiframe.core.seen import Seen
from aiframe.core.transitions.failures import after_failure
from aiframe.core.transitions.notes import one_more
from aiframe.core.transitions.paths import in_error
from aiframe.core.urgency import Urgency

_KEEPS_TRIES = (FailureKind.CANCELLED, FailureKind.BUDGET)
"""Why jobs are cut off without any fault of theirs."""


_FIRST = 32
"""Where these are enough for all slots, those that come behind them in any order need no look."""


def jobs_to_start(
    tasks: Sequence[Task],
    at_work: Sequence[Lane],
    project: Project,
    rules: Rules,
    urgency: Mapping[str, Urgency] | None = None,
) -> tuple[Lane, ...]:
    """The jobs among *tasks* that may start now beside those *at_work*, the first first.

    A task for an agent comes in its turn: no job that stands behind it starts before. *urgency* as for `roster`.
    """
    busy = {lane.task_id for lane in at_work}
    ready = (task for task in ready_tasks(tasks) if task.id not in busy)
    jobs = list(takewhile(lambda task: task.is_job and _may_try(task, project, rules), ready))
    if urgency is not None and len(jobs) > _FIRST:
        jobs = most_urgent_first(jobs, urgency)
        first = _of(jobs[:_FIRST], tasks, at_work, rules, urgency)
        if len(at_work) + len(first) >= rules.job_slots:
            return first
    return _of(jobs, tasks, at_work, rules, urgency)


def _of(
    jobs: Sequence[Task],
    tasks: Sequence[Task],
    at_work: Sequence[Lane],
    rules: Rules,
    urgency: Mapping[str, Urgency] | None,
) -> tuple[Lane, ...]:
    """Those of *jobs* that may start now."""
    return roster(tasks, at_work, rules.resources, Capacity(rules.job_slots), urgency=urgency, ready=jobs).start


def _may_try(task: Task, project: Project, rules: Rules) -> bool:
    return (
        not project.tries or project.tries.get(input_key(task, project.requests.get(task.id, "")), 0) < rules.max_tries
    )


def on_jobs_went(project: Project, run: Run, event: JobsWent) -> Decision:
    """The run is further by some jobs, and may need more time than it was given at its start."""
    begun = dict.fromkeys(event.begun, TaskStatus.IN_PROGRESS)
    ended = _ended(event.done, event.failed)
    again = tuple(name for name in project.again if name not in event.again)
    timed = replace(run, timeout_s=max(run.timeout_s, event.timeout_s))
    return Decision(_shown(project, ended).evolve(run=timed, again=again), _statuses({**begun, **ended}, event.seen))


def retry_jobs(project: Project, seen: Seen, task_id: str) -> Decision | None:
    """A failed job, or all of them, once more while a run of jobs is at work, which begins them; None for no such."""
    wanted = [t for t in seen.tasks if t.is_job and t.status is TaskStatus.FAILED and task_id in ("", t.id)]
    if project.run is None or not is_job(seen.tasks, project.run.task_id) or not wanted:
        return None
    names = [task.id for task in wanted]
    tries = {key: count for key, count in project.tries.items() if key.partition("@")[0] not in names}
    again = tuple(dict.fromkeys((*project.again, *names)))
    return Decision(project.evolve(tries=tries, again=again), tuple(SetStatus(name, TaskStatus.TODO) for name in names))


def on_jobs_ended(project: Project, run: Run, seen: Seen, ending: JobsEnded, rules: Rules) -> Decision:
    """The run is over, and *project* without it: how it goes on from there."""
    # Those that a person wants once more and that were not begun yet are to do.
    ending = replace(ending, failed={name: why for name, why in ending.failed.items() if name not in project.again})
    ended = _ended(ending.done, ending.failed)
    project = _shown(project, ended).evolve(again=())
    if not seen.tasks:  # the plan's file is being written anew, or was lost: it is told when it is back
        by_key = {ending.keys[name]: status for name, status in ended.items() if name in ending.keys}
        project = project.evolve(ended={**project.ended, **by_key})
    if ended:
        project = project.evolve(streaks={}, last_error="", failure=None)
    statuses = _statuses({**dict.fromkeys(ending.cut, TaskStatus.TODO), **ended}, seen)
    if ending.failure is not None:
        if ending.failure.kind not in _KEEPS_TRIES:
            project = _tried(project, ending.cut, seen)
        after = after_failure(project.evolve(failure=ending.failure), run, seen, ending.failure, rules)
        return Decision(after.project, (*statuses, *after.effects))
    if ending.failed and not rules.continue_on_task_failure:
        failure = _failure(ending.failed)
        return Decision(in_error(project.evolve(failure=failure), failure, State.DEV_READY), statuses)
    last_error = "; ".join(f"job {name} failed: {why}" for name, why in ending.failed.items())
    return Decision(project.evolve(state=State.DEV_READY, last_error=last_error), (*statuses, GoOn()))


def tell_ended(project: Project, seen: Seen) -> Decision | None:
    """Have TASKS.yaml say how jobs have ended while it was gone, where they stand there as they were; None for none."""
    if not (project.ended and seen.tasks):
        return None
    known = ((task.id, project.ended.get(input_key(task))) for task in seen.tasks)
    wanted = {name: status for name, status in known if status is not None}
    return Decision(project.evolve(ended={}), _statuses(wanted, seen))


def _failure(failed: Mapping[str, str]) -> Failure:
    """What the person is told of the jobs that have *failed*."""
    said = "; ".join(f"job {name} failed: {why}" for name, why in failed.items())
    return Failure(FailureKind.VERIFY_FAILED, said, f"read `aiframe logs`, then `aiframe retry {next(iter(failed))}`")


def _ended(done: Iterable[str], failed: Iterable[str]) -> dict[str, TaskStatus]:
    return {**dict.fromkeys(done, TaskStatus.DONE), **dict.fromkeys(failed, TaskStatus.FAILED)}


def _statuses(wanted: Mapping[str, TaskStatus], seen: Seen) -> tuple[SetStatus, ...]:
    """The status lines to write; a person's word about a task that is over or gone by now goes before."""
    current = {task.id: task.status for task in seen.tasks}
    return tuple(
        SetStatus(name, status)
        for name, status in wanted.items()
        if name in current and current[name] is not status and current[name] not in CLOSED
    )


def _shown(project: Project, ended: Iterable[str]) -> Project:
    shown = dict(project.shown)
    for name in ended:
        shown[name] = shown.get(name, 0) + 1
    return project.evolve(shown=shown)


def _tried(project: Project, cut: Iterable[str], seen: Seen) -> Project:
    """Count those *cut* off: one that ends its runner each time is not begun for ever."""
    tasks = {task.id: task for task in seen.tasks}
    tries = project.tries
    for name in cut:
        if name in tasks:
            tries = one_more(tries, input_key(tasks[name], project.requests.get(name, "")))
    return project.evolve(tries=tries)
