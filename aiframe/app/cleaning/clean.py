"""`aiframe clean`: what finished runs have left is taken away, and of everything else is said why it stays.

May be killed at any moment and called again: each thing is removed by itself, and what proves how a run ended, and the
journal, are never touched. So what was spent is told the same before and after.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct

from aiframe.app.cleaning.keeping import STEP_RUNS, Item, Known, why_run_stays
from aiframe.app.cleaning.places import clean_backups, clean_lanes, clean_nurseries, clean_workspaces
from aiframe.app.lanes.turn import turn
from aiframe.app.project.lanes import FOLDER, has_lanes, read_lanes
from aiframe.app.project.site import Site
from aiframe.app.reports.attempt import RUNNING, UNKNOWN, Attempt
from aiframe.app.reports.history import read_history
from aiframe.core.errors import AiframeError, UsageError
from aiframe.process import now
from aiframe.sandbox.leftovers import LeftContainer, find_containers, remove_container
from aiframe.store.locks import RunLock, is_run_locked
from aiframe.store.run_files import clear_run
from aiframe.store.tasks_file import load_tasks

_DAY_S = 86_400.0
_NAMES = 5
"""How many jobs of a run are named."""


class Cleaned(Struct, frozen=True):
    """What a clean has come to. *notes* are what else a person should know."""

    items: tuple[Item, ...]
    notes: tuple[str, ...] = ()

    @property
    def removed(self) -> tuple[Item, ...]:
        """What is removed, or would be."""
        return tuple(item for item in self.items if not item.kept)

    @property
    def size(self) -> int:
        """The bytes of what is removed."""
        return sum(item.size for item in self.removed)


def clean(site: Site, *, run: str = "", older_than_days: float | None = None, dry_run: bool = False) -> Cleaned:
    """Take away what finished work has left; with *run* of that run alone, with *dry_run* nothing.

    Raises UsageError for a run that there is not, UnreadableFile.
    """
    if not site.layout.git_dir.exists():
        return Cleaned(())
    before = None if older_than_days is None else time.time() - older_than_days * _DAY_S
    containers, silent = find_containers(site.environ)  # before: those of a step that begins later are not among them
    with _at_rest(site, dry_run=dry_run) as busy:
        known = _known(site, busy)
        if run and run not in {each.run_id for each in known.runs}:
            raise UsageError(f"there is no run {run!r}", hint="`aiframe history` lists the runs")
        whole = not run and before is None
        items = [*_logs(site, known, run, before, remove=not dry_run)]
        items += clean_lanes(site, known, remove=not dry_run) if whole else ()
    # From here on steps may begin: what follows proves by itself that nothing of them goes.
    if whole:
        items += clean_workspaces(site, known, remove=not dry_run)
        items += clean_backups(site, known, remove=not dry_run)
        items += clean_nurseries(site, remove=not dry_run)
    items += _containers(site, known, containers, run, remove=not dry_run)
    notes = [f"{name} does not answer: its containers were not looked at" for name in silent]
    return Cleaned(tuple(items), tuple(notes))


@contextmanager
def _at_rest(site: Site, *, dry_run: bool) -> Iterator[str]:
    """Let no step begin for the block; gives why the runs cannot be touched, empty where they can."""
    if dry_run or not site.layout.control_dir.exists():
        yield STEP_RUNS if is_run_locked(site.layout) else ""
        return
    lock = RunLock.try_take(site.layout, retry_for_s=0.5)
    if lock is None:
        yield STEP_RUNS
        return
    try:
        if not has_lanes(site.root):
            yield ""
            return
        with turn(site) as mine:
            yield "" if mine else "another aiframe looks after its lanes at this moment: run it again"
    finally:
        lock.close_here()


def _known(site: Site, busy: str) -> Known:
    project = site.store.load(tolerate_unreadable=True).project
    if not busy and (project.run is not None or site.layout.carrying.exists()):
        busy = "a step was interrupted, and is not settled: `aiframe tick` does that"
    lanes = [lane.record.task_id for lane in read_lanes(site.root, now())]
    tasks = load_tasks(site.layout.tasks_yaml).tasks
    return Known(project, tasks, read_history(site.layout, site.environ, lanes=False).attempts, lanes, busy)


def _logs(site: Site, known: Known, wanted: str, before: float | None, *, remove: bool) -> Iterator[Item]:
    """The logs of each run. Those of a run of jobs are one folder: they stay while one of its jobs is not over."""
    for run_id, parts in _by_run(known, wanted).items():
        name = f"{run_id} ({_whose(parts)})"
        kept = next((why for run in parts if (why := why_run_stays(known, run, before=before))), "")
        try:
            files, size = clear_run(site.layout, run_id, remove=remove and not kept)
        except AiframeError as error:
            files, size, kept = 1, 0, error.message
        if files or wanted:
            yield Item("logs", name, size, kept or ("" if files else "nothing of it is left but its result"))


def _by_run(known: Known, wanted: str) -> dict[str, list[Attempt]]:
    """What is told of each run, a run of jobs more than once; only of *wanted* where that is given."""
    found: dict[str, list[Attempt]] = {}
    for run in known.runs:
        if wanted in ("", run.run_id):
            found.setdefault(run.run_id, []).append(run)
    return found


def _whose(parts: list[Attempt]) -> str:
    names = [run.task or run.role for run in parts[:_NAMES]]
    return ", ".join(names) + (f" and {len(parts) - _NAMES} more" if len(parts) > _NAMES else "")


def _containers(site: Site, known: Known, found: list[LeftContainer], wanted: str, *, remove: bool) -> Iterator[Item]:
    """Those of the project and of its lanes. A copy of it has the same runs, and may be at work: those are not ours."""
    runs, lanes = {run.run_id for run in known.runs}, f"{site.root}/{FOLDER}/"
    for each in found:
        ours = each.project == str(site.root) or each.project.startswith(lanes)
        ours = ours or (each.run_id in runs and not (each.project and os.path.lexists(each.project)))
        if not ours or (wanted and each.run_id != wanted):
            continue
        kept = _why_container_stays(known, each.run_id)
        if not kept and remove and not remove_container(site.environ, each):
            kept = "the engine did not remove it"
        yield Item("container", each.id[:12], 0, kept)


def _why_container_stays(known: Known, run_id: str) -> str:
    """Why a container of the run, which may be unknown or empty, may be at work still; empty where it cannot."""
    run = next((run for run in known.runs if run.run_id == run_id), None)
    if run is not None and run.outcome not in (RUNNING, UNKNOWN):
        return ""
    if known.busy:
        return known.busy
    return "a lane is open, and it may be its" if known.lanes else ""
