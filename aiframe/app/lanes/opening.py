"""How a lane is made, and follows its project: the task's words, the settings and the documents as they are there now.

What a lane was given is known by hashes. So what its own agents, or a person there, have changed stays until the
project's own version changes.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from msgspec.structs import replace

from aiframe.app import commands
from aiframe.app.attempts.origin import find_origin
from aiframe.app.project.lanes import (
    LaneRecord,
    known_record,
    lane_root,
    open_lane,
    put_aside,
    read_record,
    write_record,
)
from aiframe.app.project.site import Site, repo_path
from aiframe.core.effects import OpenLane
from aiframe.core.errors import UnreadableFile
from aiframe.core.model import Priority, Settings, State, Task, TaskStatus
from aiframe.core.problem import Problem
from aiframe.core.resources import variable_of
from aiframe.core.scheduling import input_key
from aiframe.store.atomic import make_folder, read_bounded, storage_errors, write_atomic, write_durable
from aiframe.store.layout import IGNORED, Layout
from aiframe.store.tasks_edit import told_steps
from aiframe.store.tasks_file import load_tasks
from aiframe.workspaces.create import ensure_repository
from aiframe.workspaces.holding import is_held

DOCUMENTS = ("SPEC.md", "ROLES.md")
"""Those that a step may change: the project takes such changes over."""
SNAPSHOT = "notes/context_snapshot.md"
NOTES = (SNAPSHOT, "notes/interaction_notes.md")
"""What a lane begins with, and then goes on with by itself."""
COPIED = (*DOCUMENTS, "AGENTS.md", "DIAGNOSE_AGENT.md", "prompts")
"""What the agent of a lane is told besides its task: copies, so that no lane changes what the others read."""
_OF_THE_WHOLE = ("parallel", "notify", "on_task_failure", "budget", "push")
"""Settings that hold for all lanes together, or for the person: a lane has none of its own."""
_SHARED = ("timeout_sec", "interactive_mode")
"""Settings of STATE.json that a lane has from its project."""
_PATIENCE_S, _POLL_S = 10.0, 0.05
_TASKS, _PROJECT, _STATE = "TASKS.yaml", "PROJECT.yaml", "STATE.json"


def open_(site: Site, effect: OpenLane) -> str:
    """Let the lane be there and granted; one that is there already goes on where it was. In words, what was done.

    Raises UnreadableFile, StepError, StorageError.
    """
    root = lane_root(site.root, effect.task_id)
    before = known_record(root)
    if before is None:
        if not _is_free(site, root, effect.task_id):
            return f"{effect.task_id} waits: a run whose lane was removed is still at work on it"
        _make(site, root, LaneRecord(effect.task_id, effect.agent, effect.values))
        return f"{effect.task_id} begins{_with(effect)}"
    again = before.words not in ("", input_key(_task_in(site, effect.task_id)))
    write_record(root, replace(before, agent=effect.agent, values=effect.values, granted=True))
    state = commands.state_of(open_lane(root, site.environ))
    if again or state is State.ERROR or (state is State.PAUSED and not before.halted):
        follow(site, root)
        commands.retry(open_lane(root, site.environ), effect.task_id)
    return f"{effect.task_id} goes on{' by its new words' if again else ''}{_with(effect)}"


def _is_free(site: Site, root: Path, task_id: str) -> bool:
    """Whether nobody works on the task any more; one whose lane was removed is given some seconds to end."""
    host, until = find_origin(site)[0], time.monotonic() + _PATIENCE_S
    while is_held(host, root, task_id):
        if time.monotonic() >= until:
            return False
        time.sleep(_POLL_S)
    return True


def _with(effect: OpenLane) -> str:
    held = [effect.agent, *(f"{name} {value}" for name, value in effect.values.items())]
    return f" ({', '.join(filter(None, held))})" if any(held) else ""


# Made -----------------------------------------------------------------------------------------------------------------


def _make(site: Site, root: Path, record: LaneRecord) -> None:
    """Make the lane's project, whole or not at all. Raises StepError, StorageError."""
    task = _task_in(site, record.task_id)
    made = root.with_name(f".new-{root.name}")
    with storage_errors(made, "make"):
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        for name in (*COPIED, *NOTES):
            _copy(site.root / name, made / name)
    write_durable(made / _TASKS, _plan_of(task))
    write_durable(made / _PROJECT, _project_yaml(site, record))
    settings = commands.current_settings(site)
    state = {"state": "DEV_READY", "plan_locked": True, "review_every_n_tasks": 0, **_shared(settings)}
    write_durable(made / _STATE, json.dumps(state, indent=2) + "\n")
    ensure_repository(made, IGNORED)
    make_folder(Layout(made).control_dir)
    write_durable(Layout(made).workspace_owner, _owner(site, root, record.task_id) + "\n")
    for name in DOCUMENTS:
        keep_given(Layout(made), name)
    given = {**_given(site, record, task), SNAPSHOT: hash_at(site.root / SNAPSHOT)}
    write_record(made, replace(record, words=input_key(task), given=given))
    if root.exists() and not Layout(root).lane_record.exists():  # a kill came while it was put aside
        put_aside(root)
    with storage_errors(root, "make"):
        os.rename(made, root)


def _owner(site: Site, root: Path, task_id: str) -> str:
    """By which id the lane claims its workspaces: the same again where it was removed, so that its work is gone on
    with; another one where the lane before was put aside, whose work is its own."""
    aside = sum(1 for _ in root.parent.glob(f"{glob.escape(root.name)}.closed-*"))
    return hash_of(f"{find_origin(site)[1].owner}\0{task_id}\0{aside}".encode("utf-8", "surrogateescape"))


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    elif source.is_file():
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(source, target)


def _task_in(site: Site, task_id: str) -> Task:
    task = next((task for task in load_tasks(site.layout.tasks_yaml).tasks if task.id == task_id), None)
    if task is None:
        raise UnreadableFile([Problem(site.layout.tasks_yaml, f"has no task {task_id} any more", hint="put it back")])
    return task


def _plan_of(task: Task, status: TaskStatus = TaskStatus.TODO) -> str:
    """A TASKS.yaml with that one task, which waits for nothing more."""
    entry: dict[str, Any] = {
        "id": task.id, "title": task.title, "description": task.description, "status": status.value,
        "priority": task.priority.value, "dod": list(task.dod), "verify": list(task.verify),
        "network": task.network, "review": task.review, "notes": task.notes,
    }  # fmt: skip
    entry |= {"steps": told_steps(task)} if task.steps else {}
    locks = {"reads": list(task.reads), "writes": list(task.writes)}
    more = {"size": task.size, "agent": task.agent, "max_duration_min": task.max_duration_min}
    entry |= {name: value for name, value in more.items() if value}
    entry |= {"locks": {name: value for name, value in locks.items() if value}} if any(locks.values()) else {}
    plan = {"version": 1, "tasks": [{name: value for name, value in entry.items() if value not in ("", [])}]}
    return yaml.safe_dump(plan, allow_unicode=True, sort_keys=False, width=10_000)


def _project_yaml(site: Site, record: LaneRecord) -> str:
    """The project's settings as the lane has them: the same repository and the same target, by full names."""
    _, origin = find_origin(site)
    loaded: dict[str, Any] = _loaded(site.layout.project_yaml)
    found = {key: value for key, value in loaded.items() if key not in _OF_THE_WHOLE}
    workspace = {**found["workspace"], "repo": str(repo_path(site).resolve()), "target": origin.target}
    variables = [variable_of(name) for name in record.values]
    of_task = (loaded.get("budget") or {}).get("task")
    budget = {"budget": {"task": of_task}} if of_task else {}
    settings = {**found, **budget, "workspace": workspace, "env": [*found.get("env", []), *variables]}
    return json.dumps(_named_from(site.root, settings), indent=2, ensure_ascii=False) + "\n"


def _loaded(path: Path) -> dict[str, Any]:
    """What PROJECT.yaml says. It has been read before; a person may be writing it just now. Raises UnreadableFile."""
    try:
        loaded = yaml.safe_load(read_bounded(path).decode())
    except (FileNotFoundError, ValueError, yaml.YAMLError):
        loaded = None
    if not isinstance(loaded, dict) or not isinstance(loaded.get("workspace"), dict):
        raise UnreadableFile([Problem(path, "says no more where tasks are worked at", hint="put `workspace` back")])
    return loaded


def _named_from(root: Path, value: Any) -> Any:
    """*value* with the scripts of scripted agents by full names: in the lane another folder is the project's."""
    if isinstance(value, list):
        return [_named_from(root, each) for each in value]
    if not isinstance(value, dict):
        return value
    told = {key: _named_from(root, each) for key, each in value.items()}
    if told.get("name") == "scripted" and isinstance(told.get("file"), str):
        told["file"] = str(Path(root, told["file"]))
    return told


def _shared(settings: Settings) -> dict[str, object]:
    return {name: getattr(settings, name) for name in _SHARED}


# Followed -------------------------------------------------------------------------------------------------------------


def follow(site: Site, root: Path) -> tuple[str, ...]:
    """Bring what changed in the project since to the lane in *root*, in which no step runs. In words, what.

    What a step was cut off over is looked through first: nothing changes before that.
    Raises StepError, StorageError, UnreadableFile.
    """
    record = read_record(root)
    if record is None:
        return ()
    task, lane = _task_in(site, record.task_id), open_lane(root, site.environ)
    if lane.store.load(tolerate_unreadable=True).project.run is not None:
        return ()
    wanted = _given(site, record, task)
    changed = [name for name in wanted if wanted[name] != record.given.get(name)]
    for name in changed:
        if name == _TASKS:
            write_durable(lane.layout.tasks_yaml, _plan_of(task, _status_for(lane, record, task)))
        elif name == _PROJECT:
            write_durable(lane.layout.project_yaml, _project_yaml(site, record))
        elif name == _STATE:
            commands.set_values(lane, _shared(commands.current_settings(site)))
        else:
            with storage_errors(root / name, "copy"):
                _remove(root / name)
                _copy(site.root / name, root / name)
        if name in DOCUMENTS:
            keep_given(lane.layout, name)
    if changed:
        write_record(root, replace(record, words=input_key(task), given={**record.given, **wanted}))
    return tuple(changed)


def given_copy(lane: Layout, name: str) -> Path:
    """Where the document *name* is kept as it was given to the *lane*."""
    return lane.control_dir / "given" / name


def keep_given(lane: Layout, name: str) -> str:
    """Keep the document *name* as the *lane* has it now; its hash, empty where there is none.

    Raises UnreadableFile, StorageError.
    """
    there, copy = hash_at(lane.root / name), given_copy(lane, name)
    if there and there != hash_at(copy):
        make_folder(copy.parent)
        write_atomic(copy, read_bounded(lane.root / name))
    return there


def _status_for(lane: Site, record: LaneRecord, task: Task) -> TaskStatus:
    """A task that has to be done by other words is to do; else it stays what it is."""
    now = next((each.status for each in load_tasks(lane.layout.tasks_yaml).tasks if each.id == task.id), None)
    return now if now is not None and record.words == input_key(task) else TaskStatus.TODO


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _given(site: Site, record: LaneRecord, task: Task) -> Mapping[str, str]:
    """What the lane is given, by hashes; of what is not there, none."""
    texts = {_PROJECT: _project_yaml(site, record), _STATE: json.dumps(_shared(commands.current_settings(site)))}
    hashes = {name: hash_of(text.encode("utf-8", "surrogatepass")) for name, text in texts.items()}
    files = {name: found for name in COPIED if (found := hash_at(site.root / name))}
    return {_TASKS: plan_hash(task), **hashes, **files}


def plan_hash(task: Task) -> str:
    """What the lane of *task* is given of it, by a hash; what only the plan is for does not count."""
    told = _plan_of(replace(task, priority=Priority.MEDIUM, notes=""))
    return hash_of(told.encode("utf-8", "surrogatepass"))


def hash_of(data: bytes) -> str:
    """A short hash."""
    return hashlib.sha256(data).hexdigest()[:16]


def hash_at(path: Path) -> str:
    """A hash of the file, or of all files in the folder, at *path*; empty where there is none."""
    if path.is_file():
        return hash_of(read_bounded(path))
    return hash_of(b"".join(_parts(path))) if path.is_dir() else ""


def _parts(folder: Path) -> Iterator[bytes]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)).encode() + b"\0" + read_bounded(path) + b"\0"
