"""Which place an attempt works in, and how finished work lands from there: one row for each kind of workspace."""

from __future__ import annotations

from aiframe.app.attempts.linked import clear_linked, land_commit, land_linked, linked_place
from aiframe.app.attempts.results import Kept
from aiframe.app.project.site import Site
from aiframe.store.layout import CONTROL_PATHS
from aiframe.workspaces.inplace import Head, commit_candidate
from aiframe.workspaces.place import Place, in_place


def place_of(site: Site, task_id: str) -> Place:
    """Where attempts at *task_id* work; made where it is not there yet. Raises GitError."""
    if site.settings.workspace.kind != "inplace":
        return linked_place(site, task_id)
    return in_place(site.root, CONTROL_PATHS)


def land(site: Site, task_id: str, kept: Kept) -> str:
    """Commit what passed and move the target there: the commit, the same one when replayed. Raises GitError."""
    if site.settings.workspace.kind != "inplace":
        return land_linked(site, task_id, kept)
    # An agent's own commits get one on top that names the task and the gates, also where they hold all of the work.
    return commit_candidate(
        place_of(site, task_id).repo,
        base_head=Head(kept.base, kept.branch),
        tree=kept.tree,
        parent=kept.parent,
        message=kept.message,
        trailers=kept.trailers,
        date=kept.date,
        allow_empty=kept.parent != kept.base,
    )


def to_target(site: Site, place: Place) -> Place:
    """*place* as its target is now, without anything that has not landed; in place nothing is done. Raises GitError."""
    if place.kind != "inplace":
        clear_linked(site, place)
    return place


def publish(site: Site, place: Place, commit: str) -> None:
    """Move the target to *commit*, which is on the place's branch; in place it is there already. Raises GitError."""
    if place.kind != "inplace":
        land_commit(site, place, commit)
