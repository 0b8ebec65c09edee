"""What the files of a project say right now, as one value for the machine. Reads only."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path

from aiframe.app.project.intake import form_done
from aiframe.app.project.site import Site
from aiframe.core.errors import UnreadableFile
from aiframe.core.events import HandSet
from aiframe.core.explanations.words import BRING_BACK, NEW_PLAN, PLAN_GONE
from aiframe.core.model import Moment, Project, State, Task, Wait
from aiframe.core.problem import Problem
from aiframe.core.scheduling import is_plan_gone
from aiframe.core.seen import Rejection, Seen, SeenLane
from aiframe.store.atomic import read_bounded
from aiframe.store.hand_edits import Edits
from aiframe.store.quarantine import last_good
from aiframe.store.tasks_file import load_tasks, parse_tasks


def observe(
    site: Site, project: Project, clock: Moment, *, lock_held: bool, tasks: tuple[Task, ...] | None = None
) -> Seen:
    """Everything the machine may want to know; *tasks* where they have been read already.

    Raises UnreadableFile for a file that cannot be used. During a run, or after its runner died, an agent may have
    broken it: then the last good tasks count, and any other such file as empty until the step's end puts it back.
    """
    layout, running = site.layout, project.state is State.RUNNING
    spec_hash = _or_empty(text_hash) if running else text_hash
    tasks = tasks_now(site, project) if tasks is None else tasks
    own = _or_empty(_own_text) if running else _own_text
    day, day_ends = local_day(clock.wall)
    return Seen(
        clock=clock,
        lock_held=lock_held,
        tasks=tasks,
        form_done=_form_done(site) if project.state is State.INTAKE_WAITING else False,
        interrupt_flag=layout.interrupt_flag.exists(),
        approval=bool(own(layout.approval).strip()),
        rejection=_rejection(own(layout.rejection), tasks),
        spec_hash=spec_hash(layout.spec),
        day=day,
        day_ends=day_ends,
        lanes=_lanes(site, clock),
    )


def _lanes(site: Site, clock: Moment) -> tuple[SeenLane, ...]:
    """What the lanes say; most projects never have one, and need not know how they are read."""
    if not site.layout.lanes.is_dir():
        return ()
    from aiframe.app.project.lanes import read_lanes

    return tuple(lane.seen for lane in read_lanes(site.root, clock))


def local_day(wall: float) -> tuple[str, float]:
    """The local day at *wall* (epoch seconds), as ``2026-02-28``, and when it ends."""
    at = time.localtime(wall)
    ends = time.mktime((at.tm_year, at.tm_mon, at.tm_mday + 1, 0, 0, 0, 0, 0, -1))
    return time.strftime("%Y-%m-%d", at), ends


def tasks_now(site: Site, project: Project) -> tuple[Task, ...]:
    """The tasks; during a run the last good ones where the file cannot be used. In a lane it is the one it is for:
    others there are an agent's proposals, which the project takes over.
    """
    path = site.layout.tasks_yaml
    try:
        tasks = load_tasks(path).tasks
    except UnreadableFile:
        good = last_good(site.layout, path.name) if project.state is State.RUNNING else None
        if good is None:
            raise
        tasks = parse_tasks(path, good).tasks
    if not site.layout.is_lane:
        return tasks
    own = json.loads(read_bounded(site.layout.lane_record))["task_id"]
    return tuple(task for task in tasks if task.id == own)


def tasks_known(site: Site, project: Project) -> tuple[Task, ...]:
    """The tasks, or the last good ones where the file cannot be used; none where there are none of these either."""
    try:
        return tasks_now(site, project)
    except UnreadableFile:
        path = site.layout.tasks_yaml
        return parse_tasks(path, last_good(site.layout, path.name) or b"").tasks


def check_plan(site: Site, project: Project, seen: Seen) -> None:
    """Raise UnreadableFile where the plan that is to be worked off is gone from its file."""
    if project.state is State.DEV_READY and is_plan_gone(project, seen):
        raise UnreadableFile([plan_gone(site)])


def plan_gone(site: Site) -> Problem:
    """What is wrong with a TASKS.yaml without the tasks that were there."""
    return Problem(site.layout.tasks_yaml, PLAN_GONE, hint=f"{BRING_BACK}; `{NEW_PLAN}` has a new plan made")


def _or_empty(read: Callable[[Path], str]) -> Callable[[Path], str]:
    """*read*, but empty for a file that cannot be used."""

    def tolerant(path: Path) -> str:
        try:
            return read(path)
        except UnreadableFile:
            return ""

    return tolerant


def hand_edit(edits: Edits, seen: Seen) -> HandSet | None:
    """What was written into STATE.json by hand, as an event; None for nothing that counts."""
    if not edits.changed:
        return None
    fields, wall = dict(edits.fields), seen.clock.wall
    if "not_before" in fields:  # epoch seconds there, a wait in the project
        until = fields.pop("not_before")
        fields["wait"] = Wait(wall, max(0.0, until - wall)) if isinstance(until, int | float) and until else None
    return HandSet(seen, edits.state, edits.settings, fields)


def read_text(path: Path) -> str:
    """The text of a file that people and agents write freely; empty for none. Undecodable bytes are replaced."""
    try:
        return read_bounded(path).decode("utf-8-sig", "replace")
    except FileNotFoundError:
        return ""


def leads_out(root: Path, path: Path) -> bool:
    """Whether *path* in the folder *root* is, or lies behind, a link that leads out of it."""
    try:
        return not path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # a loop of links
        return True


def _own_text(path: Path) -> str:
    """The text of a note in notes/. Raises UnreadableFile for a link that leads out of the project."""
    if leads_out(path.parent.parent, path):
        cure = "put the file itself there: what a link leads to outside is not read"
        raise UnreadableFile([Problem(path, "is a link that leads out of the project", hint=cure)])
    return read_text(path)


def text_hash(path: Path) -> str:
    """A short hash of a file's bytes; empty when there is none."""
    try:
        return hashlib.sha256(read_bounded(path)).hexdigest()[:16]
    except FileNotFoundError:
        return ""


def _form_done(site: Site) -> bool:
    answers = read_text(site.layout.answers)
    return bool(answers) and form_done(read_text(site.layout.questions), answers)


def _rejection(text: str, tasks: tuple[Task, ...]) -> Rejection | None:
    """A rejection note; tasks it names on a line ``tasks: T1, T2`` are the ones that go back."""
    if not text.strip():
        return None
    known = {task.id for task in tasks}
    named: list[str] = []
    for line in text.splitlines():
        head, colon, rest = line.partition(":")
        if colon and head.strip().lower() in ("task", "tasks"):
            named += [word for word in rest.replace(",", " ").split() if word in known]
    return Rejection(text.strip(), tuple(named))
