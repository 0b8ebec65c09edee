"""What an agent did to the project's own files during a step: checked, mended, and read as a proposal.

A file that it broke or deleted goes to quarantine and the copy from before the step comes back. What a step of its role
may change is taken; the rest is put back and said.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct, field

from aiframe.app.project.site import Site
from aiframe.core.errors import UnreadableFile
from aiframe.core.model import PlanMode, Planning, Project, Role, Run, State, Task, TaskStatus
from aiframe.store.atomic import make_folder, read_bounded, storage_errors, write_durable
from aiframe.store.hand_edits import Edits
from aiframe.store.project_store import Loaded
from aiframe.store.quarantine import last_good, remember_good, set_aside
from aiframe.store.tasks_file import TaskFile, load_tasks, parse_tasks, set_statuses

DOCUMENTS = ("SPEC.md", "ROLES.md")
REMEMBERED = (*DOCUMENTS, "TASKS.yaml", "INTAKE_QUESTIONS.md")
_PROPOSED = ("state", "timeout_sec", "diagnosis")
"""The fields of STATE.json by which an agent may propose something."""
ADDED_LIMIT = 10
"""How many tasks agents may add to a plan before a person has to look."""
_NEW_STATUS = frozenset({TaskStatus.TODO, TaskStatus.BLOCKED, TaskStatus.CANCELLED})


class Inspection(Struct):
    """What was found after a step. *complaints* make it invalid output, *notes* are only recorded."""

    complaints: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    state: str = ""
    timeout_sec: float | None = None
    diagnosis: str = ""
    questions_written: bool = False


def remember(site: Site) -> None:
    """Keep a copy of every file that a step may break, as it is before the step. Raises UnreadableFile."""
    for name in REMEMBERED:
        data = _read(site.root / name) or b""
        if last_good(site.layout, name) != data:
            remember_good(site.layout, name, data)


def inspect(site: Site, run: Run) -> Inspection:
    """Check the project's files after the step of *run*, mend them, and say what the agent proposes."""
    found = Inspection()
    loaded = site.store.load(tolerate_unreadable=True)
    _inspect_state(site, loaded, found)
    for name in DOCUMENTS:
        _inspect_document(site, name, found)
    _inspect_tasks(site, run, loaded.project, found)
    before = last_good(site.layout, "INTAKE_QUESTIONS.md") or b""
    now = _read(site.layout.questions) or b""
    found.questions_written = bool(now.strip()) and now != before
    return found


def _inspect_state(site: Site, loaded: Loaded, found: Inspection) -> None:
    if loaded.unreadable is not None:
        set_aside(site.layout, site.layout.state_json, "the agent left a STATE.json that cannot be read")
        found.complaints.append(f"STATE.json cannot be read: {loaded.unreadable.message}")
        return
    if loaded.missing_state:
        found.notes.append("STATE.json was deleted during the step; it is written anew")
        return
    edits = loaded.edits
    if edits.state is not None and edits.state is not State.PAUSED:
        found.state = str(edits.state)
    if edits.settings is not None:
        found.timeout_sec = edits.settings.timeout_sec
    diagnosis = edits.fields.get("diagnosis")
    found.diagnosis = diagnosis if isinstance(diagnosis, str) else ""
    ignored = beyond_proposal(edits)
    if ignored:
        found.notes.append(f"changes to STATE.json during the step were not taken: {', '.join(ignored)}")


def beyond_proposal(edits: Edits) -> tuple[str, ...]:
    """The names of those edits in STATE.json that no step may propose: they do not count, and may be a person's."""
    return tuple(name for name in edits.changed if name not in _PROPOSED)


def _inspect_document(site: Site, name: str, found: Inspection) -> None:
    path, good = site.root / name, last_good(site.layout, name) or b""
    trouble = ""
    try:
        data = read_bounded(path)
        text = data.decode("utf-8-sig")
        if "\0" in text:
            trouble = "holds NUL bytes"
        elif not text.strip() and good.strip():
            trouble = "was emptied"
    except FileNotFoundError:
        trouble = "was deleted" if good else ""
    except UnicodeDecodeError as error:
        trouble = f"is no UTF-8 (byte {error.start})"
    except UnreadableFile as error:
        trouble = error.message
    if trouble:
        _put_back(site, name, f"{name} {trouble}")
        found.complaints.append(f"{name} {trouble}; the version from before the step is back")


def _inspect_tasks(site: Site, run: Run, project: Project, found: Inspection) -> None:
    good = last_good(site.layout, "TASKS.yaml") or b""
    path = site.layout.tasks_yaml
    data = _read(path, found)
    if data == good:
        return
    if data is None and good:
        _put_back(site, "TASKS.yaml", "TASKS.yaml was deleted")
        found.complaints.append("TASKS.yaml was deleted; the version from before the step is back")
        return
    try:
        after = load_tasks(path)
    except UnreadableFile as error:
        _put_back(site, "TASKS.yaml", "TASKS.yaml cannot be read")
        found.complaints.append(
            f"TASKS.yaml cannot be used; the version from before the step is back:\n{error.message}"
        )
        return
    planning = project.planning if run.role is Role.PO else None
    complaint = _not_kept(planning, _by_id(parse_tasks(path, good)), _by_id(after)) if planning else ""
    if complaint:
        _put_back(site, "TASKS.yaml", complaint)
        found.complaints.append(f"{complaint}; the version from before the step is back")
        return
    _take_tasks(site, run, parse_tasks(path, good), after, found, planning)


def _not_kept(planning: Planning, before: Mapping[str, Task], after: Mapping[str, Task]) -> str:
    """Why a plan may not be added to the one that is there, whose tasks are to stay; empty where it may."""
    kept = [task.id for task in planning.tasks if task.id in before] if planning.mode is PlanMode.APPEND else []
    gone = [name for name in kept if name not in after]
    changed = [name for name in kept if name in after and not _is_same(before[name], after[name])]
    left_out = f"leaves out {', '.join(gone)}" if gone else ""
    differs = f"changes {', '.join(changed)}" if changed else ""
    said = " and ".join(filter(None, [left_out, differs]))
    return f"the new TASKS.yaml {said}, though tasks may only be added to this plan" if said else ""


def _is_same(one: Task, other: Task) -> bool:
    return one.definition == other.definition and one.notes == other.notes


def _take_tasks(
    site: Site, run: Run, before: TaskFile, after: TaskFile, found: Inspection, planning: Planning | None = None
) -> None:
    """Take from the new TASKS.yaml what a step of this role may change; statuses are aiframe's own."""
    replaces = planning is not None and planning.mode is PlanMode.REPLACE
    statuses = _statuses_of_another_plan(planning, after) if planning and replaces else _due_statuses(before, after)
    text = set_statuses(after.text, statuses) if statuses else after.text
    added = sum(1 for task in after.tasks if task.id not in _by_id(before))
    refusal = _refusal(run.role, _by_id(before), _by_id(after)) or _too_many(site, run.role, added)
    if refusal:
        offer = set_aside(site.layout, site.layout.tasks_yaml, refusal)
        # The offer first: a kill before the good copy is back has this done again, one after would leave no offer.
        make_folder(site.layout.offered_tasks.parent)
        write_durable(site.layout.offered_tasks, text)
        write_durable(site.layout.tasks_yaml, last_good(site.layout, "TASKS.yaml") or b"")
        found.notes.append(f"{refusal}; the agent's version waits for `aiframe accept` (kept as {offer.name})")
        return
    _count_added(site, run.role, added)
    if text != after.text:
        note = f"statuses in TASKS.yaml are set by aiframe alone; put back: {', '.join(statuses)}"
        if any(name != run.task_id and name in _by_id(before) for name in statuses):
            kept = set_aside(site.layout, site.layout.tasks_yaml, note)  # it may be a person's edit
            note += f" (kept as {kept.name})"
        write_durable(site.layout.tasks_yaml, text)
        found.notes.append(note)


def _due_statuses(before: TaskFile, after: TaskFile) -> dict[str, TaskStatus]:
    old = _by_id(before)
    due: dict[str, TaskStatus] = {}
    for task in after.tasks:
        if task.id in old and task.status is not old[task.id].status:
            due[task.id] = old[task.id].status
        elif task.id not in old and task.status not in _NEW_STATUS:
            due[task.id] = TaskStatus.TODO
    return due


def _statuses_of_another_plan(planning: Planning, after: TaskFile) -> dict[str, TaskStatus]:
    """A task that is in both plans keeps its status; one that is another under the same id has yet to be done."""
    old = {task.id: task for task in planning.tasks}
    due: dict[str, TaskStatus] = {}
    for task in after.tasks:
        same = task.id in old and old[task.id].definition == task.definition
        wanted = old[task.id].status if same else task.status if task.status in _NEW_STATUS else TaskStatus.TODO
        if wanted is not task.status:
            due[task.id] = wanted
    return due


def _refusal(role: Role, before: Mapping[str, Task], after: Mapping[str, Task]) -> str:
    """Why the new task list cannot be taken as it is; empty when it can."""
    if role is Role.PO:
        return ""
    if role is Role.INTAKE:
        return "an INTAKE step changed TASKS.yaml" if before else ""
    changed = [name for name, task in before.items() if name not in after or after[name].definition != task.definition]
    added = [name for name in after if name not in before]
    if role is Role.DIAGNOSE:
        return "" if len(changed) + len(added) <= 1 else "a diagnosis may change or add one task, it changed more"
    return f"a DEV step changed the definition of {', '.join(changed)}" if changed else ""


def _too_many(site: Site, role: Role, added: int) -> str:
    """Why no more tasks are taken from an agent: one that adds a task with each task it does would never be done."""
    if role is Role.PO or not added or added_before(site) + added <= ADDED_LIMIT:
        return ""
    return f"agents may add {ADDED_LIMIT} tasks to a plan, and this step adds more"


def _count_added(site: Site, role: Role, added: int) -> None:
    if role is Role.PO:
        with storage_errors(site.layout.added_tasks, "remove"):
            site.layout.added_tasks.unlink(missing_ok=True)
    elif added:
        write_durable(site.layout.added_tasks, str(added_before(site) + added))


def added_before(site: Site) -> int:
    """How many tasks agents have added since a person last looked at that."""
    said = (_read(site.layout.added_tasks) or b"").strip()
    return int(said) if said.isdigit() else 0


def _by_id(file: TaskFile) -> dict[str, Task]:
    return {task.id: task for task in file.tasks}


def _put_back(site: Site, name: str, why: str) -> None:
    path = site.root / name
    if os.path.lexists(path):
        set_aside(site.layout, path, why)
    good = last_good(site.layout, name)
    if good:
        write_durable(path, good)
        return
    with storage_errors(path, "remove"):
        path.unlink(missing_ok=True)


def _read(path: Path, found: Inspection | None = None) -> bytes | None:
    try:
        return read_bounded(path)
    except FileNotFoundError:
        return None
    except UnreadableFile:
        if found is None:
            raise
        return b"\0"  # too large, or no file at all: what follows finds it unusable and puts the good copy back
