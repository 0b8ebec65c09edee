"""A run whose runner died: end what is left of it, put back what it spoiled, and find out how far it came."""

from __future__ import annotations

from aiframe.app.attempts.mending import mend
from aiframe.app.attempts.recording import write_turn
from aiframe.app.attempts.results import read_result
from aiframe.app.attempts.settling import settle
from aiframe.app.attempts.vaulting import mend_folders
from aiframe.app.project.site import Site
from aiframe.app.project.steplog import StepLog
from aiframe.app.protection.log_holds import bring_logs_back
from aiframe.app.protection.sandboxing import clean_after
from aiframe.app.protection.secrets import redactor_for
from aiframe.core.events import Ending
from aiframe.core.model import Run
from aiframe.process import reap


def recover(site: Site, run: Run) -> tuple[Ending | None, tuple[str, ...]]:
    """Look after the dead run *run*: its ending where it left one, else None, and in words what was put back.

    The caller holds the run lock. Doing it again changes nothing. Raises StepError, StorageError.
    """
    ended = reap(run.run_id)
    clean_after(site, run.run_id)
    logs = (*mend_folders(site, run.run_id), *bring_logs_back(site))  # before the run's own log is opened again
    with StepLog(site.layout, run, redactor_for(site.environ)) as log:
        log.say(f"-- the runner died; {ended} of its processes had to be ended")
        result = read_result(site.layout, run.run_id)
        if result is not None:
            write_turn(site, run, log)
        notes = (*logs, *mend(site, run, judged=result is not None))
        for note in notes:
            log.say(f"-- {note}")
        # By the result alone. A commit would prove nothing: an agent knows the name of its run.
        ending = None if result is None else settle(site, result)
        log.say("== interrupted" if ending is None else "== its result was there and is settled now", "ending")
    return ending, notes
