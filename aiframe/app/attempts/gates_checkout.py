"""The clean checkout: where a project asks for it, its gates run in a folder that holds the candidate and no more.

The folder is kept from one attempt to the next in the user's cache folder, out of the way of the agents' workspaces.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from msgspec.structs import replace

from aiframe.app.attempts.attempt import Attempt, Work
from aiframe.app.attempts.gates import GateReport, run_commands
from aiframe.app.project.site import Site
from aiframe.store.atomic import storage_errors
from aiframe.workspaces.checkout import check_out, checkout_differs, remember_made
from aiframe.workspaces.commits import safe_ref
from aiframe.workspaces.git_errors import EmbeddedRepositories
from aiframe.workspaces.inplace import unchanged


def gate_folder(attempt: Attempt) -> Path:
    """The folder that the commands of the gates run in: the place itself, or the project's clean checkout."""
    return checkout_of(attempt.site) if attempt.site.settings.gates.clean_checkout else attempt.place.root


def checkout_of(site: Site) -> Path:
    """The folder of the project's clean checkout: two projects never share one."""
    environ = site.environ
    cache = Path(environ.get("XDG_CACHE_HOME", "") or Path(environ.get("HOME", "") or Path.home()) / ".cache")
    digest = hashlib.sha256(str(site.root).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return cache.absolute() / "aiframe" / "checkouts" / f"{safe_ref(site.root.name)[:60]}-{digest}"


def lay_out(work: Work) -> GateReport:
    """Make the clean checkout and run the setup commands there; nothing to do where the gates run in place."""
    if not work.is_clean:
        return GateReport()
    work.attempt.log.say(f"-- the checks run in a clean checkout: {work.folder}")
    return make_ready(work, "setup")


def aside(work: Work, tree: str, use: str) -> Work:
    """The same attempt, but with *tree* in another checkout of the project's, which is there for one *use* alone."""
    folder = checkout_of(work.attempt.site)
    return replace(work, candidate=replace(work.candidate, tree=tree), folder=folder.with_name(f"{folder.name}-{use}"))


def make_ready(work: Work, gate: str, *, ran_on: str = "") -> GateReport:
    """Bring the work's folder, a checkout of its own, to hold its tree and no more; run the setup commands there.

    They are those of *gate* in the results. Raises StepError, StorageError.
    """
    site, repo = work.attempt.site, work.attempt.place.repo
    settings = site.settings.workspace
    with storage_errors(work.folder, "write"):
        check_out(repo, work.candidate.tree, work.folder, keep_made=bool(settings.setup))
    limit = settings.setup_timeout_s
    report = run_commands(work, gate, settings.setup, timeout_s=limit, network=True, ran_on=ran_on)
    if settings.setup and report.failure is None:
        remember_made(repo, work.folder)
    return report


def touched(work: Work) -> tuple[str, ...]:
    """The files that the commands of the gates changed, though they were to prove them. Raises GitError."""
    try:
        return _changed(work)
    except EmbeddedRepositories as error:  # the files were measured before, and held none
        return error.folders


def _changed(work: Work) -> tuple[str, ...]:
    place, tree = work.attempt.place, work.candidate.tree
    there = checkout_differs(place.repo, tree, work.folder) if work.is_clean else ()
    return (*there, *(name for name in unchanged(place.repo, tree, place.control) if name not in there))
