"""What an attempt at a task is, and what it left: the two things that the stages of the pipeline hand on."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from aiframe.app.attempts.agent_run import Stop
from aiframe.app.attempts.results import GateResult
from aiframe.app.attempts.vaulting import Sealed
from aiframe.app.project.site import Site
from aiframe.app.project.steplog import StepLog
from aiframe.core.model import Project, Run, Task
from aiframe.workspaces.inplace import Candidate, Head
from aiframe.workspaces.place import Place


class Attempt(Struct, frozen=True):
    """One try at *task*, all of it as it stood when the try began. It works in *place*, on top of *base*.

    *since* is the commit that it began on, where the base has moved meanwhile: what came in between counts as its own,
    but for what aiframe itself has landed.
    *proof* are the commands that were run before it, on the base.
    """

    site: Site
    project: Project
    run: Run
    tasks: tuple[Task, ...]
    task: Task
    place: Place
    base: Head
    log: StepLog
    stop: Stop
    since: str = ""
    proof: tuple[GateResult, ...] = ()


class Work(Struct, frozen=True):
    """What an attempt left, as the gates see it: the *candidate*, and the *folder* that their commands run in.

    The folder is the place itself, proven to hold nothing but the candidate and ignored files, or a clean checkout.
    *ignored_inputs*: there are ignored files that the commands may read, and that the commit will not hold. *results*
    are those of the gates that have passed already, and *found* is what they say of the work in words. *sealed* is what
    none of them may change.
    """

    attempt: Attempt
    candidate: Candidate
    folder: Path
    ignored_inputs: bool = False
    results: tuple[GateResult, ...] = ()
    found: tuple[str, ...] = ()
    sealed: Sealed | None = None

    @property
    def is_clean(self) -> bool:
        """Whether the commands run in a checkout of their own, apart from what the agent left lying about."""
        return self.folder != self.attempt.place.root
