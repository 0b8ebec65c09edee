"""What was tried, and what came of it: every run of a project, put together from its journal, its results and git.

Reads only, and never fails over a file: one that is torn or foreign is named among the problems, and the rest counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress

from msgspec import Struct
from msgspec.structs import replace

from aiframe.app.project.lanes import lane_places
from aiframe.app.project.site import open_site
from aiframe.app.reports.attempt import DONE, RUNNING, UNKNOWN, Attempt
from aiframe.app.reports.results import Results
from aiframe.core.errors import AiframeError
from aiframe.core.problem import Problem
from aiframe.store.control import read_control
from aiframe.store.journal import Event, read_events
from aiframe.store.layout import Layout
from aiframe.workspaces.commits import commits_by_run
from aiframe.workspaces.git import Repository


class History(Struct, frozen=True):
    """The attempts, the oldest first, and the files that could not be used."""

    attempts: tuple[Attempt, ...]
    problems: tuple[Problem, ...] = ()


def read_history(
    layout: Layout, environ: Mapping[str, str], *, task: str = "", tail: int | None = None, lanes: bool = True
) -> History:
    """Every run of the project, with *lanes* of these too, or those of *task*; of these the last *tail*.

    Only what is shown is read whole.
    """
    problems: list[Problem] = []
    commits = _commits(layout, environ)
    found = list(_of_one(layout, commits, task, tail, problems))
    known = {each.run_id for each in found}
    for place in lane_places(layout.root) if lanes else ():
        # One that is being put away may have handed its runs over already.
        found += [each for each in _of_one(Layout(place), commits, task, tail, problems) if each.run_id not in known]
    found.sort(key=_when)
    return History(tuple(found if tail is None else found[len(found) - min(tail, len(found)) :]), tuple(problems))


def _of_one(
    layout: Layout, commits: Mapping[str, str], task: str, tail: int | None, problems: list[Problem]
) -> Iterator[Attempt]:
    """The runs that lie in one folder."""
    with Results(layout, problems) as runs:
        known = _from_journal(layout, problems)
        told = {each.run_id for each in known.values()}
        for run_id in runs.names():
            if run_id not in told:  # the journal was lost, or is older than the run
                found = runs.completed(Attempt(run_id))
                if found is not None:
                    known[run_id] = found
        wanted = sorted((each for each in known.values() if not task or each.task == task), key=_when)
        shown = wanted if tail is None else wanted[len(wanted) - min(tail, len(wanted)) :]
        current = _current_run(layout)
        for each in shown:
            yield _settled((None if each.job else runs.completed(each)) or each, commits, current)


def _when(attempt: Attempt) -> float:
    return attempt.started or 0.0


def _settled(attempt: Attempt, commits: Mapping[str, str], current: str) -> Attempt:
    """*attempt* with what neither journal nor result tells: its commit, and whether it is under way."""
    if attempt.outcome == UNKNOWN and attempt.run_id == current:
        attempt = replace(attempt, outcome=RUNNING)
    if not attempt.commit and attempt.run_id in commits:
        attempt = replace(attempt, commit=commits[attempt.run_id])
    return attempt


def _commits(layout: Layout, environ: Mapping[str, str]) -> Mapping[str, str]:
    """The commits of runs, where the work of the project lands: in its own repository, or in a person's."""
    with suppress(AiframeError):
        site = open_site(layout.root, environ)
        if site.settings.workspace.kind != "inplace":
            from aiframe.app.attempts.origin import find_landed

            return commits_by_run(*find_landed(site))
    with suppress(AiframeError):
        return commits_by_run(Repository(layout.root))
    return {}


def _current_run(layout: Layout) -> str:
    with suppress(AiframeError):
        record = read_control(layout)
        if record is not None and record.project.run is not None:
            return record.project.run.run_id
    return ""


# The journal ----------------------------------------------------------------------------------------------------------


def _from_journal(layout: Layout, problems: list[Problem]) -> dict[str, Attempt]:
    """What the journal alone tells, in its order. A run of jobs counts as each of those that ended in it."""
    known: dict[str, Attempt] = {}
    try:
        for event in read_events(layout):
            run_id, kind = event.get("run_id"), event.get("kind")
            if not isinstance(run_id, str) or not run_id:
                continue
            if kind == "step_started":
                known[run_id] = _begun(event, run_id)
            elif kind == "step_ended":
                begun = known.pop(run_id) if run_id in known else _begun({**event, "ts": None}, run_id)
                run = _ended(begun, event)
                jobs = _jobs(run, event)
                known |= {f"{run_id} {job.task}": job for job in jobs} or {run_id: run}
    except AiframeError as error:
        problems.append(Problem(layout.events, error.message, hint=error.hint))
    return known


def _begun(event: Event, run_id: str) -> Attempt:
    number = event.get("attempt")
    return Attempt(
        run_id,
        role=_text(event.get("role")),
        task=_text(event.get("task")),
        attempt=number if isinstance(number, int) else 0,
        started=_number(event.get("ts")),
    )


def _ended(attempt: Attempt, event: Event) -> Attempt:
    outcome, at = _text(event.get("outcome")), _number(event.get("ts"))
    took = None if at is None or attempt.started is None else max(0.0, at - attempt.started)
    return replace(
        attempt,
        outcome=DONE if outcome == "ok" else outcome or UNKNOWN,
        message=_text(event.get("message")),
        commit=_text(event.get("commit")),
        seconds=took,
        tokens=None if (tokens := _number(event.get("tokens"))) is None else int(tokens),
        cost_usd=_number(event.get("cost_usd")),
    )


def _jobs(run: Attempt, event: Event) -> Iterator[Attempt]:
    """The jobs that ended in *run*."""
    told = event.get("jobs")
    for job in told if isinstance(told, list) else ():
        if isinstance(job, dict) and isinstance(job.get("task"), str):
            number, outcome = job.get("attempt"), _text(job.get("outcome"))
            yield replace(
                run,
                task=job["task"],
                attempt=number if isinstance(number, int) else 0,
                outcome=DONE if outcome == "ok" else outcome or UNKNOWN,
                message="" if outcome == "ok" else run.message,
                seconds=_number(job.get("seconds")),
                job=True,
            )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> float | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12
    return float(value) if usable and isinstance(value, int | float) else None
