"""The scope gate: what a candidate changes, against what its task may change. What exceeds it needs a person."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence

from aiframe.app.attempts.attempt import Work
from aiframe.app.attempts.gates import GateReport
from aiframe.app.attempts.origin import host_of
from aiframe.core.claims import writable_paths
from aiframe.core.patterns import matches_any
from aiframe.workspaces.git import Repository, names
from aiframe.workspaces.inplace import Change, changed_files
from aiframe.workspaces.ledger import strangers

LINK = "120000"
_SHOWN = 20
"""How many files a person is shown by name."""
_VERBS = {"A": "added", "M": "changed", "D": "deleted", "T": "changed in kind"}


def scope(work: Work) -> GateReport:
    """Compare what differs from the base with what the task declares, with protected files, and with the limits.

    All limits are as they stood before the attempt. Raises GitError.
    """
    attempt = work.attempt
    repo, gates = attempt.place.repo, attempt.site.settings.gates
    changes, set_back = _changes(work)
    reasons, held = [], list[str]()
    protected = [change for change in changes if matches_any(change.path, gates.protect)]
    if protected:
        reasons.append("it changes protected files")
        held += _listed("protected", protected)
    declared = writable_paths(attempt.task, attempt.site.rules.resources)
    outside = [change for change in changes if declared and not matches_any(change.path, declared)]
    if outside:
        reasons.append("it changes files outside of what its task declares in locks.writes")
        held += _listed("not declared", outside)
    links = [change for change in changes if change.mode == LINK and _leads_out(repo, change)]
    if links:
        reasons.append("it holds links to what is not part of it")
        held += _listed("link", links)
    deleted = [change for change in changes if change.status == "D"]
    if deleted:
        tracked = len(names(repo.run("ls-tree", "-r", "-z", "--name-only", "--full-tree", attempt.base.commit)))
        nothing_left = len(deleted) == len(changes) == tracked
        if len(deleted) > gates.max_deleted_files or len(deleted) * 2 > tracked > 1 or nothing_left:
            reasons.append(f"it deletes {len(deleted)} of {tracked} files")
            held += _listed("deletion", deleted)
    if held and set_back:
        reasons.append(f"{attempt.place.target} was set back or rewritten meanwhile, which counts as a change here")
    for line in held:
        attempt.log.say(f"-- beyond the scope: {line}")
    return GateReport(reason=" and ".join(reasons), held=tuple(held))


def _changes(work: Work) -> tuple[tuple[Change, ...], bool]:
    """What the attempt changes, and what else came onto its target meanwhile, but for what aiframe landed there.

    And whether the target went another way meanwhile, so that what it lost counts: an agent could have moved it.
    """
    attempt, repo, tree = work.attempt, work.attempt.place.repo, work.candidate.tree
    own = changed_files(repo, attempt.base.commit, tree)
    if attempt.since in ("", attempt.base.commit):
        return own, False
    brought = strangers(host_of(attempt.site), repo, attempt.since, attempt.base.commit)
    if brought is None:
        return changed_files(repo, attempt.since, tree), True
    found = {
        change.path: change for commit in reversed(brought) for change in changed_files(repo, f"{commit}^", commit)
    }
    return tuple({**found, **{change.path: change for change in own}}.values()), False


def _leads_out(repo: Repository, link: Change) -> bool:
    """Whether *link* points to what no commit holds: then the checks see a file that is not in the work."""
    target = os.fsdecode(repo.run("cat-file", "blob", link.blob))
    place = posixpath.normpath(posixpath.join(posixpath.dirname(link.path), target))
    return target.startswith("/") or place.partition("/")[0] in ("..", ".git")


def _listed(why: str, changes: Sequence[Change]) -> list[str]:
    lines = [f"{why}: {change.path} {_VERBS[change.status]}" for change in changes[:_SHOWN]]
    more = len(changes) - _SHOWN
    return [*lines, f"{why}: and {more} more files"] if more > 0 else lines
