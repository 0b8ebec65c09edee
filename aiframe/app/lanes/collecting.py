"""What the agents of a lane propose to others becomes their project's: new tasks, and changes to its documents.

Each is taken once, also where a kill comes in between: a task says in its notes where it comes from, and of everything
else the same content is the same change.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from aiframe.app.lanes.documents import take_documents, with_documents
from aiframe.app.lanes.opening import plan_hash
from aiframe.app.project.guarding import look_over, note_plan
from aiframe.app.project.lanes import LaneRecord, read_record, write_record
from aiframe.app.project.proposals import ADDED_LIMIT, added_before
from aiframe.app.project.site import Site
from aiframe.core.errors import UnreadableFile
from aiframe.core.model import Task
from aiframe.core.scheduling import input_key
from aiframe.store.atomic import StorageError, make_folder, write_durable
from aiframe.store.layout import Layout
from aiframe.store.locks import is_run_locked, state_mutex
from aiframe.store.project_store import ProjectStore
from aiframe.store.quarantine import set_aside
from aiframe.store.tasks_edit import add_tasks, as_entry, entries_of, set_fields
from aiframe.store.tasks_file import TaskFile, load_tasks

_PLANS_OWN = ("priority", "blocked_by")
"""What the plan says about a task, and no lane knows."""


def collect(site: Site, root: Path) -> tuple[str, ...]:
    """Take over what the lane in *root* has brought since; in words, what. May be done again.

    Nothing is taken while a step runs there, or one of the project's own.
    Raises UnreadableFile, StorageError, LockHeld.
    """
    record, lane = read_record(root), Layout(root)
    if record is None or _is_at_work(lane) or _is_at_work(site.layout):
        return ()
    try:
        file = load_tasks(lane.tasks_yaml)
    except UnreadableFile:  # told as what keeps the lane from going on
        return ()
    with state_mutex(site.layout):
        put_back = look_over(site)
        if not load_tasks(site.layout.tasks_yaml).tasks:  # a plan of nothing but what agents propose is none
            return put_back
        documents = tuple(take_documents(site, lane, record))
        record, tasks = _take_tasks(site, lane, file, with_documents(lane, record))
        if record != read_record(root):
            write_record(root, record)
    return (*put_back, *documents, *tasks)


def _is_at_work(layout: Layout) -> bool:
    """Whether a step runs there, or one was cut off: what lies there then is not looked through yet."""
    try:
        return is_run_locked(layout) or ProjectStore(layout).load(tolerate_unreadable=True).project.run is not None
    except UnreadableFile:
        return True


# Tasks ----------------------------------------------------------------------------------------------------------------


def _take_tasks(site: Site, lane: Layout, file: TaskFile, record: LaneRecord) -> tuple[LaneRecord, tuple[str, ...]]:
    """Add the tasks that a lane's agent has proposed, and let its own task say what a diagnosis made of it."""
    new = [task for task in file.tasks if task.id != record.task_id and task.id not in record.collected]
    said = []
    if new:
        said.append(_add(site, lane, record, new, entries_of(file.text)))
        record = replace(record, collected=(*record.collected, *(task.id for task in new)))
    own = next((task for task in file.tasks if task.id == record.task_id), None)
    if own is not None:
        record, told = _take_words(site, record, own)
        said.append(told)
    return record, tuple(filter(None, said))


def _add(
    site: Site, lane: Layout, record: LaneRecord, new: list[Task], entries: Mapping[str, Mapping[str, Any]]
) -> str:
    """Add *new* to the plan, under ids that are free there; in words, how. Too many wait for the person's word."""
    path, layout = site.layout.tasks_yaml, site.layout
    source = layout.offered_tasks if layout.offered_tasks.exists() else path
    known = {task.id: task for task in (*load_tasks(path).tasks, *load_tasks(source).tasks)}
    marks = {task.id: f"Proposed at work on {record.task_id}, as {task.id}." for task in new}
    new = [task for task in new if not any(marks[task.id] in there.notes for there in known.values())]
    if not new:
        return ""
    names = _free_names([task.id for task in new], known)
    tasks = tuple(_renamed(task, names, marks[task.id]) for task in new)
    plain = {task.id: _entry(entries[old.id], task) for old, task in zip(new, tasks, strict=True)}
    told = f"{record.task_id} proposes {', '.join(plain)}"
    try:
        text = add_tasks(load_tasks(source).text, plain, tasks)
    except StorageError as error:
        kept = set_aside(layout, lane.tasks_yaml, error.message)
        return f"{told}: {error.message}; the version of {record.task_id} is {kept}"
    if source == path and added_before(site) + len(new) <= ADDED_LIMIT:
        write_durable(layout.added_tasks, str(added_before(site) + len(new)))
        write_durable(path, text)
        note_plan(site, text)
        return f"{told}: in TASKS.yaml now"
    make_folder(layout.offered_tasks.parent)
    write_durable(layout.offered_tasks, text)
    return f"{told}: agents may add {ADDED_LIMIT} tasks to a plan, so `aiframe accept` is needed"


def _free_names(wanted: list[str], known: Mapping[str, Task]) -> dict[str, str]:
    """An id for each of *wanted* that no task in *known* has."""
    names: dict[str, str] = {}
    for name in wanted:
        number, free = 1, name
        while free in known or free in names.values():
            number += 1
            free = f"{name[:56]}-{number}"
        names[name] = free
    return names


def _renamed(task: Task, names: Mapping[str, str], mark: str) -> Task:
    blocked = tuple(names.get(other, other) for other in task.blocked_by)
    notes = f"{task.notes.rstrip()}\n{mark}".lstrip()
    return replace(task, id=names[task.id], blocked_by=blocked, notes=notes)


def _entry(entry: Mapping[str, Any], task: Task) -> dict[str, Any]:
    more = {"blocked_by": list(task.blocked_by)} if task.blocked_by else {}
    return {**entry, "id": task.id, **more, "notes": task.notes}


def _take_words(site: Site, record: LaneRecord, own: Task) -> tuple[LaneRecord, str]:
    """Let the plan say of the lane's task what a diagnosis, or a person, has made of it there.

    Where the plan has other words for it by now, those go before.
    """
    given = record.given.get("TASKS.yaml", "")
    if plan_hash(own) == given:
        return record, ""
    file = load_tasks(site.layout.tasks_yaml)
    task = next((task for task in file.tasks if task.id == own.id), None)
    if task is not None and plan_hash(task) == plan_hash(own):  # killed before the lane knew
        return replace(record, words=input_key(own), given={**record.given, "TASKS.yaml": plan_hash(own)}), ""
    if task is None or plan_hash(task) != given:
        return record, ""
    old, new = as_entry(task), as_entry(own)
    changed = {name: new[name] for name in new if name not in _PLANS_OWN and new[name] != old[name]}
    wanted = replace(own, status=task.status, notes=task.notes, priority=task.priority, blocked_by=task.blocked_by)
    after = replace(record, words=input_key(own), given={**record.given, "TASKS.yaml": plan_hash(own)})
    try:
        text = set_fields(file.text, own.id, changed, wanted)
        write_durable(site.layout.tasks_yaml, text)
        note_plan(site, text)
    except StorageError as error:
        return after, f"{own.id} is worked at by other words than TASKS.yaml has: {error.message}"
    return after, f"{own.id} has other words now: {', '.join(changed)}"
