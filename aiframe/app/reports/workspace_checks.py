"""Whether the repository that a project works for can be worked in: looked at, and nothing in it touched."""

from __future__ import annotations

import os
from pathlib import PurePosixPath

from aiframe.app.attempts.contained import credentials, engine_of
from aiframe.app.attempts.origin import Origin, about_base, checked_branch, host_of, read_origin, wanted_base
from aiframe.app.attempts.underway import works_in_container
from aiframe.app.making.image import NEEDED, programs_of
from aiframe.app.project.site import Site
from aiframe.app.reports.machine_checks import Finding
from aiframe.core.errors import AiframeError
from aiframe.sandbox.worker import limits
from aiframe.workspaces.git import Repository
from aiframe.workspaces.host import Base, check_apart, checkouts
from aiframe.workspaces.paths import contained, landed_branch, safe_part, workspaces_home


def check_workspace(site: Site) -> list[Finding]:
    """The repository, the base and the target of a project of kind worktree, and where its workspaces are made."""
    if site.settings.workspace.kind == "inplace":
        return []
    try:
        host = host_of(site)
    except AiframeError as error:
        return [Finding("workspace repo", False, error.message, error.hint)]
    record = read_origin(site)
    findings = [Finding("workspace repo", True, f"{host.root}, which aiframe can work in")]
    for name, check in (("workspace base", _base), ("workspace target", _target), ("workspaces", _folder)):
        try:
            findings.append(check(site, host, record))
        except AiframeError as error:
            findings.append(Finding(name, False, error.message, error.hint))
    return findings + (_container(site) if works_in_container(site) else [])


def _container(site: Site) -> list[Finding]:
    """The engine, the image with what agents need in it, and what they get to log in with."""
    settings = site.settings.workspace.container
    try:
        engine = engine_of(site)
        lacks = engine.lacking(settings.image, (*NEEDED, *programs_of(site)))
        unheld = engine.about_limits(settings.image, limits(settings.memory_mb, settings.processes, settings.cpus))
    except AiframeError as error:
        return [Finding("container", False, error.message, error.hint)]
    findings = [Finding("container", True, f"{engine.name} starts {settings.image}")]
    if lacks:
        cure = "`aiframe image build` makes an image with the agents; or name another in workspace.image"
        findings = [Finding("container", False, f"{settings.image} has no {', no '.join(lacks)}", cure)]
    if unheld:
        cure = "agents may take all of the machine's memory and processes; rootless engines need cgroup v2 for limits"
        findings.append(Finding("container", None, f"{engine.name} does not hold all limits: {unheld}", cure))
    unset = [name for name in settings.env if name not in site.environ]
    if unset:
        detail, cure = f"agents are to get {', '.join(unset)}, which is not set", "set it where aiframe is started"
        findings.append(Finding("container", None, detail, cure))
    try:
        files = [str(mount.target) for mount in credentials(site)]
    except AiframeError as error:
        return [*findings, Finding("container", False, error.message, error.hint)]
    told = ", ".join([*settings.env, *files]) or "nothing"
    return [*findings, Finding("container", True, f"agents get to log in with: {told}")]


def _base(site: Site, host: Repository, record: Origin | None) -> Finding:
    wanted = site.settings.workspace.base
    if record is not None and record.still_holds(host, wanted):
        apart = about_base(host, record) if host.commit_of(f"refs/heads/{record.target}") else ""
        named = Base(record.base, record.commit).name
        if apart:
            return Finding("workspace base", None, apart)
        return Finding("workspace base", True, f"{named}, which was at {record.commit[:12]} when the work began")
    base = wanted_base(site, host)
    return Finding("workspace base", True, f"{base.name} at {base.commit[:12]}")


def _target(site: Site, host: Repository, record: Origin | None) -> Finding:
    wanted = site.settings.workspace.target
    target = wanted or (record.target if record is not None else landed_branch(safe_part(site.root.name)))
    checked_branch(target)
    at = host.commit_of(f"refs/heads/{target}")
    if at is None:
        return _new_target(host, target)
    folders = [str(folder) for folder in checkouts(host, target)]
    if folders:
        detail = f"{target} is checked out in {', '.join(folders)}: it moves along there, while nothing is changed"
        return Finding("workspace target", None, detail, "commit or stash there, or finished work waits for you")
    return Finding("workspace target", True, f"{target} at {at[:12]}")


def _new_target(host: Repository, target: str) -> Finding:
    above = [str(path) for path in PurePosixPath(target).parents][:-1]
    below = host.text("for-each-ref", "--count=1", "--format=%(refname:lstrip=2)", f"refs/heads/{target}/")
    taken = next((name for name in above if host.commit_of(f"refs/heads/{name}")), below)
    if taken:
        detail = f"{target} cannot be made: there is a branch {taken}"
        return Finding(
            "workspace target", False, detail, f"`git branch -m {taken} OTHER`, or name another in workspace.target"
        )
    return Finding("workspace target", True, f"{target}, which the first attempt makes")


def _folder(site: Site, host: Repository, record: Origin | None) -> Finding:
    home = workspaces_home(site.environ)
    check_apart(host, home)
    folder = contained(home, record.key if record is not None else safe_part(site.root.name))
    there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        cure = f"make {there} a folder that you can write in, or set XDG_STATE_HOME to another one"
        return Finding("workspaces", False, f"{folder} cannot be made or written", cure)
    return Finding("workspaces", True, str(folder))
