"""A run whose runner died: end what is left of it, put back what it spoiled, and find out how far it came."""

from __future__ import annotations

from aiframe.app.mending import mend
from aiframe.app.results import Result, read_result
from aiframe.app.site import Site
from aiframe.app.steplog import StepLog
from aiframe.app.steps import conclude
from aiframe.core.errors import AiframeError
from aiframe.core.events import Broken, Ending
from aiframe.core.model import Failure, FailureKind, Run
from aiframe.process import reap
from aiframe.workspaces.git import GitKilled, HeadMoved


def recover(site: Site, run: Run) -> tuple[Ending | None, tuple[str, ...]]:
    """Look after the dead run *run*: its ending where it left one, else None, and in words what was put back.

    The caller holds the run lock. Doing it again changes nothing. Raises StepError, StorageError.
    """
    with StepLog(site.layout, run) as log:
        ended = reap(run.run_id)
        log.say(f"-- the runner died; {ended} of its processes had to be ended")
        result = read_result(site.layout, run.run_id)
        notes = mend(site, run, judged=result is not None)
        for note in notes:
            log.say(f"-- {note}")
        ending = None if result is None else _settled(site, result)
        log.say("== interrupted" if ending is None else "== its result was there and is settled now")
    return ending, notes


def _settled(site: Site, result: Result) -> Ending:
    """The ending by result.json. A commit alone would prove nothing: an agent knows the name of its run.

    What a person has to mend is a failure in it, not an exception: that would end every runner to come.
    """
    try:
        return conclude(site, result)
    except (HeadMoved, GitKilled) as error:
        return Broken((Failure(FailureKind.TRANSIENT, error.message, error.hint),))
    except AiframeError as error:
        return Broken((Failure(FailureKind.SETUP, error.message, error.hint),))
