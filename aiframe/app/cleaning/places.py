"""The folders and refs of tasks that are over: removed only where it is proven that nothing in them is lost."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from aiframe.app.attempts.leftovers import HELD
from aiframe.app.attempts.linked import HOME, find_landed, host_of, read_origin, remove_workspace, workspaces_over
from aiframe.app.cleaning.keeping import Item, Known, why_task_stays
from aiframe.app.project.lanes import FOLDER, lane_root
from aiframe.app.project.site import Site, open_site
from aiframe.core.errors import AiframeError
from aiframe.process import now
from aiframe.store.atomic import storage_errors
from aiframe.store.layout import Layout
from aiframe.workspaces.agent_git import sweep
from aiframe.workspaces.backups import Kept, drop_ref, kept_refs
from aiframe.workspaces.commits import safe_ref
from aiframe.workspaces.git import Repository
from aiframe.workspaces.inplace import UNVERIFIED
from aiframe.workspaces.linked import BACKUP
from aiframe.workspaces.paths import OWNER, contained, safe_part, workspaces_home

# Workspaces -----------------------------------------------------------------------------------------------------------


def clean_workspaces(site: Site, known: Known, *, remove: bool) -> Iterator[Item]:
    """The workspaces of the project's tasks."""
    record = read_origin(site)
    if record is None or site.settings.workspace.kind == "inplace":
        return
    over = {path: (task_id, branch) for task_id, path, branch in workspaces_over(site)}
    for path, (task_id, branch) in over.items():
        kept, size = why_task_stays(known, task_id), size_of(path)
        if not kept and remove and path not in {each for _, each, _ in workspaces_over(site)}:
            kept = f"{task_id} is not over any more"
        elif not kept and remove:
            kept = remove_workspace(site, path, branch)
        yield Item("workspace", str(path), size, kept)
    home = contained(workspaces_home(site.environ), record.key)
    names = {safe_part(task.id): task.id for task in known.tasks}
    for path in _places_of_work(home):
        if path in over:
            continue
        why = why_task_stays(known, names[path.name]) if path.name in names else ""
        yield Item("workspace", str(path), size_of(path), why or "no task of the plan works there: look what is in it")


def _places_of_work(home: Path) -> list[Path]:
    """The workspaces in the folder *home*: what has a name with a dot belongs to one of them."""
    return [path for path in _folders(home) if not path.name.startswith(".")]


def _folders(home: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(path for path in home.iterdir() if path.is_dir() and not path.is_symlink())
    return []


def size_of(path: Path) -> int:
    """The bytes of all files below *path*; links are not followed."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):
                total += os.lstat(Path(folder, name)).st_size
    return total


# Lanes ----------------------------------------------------------------------------------------------------------------


def clean_lanes(site: Site, known: Known, *, remove: bool) -> Iterator[Item]:
    """The lanes that are put aside with work of cancelled tasks, and what is left of lanes that are gone."""
    for root in _folders(site.root / FOLDER):
        if root.name.startswith("."):
            continue  # the next look at the lanes removes it
        kept = known.busy or ("it is open" if Layout(root).lane_record.exists() else _unmerged(site, root))
        size = size_of(root)
        if not kept and remove:
            with storage_errors(root, "remove"):
                over = root.with_name(f".over-{root.name}")
                shutil.rmtree(over, ignore_errors=True)
                os.rename(root, over)  # in one step: from here on there is no such lane
                shutil.rmtree(over)
        yield Item("lane", root.name, size, kept)
    if not known.busy:
        yield from _clean_claims(site, remove=remove)


def _unmerged(site: Site, lane: Path) -> str:
    """What of a lane's work is in no branch but its own; empty where all of it is."""
    try:
        record = read_origin(open_site(lane, site.environ))
        if record is None:
            return ""
        host = host_of(site)
        mine = kept_refs(
            host, [f"refs/heads/aiframe/{record.key}/"], [f"refs/heads/{record.target}", record.landed_ref]
        )
        work = [kept.ref.removeprefix("refs/heads/") for kept in mine if not kept.merged]
        work += [str(path) for path in _places_of_work(contained(workspaces_home(site.environ), record.key))]
    except AiframeError as error:
        return f"its work cannot be looked at: {error.message}"
    return f"work that has not landed: {', '.join(work)}" if work else ""


def _clean_claims(site: Site, *, remove: bool) -> Iterator[Item]:
    """The empty folders of workspaces that lanes had which are gone."""
    lanes = f"{site.root}/{FOLDER}/"
    for folder in _folders(workspaces_home(site.environ)):
        try:
            root = str(json.loads((folder / OWNER).read_bytes()).get("root", ""))
        except (OSError, ValueError, AttributeError):
            continue
        if not root.startswith(lanes) or os.path.lexists(root) or set(os.listdir(folder)) - {OWNER, HOME}:
            continue
        if remove:
            sweep(folder / HOME)
            with suppress(OSError):
                (folder / OWNER).unlink()
                folder.rmdir()
        yield Item("workspace", str(folder))


# Backup refs ----------------------------------------------------------------------------------------------------------


def clean_backups(site: Site, known: Known, *, remove: bool) -> Iterator[Item]:
    """The refs that keep what attempts left."""
    try:
        repo, refs = _kept(site, known)
    except AiframeError as error:
        yield Item("backup", "refs of this project", 0, f"they cannot be looked at: {error.message}")
        return
    needed = {work.ref for work in known.project.held.values()}
    for ref in refs:
        kept = "" if ref.merged else "what it keeps is in no branch that landed"
        if ref.ref in needed:
            kept = "its work is held for your word"
        if not kept and remove and not drop_ref(repo, ref, now().wall):
            kept = "it has just been moved"
        yield Item("backup", ref.ref, 0, kept)


def _kept(site: Site, known: Known) -> tuple[Repository, list[Kept]]:
    """The repository with the refs, and those of them that are this project's."""
    if site.settings.workspace.kind == "inplace":
        repo = Repository(site.root)
        return repo, kept_refs(repo, [UNVERIFIED, HELD, BACKUP], ["HEAD"])
    host, landed = find_landed(site)
    record = read_origin(site)
    if record is None:
        return host, []
    own = [f"{BACKUP}{safe_ref(record.key)}/"]
    lanes = [f"{BACKUP}{safe_ref(lane_root(site.root, task.id).name)}/" for task in known.tasks]
    branches = [*landed, *([record.base] if record.base else [])]
    return host, kept_refs(host, [*own, *lanes], branches)
