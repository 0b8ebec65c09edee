"""A held candidate that a person has approved: it is brought back, checked again on the branch as it is now, and kept.

No agent takes part. What is approved is one tree: where the files differ from it by the time they land, the scope gate
looks again, and the work may be held once more.
"""

from __future__ import annotations

from aiframe.app.attempts.asking import Built
from aiframe.app.attempts.attempt import Attempt
from aiframe.app.attempts.vaulting import seal_project
from aiframe.core.events import Broken, Proposal
from aiframe.core.model import Failure, FailureKind, HeldWork
from aiframe.core.ports import Answer
from aiframe.core.verdict import Verdict
from aiframe.process import now
from aiframe.workspaces.carrying import carry_over
from aiframe.workspaces.commits import AGENT_TRAILER
from aiframe.workspaces.git import Repository
from aiframe.workspaces.inplace import candidate, changed_files, keep_ref, restore_tree, work_of
from aiframe.workspaces.trees import Change, covered, switch_files


def bring_back(attempt: Attempt, held: HeldWork) -> Built:
    """Put the approved files back into the place, on top of what is there now, in the stead of an agent's work.

    Where they do not go together with what has landed meanwhile, the ending says so. Raises StepError, StorageError.
    """
    repo, log = attempt.place.repo, attempt.log
    sealed = seal_project(attempt.site, attempt.run, attempt.place.root)
    note = f"the work of {attempt.task.id} that was held is approved: it is checked again and lands"
    log.say(f"-- {note}")
    broken = _put_back(attempt, held)
    return Built(_agent_of(repo, held), "", Answer(), Verdict(Proposal()), sealed, (note,), broken)


def _put_back(attempt: Attempt, held: HeldWork) -> Broken | None:
    place, repo, base = attempt.place, attempt.place.repo, attempt.base.commit
    if not repo.holds(held.commit):
        return _lost(f"the work that was held in {held.ref} is gone: the task begins anew")
    carried = carry_over(repo, f"{held.commit}^", held.commit, base, place.control)
    if carried.conflicts:
        names = ", ".join(carried.conflicts[:5])
        return _lost(f"the approved work does not fit any more, for these files changed meanwhile: {names}", held.ref)
    there = candidate(repo, base, place.control).tree
    if work_of(repo, there, place.control) == work_of(repo, carried.tree, place.control):
        return None
    if there != repo.tree_of(base):
        backup = keep_ref(repo, f"{attempt.task.id}/left", there, f"unverified: {attempt.task.id}", now().wall)
        restore_tree(repo, base, place.control, backup=backup)
    switch_files(repo, repo.tree_of(base), carried.tree)
    return None


def _lost(said: str, ref: str = "") -> Broken:
    """The ending of work that cannot land: the task goes back to its agent."""
    where = f" `git show {ref}` shows it; do it again on top of the files as they are now." if ref else ""
    return Broken((Failure(FailureKind.VERIFY_FAILED, said),), f"{said}.{where}")


def is_as_approved(attempt: Attempt, tree: str, held: HeldWork) -> bool:
    """Whether *tree* does to the branch just what was approved. Raises GitError."""
    repo, control = attempt.place.repo, attempt.place.control
    approved = _apart_from(control, changed_files(repo, f"{held.commit}^", held.commit))
    landing = _apart_from(control, changed_files(repo, attempt.base.commit, tree))
    return repo.tree_of(held.commit) == held.tree and approved == landing


def _apart_from(control: tuple[str, ...], changes: tuple[Change, ...]) -> dict[str, tuple[str, str]]:
    """What becomes of each file that is no control file."""
    return {change.path: (change.mode, change.blob) for change in changes if not covered(change.path, control)}


def _agent_of(repo: Repository, held: HeldWork) -> str:
    """The agent that did the held work, as its commit says; empty where that is gone."""
    if not repo.holds(held.commit):
        return ""
    form = f"--format=%(trailers:key={AGENT_TRAILER},valueonly,separator=%x2C)"
    return repo.text("log", "-1", form, "--end-of-options", held.commit)
