"""What is worked at now, a row for each task or step: one read-only value for every face. Takes no lock that lasts."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from aiframe.app.attempts.spending import read_note
from aiframe.app.project.lane_stamps import Stamp, file_stamp
from aiframe.app.project.lanes import Lane as LaneThere
from aiframe.app.project.lanes import is_at_work, lane_places, open_lane, read_lane
from aiframe.app.project.site import Site
from aiframe.app.reports.explaining import explain_now
from aiframe.core.budget import Spent
from aiframe.core.claims import claims_of
from aiframe.core.errors import AiframeError
from aiframe.core.lanes import Lane, roster
from aiframe.core.model import Project, Run, Task, TaskStatus
from aiframe.core.transitions.players import named_agents
from aiframe.process import now
from aiframe.store.layout import Layout
from aiframe.store.locks import is_run_locked
from aiframe.store.tasks_file import load_tasks

_TAIL = 64 * 1024
_STALE_S = 5.0
"""How long a row is taken for true while the files behind it do not change: what it waits for may be a time."""
_TALK = frozenset({"message", "tool_call", "error", "output", "stderr", "gate_started", "gate_ended", "note"})
"""What may be a row's last line."""

_NAMED = 5
"""How many tasks that wait for the same are named."""


class Row(Struct, frozen=True):
    """A task that is worked at, or a step without one. Times are epoch seconds.

    *stage* is one of `aiframe.app.project.steplines.STAGES`, empty where no step runs, but ``land`` for work that is
    about to be taken over; *since* is when its step began, or since when it waits, None where nobody knows. *tokens*
    and *cost_usd* are all that the task has taken, with the step that runs; None where that is unknown. *waits_for* is
    what it waits for, empty while a step runs or is due. *place* is the folder of the project that its step belongs to:
    the project's own, or its lane's.
    """

    task: str
    place: str
    title: str = ""
    role: str = ""
    attempt: int = 0
    run_id: str = ""
    stage: str = ""
    agent: str = ""
    since: float | None = None
    tokens: int | None = None
    cost_usd: float | None = None
    last_line: str = ""
    waits_for: str = ""


class Picture(Struct, frozen=True):
    """A project at work: its *rows*, and above them where it stands. Amounts are those of the whole project, lanes and
    running steps with them; None where they are unknown. *waits* says in words what waits, and for what.
    """

    name: str
    state: str
    done: int
    total: int
    tokens: int | None
    cost_usd: float | None
    rows: tuple[Row, ...]
    waits: tuple[str, ...] = ()


def rows(site: Site) -> tuple[Row, ...]:
    """The step that runs, and each lane, in the order of the plan. What cannot be read is left out."""
    return RowReader(site).read()


class RowReader:
    """Reads the rows again and again, and only what has changed in between."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._plan: tuple[Stamp, tuple[Task, ...]] = ((), ())
        self._known: dict[Path, tuple[Stamp, float, Row | None]] = {}

    def read(self) -> tuple[Row, ...]:
        """The rows as they are now."""
        site, plan = self._site, self._tasks()
        order = {task.id: number for number, task in enumerate(plan)}
        titles = {task.id: task.title for task in plan}
        known, self._known = self._known, {}
        found = []
        for path in (site.root, *lane_places(site.root)):
            row = self._row(path, known.get(path))
            if row is not None:
                found.append(replace(row, title=titles.get(row.task, row.title)))
        return tuple(sorted(found, key=lambda row: order.get(row.task, len(order) if row.task else -1)))

    def picture(self) -> Picture:
        """The project as it is now. Raises UnreadableFile."""
        found, site = self.read(), self._site
        project = site.store.load(tolerate_unreadable=True).project
        plan = self._plan[1]
        running = [row for row in found if row.task not in project.closed_lanes]
        spent, at_work = project.spending.project, any(row.run_id for row in found)
        tokens = spent.tokens + sum(_more(row, site).tokens for row in running)
        cost = spent.cost_usd + sum(_more(row, site).cost_usd for row in running)
        none_told = spent.unmetered > 0 or any(row.tokens is None for row in found)
        unpriced = spent.unpriced > 0 or any(row.cost_usd is None for row in found)
        return Picture(
            name=site.root.name,
            state=str(project.state),
            done=sum(task.status is TaskStatus.DONE for task in plan),
            total=len(plan),
            tokens=tokens if tokens or not none_told else None,
            cost_usd=cost if cost or not unpriced else None,
            rows=found,
            waits=tuple(_waiting(site, plan, found)) if at_work else (explain_now(site).headline,),
        )

    def _row(self, path: Path, known: tuple[Stamp, float, Row | None] | None) -> Row | None:
        """The row of the project itself, or of the lane in *path*."""
        run_id = known[2].run_id if known is not None and known[2] is not None else ""
        stamp, at = _stamp(path, run_id), time.monotonic()
        if known is not None and known[0] == stamp and at - known[1] < _STALE_S:
            self._known[path] = known
            return known[2]
        row = None
        with suppress(AiframeError):
            row = _own_row(self._site) if path == self._site.root else _lane_row(self._site, path)
        self._known[path] = (_stamp(path, row.run_id if row else ""), at, row)
        return row

    def _tasks(self) -> tuple[Task, ...]:
        stamp = file_stamp(self._site.layout.tasks_yaml)
        if stamp != self._plan[0]:
            with suppress(AiframeError):
                self._plan = (stamp, load_tasks(self._site.layout.tasks_yaml).tasks)
        return self._plan[1]


def _stamp(root: Path, run_id: str) -> Stamp:
    """What changes when the row of the project in *root* may have changed."""
    layout = Layout(root)
    files = [
        layout.lane_record,
        layout.control_json,
        layout.state_json,
        layout.spent_json,
        layout.tasks_yaml,
        layout.project_yaml,
    ]
    if run_id:
        files.append(layout.step_lines(run_id))
    return (is_at_work(layout), *(file_stamp(path) for path in files))


def _own_row(site: Site) -> Row | None:
    """The step of the project itself; None where none runs."""
    project = site.store.load(tolerate_unreadable=True).project
    if project.run is None or not is_run_locked(site.layout):
        return None
    return _running(site, project, project.run, Row(project.run.task_id, str(site.root)))


def _lane_row(site: Site, path: Path) -> Row | None:
    """The row of a lane; None for one that is being put away."""
    lane = read_lane(path, now())
    if lane is None:
        return None
    row = Row(lane.record.task_id, str(lane.root), agent=lane.record.agent)
    try:
        own = open_lane(lane.root, site.environ)
        project = own.store.load(tolerate_unreadable=True).project
        if project.run is not None and lane.running:
            return _running(own, project, project.run, row)
        return _resting(own, lane, _with_spent(row, project, Spent()))
    except AiframeError as error:
        return replace(row, waits_for=error.message)


def _resting(site: Site, lane: LaneThere, row: Row) -> Row:
    """*row* of a lane without a step: what it waits for, where that is more than the next look."""
    if lane.seen.landed:
        return replace(row, stage="land")  # it is about to be taken over
    if lane.running:
        return row
    if lane.seen.failure is not None:
        return replace(row, waits_for=lane.seen.failure.message)
    if not lane.seen.rests and not lane.record.halted:
        return row
    said = explain_now(site)
    return replace(row, waits_for=said.headline, since=said.since)


def _running(site: Site, project: Project, run: Run, row: Row) -> Row:
    note = read_note(site)
    row = _with_spent(row, project, note.spent if note.run_id == run.run_id else Spent())
    stage, said = _last_of(site.layout, run.run_id)
    first = site.settings.agents[run.role].label
    return replace(
        row,
        role=run.role.value,
        attempt=run.attempt,
        run_id=run.run_id,
        stage=stage,
        agent=run.agent or row.agent or first,
        since=run.started.wall,
        last_line=said,
    )


def _with_spent(row: Row, project: Project, running: Spent) -> Row:
    spent = project.spending.tasks.get(row.task, Spent()).plus(running) if row.task else running
    tokens = spent.tokens if spent.tokens or not spent.unmetered else None
    return replace(row, tokens=tokens, cost_usd=spent.cost_usd if spent.cost_usd or not spent.unpriced else None)


def _last_of(layout: Layout, run_id: str) -> tuple[str, str]:
    """The stage that a run is in, and the last line of what is said there; both empty where nothing tells."""
    stage = ""
    for line in reversed(_tail(layout.step_lines(run_id)).split(b"\n")):
        told = _parsed(line)
        stage = stage or str(told.get("stage", ""))
        if told.get("kind") in _TALK and (said := _worth_showing(told)):
            return stage, said
    return stage, ""


def _tail(path: Path) -> bytes:
    """The last lines of a file that may be growing: the first of them may be torn."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.pread(descriptor, _TAIL, max(0, os.fstat(descriptor).st_size - _TAIL))
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _parsed(line: bytes) -> Mapping[str, Any]:
    try:
        told = json.loads(line) if line.startswith(b"{") else {}
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _worth_showing(told: Mapping[str, Any]) -> str:
    """The line of a text that says most: the first of a command, the last of what somebody said."""
    lines = [line.strip() for line in str(told.get("text", "")).splitlines() if line.strip()]
    if not lines:
        return ""
    return (lines[0] if told.get("kind") in ("tool_call", "gate_started") else lines[-1]).removeprefix("-- ")


def _more(row: Row, site: Site) -> Spent:
    """What *row* has taken that its project has not counted yet."""
    if row.place != str(site.root):
        return Spent(tokens=row.tokens or 0, cost_usd=row.cost_usd or 0.0)
    note = read_note(site)
    return note.spent if note.run_id == row.run_id else Spent()


def _waiting(site: Site, plan: Sequence[Task], found: Sequence[Row]) -> Iterator[str]:
    """The tasks that could be worked at, and what keeps each."""
    rules = site.rules
    if rules.capacity.slots <= 1:
        return
    tasks = {task.id: task for task in plan}
    holding = [
        Lane(row.task, row.agent, claims_of(tasks[row.task], rules.resources))
        for row in found
        if row.task in tasks and not row.waits_for
    ]
    apart = {row.task for row in found if row.waits_for}
    agents = named_agents(tuple(plan), rules)
    kept = roster(plan, holding, rules.resources, rules.capacity, agents=agents, apart=apart).waiting
    same: dict[tuple[str, str], list[str]] = {}
    for each in kept:
        same.setdefault((each.what, each.holder), []).append(each.task_id)
    for (what, holder), names in same.items():
        shown = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
        yield f"{shown} wait{'s' if len(names) == 1 else ''} for {what}" + (f" ({holder} has it)" if holder else "")
