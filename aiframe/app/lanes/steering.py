"""What a person says to a project about its tasks reaches the lanes they are worked at in.

Each function does what its namesake in `aiframe.app.commands` does, and raises the same; where no lane is meant it
simply calls that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from msgspec.structs import replace

from aiframe.app import commands, reviewing
from aiframe.app.attempts import undo as undoing
from aiframe.app.lanes.halting import halt_all
from aiframe.app.project.answers import OpenQuestion, open_now
from aiframe.app.project.lanes import Lane, open_lane, read_lanes
from aiframe.app.project.offers import waiting
from aiframe.app.project.site import Site
from aiframe.core.errors import UsageError
from aiframe.core.machine import Refused
from aiframe.core.model import State, TaskStatus
from aiframe.core.scheduling import is_job
from aiframe.core.transitions.holding import undecided
from aiframe.process import now
from aiframe.store.tasks_file import load_tasks

_BETWEEN = "/"
"""What stands between a task and the id of a question that its lane asks."""


def lanes_of(site: Site) -> tuple[Lane, ...]:
    """The lanes of the project that can be read; none for most."""
    return tuple(lane for lane in read_lanes(site.root, now()) if lane.project is not None)


def _lane(site: Site, task_id: str) -> Lane | None:
    return next((lane for lane in lanes_of(site) if lane.task_id == task_id), None)


def _open(site: Site, lane: Lane) -> Site:
    return open_lane(lane.root, site.environ)


# Questions ------------------------------------------------------------------------------------------------------------


def questions(site: Site) -> tuple[OpenQuestion, ...]:
    """What waits for a person's answer: here, and in lanes, whose questions have the task before their ids."""
    asked = list(open_now(site))
    for lane in lanes_of(site):
        asked += [
            replace(question, id=f"{lane.task_id}{_BETWEEN}{question.id}") for question in open_now(_open(site, lane))
        ]
    return tuple(asked)


def answer_question(site: Site, question_id: str, text: str) -> str:
    """Answer what an agent of the project, or of a lane, asked; a bare id is enough where only one asks it."""
    asker, own, shown = _asked_by(site, question_id)
    return commands.answer_question(asker, own, text).replace(own, shown, 1)


def _asked_by(site: Site, question_id: str) -> tuple[Site, str, str]:
    """Who asked the question *question_id*, and what it is called there and here."""
    task_id, between, own = question_id.rpartition(_BETWEEN)
    lane = _lane(site, task_id) if between else None
    if lane is not None:
        return _open(site, lane), own, question_id
    waits = questions(site)
    known = [question.id for question in waits if question.id.rpartition(_BETWEEN)[2] == question_id]
    if question_id not in known and len(known) > 1:
        raise UsageError(f"several tasks ask {question_id}", hint=f"name one of {', '.join(known)}")
    if question_id not in known and known:
        return _asked_by(site, known[0])
    if question_id not in known and any(_BETWEEN in question.id for question in waits):
        names = ", ".join(question.id for question in waits)
        raise Refused(f"there is no open question {question_id}", hint=f"open questions: {names}")
    return site, question_id, question_id


# Reviews --------------------------------------------------------------------------------------------------------------


def approve(site: Site, text: str = "", task_ids: Sequence[str] = ()) -> str:
    """Say yes to what waits for a review: the work of *task_ids*, or all of the one review that there is."""
    return _decided(site, task_ids, "approve", lambda where, names: reviewing.approve(where, text, names))


def reject(site: Site, notes: str, task_ids: Sequence[str] = ()) -> str:
    """Send work back with *notes*: that of *task_ids*, or of the one review that there is."""
    return _decided(site, task_ids, "reject --task", lambda where, names: reviewing.reject(where, notes, names))


def _decided(site: Site, task_ids: Sequence[str], verb: str, decide: Callable[[Site, Sequence[str]], str]) -> str:
    lanes = {lane.task_id: lane for lane in lanes_of(site)}
    if not lanes:
        return decide(site, task_ids)
    named = list(task_ids) or _the_one(site, lanes, verb)
    said = [_decided_in(site, lanes[name], name, decide) for name in named if name in lanes]
    own = [name for name in named if name not in lanes]
    if own or not named:
        said.append(decide(site, own))
    return ". ".join(said)


def _decided_in(site: Site, lane: Lane, task_id: str, decide: Callable[[Site, Sequence[str]], str]) -> str:
    """Decide about the work of a lane: one that is held is named, one in a review is all that it is about."""
    held = _held_in(lane)
    return f"{task_id}: {decide(_open(site, lane), [task_id] if held else [])}"


def _held_in(lane: Lane) -> bool:
    project = lane.project
    held = undecided(project, load_tasks(lane.root / "TASKS.yaml").tasks) if project is not None else ()
    return lane.task_id in held


def _the_one(site: Site, lanes: dict[str, Lane], verb: str) -> list[str]:
    """The task whose review is the only one that waits; none where that is the project's own. Raises Refused."""
    waits = [name for name, lane in lanes.items() if _held_in(lane) or lane.seen.state == State.REVIEW_WAITING]
    own = _reviews(site)
    if not waits or (own and not waits):
        return []
    if len(waits) + bool(own) > 1:
        also = "; the project's own review waits as well" if own else ""
        names = " or ".join(f"`aiframe {verb} {name}`" for name in (*waits, *own))
        raise Refused(f"several reviews wait: {', '.join(waits)}{also}", hint=f"name one: {names}")
    return waits


def _reviews(site: Site) -> tuple[str, ...]:
    """The tasks that the project itself wants reviewed."""
    if commands.state_of(site) not in (State.REVIEW_READY, State.REVIEW_WAITING):
        return ()
    project = site.store.load(tolerate_unreadable=True).project
    in_review = (task.id for task in load_tasks(site.layout.tasks_yaml).tasks if task.status is TaskStatus.REVIEW)
    return tuple(dict.fromkeys((*project.review_items, *in_review))) or ("",)


# Words and work -------------------------------------------------------------------------------------------------------


def note(site: Site, text: str, task_id: str = "") -> str:
    """Write something down for the next steps: of the project and all its lanes, or of *task_id* alone."""
    if task_id:
        if is_job(load_tasks(site.layout.tasks_yaml).tasks, task_id):
            cure = "correct its `steps` in TASKS.yaml; without --task agents read the note"
            raise UsageError(f"{task_id} is a job: commands do its work, and none of them reads notes", hint=cure)
        lane = _lane(site, task_id)
        if lane is None:
            names = ", ".join(each.task_id for each in lanes_of(site)) or "none"
            cure = f"without --task all steps read it; at work are {names}"
            raise UsageError(f"{task_id} is not worked at beside others just now", hint=cure)
        commands.note(_open(site, lane), text)
        return f"Noted for the next step on {task_id}"
    said = commands.note(site, text)
    told = [lane.task_id for lane in lanes_of(site) if commands.note(_open(site, lane), text)]
    return f"{said}, and those of {', '.join(told)}" if told else said


def hand_in(site: Site, task_id: str = "") -> str:
    """Say that the work in the person's hands is done, here or in the one lane that has any."""
    waits = [lane for lane in lanes_of(site) if lane.project is not None and lane.project.handed is not None]
    own = site.store.load(tolerate_unreadable=True).project.handed is not None
    chosen = [lane for lane in waits if lane.task_id == task_id] if task_id else waits
    if not task_id and len(waits) + own > 1:
        names = " or ".join(f"`aiframe done {lane.task_id}`" for lane in waits)
        raise Refused("several works are in your hands", hint=f"name one: {names}")
    return commands.hand_in(_open(site, chosen[0]) if chosen else site, task_id)


def undo(site: Site, task_id: str) -> str:
    """Take a task's landed work back; not while it is worked at, or what it did is not taken over yet."""
    lane = _lane(site, task_id)
    if lane is not None:
        stop = "to end that, set its status to cancelled in TASKS.yaml, then `aiframe tick`"
        cure = "`aiframe run` takes over what it did; then undo" if lane.seen.landed else stop
        raise Refused(f"{task_id} is worked at just now", hint=cure)
    return undoing.undo(site, task_id)


# Going on -------------------------------------------------------------------------------------------------------------


def retry(site: Site, task_id: str = "") -> str:
    """Give a failed task (empty: every failed task) its attempts back, and go on from an error."""
    lane = _lane(site, task_id) if task_id else None
    if lane is None or lane.trouble.tries:  # there is nothing wrong with its task, and it cannot be told anything
        return commands.retry(site, task_id)
    if lane.seen.running:
        raise Refused(f"a step on {task_id} is running", hint="wait for it, or stop all with `aiframe stop`")
    said = commands.retry(_open(site, lane), task_id)
    statuses = {task.id: task.status for task in load_tasks(site.layout.tasks_yaml).tasks}
    if statuses.get(task_id) is TaskStatus.FAILED or commands.state_of(site) is State.ERROR:
        said = commands.retry(site, task_id)
    return said


def go_on(site: Site, *, cut_wait_short: bool = False) -> str:
    """Go on from a pause, an interrupt, an error or the end: here, and in all lanes that rest by themselves."""
    lanes = lanes_of(site)
    if not lanes:
        return commands.go_on(site, cut_wait_short=cut_wait_short)
    gone, refused = list[str](), None
    try:
        said = commands.go_on(site, cut_wait_short=cut_wait_short)
    except Refused as error:
        said, refused = "", error
    for lane in lanes:
        paused = lane.seen.state in (State.PAUSED, State.PAUSE_INTERACT) and not lane.record.halted
        if paused or (cut_wait_short and lane.seen.rests):
            with suppress(Refused):  # it waits for something else
                commands.go_on(_open(site, lane), cut_wait_short=cut_wait_short)
                gone.append(lane.task_id)
    if refused is not None and not gone:
        raise refused
    return "; ".join(filter(None, [said, f"{', '.join(gone)} may go on" if gone else ""]))


def interrupt(site: Site, *, at_once: bool = False) -> str:
    """Have the project and its lanes stop for a talk: before their next steps, or *at_once*."""
    said = commands.interrupt(site)
    return said + halted(site, at_once=at_once)


def halted(site: Site, *, at_once: bool) -> str:
    """Have the lanes rest with their project; in words, which."""
    names = halt_all(site, at_once=at_once)
    return f"; {', '.join(names)} {'stopped' if at_once else 'may end their step'}" if names else ""


def offering(site: Site) -> Site:
    """Where changes wait for the person's word: the project, or else the one lane. Raises Refused for several."""
    if waiting(site):
        return site
    offers = [each for each in (_open(site, lane) for lane in lanes_of(site)) if waiting(each)]
    if len(offers) > 1:
        names = " or ".join(f"`aiframe accept --project {each.root}`" for each in offers)
        raise Refused("changes of several tasks wait for you", hint=f"name one: {names}")
    return offers[0] if offers else site
