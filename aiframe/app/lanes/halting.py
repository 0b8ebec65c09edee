"""Lanes that rest with their project: after the step that runs, or at once."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from msgspec.structs import replace

from aiframe.app import commands
from aiframe.app.lanes.turn import guard, lives, turn
from aiframe.app.project.guarding import note_lived
from aiframe.app.project.lanes import lane_root, open_lane, read_lanes, read_record, write_record
from aiframe.app.project.site import Site
from aiframe.core.errors import AiframeError, UnreadableFile
from aiframe.core.machine import Refused
from aiframe.core.model import Project, State
from aiframe.core.seen import SeenLane
from aiframe.core.timing import remaining
from aiframe.process import now

_HALTING = (State.PAUSED, State.PAUSE_INTERACT, State.ERROR)
"""Where a project stands while its lanes must not go on."""
_PATIENCE_S = 30.0
"""How long a person's word waits for a look at the lanes to end; most take less than one."""


def root_of(site: Site, lane: SeenLane) -> Path:
    """The folder of *lane*; where it was not seen, the one that it would have."""
    return Path(lane.place) if lane.place else lane_root(site.root, lane.task_id)


def is_halting(project: Project) -> bool:
    """Whether the lanes have to rest because of where their project stands."""
    return project.state in _HALTING or (project.state is State.DEV_READY and remaining(project.wait, now()) > 0)


def halt(site: Site, lanes: Sequence[SeenLane], *, at_once: bool) -> tuple[str, ...]:
    """Have *lanes* rest with their project, after the step that runs or *at_once*; the tasks that do so from now on.

    What one of them is in the way of keeps none of the others going: it is raised at the end, as StepError where a step
    does not end, UnreadableFile, LockHeld or StorageError.
    """
    found, problem = [], None
    for lane in lanes:
        try:
            found += [lane.task_id] if _halt(site, lane, at_once=at_once) else []
        except AiframeError as error:
            problem = problem or error
    if problem is not None:
        raise problem
    return tuple(found)


def _halt(site: Site, lane: SeenLane, *, at_once: bool) -> bool:
    """Have one lane rest; False for one that does so already."""
    root = root_of(site, lane)
    record = read_record(root)
    if record is None and lane.running and at_once:  # nobody knows any more what it is for, and it works on
        commands.stop(root, site.environ)
        return True
    if record is None or lane.landed or lane.rests or lane.failure is not None:
        return False
    again = record.halted and not (at_once and lane.running)
    if again and lane.state == State.PAUSED:
        return False
    if not record.halted:
        write_record(root, replace(record, halted=True))  # first: after a kill it still goes on by itself
    with suppress(Refused):  # it has come to its end meanwhile
        if lane.running and at_once:
            commands.stop(root, site.environ)
        else:
            commands.pause(open_lane(root, site.environ))
    return not again


def halt_all(site: Site, *, at_once: bool) -> tuple[str, ...]:
    """As `halt`, of all lanes that are there.

    Whoever looks after them just now comes to an end first: it may be about to let one go on.
    """
    with turn(site, _PATIENCE_S):
        names = halt(site, [lane.seen for lane in read_lanes(site.root, now())], at_once=at_once)
        with suppress(UnreadableFile):  # of a file that is broken now the next look tells
            guard(site)
            note_lived(site, lived=lives(site))
        return names
