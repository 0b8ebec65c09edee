"""Which repository of a person's a project works for: from which commit on, and on which branch its work lands.

What was resolved once is kept in a record of aiframe's own, and looked at again before each attempt.
"""

from __future__ import annotations

import json
import os
import uuid

from msgspec import Struct, to_builtins

from aiframe.app.project.landed import LANDED_REF
from aiframe.app.project.observe import read_text
from aiframe.app.project.site import Site, repo_path
from aiframe.core.errors import AiframeError, StepError
from aiframe.process import now
from aiframe.store.atomic import make_folder, write_durable
from aiframe.store.layout import Layout
from aiframe.workspaces.commits import Head
from aiframe.workspaces.git import Repository
from aiframe.workspaces.git_errors import GitError
from aiframe.workspaces.host import Base, check_apart, is_branch_name, open_host, resolve_base, tip
from aiframe.workspaces.paths import claim, landed_branch, workspaces_home
from aiframe.workspaces.worktree import make_branch


class Origin(Struct, frozen=True):
    """What the work of a project starts from and where it goes.

    *owner* is an id of the project's, *key* the name of its folder of workspaces, *repo* the repository, *wanted* the
    base as PROJECT.yaml has it, *base* its full name (empty: a mere commit) and *commit* what it was at first. *family*
    is the key of the project whose lane this is: what lands from there lands for all of its tasks.
    """

    owner: str
    key: str
    repo: str
    wanted: str
    base: str
    commit: str
    target: str
    family: str = ""

    @property
    def landed_ref(self) -> str:
        """The ref that keeps what landed last, whatever becomes of the target."""
        return LANDED_REF + (self.family or self.key)

    def still_holds(self, host: Repository, wanted: str) -> bool:
        """Whether the base need not be looked up anew: *host* and what is *wanted* are the same, and it is there."""
        same = (self.repo, self.wanted) == (os.fspath(host.common_dir), wanted)
        return same and host.commit_of(self.commit) is not None


def open_origin(site: Site) -> tuple[Repository, Origin]:
    """The repository that the project works for, looked at anew, with its target branch there. Raises StepError."""
    host, origin = find_origin(site)
    at_target(host, origin)
    return host, origin


def at_target(host: Repository, origin: Origin) -> Head:
    """Where the target stands; made anew from what landed last where it was deleted, at any moment. Raises GitError."""
    if host.commit_of(f"refs/heads/{origin.target}") is None:
        start = host.commit_of(origin.landed_ref) or origin.commit
        make_branch(host, origin.target, start, now().wall)
    return tip(host, origin.target)


def find_origin(site: Site) -> tuple[Repository, Origin]:
    """The repository that the project works for, with what is recorded of it; nothing in it is touched.

    Raises StepError for one that cannot be worked in.
    """
    host = host_of(site)
    return host, _resolved(site, host, read_origin(site))


def host_of(site: Site) -> Repository:
    """The repository that PROJECT.yaml names. Raises StepError for one that cannot be worked in."""
    try:
        host = open_host(repo_path(site))
    except AiframeError as error:
        error.hint = f"{error.hint} (workspace.repo in PROJECT.yaml says where it is)"
        raise
    if host.root == site.root:
        cure = "take `workspace` out of PROJECT.yaml: that is what kind inplace does"
        raise StepError(f"{host.root} is the project itself", hint=cure)
    return host


def find_landed(site: Site) -> tuple[Repository, tuple[str, ...]]:
    """The repository that the project works for, and the refs there that hold what landed. Raises StepError.

    Nothing in it is touched, and nothing is recorded; before the first attempt there are no such refs.
    """
    host, record = host_of(site), read_origin(site)
    named = (f"refs/heads/{record.target}", record.landed_ref) if record is not None else ()
    return host, tuple(ref for ref in named if host.commit_of(ref) is not None)


def wanted_base(site: Site, host: Repository) -> Base:
    """The base that PROJECT.yaml names, as it is now. Raises GitError for one that is not there."""
    try:
        return resolve_base(host, site.settings.workspace.base)
    except GitError as error:
        error.hint = f"{error.hint} (workspace.base in PROJECT.yaml names it)"
        raise


def read_origin(site: Site) -> Origin | None:
    """What is recorded; None before the first attempt."""
    return _recorded(site.layout)


def _recorded(layout: Layout) -> Origin | None:
    try:
        return Origin(**json.loads(layout.workspace_record.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _resolved(site: Site, host: Repository, old: Origin | None) -> Origin:
    """The record as it should be; what PROJECT.yaml changed since is resolved anew, all else stays."""
    settings, repo = site.settings.workspace, os.fspath(host.common_dir)
    check_apart(host, workspaces_home(site.environ))
    owner, key = _claimed(site, old)
    if old is not None and old.still_holds(host, settings.base):
        landed = host.commit_of(old.landed_ref) if old.owner != owner else None  # a copy begins with what landed
        base = Base(old.base, landed or old.commit)
    else:
        base = wanted_base(site, host)
    target = settings.target or landed_branch(key)
    checked_branch(target)
    whole = _recorded(Layout(site.root.parent.parent)) if site.layout.is_lane else None
    family = whole.key if whole is not None and (whole.repo, whole.target) == (repo, target) else ""
    origin = Origin(owner, key, repo, settings.base, base.ref, base.commit, target, family)
    if origin != old:
        make_folder(site.layout.workspace_record.parent)
        write_durable(site.layout.workspace_record, json.dumps(to_builtins(origin), indent=2) + "\n")
    return origin


def _claimed(site: Site, old: Origin | None) -> tuple[str, str]:
    """The project's id and its folder of workspaces: one renamed keeps both, and a copy gets both of its own."""
    home, path = workspaces_home(site.environ), site.layout.workspace_owner
    known = old.owner if old is not None else read_text(path).strip()  # killed behind the claim it finds it again
    for owner in filter(None, (known, uuid.uuid4().hex)):
        if owner != known:
            make_folder(path.parent)
            write_durable(path, owner + "\n")
        has = old.key if old is not None and old.owner == owner else ""
        key = claim(home, site.root.name, owner, site.root, has)
        if key is not None:
            return owner, key
    raise StepError(f"no folder of workspaces can be had in {home}", hint="look at what is there")


def checked_branch(name: str) -> None:
    """Raise GitError unless *name* can be the name of a branch."""
    if not is_branch_name(name):
        raise GitError("check", f"{name} cannot be a branch", hint="correct workspace.target in PROJECT.yaml")


def about_base(host: Repository, origin: Origin) -> str:
    """In words, that the base has gone another way than the target, or is gone; empty where there is nothing to say."""
    if not origin.base:
        return ""
    name, base = Base(origin.base, origin.commit).name, host.commit_of(origin.base)
    at = host.commit_of(f"refs/heads/{origin.target}")
    if base is None:
        return f"{name} is gone from {host.root}; the work goes on from {origin.target}"
    if at is None or host.is_ancestor(base, at):
        return ""
    return f"{name} has commits that {origin.target} has not: merge {origin.target} into {name}, and the work follows"
