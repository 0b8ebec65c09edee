"""A run whose runner died: end what is left of it, put back what it spoiled, and find out how far it came."""

from __future__ import annotations

from aiframe.app.proposals import inspect
from aiframe.app.results import read_result
from aiframe.app.site import Site
from aiframe.app.steplog import StepLog
from aiframe.app.steps import conclude
from aiframe.app.vaulting import check_seal, drop_seal, left_seal
from aiframe.core.events import Broken, Ending
from aiframe.core.model import Failure, FailureKind, Run
from aiframe.process import reap
from aiframe.workspaces.git import HeadMoved


def recover(site: Site, run: Run) -> Ending | None:
    """Look after the dead run *run*; its ending where it left one, else None. Doing it again changes nothing.

    The caller holds the run lock. Raises StepError, StorageError.
    """
    with StepLog(site.layout, run) as log:
        ended = reap(run.run_id)
        log.say(f"-- the runner died; {ended} of its processes had to be ended")
        sealed = left_seal(site)
        agent_began = sealed is not None and sealed.run_id == run.run_id
        if sealed is not None and agent_began:
            for note in check_seal(site, sealed):
                log.say(f"-- {note}")
        ending = _left_ending(site, run)
        # Before the seal nothing of the agent's has run: what differs from an older step is a person's edit.
        if ending is None and agent_began:
            found = inspect(site, run)
            for note in (*found.complaints, *found.notes):
                log.say(f"-- {note}")
        drop_seal(site)
        log.say("== interrupted" if ending is None else "== its result was there and is settled now")
    return ending


def _left_ending(site: Site, run: Run) -> Ending | None:
    """How the run ended, by its result.json. A commit alone proves nothing: an agent knows the name of its run."""
    result = read_result(site.layout, run.run_id)
    if result is None:
        return None
    try:
        return conclude(site, result)
    except HeadMoved as error:
        return Broken((Failure(FailureKind.TRANSIENT, error.message, error.hint),))
