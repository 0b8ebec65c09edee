"""Work that passed its checks and could not be committed: git was busy, or the disk was full.

The next attempt at the same task takes it up, instead of buying the same work again.
"""

from __future__ import annotations

from msgspec.structs import replace

from aiframe.app.attempts.linked import target_tip
from aiframe.app.attempts.results import Result, left_result
from aiframe.app.project.site import Site
from aiframe.core.model import Run
from aiframe.process import now
from aiframe.workspaces.commits import RUN_TRAILER
from aiframe.workspaces.inplace import Head, unchanged
from aiframe.workspaces.place import Place


def take_up(site: Site, place: Place, run: Run, base: Head) -> Result | None:
    """The result that an earlier run of the same task left, as one of *run*; None unless all is still as it was proven.

    All: the task and what was asked of it, the commit *base* that the work stands on, and every file. Raises GitError.
    """
    left = left_result(site.layout)
    if left is None or left.kept is None or left.finished is None:
        return None
    kept, repo = left.kept, place.repo
    same_task = (left.task_id, left.input_key) == (run.task_id, run.input_key)
    if not same_task or (kept.base, kept.branch) != (base.commit, base.branch):
        return None
    if not repo.holds(kept.tree) or not repo.holds(kept.parent) or kept.tree == repo.tree_of(base.commit):
        return None
    if unchanged(repo, kept.tree, place.control):
        return None
    if place.kind != "inplace" and target_tip(place) != base.commit:
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
