"""The folders and refs of tasks that are over: removed only where it is proven that nothing in them is lost."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from aiframe.app.attempts.leftovers import HELD
from aiframe.app.attempts.linked import HOME, remove_workspace, workspaces_over
from aiframe.app.attempts.origin import find_landed, host_of, read_origin
from aiframe.app.cleaning.keeping import STEP_RUNS, Item, Known, why_task_stays
from aiframe.app.making.new_project import left_nurseries, remove_nursery
from aiframe.app.project.lanes import FOLDER, lane_root
from aiframe.app.project.site import Site, held_in, open_site
from aiframe.core.errors import AiframeError
from aiframe.process import now
from aiframe.store.atomic import storage_errors
from aiframe.store.guards import is_frame_root
from aiframe.store.layout import Layout
from aiframe.store.locks import is_run_locked
from aiframe.store.tasks_file import load_tasks
from aiframe.workspaces.agent_git import sweep
from aiframe.workspaces.backups import Kept, drop_ref, kept_refs
from aiframe.workspaces.commits import safe_ref
from aiframe.workspaces.git import Repository
from aiframe.workspaces.inplace import UNVERIFIED
from aiframe.workspaces.linked import BACKUP
from aiframe.workspaces.paths import OWNER, contained, safe_part, task_branch, workspaces_home

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
        kept = known.busy or ("it is open" if Layout(root).lane_record.exists() else "")
        if not kept:
            places, kept = _clear_aside(site, root, remove=remove)
            yield from places
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


def clean_nurseries(site: Site, *, remove: bool) -> Iterator[Item]:
    """What killed processes have left of new projects beside this one, in the frame's folder for projects."""
    projects = site.root.parent
    if projects.name == "projects" and is_frame_root(projects.parent):
        for left in left_nurseries(projects):
            size = size_of(left)
            kept = "" if not remove or remove_nursery(left) else "it cannot be removed"
            yield Item("unfinished project", left.name, size, kept)


def _clear_aside(site: Site, root: Path, *, remove: bool) -> tuple[list[Item], str]:
    """Remove the workspace of a lane that was put aside, whose work a backup ref keeps; and why the lane stays."""
    try:
        lane = open_site(root, site.environ)
        record = read_origin(lane)
        if record is None:
            return [], ""
        if is_run_locked(lane.layout):
            return [], STEP_RUNS
        home = contained(workspaces_home(site.environ), record.key)
        if _owner_of(home).get("owner", record.owner) != record.owner:
            return [], f"{home} belongs to another project by now"
        items = []
        for task in load_tasks(lane.layout.tasks_yaml).tasks:
            path, branch = contained(home, safe_part(task.id)), task_branch(record.key, task.id)
            if not os.path.lexists(path) and host_of(lane).commit_of(f"refs/heads/{branch}") is None:
                continue
            size = size_of(path)
            kept = remove_workspace(lane, path, branch, record) if remove else ""
            items.append(Item("workspace", str(path), size, kept))
        mine = {item.name for item in items}
        more = [str(path) for path in _places_of_work(home) if str(path) not in mine]
    except AiframeError as error:
        return [], f"its work cannot be looked at: {error.message}"
    stays = [item.name for item in items if item.kept] + more
    return items, f"look what is in {', '.join(stays)}, and remove that" if stays else ""


def _owner_of(home: Path) -> dict[str, str]:
    """Who has the folder of workspaces, as its record says; empty where nothing tells."""
    with suppress(OSError, ValueError):
        held = json.loads((home / OWNER).read_bytes())
        return held if isinstance(held, dict) else {}
    return {}


def _clean_claims(site: Site, *, remove: bool) -> Iterator[Item]:
    """The empty folders of workspaces that lanes had which are gone."""
    lanes = f"{site.root}/{FOLDER}/"
    for folder in _folders(workspaces_home(site.environ)):
        root = str(_owner_of(folder).get("root", ""))
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
    repo_named = held_in(site)
    show = f"git{f' -C {repo_named}' if repo_named else ''} show"
    needed = {work.ref for work in known.project.held.values()}
    for ref in refs:
        kept = "" if ref.merged else f"what it keeps is in no branch that landed: `{show} {ref.ref}`"
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
