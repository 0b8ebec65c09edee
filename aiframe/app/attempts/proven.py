"""Work that passed its checks and could not land: git was busy, the disk was full, others were first.

The next attempt at the same task takes it up, instead of buying the same work again.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from aiframe.app.attempts.asking import Built
from aiframe.app.attempts.attempt import Attempt
from aiframe.app.attempts.linked import target_tip, workspace_of
from aiframe.app.attempts.results import Kept, Result, left_result, write_result
from aiframe.app.attempts.vaulting import seal_project
from aiframe.app.project.site import Site
from aiframe.core.events import Proposal
from aiframe.core.model import Run
from aiframe.core.ports import Answer
from aiframe.core.verdict import Verdict
from aiframe.process import now
from aiframe.workspaces.commits import RUN_TRAILER
from aiframe.workspaces.inplace import Head, unchanged
from aiframe.workspaces.landing import merge_trees
from aiframe.workspaces.place import Place


def take_up(site: Site, place: Place, run: Run, base: Head) -> Result | None:
    """The result that an earlier run of the same task left, as one of *run*; None unless all is still as it was proven.

    All: the task and what was asked of it, the commit *base* that the work stands on, and every file. Raises GitError.
    """
    found = _left(site, place, run)
    if found is None:
        return None
    (left, kept), repo = found, place.repo
    if (kept.base, kept.branch) != (base.commit, base.branch) or kept.tree == repo.tree_of(base.commit):
        return None
    if unchanged(repo, kept.tree, place.control):
        return None
    if place.kind != "inplace" and target_tip(site, place) != base.commit:
        return None
    return replace(
        left,
        run_id=run.run_id,
        attempt=run.attempt,
        started_at=run.started.wall,
        completed_at=now().wall,
        kept=replace(kept, trailers={**kept.trailers, RUN_TRAILER: run.run_id}),
        output="",
        session_id="",
        num_turns=0,
        duration_api_ms=None,
        total_cost_usd=None,
        usage={},
        notes=(f"the work that run {left.run_id} has proven is committed now; no agent was asked again",),
    )


class Before(Struct, frozen=True):
    """What an earlier run has proven, as this one's work: on top of commit *base*, at *proven_at* (epoch seconds).

    Its checks took *took_s* seconds. *left* is how that run wrote it down.
    """

    built: Built
    base: str
    proven_at: float
    took_s: float
    left: Result


def proven_before(attempt: Attempt) -> Before | None:
    """What an earlier run of the same task has proven on top of another target.

    It lies in the workspace, merged with the target as that is now, or about to be; its checks are due again, and its
    agent is not. None where anything else lies there. Raises StepError, StorageError.
    """
    site, place, run, base = attempt.site, attempt.place, attempt.run, attempt.base
    found = _left(site, place, run) if place.kind != "inplace" else None
    if found is None:
        return None
    left, kept = found
    expected = kept.tree
    if kept.base != base.commit:
        merge = merge_trees(workspace_of(place), kept.base, base.commit, kept.tree, run.started.wall)
        if merge.conflicts:
            return None
        expected = merge.tree
    if expected == place.repo.tree_of(base.commit) or unchanged(place.repo, expected, place.control):
        return None
    note = f"the work that run {left.run_id} has proven is checked again and lands; no agent was asked again"
    attempt.log.say(f"-- {note}")
    proposal = left.finished.proposal if left.finished is not None else Proposal()
    sealed = seal_project(site, run, place.root)
    left = replace(left, key=sealed.key, waits=True)
    write_result(site.layout, left)  # under the new seal it counts, whatever becomes of this step
    built = Built(left.agent, left.model, Answer(), Verdict(proposal), sealed, (note,))
    took_s = sum(gate.duration_s for gate in left.gates if not gate.ran_on)
    return Before(built, kept.base, left.completed_at, took_s, left)


def _left(site: Site, place: Place, run: Run) -> tuple[Result, Kept] | None:
    """What the last run left proven, where that was for the same task, and all of it is still there."""
    left = left_result(site.layout)
    if left is None or left.kept is None or left.finished is None:
        return None
    kept, repo = left.kept, place.repo
    if (left.task_id, left.input_key) != (run.task_id, run.input_key):
        return None
    return (left, kept) if all(map(repo.holds, (kept.base, kept.tree, kept.parent))) else None
