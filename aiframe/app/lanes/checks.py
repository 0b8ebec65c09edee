"""Whether a project's settings and locks let its tasks be worked at side by side."""

from __future__ import annotations

from aiframe.app.project.lanes import lane_places
from aiframe.app.project.site import Site
from aiframe.core.errors import StepError, UnreadableFile
from aiframe.core.model import Task
from aiframe.core.problem import Problem
from aiframe.core.scheduling import CLOSED
from aiframe.store.tasks_file import load_tasks


def check_settings(site: Site) -> None:
    """Raise StepError or UnreadableFile where settings or locks do not let tasks be worked at side by side."""
    in_place = site.settings.workspace.kind == "inplace"
    if in_place and site.settings.rules.capacity.slots > 1 and _has_work_for_agents(site):
        cure = "give it workspaces of their own (`workspace: {kind: worktree, repo: PATH}`), or take `parallel` out"
        raise StepError("PROJECT.yaml wants tasks side by side, and has one folder for all of them", hint=cure)
    if in_place and lane_places(site.root):
        said, cure = "names no repository, and tasks are worked at in workspaces of one", "put `workspace` back"
        raise UnreadableFile([Problem(site.layout.project_yaml, said, hint=cure)])
    check_locks(site, load_tasks(site.layout.tasks_yaml).tasks)


def _has_work_for_agents(site: Site) -> bool:
    tasks = load_tasks(site.layout.tasks_yaml).tasks
    return not tasks or any(not task.is_job and task.status not in CLOSED for task in tasks)


def check_locks(site: Site, tasks: tuple[Task, ...]) -> None:
    """Raise UnreadableFile for a lock that names neither a resource nor files, where resources are declared."""
    resources = site.rules.resources
    if not resources:
        return
    problems = []
    for task in tasks:
        for lock in (*task.reads, *task.writes):
            if lock not in resources and not set("/*.?") & set(lock):
                cure = f"resources are {', '.join(sorted(resources))}; files are written like {lock}/** or {lock}.txt"
                said = f"{task.id} locks {lock!r}, which is no resource"
                problems.append(Problem(site.layout.tasks_yaml, said, hint=cure))
    if problems:
        raise UnreadableFile(problems)
