"""Where a job works: a folder of its own, empty at the beginning; and what its commands get to know."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from aiframe.app.project.site import Site
from aiframe.core.model import Task
from aiframe.core.resources import variable_of
from aiframe.numbered import free_name
from aiframe.store.atomic import make_folder, storage_errors

PROJECT, TASK = "AIFRAME_PROJECT", "AIFRAME_TASK"
"""By these variables a job's commands learn the project's folder, and which task they are."""


def fresh_folder(site: Site, task_id: str) -> Path:
    """An empty folder for the job *task_id*; what an earlier try left there stays beside it. Raises StorageError."""
    folder = site.layout.jobs / task_id
    with storage_errors(folder, "make"):
        try:
            folder.mkdir()
        except FileNotFoundError:
            make_folder(folder.parent)
            folder.mkdir()
        except FileExistsError:
            if any(folder.iterdir()):
                os.rename(folder, unused(folder))
                folder.mkdir()
    return folder


def unused(folder: Path) -> Path:
    """*folder*, or where that exists the first name of an earlier try's that is free: ``ID~1``, ``ID~2``, and so on."""
    return free_name(folder, "~") if folder.exists() else folder


def variables(project: Path, task: Task, values: Mapping[str, str]) -> dict[str, str]:
    """The variables by which the commands of *task* know what it is, in which *project* (a lane is none), and its
    *values* of shared resources."""
    of_resources = {variable_of(name): value for name, value in values.items()}
    return {**of_resources, PROJECT: str(project), TASK: task.id}
