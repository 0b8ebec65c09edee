"""Changes to TASKS.yaml that a step proposed, that it may not make by itself, and that wait for a person."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace

from aiframe.app.observe import read_text
from aiframe.app.site import Site
from aiframe.core.machine import Refused
from aiframe.core.model import State, Task, TaskStatus
from aiframe.store.atomic import storage_errors, write_durable
from aiframe.store.locks import is_run_locked, state_mutex
from aiframe.store.quarantine import set_aside
from aiframe.store.tasks_file import TaskFile, load_tasks, set_statuses


def offered_difference(site: Site) -> str:
    """What would change in TASKS.yaml, as a unified diff. Raises Refused where nothing is offered."""
    text = _updated(site, _offered(site))
    lines = difflib.unified_diff(
        read_text(site.layout.tasks_yaml).splitlines(), text.splitlines(), "TASKS.yaml", "offered", lineterm=""
    )
    return "\n".join(lines)


def accept(site: Site) -> str:
    """Take the offered TASKS.yaml; statuses stay as they are now, and the old file is kept in quarantine.

    Raises Refused where nothing is offered, or a step runs or has not been settled, UnreadableFile, StorageError.
    """
    with state_mutex(site.layout):
        offered = _offered(site)
        if is_run_locked(site.layout):
            raise Refused("a step is running", hint="wait for it, or stop it with `aiframe stop`, then accept")
        if site.store.load(tolerate_unreadable=True).project.state is State.RUNNING:
            # Looking after the run puts back what differs from before the step: the accepted file would be gone.
            raise Refused("a step was cut off and is not settled yet", hint="run `aiframe tick` first, then accept")
        path = site.layout.tasks_yaml
        before = load_tasks(path).tasks
        text = _updated(site, offered)
        if path.exists():
            set_aside(site.layout, path, "the version before `aiframe accept`")
        write_durable(path, text)
        with storage_errors(site.layout.offered_tasks, "remove"):
            site.layout.offered_tasks.unlink()
            site.layout.added_tasks.unlink(missing_ok=True)  # a person has looked: agents may add tasks again
    return f"Accepted: {_summary(before, offered.tasks)}"


def discard(site: Site) -> str:
    """Drop the offered TASKS.yaml; a copy stays in quarantine. Raises Refused where nothing is offered."""
    path = site.layout.offered_tasks
    with state_mutex(site.layout):
        if not path.exists():
            raise _nothing()
        kept = set_aside(site.layout, path, "dropped by `aiframe accept --discard`")
        with storage_errors(path, "remove"):
            path.unlink()
    return f"Dropped; a copy is kept as {kept}"


def _offered(site: Site) -> TaskFile:
    if not site.layout.offered_tasks.exists():
        raise _nothing()
    return load_tasks(site.layout.offered_tasks)


def _nothing() -> Refused:
    return Refused("no change to TASKS.yaml waits for you", hint="edit TASKS.yaml itself to change the tasks")


def _updated(site: Site, offered: TaskFile) -> str:
    """The offered text with the statuses that the tasks have by now."""
    now = {task.id: task.status for task in load_tasks(site.layout.tasks_yaml).tasks}
    due: dict[str, TaskStatus] = {
        task.id: now[task.id] for task in offered.tasks if task.id in now and task.status is not now[task.id]
    }
    return set_statuses(offered.text, due) if due else offered.text


def _summary(before: Sequence[Task], after: Sequence[Task]) -> str:
    old = {task.id: _essence(task) for task in before}
    new = {task.id: _essence(task) for task in after}
    parts = {
        "changed": [name for name in new if name in old and new[name] != old[name]],
        "new": [name for name in new if name not in old],
        "gone": [name for name in old if name not in new],
    }
    return "; ".join(f"{word}: {', '.join(names)}" for word, names in parts.items() if names) or "no task differs"


def _essence(task: Task) -> Task:
    return replace(task, status=TaskStatus.TODO)
