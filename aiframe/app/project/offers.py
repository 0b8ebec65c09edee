"""Changes that do not count by themselves and wait for a person's word.

Those that a step proposed to TASKS.yaml and may not make, and those made to steering files while a step ran.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from aiframe.app.project.aside import PutAside, deal_with, put_aside
from aiframe.app.project.observe import read_text
from aiframe.app.project.site import Site
from aiframe.core.machine import Refused
from aiframe.core.model import State, Task, TaskStatus, Unknown
from aiframe.store.atomic import make_folder, read_bounded, storage_errors, write_durable
from aiframe.store.locks import is_run_locked, state_mutex
from aiframe.store.quarantine import set_aside
from aiframe.store.tasks_file import TaskFile, load_tasks, set_statuses

_TASKS = "TASKS.yaml"
_SHOWN = 5
"""How many waiting files are named one by one."""


def waiting(site: Site) -> tuple[str, ...]:
    """What waits, each as the command to deal with it and what it is about. Raises StorageError."""
    tasks = (
        ("aiframe accept --diff (shows the changes to TASKS.yaml that a step proposed)",)
        if site.layout.offered_tasks.exists()
        else ()
    )
    aside = put_aside(site.layout)
    told = tuple(
        f"aiframe accept {one.path} ({one.why}; kept in {one.kept.relative_to(site.root)})" for one in aside[:_SHOWN]
    )
    more = f"aiframe accept --diff (shows {len(aside) - _SHOWN} more that were changed while a step ran)"
    return (*tasks, *told, more) if len(aside) > _SHOWN else (*tasks, *told)


def offered_difference(site: Site, names: Sequence[str] = ()) -> str:
    """What would change, as a unified diff; of all that waits, or of the files *names*. Raises Refused for none."""
    tasks, aside = _chosen(site, names or None)
    texts = [(_TASKS, _updated(site, _offered(site)))] if tasks else []
    texts += [(one.path, read_text(one.kept)) for one in aside]
    lines: list[str] = []
    for name, text in texts:
        now = read_text(site.root / name)
        lines += difflib.unified_diff(now.splitlines(), text.splitlines(), name, "offered", lineterm="")
    return "\n".join(lines)


def accept(site: Site, names: Sequence[str] = ()) -> str:
    """Take the offered TASKS.yaml, or the files *names*; statuses of tasks stay, and old files are kept in quarantine.

    Raises Refused where nothing is offered, or a step runs or has not been settled, UnreadableFile, StorageError.
    """
    with _at_rest(site) as state:
        tasks, aside = _chosen(site, names or (_TASKS,))
        if any(one.is_word for one in aside) and state is not State.REVIEW_WAITING:
            cure = "`aiframe accept --discard` drops what was said; `aiframe why` says what the project waits for"
            raise Refused(f"no review waits: the project is in {state}", hint=cure)
        said = [_take_tasks(site)] if tasks else []
        for one in aside:
            _take(site, one)
            said.append(one.path)
    return f"Accepted: {'; '.join(said)}"


def discard(site: Site, names: Sequence[str] = ()) -> str:
    """Drop all that waits, or the files *names*; copies stay in quarantine. Raises Refused where nothing is offered."""
    with state_mutex(site.layout):
        tasks, aside = _chosen(site, names or None)
        kept = [one.kept for one in aside]
        if tasks:
            kept.insert(0, set_aside(site.layout, site.layout.offered_tasks, "dropped by `aiframe accept --discard`"))
            with storage_errors(site.layout.offered_tasks, "remove"):
                site.layout.offered_tasks.unlink()
        deal_with(site.layout, aside)
        _forget_rest(site)
    return f"Dropped; kept as {', '.join(str(path) for path in kept)}"


@contextmanager
def _at_rest(site: Site) -> Iterator[State | Unknown]:
    """Hold a project in which no step runs or is still to be looked after; gives its state."""
    with state_mutex(site.layout):
        if is_run_locked(site.layout):
            raise Refused("a step is running", hint="wait for it, or stop it with `aiframe stop`, then accept")
        loaded = site.store.load(tolerate_unreadable=True)
        if loaded.project.state is State.RUNNING:
            # Looking after the run puts back what differs from before the step: the accepted file would be gone.
            raise Refused("a step was cut off and is not settled yet", hint="run `aiframe tick` first, then accept")
        yield loaded.edits.state or loaded.project.state


def _chosen(site: Site, names: Sequence[str] | None) -> tuple[bool, tuple[PutAside, ...]]:
    """Which of the files *names* (None: all) wait: whether TASKS.yaml does, and what was put aside."""
    aside = {one.path: one for one in put_aside(site.layout)}
    there = ([_TASKS] if site.layout.offered_tasks.exists() else []) + list(aside)
    strange = [name for name in names or () if name not in there]
    if strange or not there:
        what = ", ".join(strange) or _TASKS
        edit = f"edit {what} itself to change it"
        cure = f"name what waits: `aiframe accept {' '.join(there)}`" if there else edit
        raise Refused(f"no change to {what} waits for you", hint=cure)
    wanted = list(names or there)
    return _TASKS in wanted, tuple(aside[name] for name in wanted if name in aside)


def _take_tasks(site: Site) -> str:
    path, offered = site.layout.tasks_yaml, _offered(site)
    before = load_tasks(path).tasks
    text = _updated(site, offered)
    if path.exists():
        set_aside(site.layout, path, "the version before `aiframe accept`")
    write_durable(path, text)
    if site.layout.known_plan.exists():
        from aiframe.app.project.guarding import note_plan  # most projects never have lanes

        note_plan(site, text)
    with storage_errors(site.layout.offered_tasks, "remove"):
        site.layout.offered_tasks.unlink()
        site.layout.added_tasks.unlink(missing_ok=True)  # a person has looked: agents may add tasks again
    return _summary(before, offered.tasks)


def _take(site: Site, one: PutAside) -> None:
    path = site.root / one.path
    if path.exists():
        set_aside(site.layout, path, "the version before `aiframe accept`")
    make_folder(path.parent)
    write_durable(path, read_bounded(one.kept))
    if site.layout.known_plan.exists():
        from aiframe.app.project.guarding import note_file

        note_file(site, one.path)
    deal_with(site.layout, [one])
    _forget_rest(site)


def _forget_rest(site: Site) -> None:
    """Have the next tick look again: what it would say without a look names what waited."""
    with storage_errors(site.layout.idle_stamp, "remove"):
        site.layout.idle_stamp.unlink(missing_ok=True)


def _offered(site: Site) -> TaskFile:
    return load_tasks(site.layout.offered_tasks)


def _updated(site: Site, offered: TaskFile) -> str:
    """The offered text with the statuses that the tasks have by now."""
    now = {task.id: task.status for task in load_tasks(site.layout.tasks_yaml).tasks}
    due: dict[str, TaskStatus] = {
        task.id: now[task.id] for task in offered.tasks if task.id in now and task.status is not now[task.id]
    }
    return set_statuses(offered.text, due) if due else offered.text


def _summary(before: Sequence[Task], after: Sequence[Task]) -> str:
    old = {task.id: task.definition for task in before}
    new = {task.id: task.definition for task in after}
    parts = {
        "changed": [name for name in new if name in old and new[name] != old[name]],
        "new": [name for name in new if name not in old],
        "gone": [name for name in old if name not in new],
    }
    return "; ".join(f"{word}: {', '.join(names)}" for word, names in parts.items() if names) or "no task differs"
