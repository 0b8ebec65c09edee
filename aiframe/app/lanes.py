"""Tasks side by side: what the machine wants of lanes is done here, and each lane that may go on is ticked.

Nothing of it lives in memory: whoever looks next, after a kill too, finds the lanes in their folders and goes on. Two
who look at the same time take turns.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout
from msgspec import Struct
from msgspec.structs import replace

from aiframe.app import commands
from aiframe.app.attempts.linked import find_origin
from aiframe.app.project.advance import advance
from aiframe.app.project.books import keep_books
from aiframe.app.project.lanes import FOLDER, RECORD, Lane, LaneRecord, lane_root, read_lanes, write_record
from aiframe.app.project.site import Site, open_site, repo_path
from aiframe.core.errors import StepError, UnreadableFile
from aiframe.core.events import CloseLane, OpenLane, ParkLane, SetStatus, Tick
from aiframe.core.machine import Refused
from aiframe.core.model import FailureKind, State, Task, TaskStatus
from aiframe.core.problem import Problem
from aiframe.process import now
from aiframe.store.atomic import append_durable, make_folder, storage_errors, write_durable
from aiframe.store.layout import IGNORED, Layout
from aiframe.store.settings_file import PARALLEL
from aiframe.store.tasks_file import load_tasks
from aiframe.workspaces.create import ensure_repository

COPIED = ("SPEC.md", "ROLES.md", "AGENTS.md", "DIAGNOSE_AGENT.md", "prompts")
"""What the agent of a lane is told besides its task: copies, so that no lane changes what the others read."""
_OF_THE_WHOLE = ("parallel", "notify", "on_task_failure", "budget", "push")
"""Settings that hold for all lanes together, or for the person: a lane has none of its own."""
_VARIABLE = "AIFRAME_RESOURCE_"
_HALTING = (State.PAUSED, State.PAUSE_INTERACT, State.ERROR)
"""Where a project stands while its lanes must not go on."""

Begin = Callable[[Path, Mapping[str, str]], None]


class Tended(Struct, frozen=True):
    """What a look at the lanes has come to: how many steps live, and in words what is new."""

    running: int
    news: tuple[str, ...] = ()


@contextmanager
def turn(site: Site) -> Iterator[bool]:
    """Whether this process may look after the lanes for the block; False while another does."""
    ensure_repository(site.root, IGNORED)  # the lock lies in it, and half a .git would be a broken one
    make_folder(site.layout.control_dir)
    lock = FileLock(site.layout.control_dir / "lanes.lock", timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def tend(site: Site, begin: Begin) -> Tended:
    """Take over what has ended, open what may begin, and have every lane that is due ticked by *begin*.

    To be called in one's `turn`. Raises StepError, StorageError, UnreadableFile.
    """
    for left in (site.root / FOLDER).glob(".*"):  # what a kill has left, half made or half removed
        shutil.rmtree(left, ignore_errors=True)
    before = {lane.record.task_id: lane for lane in read_lanes(site.root, now())}
    step = advance(site, Tick)
    decided = {lane.record.task_id: lane for lane in read_lanes(site.root, now())}  # as they were for the decision
    news = []
    for effect in step.effects:
        match effect:
            case OpenLane():
                news.append(_open(site, effect))
            case ParkLane(task_id):
                lane = decided[task_id]
                write_record(lane.root, replace(lane.record, granted=False))
                news.append(f"{task_id} rests: {lane.state}; `aiframe why --project {lane.root}`")
            case CloseLane(task_id):
                news.append(_close(site, decided[task_id]))
            case _:
                pass
    settled = [effect.task_id for effect in step.effects if isinstance(effect, SetStatus)]
    if settled:
        news += filter(None, [keep_books(site, ", ".join(dict.fromkeys(settled)))])
    lanes = read_lanes(site.root, now())
    if step.project.state is State.DEV_READY:
        for lane in lanes:
            if lane.record.granted and not lane.running and not lane.seen.landed and lane.seen.failure is None:
                _wake(site, lane)
                begin(lane.root, _environment(site, lane))
    elif step.project.state in _HALTING:
        failure = step.project.failure
        halt(site, at_once=failure is not None and failure.kind is FailureKind.BUDGET)
    # One that lived when the look began counts too: its end is taken over by the next look.
    running = {name for name, lane in before.items() if lane.running}
    running |= {lane.record.task_id for lane in read_lanes(site.root, now()) if lane.running}
    return Tended(len(running), tuple(news))


def halt(site: Site, *, at_once: bool) -> tuple[str, ...]:
    """Have the lanes rest with their project, after the step that runs or *at_once*; the tasks that do so from now on.

    Raises StepError where a step does not end, StorageError.
    """
    found = []
    for lane in read_lanes(site.root, now()):
        if lane.seen.landed or lane.seen.rests or lane.seen.failure is not None:
            continue
        if lane.record.halted and not (at_once and lane.running):
            continue
        write_record(lane.root, replace(lane.record, halted=True))  # first: after a kill it still goes on by itself
        with suppress(Refused):  # it has come to its end meanwhile
            if lane.running and at_once:
                commands.stop(lane.root, site.environ)
            else:
                commands.pause(open_site(lane.root, site.environ))
        found.append(lane.record.task_id)
    return tuple(found)


def _wake(site: Site, lane: Lane) -> None:
    """Let a lane go on that was halted."""
    if not lane.record.halted:
        return
    its_site = open_site(lane.root, site.environ)
    if commands.state_of(its_site) is State.PAUSED:
        commands.go_on(its_site)
    write_record(lane.root, replace(lane.record, halted=False))


def _environment(site: Site, lane: Lane) -> Mapping[str, str]:
    """The caller's variables, with the values that the lane has got of resources."""
    values = {variable_of(name): value for name, value in lane.record.values.items()}
    ours = {name: value for name, value in site.environ.items() if name != PARALLEL}
    return {**ours, **values}


def variable_of(resource: str) -> str:
    """The variable by which a task learns its value of *resource*."""
    return _VARIABLE + "".join(letter if letter.isalnum() else "_" for letter in resource).upper()


# Opening --------------------------------------------------------------------------------------------------------------


def _open(site: Site, effect: OpenLane) -> str:
    """Let the lane be there and granted; one that is there already goes on where it was."""
    root = lane_root(site.root, effect.task_id)
    record = LaneRecord(effect.task_id, effect.agent, effect.values)
    if not (root / RECORD).exists():
        _make(site, root, record)
        return f"{effect.task_id} begins{_with(effect)}"
    write_record(root, record)
    lane = open_site(root, site.environ)
    if commands.state_of(lane) in (State.ERROR, State.PAUSED):
        commands.retry(lane, effect.task_id)
    return f"{effect.task_id} goes on{_with(effect)}"


def _with(effect: OpenLane) -> str:
    held = [effect.agent, *(f"{name} {value}" for name, value in effect.values.items())]
    return f" ({', '.join(filter(None, held))})" if any(held) else ""


def _make(site: Site, root: Path, record: LaneRecord) -> None:
    """Make the lane's project, whole or not at all. Raises StepError, StorageError."""
    task = next((t for t in load_tasks(site.layout.tasks_yaml).tasks if t.id == record.task_id), None)
    if task is None:
        raise StepError(f"TASKS.yaml has no task {record.task_id} any more", hint="put it back")
    made = root.with_name(f".new-{root.name}")
    with storage_errors(made, "make"):
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        for name in COPIED:
            _copy(site.root / name, made / name)
    write_durable(made / "TASKS.yaml", _plan_of(task))
    write_durable(made / "PROJECT.yaml", json.dumps(_settings_of(site, record), indent=2, ensure_ascii=False) + "\n")
    settings = commands.current_settings(site)
    state = {
        "state": "DEV_READY", "plan_locked": True, "review_every_n_tasks": 0,
        "interactive_mode": settings.interactive_mode, "timeout_sec": settings.timeout_sec,
    }  # fmt: skip
    write_durable(made / "STATE.json", json.dumps(state, indent=2) + "\n")
    write_record(made, record)
    with storage_errors(root, "make"):
        os.rename(made, root)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    elif source.is_file():
        shutil.copyfile(source, target)


def _plan_of(task: Task) -> str:
    """A TASKS.yaml with that one task, which waits for nothing more."""
    entry: dict[str, Any] = {
        "id": task.id, "title": task.title, "description": task.description, "status": TaskStatus.TODO.value,
        "priority": task.priority.value, "dod": list(task.dod), "verify": list(task.verify),
        "network": task.network, "review": task.review, "notes": task.notes,
    }  # fmt: skip
    locks = {"reads": list(task.reads), "writes": list(task.writes)}
    more = {"size": task.size, "agent": task.agent, "max_duration_min": task.max_duration_min}
    entry |= {name: value for name, value in more.items() if value}
    entry |= {"locks": {name: value for name, value in locks.items() if value}} if any(locks.values()) else {}
    plan = {"version": 1, "tasks": [{name: value for name, value in entry.items() if value not in ("", [])}]}
    return yaml.safe_dump(plan, allow_unicode=True, sort_keys=False, width=10_000)


def _settings_of(site: Site, record: LaneRecord) -> dict[str, Any]:
    """The project's settings as the lane has them: the same repository and the same target, by full names."""
    _, origin = find_origin(site)
    text = site.layout.project_yaml.read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    found = {key: value for key, value in loaded.items() if key not in _OF_THE_WHOLE}
    workspace = {**found["workspace"], "repo": str(repo_path(site).resolve()), "target": origin.target}
    variables = [variable_of(name) for name in record.values]
    of_task = (loaded.get("budget") or {}).get("task")
    budget = {"budget": {"task": of_task}} if of_task else {}
    return {**found, **budget, "workspace": workspace, "env": [*found.get("env", []), *variables]}


# Closing --------------------------------------------------------------------------------------------------------------


def _close(site: Site, lane: Lane) -> str:
    """Put away a lane whose task is over: its runs become the project's; work that did not land stays where it is."""
    task_id = lane.record.task_id
    if lane.running:
        commands.stop(lane.root, site.environ, then_pause=False)
    _hand_over(Layout(lane.root), site.layout)
    if lane.seen.landed:
        over = lane.root.with_name(f".over-{lane.root.name}")
        with storage_errors(lane.root, "remove"):
            shutil.rmtree(over, ignore_errors=True)
            os.rename(lane.root, over)  # in one step: from here on there is no such lane
            shutil.rmtree(over)
        return f"{task_id} is done"
    number = 1
    while (aside := lane.root.with_name(f"{lane.root.name}.closed-{number}")).exists():
        number += 1
    with storage_errors(lane.root, "move"):
        (lane.root / RECORD).unlink(missing_ok=True)
        os.rename(lane.root, aside)
    return f"{task_id} is closed; its project is kept in {FOLDER}/{aside.name}"


def _hand_over(lane: Layout, layout: Layout) -> None:
    """Move the lane's runs and logs to the project, and tell its events there. May be done again."""
    make_folder(layout.logs / "runs")
    with storage_errors(lane.logs, "move"):
        for run in sorted((lane.logs / "runs").glob("*")):
            if not (layout.logs / "runs" / run.name).exists():
                os.rename(run, layout.logs / "runs" / run.name)
        for log in sorted(lane.logs.glob("tick-*.log")):
            os.replace(log, layout.logs / log.name)
        if lane.events.is_file():
            of_runs = [
                line for line in lane.events.read_bytes().splitlines(keepends=True) if b'"run_id":""' not in line
            ]
            append_durable(layout.events, b"".join(of_runs))
            lane.events.unlink()


def check_settings(site: Site) -> None:
    """Raise StepError or UnreadableFile where settings or locks do not let tasks be worked at side by side."""
    if site.rules.capacity.slots > 1 and site.settings.workspace.kind == "inplace":
        cure = "give it workspaces of their own (`workspace: {kind: worktree, repo: PATH}`), or take `parallel` out"
        raise StepError("PROJECT.yaml wants tasks side by side, and has one folder for all of them", hint=cure)
    check_locks(site, load_tasks(site.layout.tasks_yaml).tasks)


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
