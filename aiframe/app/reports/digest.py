"""What happened while nobody looked: what was done, what it cost, and what waits for a person's decision."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from msgspec import Struct, to_builtins

from aiframe.app.project.site import held_in, open_site
from aiframe.app.reports.attempt import DONE, HELD, Attempt, Totals, spent
from aiframe.app.reports.history import History, read_history
from aiframe.app.reports.lanes import LaneLine
from aiframe.app.reports.snapshot import Snapshot
from aiframe.app.reports.status import take_snapshot
from aiframe.core.errors import AiframeError, UsageError
from aiframe.core.explanations.words import shortened, show_command
from aiframe.core.model import HeldWork, Role, State, TaskStatus
from aiframe.store.layout import Layout
from aiframe.store.tasks_file import load_tasks

_UNITS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGE = re.compile(r"([0-9]{1,6})([mhdw])")


class Open(Struct, frozen=True):
    """Something that waits for a person. *kind* is a word for programs, *commands* say how to decide, in order."""

    kind: str
    text: str
    task: str = ""
    commands: tuple[str, ...] = ()


class Digest(Struct, frozen=True):
    """A project from *since* until *at* (epoch seconds).

    *done* are the runs that finished a task, *failed* those that came to a bad end, *failures* counts the latter by
    kind. *spent* is what all runs of that time took, *in_all* what the project has taken so far.
    """

    name: str
    path: str
    since: float
    at: float
    state: str
    headline: str
    tasks_done: int
    tasks_total: int
    done: tuple[Attempt, ...]
    failed: tuple[Attempt, ...]
    failures: Mapping[str, int]
    spent: Totals
    in_all: Totals
    waiting: tuple[Open, ...]
    problems: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values that JSON can carry."""
        return dict(to_builtins(self))


def parse_since(text: str, now: float) -> float:
    """The time that *text* means, in epoch seconds: an age such as 12h, or a local date or time.

    Raises UsageError.
    """
    age = _AGE.fullmatch(text.strip().lower())
    if age:
        return now - int(age[1]) * _UNITS[age[2]]
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError, OSError):
        cure = "use an age (30m, 12h, 2d, 1w) or a date (2026-05-01, 2026-05-01T18:00)"
        raise UsageError(f"{text[:80]!r} is no point in time", hint=cure) from None


def make_digest(root: Path, environ: Mapping[str, str], *, since: float, history: History | None = None) -> Digest:
    """What happened in the project in *root* since *since* (epoch seconds); *history* where it has been read already.

    Raises UsageError, GuardError.
    """
    snapshot = take_snapshot(root, environ, tail=0)
    layout = Layout(Path(snapshot.path))
    history = history or read_history(layout, environ)
    lately = [each for each in history.attempts if (each.ended or each.started or 0.0) >= since]
    failed = tuple(each for each in lately if each.failed)
    return Digest(
        name=snapshot.name,
        path=snapshot.path,
        since=since,
        at=snapshot.at,
        state=snapshot.state,
        headline=snapshot.waits.headline,
        tasks_done=snapshot.tasks_by_status.get(TaskStatus.DONE.value, 0),
        tasks_total=snapshot.tasks_total,
        done=tuple(_done(lately)),
        failed=failed,
        failures=dict(Counter(each.outcome for each in failed)),
        spent=spent(lately),
        in_all=spent(history.attempts),
        waiting=tuple(_waiting(snapshot, root, environ, lately)),
        problems=tuple(str(problem) for problem in history.problems),
    )


def _done(lately: list[Attempt]) -> Iterator[Attempt]:
    """The runs that finished a task, and those whose work is held still: no later run of the task has begun."""
    last = {each.task: each for each in lately if each.role == Role.DEV}
    for each in lately:
        if each.role == Role.DEV and (each.outcome == DONE or (each.outcome == HELD and last[each.task] is each)):
            yield each


def _waiting(snapshot: Snapshot, root: Path, environ: Mapping[str, str], lately: list[Attempt]) -> Iterator[Open]:
    """All that a person can decide now, the most pressing first."""
    waits = snapshot.waits
    for problem in snapshot.problems:
        place = f"{problem.path}:{problem.line}" if problem.line else problem.path
        yield Open("problem", f"{place}: {problem.message}" if place else problem.message, commands=(problem.hint,))
    if snapshot.state in (State.ERROR, State.PAUSED, State.PAUSE_INTERACT):
        kind = "error" if snapshot.state == State.ERROR else "pause"
        yield Open(kind, waits.headline, commands=waits.cures)
    if snapshot.state == State.INTAKE_WAITING and waits.waiting_for == "your answers":
        yield Open("interview", waits.headline, commands=waits.cures)
    if snapshot.state == State.WORK_WAITING:
        yield Open("work", waits.headline, commands=waits.cures)
    for lane in snapshot.lanes:
        yield from _in_lane(lane, environ)
    for question in snapshot.questions:
        choices = f" ({', '.join(question.choices)})" if question.choices else ""
        command = f'aiframe answer {question.id} "..."'
        yield Open("question", f"{question.id}: {question.text}{choices}", question.task_id, (command,))
    yield from _reviews(snapshot, root, environ)
    yield from _offers(root, environ)
    yield from _unverified(lately)
    yield from _unasked(lately)


def _in_lane(lane: LaneLine, environ: Mapping[str, str]) -> Iterator[Open]:
    """What waits for a person in a task that is worked at beside others."""
    if not lane.waits.cures:
        return
    questions = take_snapshot(Path(lane.place), environ, tail=0).questions if lane.state != State.ERROR else ()
    for question in questions:
        choices = f" ({', '.join(question.choices)})" if question.choices else ""
        name = f"{lane.task}/{question.id}"
        yield Open("question", f"{name}: {question.text}{choices}", lane.task, (f'aiframe answer {name} "..."',))
    if not questions:
        yield Open(_KINDS.get(lane.state, "wait"), lane.waits.headline, lane.task, lane.waits.cures)


_KINDS: Mapping[str, str] = {
    State.ERROR: "error", State.PAUSED: "pause", State.PAUSE_INTERACT: "pause", State.WORK_WAITING: "work",
    State.REVIEW_WAITING: "review",
}  # fmt: skip


def _reviews(snapshot: Snapshot, root: Path, environ: Mapping[str, str]) -> Iterator[Open]:
    """Work that is held, and the review that waits or what was collected for one while other tasks went on."""
    titles = {task.id: task.title for task in snapshot.tasks if task.status == TaskStatus.REVIEW}
    held = {name: work for name, work in _held(root, environ).items() if name in titles and not work.approved}
    repo = _repo(root, environ) if held else ""
    for name, work in held.items():
        text = f"{titles[name]}: {shortened((work.reason, *work.findings))}"
        yield Open("held", text, name, (show_command(work, repo), f"aiframe approve {name}", _reject(name)))
    review = {name: title for name, title in titles.items() if name not in held}
    if snapshot.state in (State.REVIEW_WAITING, State.REVIEW_READY):
        if review or not held:
            yield Open("review", snapshot.waits.headline, commands=snapshot.waits.cures)
        return
    first = ("aiframe pause (lets the step end first)",) if snapshot.state == State.RUNNING else ()
    others = " (takes the others)" if len(review) > 1 else ""
    checks = _manual_checks(Layout(Path(snapshot.path)))
    for name, title in review.items():
        look = "; ".join(checks.get(name, ()))
        text = f"{title}{f' (look at: {look})' if look else ''}"
        yield Open("review", text, name, (*first, "aiframe approve (all that waits)", _reject(name) + others))


def _reject(name: str) -> str:
    return f'aiframe reject --task {name} --notes "..."'


def _held(root: Path, environ: Mapping[str, str]) -> Mapping[str, HeldWork]:
    try:
        return open_site(root, environ).store.load(tolerate_unreadable=True).project.held
    except AiframeError:  # told among the problems
        return {}


def _repo(root: Path, environ: Mapping[str, str]) -> str:
    try:
        return held_in(open_site(root, environ))
    except AiframeError:  # told among the problems
        return ""


def _manual_checks(layout: Layout) -> Mapping[str, tuple[str, ...]]:
    try:
        return {task.id: task.manual_checks for task in load_tasks(layout.tasks_yaml).tasks}
    except AiframeError:
        return {}


def _offers(root: Path, environ: Mapping[str, str]) -> Iterator[Open]:
    """Changes that a step may not make by itself."""
    from aiframe.app.project.offers import waiting

    try:
        told = waiting(open_site(root, environ))
    except AiframeError:  # told among the problems
        return
    for cure in told:
        command, _, why = cure.partition(" (")
        yield Open("accept", why.removesuffix(")") or command, commands=(command,))


def _unverified(lately: list[Attempt]) -> Iterator[Open]:
    """What was taken although nobody has looked; the last try at a task counts."""
    last = {each.task: each for each in lately if each.role == Role.DEV and each.outcome == DONE}
    for each in last.values():
        for check in each.unverified:
            yield Open("unverified", check, each.task, (f"aiframe history {each.task}",))


def _unasked(lately: list[Attempt]) -> Iterator[Open]:
    """What agents wanted to know and went on without; the last step of a task or role counts."""
    last = {(each.task or each.role): each for each in lately}
    for each in last.values():
        for question in each.unasked:
            yield Open("unasked", question, each.task, ('aiframe note "..." (tells the agents)',))
