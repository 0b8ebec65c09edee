"""Events as the journal tells them: one line for each thing that happened, with the original's fields and more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from aiframe.core.budget import Spent
from aiframe.core.effects import CloseLane, OpenLane, ParkLane
from aiframe.core.events import Broken, Ending, Event, Finished, Handed, Held, JobsEnded, RunLost, RunStarted, StepEnded
from aiframe.core.model import FailureKind, Project, Run, Task, TaskStatus

Line: TypeAlias = dict[str, Any]

_OF_LANES = {OpenLane: "lane_opened", ParkLane: "lane_parked", CloseLane: "lane_closed"}
KINDS = ("step_started", "step_ended", "state_changed", "noted", *_OF_LANES.values())
"""What the journal may tell."""


def tell(event: Event, before: Project, after: Project, tasks: Sequence[Task], wall: float) -> dict[str, Any] | None:
    """The journal's line for *event*; None when nothing worth telling happened. *wall* is seconds since the epoch."""
    match event:
        case RunStarted(run):
            return _line("step_started", run, before, after, tasks, wall)
        case StepEnded() | RunLost() if before.run is not None and after.run is None:
            return _line("step_ended", before.run, before, after, tasks, wall) | _ending(event, after)
        case _ if before.state != after.state:
            line = _line("state_changed", None, before, after, tasks, wall)
            line["cause"] = type(event).__name__
            return line
        case _:
            return None


def _ending(event: StepEnded | RunLost, after: Project) -> Line:
    """How the step has ended, and what is to be said of it."""
    ending = event.ending if isinstance(event, StepEnded) else None
    broken = ending is None or isinstance(ending, Broken)
    line = _spent(event.spent)
    if isinstance(ending, JobsEnded):
        broken = ending.failure is not None
        line |= _of_jobs(ending, after)
    line["exit_code"] = 1 if broken or _has_failed_jobs(event) else 0
    line["outcome"] = after.failure.kind.value if broken and after.failure else _outcome(event)
    return line | ({"message": after.failure.message} if broken and after.failure else _said(ending))


def _said(ending: Ending | None) -> Line:
    """Why work is held or in a person's hands, or the commit that was kept of it."""
    match ending:
        case Held(reason=reason):
            return {"message": reason}
        case Handed(failure=failure, prompt=prompt):
            return {"message": failure.message if failure else prompt}
        case Finished(commit=commit) if commit:
            return {"commit": commit}
        case _:
            return {}


def tell_lane(effect: OpenLane | ParkLane | CloseLane, project: Project, tasks: Sequence[Task], wall: float) -> Line:
    """The journal's line for a task that begins to be worked at beside others, that rests, or that is over."""
    line = _line(_OF_LANES[type(effect)], None, project, project, tasks, wall)
    line |= {"key": f"g{project.generation + 1}:{line['kind']}:{effect.task_id}", "task": effect.task_id}
    if isinstance(effect, OpenLane):
        line |= {"agent": effect.agent, "values": dict(effect.values)}
    return line


def _of_jobs(ending: JobsEnded, after: Project) -> Line:
    """How the jobs of a run have ended: each with its seconds, and which try it was."""
    bad = FailureKind.VERIFY_FAILED.value
    jobs = [
        {
            "task": name,
            "attempt": after.shown.get(name, 0),
            "seconds": took,
            "outcome": bad if name in ending.failed else "ok",
        }
        for name, took in ending.took.items()
    ]
    told: Line = {"jobs": jobs, "jobs_cut": list(ending.cut)}
    if ending.failed:
        told["message"] = "; ".join(f"job {name} failed: {why}" for name, why in ending.failed.items())
    return told


def _has_failed_jobs(event: Event) -> bool:
    return isinstance(event, StepEnded) and isinstance(event.ending, JobsEnded) and bool(event.ending.failed)


def _outcome(event: Event) -> str:
    """How a step ended that did not break off, in a word."""
    ending = event.ending if isinstance(event, StepEnded) else None
    if isinstance(ending, Handed):
        return ending.failure.kind.value if ending.failure else "handed"
    if _has_failed_jobs(event):
        return FailureKind.VERIFY_FAILED.value
    return "held" if isinstance(ending, Held) else "ok"


def _line(
    kind: str, run: Run | None, before: Project, after: Project, tasks: Sequence[Task], wall: float
) -> dict[str, Any]:
    run_id = run.run_id if run else ""
    line: dict[str, Any] = {
        "ts": round(wall, 3),
        "kind": kind,
        "key": f"{run_id}:{kind}" if run else f"g{before.generation + 1}:{before.state}>{after.state}",
        "run_id": run_id,
        "role": run.role.value if run else "",
        "state_before": str(before.state),
        "state_after": str(after.state),
        "exit_code": None,
        "tasks_done": sum(task.status is TaskStatus.DONE for task in tasks),
        "tasks_total": len(tasks),
        "log_file": log_file(run_id) if run else "",
    }
    if run and run.task_id:
        line |= {"task": run.task_id, "attempt": run.attempt}
    if run and run.agent:
        line |= {"agent": run.agent}
    if run and run.instead_of:
        line |= {"instead_of": run.instead_of}
    return line


def _spent(spent: Spent) -> dict[str, Any]:
    """What a step has spent; what its agent did not tell is null, unless no agent was there."""
    used = bool(spent.attempts)
    return {
        "tokens": spent.tokens if spent.tokens or not used else None,
        "cost_usd": None if used and spent.unpriced else spent.cost_usd,
        "wall_s": spent.wall_s,
    }


def tell_note(run: Run, number: int, note: str, wall: float) -> dict[str, Any]:
    """The journal's line for something that a step had put back or refused."""
    return {
        "ts": round(wall, 3),
        "kind": "noted",
        "key": f"{run.run_id}:noted:{number}",
        "run_id": run.run_id,
        "role": run.role.value,
        "message": note,
    }


def tell_word(project: Project, message: str, wall: float) -> Line:
    """The journal's line for something that was put back, or found, beside all steps of *project*."""
    key = f"g{project.generation + 1}:noted"
    return {"ts": round(wall, 3), "kind": "noted", "key": key, "run_id": "", "role": "", "message": message}


def tell_of_task(task_id: str, key: str, message: str, wall: float) -> Line:
    """The journal's line for something about a task that no step of the project itself has met."""
    line = {"ts": round(wall, 3), "kind": "noted", "key": key, "run_id": "", "role": ""}
    return {**line, "task": task_id, "message": message}


def log_file(run_id: str) -> str:
    """The step's readable log, relative to the project."""
    return f"logs/tick-{run_id}.log"
