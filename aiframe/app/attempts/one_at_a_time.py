"""Before a step works on a task, whoever else still does has to end: nobody pays two agents in one workspace."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from aiframe.app.attempts.agent_run import Stop
from aiframe.app.attempts.origin import find_origin
from aiframe.app.project.site import Site
from aiframe.app.project.steplog import StepLog
from aiframe.core.errors import AiframeError, StepError
from aiframe.core.model import Run
from aiframe.process import reap
from aiframe.workspaces.holding import Holding

PATIENCE_S = 60.0
"""How long a step waits for one that lost its project's folder to end; that ends its agent within seconds."""
_POLL_S = 0.1


class StillHeld(StepError):
    """An earlier run is still at work there: the step is tried again later."""


@contextmanager
def alone(site: Site, run: Run, stop: Stop, log: StepLog) -> Iterator[None]:
    """Work alone on the task of *run* for the block; what a killed runner left at work there is ended first.

    Raises StillHeld, StepError.
    """
    holding = _holding(site, run)
    if holding is None:
        yield
        return
    _wait(holding, run, stop, log)
    try:
        former = holding.former_run()
        if former and former != run.run_id:
            reap(former)
        holding.name_run(run.run_id)
        yield
    finally:
        holding.give_back()


def _holding(site: Site, run: Run) -> Holding | None:
    """What is to be had before the step; None where there is no workspace, or none to be had: the step says why."""
    if not run.task_id or site.settings.workspace.kind == "inplace":
        return None
    try:
        return Holding(find_origin(site)[0], site.root, run.task_id)
    except AiframeError:
        return None


def _wait(holding: Holding, run: Run, stop: Stop, log: StepLog) -> None:
    if holding.take():
        return
    log.say(f"-- an earlier run on {run.task_id}, whose folder was removed, is still at work: waiting for its end")
    give_up = time.monotonic() + PATIENCE_S
    while not holding.take():
        if stop() or time.monotonic() >= give_up:
            cure = "it is tried again; `ps` shows processes with the name aiframe.app.runner"
            raise StillHeld(f"an earlier run on {run.task_id} is still at work in its workspace", hint=cure)
        time.sleep(_POLL_S)
