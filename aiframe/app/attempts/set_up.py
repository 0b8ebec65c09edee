"""Making a fresh workspace ready by the commands that PROJECT.yaml lists: once, and again when the list changes.

They run in the sandbox of the gates, with the network: what they start, such as the scripts of a package, lies in files
that an agent may have written.
"""

from __future__ import annotations

import hashlib
import json

from msgspec.structs import replace

from aiframe.app.attempts.attempt import Attempt, Work
from aiframe.app.attempts.gates import run_commands
from aiframe.app.attempts.linked import workspace_of
from aiframe.core.errors import StepError
from aiframe.core.model import Failure, FailureKind
from aiframe.process import now
from aiframe.workspaces.inplace import Candidate, unchanged
from aiframe.workspaces.linked import read_ready, write_ready
from aiframe.workspaces.moving import forget_files, note_files, put_files_back
from aiframe.workspaces.trees import worktree_tree


def set_up(attempt: Attempt) -> Failure | None:
    """Run the commands of ``workspace.setup`` in a workspace that has not seen them; a failure where a person stops it.

    Raises StepError where one fails, or where they change files that git keeps: those are put back, or they would be
    taken for work.
    """
    settings, linked = attempt.site.settings.workspace, workspace_of(attempt.place)
    wanted = hashlib.sha256(json.dumps(settings.setup).encode()).hexdigest()[:16] if settings.setup else ""
    if read_ready(linked).setup == wanted:
        return None
    before = worktree_tree(linked, attempt.base.commit, ())
    note_files(linked, before)
    work = Work(attempt, Candidate(before, attempt.base.commit), attempt.place.root)
    report = run_commands(work, "setup", settings.setup, timeout_s=settings.setup_timeout_s, network=True)
    changed = unchanged(linked, before, ())
    if report.failure is not None or changed:
        put_files_back(linked, now().wall)
    if report.failure is not None and report.failure.kind is FailureKind.CANCELLED:
        return report.failure
    if report.failure is not None:
        cure = "try it by hand in a checkout of your repository, and correct workspace.setup in PROJECT.yaml"
        raise StepError(f"{report.failure.message}\n{report.findings}", hint=cure)
    if changed:
        cure = (
            "let it make only files that git ignores (.gitignore), for example with `npm ci` in place of `npm install`"
        )
        raise StepError(f"workspace.setup changed files that git keeps: {', '.join(changed[:5])}", hint=cure)
    forget_files(linked)
    write_ready(linked, replace(read_ready(linked), setup=wanted))
    return None
