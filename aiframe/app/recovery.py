"""A run whose runner died: end what is left of it, put back what it spoiled, and find out how far it came."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from aiframe.app.attempts.agent_run import Stop
from aiframe.app.attempts.mending import mend
from aiframe.app.attempts.recording import write_turn
from aiframe.app.attempts.results import Result, read_result
from aiframe.app.attempts.settling import settle
from aiframe.app.attempts.turns import LandingTurn
from aiframe.app.attempts.underway import Underway, read_underway, release, works_in_container
from aiframe.app.attempts.vaulting import left_seal, mend_folders
from aiframe.app.project.site import Site
from aiframe.app.project.steplog import StepLog
from aiframe.app.protection.log_holds import bring_logs_back
from aiframe.app.protection.sandboxing import clean_after
from aiframe.app.protection.secrets import redactor_of
from aiframe.core.errors import AiframeError, StepError
from aiframe.core.events import Ending, JobsEnded
from aiframe.core.landing import Ticket
from aiframe.core.model import Run, Task
from aiframe.process import boot_id, reap
from aiframe.store.atomic import storage_errors
from aiframe.store.tasks_file import load_tasks

PATIENCE_S = 60.0
"""How long a dead run's work waits for its turn to land: its own time may be over."""


def in_container(site: Site, run: Run) -> Underway | None:
    """The step of *run*, whose runner is dead, where its agent works, or has worked, in a container that is there.

    Nothing of it is touched but its log, which its output fills from the beginning again. The caller holds the run
    lock. Raises StepError, StorageError.
    """
    if not works_in_container(site) or read_result(site.layout, run.run_id) is not None:
        return None
    from aiframe.app.attempts.contained import left_underway, own_folders

    reap(run.run_id)
    clean_after(site, run.run_id)
    if left_seal(site, run.run_id) is None:
        return None
    begun = left_underway(site, run)
    if begun is not None:
        mend_folders(site, run.run_id)
        bring_logs_back(site)
        for folder in own_folders(site.layout, run.run_id):
            _empty(folder / "agent.jsonl")
    return begun


def _empty(path: Path) -> None:
    """Empty the file *path*, where there is one. Raises StorageError."""
    with storage_errors(path, "empty"), suppress(FileNotFoundError):
        os.close(os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC))


def recover(site: Site, run: Run) -> tuple[Ending | None, tuple[str, ...]]:
    """Look after the dead run *run*: its ending where it left one, else None, and in words what was put back.

    The caller holds the run lock. Doing it again changes nothing. Raises StepError, StorageError.
    """
    ended = reap(run.run_id)
    clean_after(site, run.run_id)
    logs = (*mend_folders(site, run.run_id), *bring_logs_back(site))  # before the run's own log is opened again
    with StepLog(site.layout, run, redactor_of(site)) as log:
        log.say(f"-- the runner died; {ended} of its processes had to be ended")
        result = read_result(site.layout, run.run_id)
        kept = release(site, run.run_id)  # before anything is put back: an agent may be at work in there
        log.say(kept)
        record = read_underway(site.layout, run.run_id) if kept and result is None else None
        if record is not None and record.boot == boot_id():
            raise StepError(kept, hint="start the engine (`podman info`, `docker info` say more), then `aiframe tick`")
        if result is not None:
            write_turn(site, run, log)
        notes = (*logs, *mend(site, run, judged=result is not None and not result.waits))
        for note in notes:
            log.say(f"-- {note}")
        # By the result alone. A commit would prove nothing: an agent knows the name of its run.
        ending = _of_jobs(site, run) if result is None else _settled_in_turn(site, result)
        log.say(
            "== interrupted"
            if ending is None or isinstance(ending, JobsEnded)
            else "== its result was there and is settled now",
            "ending",
        )
    return ending, notes


def _of_jobs(site: Site, run: Run) -> Ending | None:
    """How far the jobs of *run* came; None where it was another run."""
    if not site.layout.job_ends.exists():
        return None
    from aiframe.app.jobs.working import ending_left  # most projects have none

    return ending_left(site, run)


def _settled_in_turn(site: Site, result: Result) -> Ending:
    """What becomes of *result*, without overtaking who lands just now, unless that takes long: it then has to prove
    its work again, and nothing else."""
    with LandingTurn() as turn:
        if result.kept is not None and result.finished is not None and site.settings.workspace.kind != "inplace":
            with suppress(AiframeError):  # settling itself says what is wrong with the repository
                task = _task_of(site, result)
                ticket = Ticket(result.run_id, result.completed_at, task.priority, task.id, str(site.root), os.getpid())
                turn.take(site, ticket, Stop(), PATIENCE_S, lambda: None)
        return settle(site, result)


def _task_of(site: Site, result: Result) -> Task:
    tasks = load_tasks(site.layout.tasks_yaml).tasks
    return next((task for task in tasks if task.id == result.task_id), Task(result.task_id, ""))
