"""Looking after tasks side by side: what the machine wants of lanes is done here, and each that may go on is ticked.

Nothing of it lives in memory: whoever looks next, after a kill too, finds the lanes in their folders and goes on. Two
who look at the same time take turns.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from aiframe.app import commands
from aiframe.app.lanes.closing import close
from aiframe.app.lanes.collecting import collect
from aiframe.app.lanes.halting import halt, is_halting, root_of
from aiframe.app.lanes.opening import follow, open_
from aiframe.app.lanes.troubles import Troubles
from aiframe.app.lanes.turn import guard, lives
from aiframe.app.project.advance import held
from aiframe.app.project.books import keep_books
from aiframe.app.project.draft import overruled
from aiframe.app.project.guarding import forget, known_tasks, look_over, note_lived
from aiframe.app.project.lanes import (
    FOLDER,
    is_at_work,
    lane_places,
    lane_root,
    open_lane,
    read_lane,
    read_lanes,
    read_record,
    write_record,
)
from aiframe.app.project.observe import check_plan
from aiframe.app.project.site import Site
from aiframe.app.reports.notify import tell_person
from aiframe.core.effects import CloseLane, Effect, OpenLane, ParkLane, SetStatus
from aiframe.core.events import Tick
from aiframe.core.machine import Refused
from aiframe.core.model import FailureKind, Project, State
from aiframe.core.resources import variable_of
from aiframe.core.scheduling import CLOSED, input_key
from aiframe.core.seen import SeenLane
from aiframe.core.timing import is_past_its_time
from aiframe.core.transitions.lanes import attempts_left, is_due, is_under_way
from aiframe.core.transitions.merging import waits_for_word
from aiframe.process import now
from aiframe.store.layout import Layout
from aiframe.store.settings_file import PARALLEL
from aiframe.store.tasks_file import load_tasks

Begin = Callable[[Path, Mapping[str, str]], None]


class Tended(Struct, frozen=True):
    """What a look at the lanes has come to: how many steps live, and in words what is new."""

    running: int
    news: tuple[str, ...] = ()


def tend(site: Site, begin: Begin) -> Tended:
    """Take over what has ended, open what may begin, and have every lane that is due ticked by *begin*.

    What is in the way of one lane holds up no other: it is told, and that one is begun again later. To be called in
    one's `turn`. Raises StepError, StorageError, UnreadableFile for what is the project's own.
    """
    _sweep(site)
    lived = lives(site)
    news = list(guard(site))
    troubles = Troubles(site)
    _end_over(site, troubles)
    news += _collect_all(site, troubles)
    look = _decide(site)
    news += (*look.news, *_carry_all_out(site, look, troubles))
    settled = [effect.task_id for effect in look.effects if isinstance(effect, SetStatus)]
    if settled or news:
        news += filter(None, [keep_books(site, ", ".join(dict.fromkeys(settled)) or "what lanes have brought")])
    begun = False
    if is_halting(look.project):
        _have_all_rest(site, look, troubles)
    elif look.project.state is State.DEV_READY:
        begun, brought = _have_all_go_on(site, look, begin, troubles)
        news += brought
    _have_hanging_ended(site, look.lanes, begin, troubles)
    if look.effects and site.settings.notify:
        tell_person(site, look.project, look.effects, tuple(_at_rest(site, look.effects, look.before)))
    # One that lived when the look began counts too: its end is taken over by the next look.
    running = {lane.task_id for lane in look.before.values() if lane.running}
    running |= {lane.task_id for lane in look.lanes if is_at_work(Layout(root_of(site, lane)))}
    if running or begun or look.lanes:
        note_lived(site, lived=bool(running) or begun or lived)
    else:
        forget(site)
    news += troubles.settle({lane.task_id for lane in look.lanes})
    troubles.raise_others()
    return Tended(len(running), tuple(news))


class _Look(Struct, frozen=True):
    """What the machine has decided: of the lanes as they were *before*, and as they are to be.

    *left* is how many attempts the budget still allows, *words* are the keys of what each task of the plan asks for.
    """

    project: Project
    effects: tuple[Effect, ...]
    before: Mapping[str, SeenLane]
    lanes: tuple[SeenLane, ...]
    left: float
    words: Mapping[str, str]
    news: tuple[str, ...]


def _decide(site: Site) -> _Look:
    """Have the machine look at the project with its lanes, and save what it decides."""
    with held(site) as draft:
        news = tuple(filter(None, [*look_over(site), overruled(draft.loaded)]))
        if draft.seen.tasks:
            draft.seen = replace(draft.seen, tasks=known_tasks(site))
        before = {lane.task_id: lane for lane in draft.seen.lanes}
        draft.decide(Tick(draft.seen))
        left = attempts_left(draft.project, draft.seen, site.rules)
        check_plan(site, draft.project, draft.seen)
        words = {task.id: input_key(task) for task in draft.seen.tasks}
        return _Look(draft.project, tuple(draft.effects), before, draft.seen.lanes, left, words, news)


def _carry_all_out(site: Site, look: _Look, troubles: Troubles) -> Iterator[str]:
    """Do what the machine wants of lanes; in words, what is new."""
    for effect in look.effects:
        if isinstance(effect, OpenLane | ParkLane | CloseLane):
            with troubles.of(effect.task_id):
                yield from _carry_out(site, effect, look.before, troubles)


def _have_all_rest(site: Site, look: _Look, troubles: Troubles) -> None:
    """Halt each lane with its project, one in mid-step at once where no budget is left."""
    at_once = look.project.failure is not None and look.project.failure.kind is FailureKind.BUDGET
    for lane in look.lanes:
        with troubles.of(lane.task_id):
            halt(site, [lane], at_once=at_once)


def _have_all_go_on(site: Site, look: _Look, begin: Begin, troubles: Troubles) -> tuple[bool, list[str]]:
    """Begin a step in each lane that is due, as far as the budget goes: whether any was begun, and what is new."""
    begun, left, news = False, look.left, list[str]()
    for lane in look.lanes:
        if is_due(lane) and (is_under_way(lane) or left >= 1):
            begun, left = True, left - 1 if not is_under_way(lane) else left
            note_lived(site, lived=True)  # first: after a kill, too, it is known
            with troubles.of(lane.task_id):
                news += _go_on(site, lane, begin, troubles)
        elif lane.running and lane.words not in ("", look.words.get(lane.task_id, lane.words)):
            with troubles.of(lane.task_id):
                halt(site, [lane], at_once=False)  # its step ends by the old words, and the next one has the new
    return begun, news


def _have_hanging_ended(site: Site, lanes: Sequence[SeenLane], begin: Begin, troubles: Troubles) -> None:
    """Tick each lane whose step hangs, which ends it: else it would keep what it holds for ever."""
    for lane in lanes:
        with troubles.of(lane.task_id):
            if lane.running and _hangs(site, lane):
                _begin(site, root_of(site, lane), begin)


def _sweep(site: Site) -> None:
    """Remove what a kill has left, half made or half removed."""
    for left in (site.root / FOLDER).glob(".*"):
        shutil.rmtree(left, ignore_errors=True)


def _collect_all(site: Site, troubles: Troubles) -> Iterator[str]:
    """Take over what the lanes have brought; in words, what."""
    for root in lane_places(site.root):
        record = read_record(root)
        if record is not None:
            with troubles.of(record.task_id):
                yield from collect(site, root)


def _end_over(site: Site, troubles: Troubles) -> None:
    """End the steps of tasks that are over: what they spent is known only then."""
    over = [lane.seen for lane in read_lanes(site.root, now()) if lane.running]
    tasks = load_tasks(site.layout.tasks_yaml).tasks if over else ()
    if tasks:  # without any the plan is gone, and no task is over
        open_tasks = {task.id for task in tasks if task.status not in CLOSED}
        for lane in over:
            if lane.task_id not in open_tasks:
                with troubles.of(lane.task_id):
                    halt(site, [lane], at_once=True)


def _carry_out(
    site: Site, effect: OpenLane | ParkLane | CloseLane, before: Mapping[str, SeenLane], troubles: Troubles
) -> tuple[str, ...]:
    """Do what the machine wants of a lane; in words, what is new."""
    match effect:
        case OpenLane(task_id):
            is_there = read_record(lane_root(site.root, task_id)) is not None
            if is_there:
                troubles.forget(task_id)
            news = (*collect(site, lane_root(site.root, task_id)), open_(site, effect))
            if not is_there and read_record(lane_root(site.root, task_id)) is not None:
                troubles.note_made(task_id)
            return news
        case ParkLane(task_id):
            lane = before[task_id]
            troubles.let_go(task_id)
            record = read_record(root_of(site, lane))
            if record is not None:
                write_record(root_of(site, lane), replace(record, granted=False))
            rests = f"{task_id} rests: {lane.state}; `aiframe why` says what it waits for"
            return (*collect(site, root_of(site, lane)), rests)
        case CloseLane(task_id):
            news = close(site, before[task_id])
            troubles.put_away(task_id)
            return news


def _at_rest(site: Site, effects: Sequence[Effect], before: Mapping[str, SeenLane]) -> Iterator[tuple[Site, Project]]:
    """The lanes that have come to rest in this look."""
    for effect in effects:
        lane = read_lane(root_of(site, before[effect.task_id]), now()) if isinstance(effect, ParkLane) else None
        if lane is not None and lane.project is not None and lane.project.state is not State.ERROR:
            yield open_lane(lane.root, site.environ), lane.project


def _go_on(site: Site, lane: SeenLane, begin: Begin, troubles: Troubles) -> tuple[str, ...]:
    """Have a lane go on, with the words and settings that its project has by now; in words, what it has brought."""
    root = root_of(site, lane)
    if lane.problem is not None:
        troubles.find(lane.task_id, lane.problem.message, lane.problem.hint)
        return ()
    if troubles.is_found(lane.task_id) or troubles.is_begun_in_vain(lane.task_id, root):
        return ()
    brought = collect(site, root)
    follow(site, root)
    record = read_record(root)
    if record is None:
        return brought
    if record.halted:
        its_site = open_lane(root, site.environ)
        with suppress(Refused):  # it has reached a limit of its own
            mine = waits_for_word(its_site.store.load(tolerate_unreadable=True).project)  # its own, and a person's
            if commands.state_of(its_site) is State.PAUSED and not mine:
                commands.go_on(its_site)
        write_record(root, replace(record, halted=False))
    troubles.note_begun(lane.task_id, root)
    _begin(site, root, begin)
    return brought


def _begin(site: Site, root: Path, begin: Begin) -> None:
    """Have the lane in *root* ticked, with the values that it has of what all share."""
    record = read_record(root)
    values = {variable_of(name): value for name, value in record.values.items()} if record is not None else {}
    ours = {name: value for name, value in site.environ.items() if name != PARALLEL}
    begin(root, {**ours, **values})


def _hangs(site: Site, lane: SeenLane) -> bool:
    """Whether the step that lives in *lane* should have ended by itself long ago."""
    found = read_lane(root_of(site, lane), now())
    run = found.project.run if found is not None and found.project is not None else None
    return run is not None and is_past_its_time(run, now(), site.rules)
