"""What an agent at work in a lane must not decide for its project: which tasks are done, how that is proven, and the
files that a person steers by.

A lane guards its own files, as any project does; its project's lie in reach of the agents, too. So they are remembered
here, beside whether a step may have run since. What was changed while none did counts as it is. Else it is put back,
said, and waits for `aiframe accept`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

import msgspec
from msgspec import Struct, field, to_builtins
from msgspec.structs import replace

from aiframe.app.project.site import Site
from aiframe.core.errors import AiframeError, UnreadableFile
from aiframe.core.model import Task, TaskStatus
from aiframe.core.scheduling import CLOSED
from aiframe.store.atomic import make_folder, read_bounded, storage_errors, write_durable
from aiframe.store.quarantine import set_aside
from aiframe.store.tasks_file import TaskFile, load_tasks, parse_tasks, set_statuses
from aiframe.workspaces.vault_files import Breach, Quarantine, put_back, snapshot
from aiframe.workspaces.vault_seal import packed, unpacked

STEERING = ("PROJECT.yaml", "AGENTS.md", "DIAGNOSE_AGENT.md", "prompts", ".git/config", ".git/hooks")
_SAY_DONE = frozenset({TaskStatus.DONE, TaskStatus.REVIEW})
"""Statuses that only aiframe sets while steps run; where nobody is there to look, a review ends as done."""


class Known(Struct, frozen=True):
    """The plan and the steering files as they count. *lived*: a step may have run since the last look."""

    lived: bool = False
    plan: str = ""
    files: Mapping[str, list[str | int]] = field(default_factory=dict)


def look_over(site: Site, *, runs: bool = False) -> tuple[str, ...]:
    """Put back what a step may have changed since the last look, and remember what counts now; in words, what was.

    *runs*: a step lives now. Hold the mutex. Raises UnreadableFile, StorageError.
    """
    before = _read(site)
    file = load_tasks(site.layout.tasks_yaml)
    if not file.tasks and (before is None or not before.lived):
        return ()
    if before is None or not (before.lived or runs):
        _write(site, before, Known(runs, file.text, _files(site)))
        return ()
    said = _put_files_back(site, before)
    if not file.tasks:  # somebody is just writing it: whoever reads the plan says so
        return said
    plan, told = _plan_that_counts(site, before, file)
    if plan != file.text:
        set_aside(site.layout, site.layout.tasks_yaml, told)
        write_durable(site.layout.tasks_yaml, plan)
        said = (*said, told)
    _write(site, before, replace(before, plan=plan, files=_files(site)))
    return said


def note_lived(site: Site, *, lived: bool) -> None:
    """Remember whether a step may run before the next look. Hold the mutex or one's turn. Raises StorageError."""
    before = _read(site)
    if before is not None:
        _write(site, before, replace(before, lived=lived))


def may_have_lived(site: Site) -> bool:
    """Whether a step may have run since the last look."""
    known = _read(site)
    return known is not None and known.lived


def forget(site: Site) -> None:
    """No step runs in a lane any more, or the project's own has changed the plan: what comes counts as it is."""
    with storage_errors(site.layout.known_plan, "remove"):
        site.layout.known_plan.unlink(missing_ok=True)


def known_tasks(site: Site) -> tuple[Task, ...]:
    """The tasks as they count; none where nothing is remembered."""
    known = _read(site)
    return parse_tasks(site.layout.tasks_yaml, known.plan.encode()).tasks if known is not None else ()


def note_statuses(site: Site, statuses: Mapping[str, TaskStatus]) -> None:
    """aiframe itself is about to set *statuses*. Hold the mutex. Raises StorageError."""
    before = _read(site)
    if before is None:
        return
    known = {task.id for task in parse_tasks(site.layout.tasks_yaml, before.plan.encode()).tasks}
    due = {name: status for name, status in statuses.items() if name in known}
    if due:
        _write(site, before, replace(before, plan=set_statuses(before.plan, due)))


def note_plan(site: Site, text: str) -> None:
    """aiframe itself has just written *text* as TASKS.yaml. Hold the mutex. Raises StorageError."""
    before = _read(site)
    if before is not None:
        _write(site, before, replace(before, plan=text))


def note_file(site: Site, name: str) -> None:
    """A person has just taken the steering file *name*. Hold the mutex. Raises StorageError."""
    before = _read(site)
    if before is not None:
        now = _files(site)
        _write(site, before, replace(before, files={**before.files, **({name: now[name]} if name in now else {})}))


def _read(site: Site) -> Known | None:
    try:
        return msgspec.convert(json.loads(read_bounded(site.layout.known_plan)), Known)
    except (OSError, AiframeError, ValueError, msgspec.ValidationError):
        return None


def _write(site: Site, before: Known | None, after: Known) -> None:
    if after != before:
        make_folder(site.layout.control_dir)
        write_durable(site.layout.known_plan, json.dumps(to_builtins(after)))


# The plan -------------------------------------------------------------------------------------------------------------


def _plan_that_counts(site: Site, known: Known, file: TaskFile) -> tuple[str, str]:
    """What TASKS.yaml is to be, and in words what of it was put back."""
    try:
        good = parse_tasks(site.layout.tasks_yaml, known.plan.encode("utf-8", "surrogatepass"))
    except UnreadableFile:
        return file.text, ""
    before, after = _by_id(good), _by_id(file)
    others = [name for name, task in before.items() if name in after and _proof(task) != _proof(after[name])]
    gone = [name for name, task in before.items() if name not in after and task.status not in CLOSED]
    if others or gone:
        _offer(site, file)
        told = "; ".join(filter(None, [_named("how it is proven was changed", others), _named("taken out", gone)]))
        stay = {name: task.status for name, task in after.items() if name in before and task.status not in _SAY_DONE}
        said = f"TASKS.yaml was changed while a step ran, which may have done that ({told}): put back"
        return set_statuses(good.text, stay), f"{said}; `aiframe accept` takes it"
    due = {name: before[name].status if name in before else TaskStatus.TODO for name in _said_done(before, after)}
    if not due:
        return file.text, ""
    said = f"TASKS.yaml said that {', '.join(due)} is done, and a step ran, which may have written that: put back"
    cure = "`aiframe stop`, then set it, then `aiframe resume`; or set it to cancelled"
    return set_statuses(file.text, due), f"{said}; to close it yourself: {cure}"


def _said_done(before: Mapping[str, Task], after: Mapping[str, Task]) -> list[str]:
    return [
        name for name, task in after.items()
        if task.status in _SAY_DONE and (name not in before or before[name].status is not task.status)
    ]  # fmt: skip


def _proof(task: Task) -> tuple[object, ...]:
    """What of a task says when it is done, and what it may do for that."""
    return task.dod, task.verify, task.steps, task.review, task.network, task.writes


def _named(what: str, names: list[str]) -> str:
    return f"{what}: {', '.join(names)}" if names else ""


def _offer(site: Site, file: TaskFile) -> None:
    make_folder(site.layout.offered_tasks.parent)
    write_durable(site.layout.offered_tasks, file.text)


def _by_id(file: TaskFile) -> dict[str, Task]:
    return {task.id: task for task in file.tasks}


# The files that a person steers by ------------------------------------------------------------------------------------


def _files(site: Site) -> dict[str, list[str | int]]:
    with storage_errors(site.root, "read"):
        return {name: packed(entry) for name, entry in snapshot(site.root, STEERING).items()}


def _put_files_back(site: Site, known: Known) -> tuple[str, ...]:
    good = {name: unpacked(record) for name, record in known.files.items()}
    quarantine = Quarantine(site.layout.quarantine_dir / f"{time.strftime('%Y%m%d-%H%M%S')}-lanes")
    with storage_errors(site.root, "read"):
        return tuple(map(_in_words, put_back(site.root, "project", good, STEERING, quarantine)))


def _in_words(breach: Breach) -> str:
    name = breach.path.removeprefix("project/")
    kept = f" (its version is kept in {breach.kept_at})" if breach.kept_at else ""
    taken = f"; `aiframe accept {name}` takes it" if kept and not name.startswith(".git/") else ""
    cure = f"; {breach.hint}" if breach.hint else taken
    return f"{name} was {breach.what} while a step ran, which may have done that: {breach.action}{kept}{cure}"
