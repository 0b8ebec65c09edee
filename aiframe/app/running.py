"""`aiframe run`: tick a project until nothing goes on there by itself, and what a run would do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from aiframe.app.attempts.origin import find_landed, read_origin, wanted_base
from aiframe.app.lanes.checks import check_settings
from aiframe.app.project.advance import Look, look
from aiframe.app.project.lane_stamps import file_stamp, lanes_stamp
from aiframe.app.project.lanes import lane_places
from aiframe.app.project.resources import files_below
from aiframe.app.project.site import Site, open_site
from aiframe.app.reports.explaining import explain_seen
from aiframe.app.tick import TickReport, are_quiet, tick
from aiframe.core.claims import claims_of
from aiframe.core.errors import UnreadableFile
from aiframe.core.lanes import Lane, roster
from aiframe.core.model import Project, Task, TaskStatus
from aiframe.core.patterns import matches_any
from aiframe.core.scheduling import CLOSED, why_stuck
from aiframe.core.transitions.jobs import jobs_to_start
from aiframe.core.transitions.players import named_agents
from aiframe.core.urgency import in_order
from aiframe.store.layout import Layout
from aiframe.store.locks import is_run_locked
from aiframe.store.tasks_file import load_tasks
from aiframe.workspaces.git import Repository, names

LONGEST_REST_S = 10.0
"""How long is slept at most before the project is looked at again: a person may have done something."""
_LEAST_REST_S = 0.2


def run(
    root: Path, environ: Mapping[str, str], out: Callable[[str], None], glance: Callable[[], None] = lambda: None
) -> TickReport:
    """Tick until the project is done, stopped or waits for a person. While it waits it calls *glance*, often.

    A file that cannot be read, for somebody is just writing it, is waited for as long as steps live. Raises what a
    tick raises.
    """
    before: object = None
    told = ""
    while True:
        try:
            report = tick(root, environ, wait=True, out=out, glance=glance)
            site = open_site(root, environ)
            rest = _goes_on_at(site, seen := look(site))  # a lane's wait may have ended since the tick has looked
        except UnreadableFile as error:
            if not _has_living_step(root):
                raise
            if told != error.message:
                out(f"error: {error.message}\n  cure: {error.hint}; the steps that live go on meanwhile")
            told = error.message
            _sleep(_LEAST_REST_S, glance)
            continue
        now = (seen.loaded.project.generation, lanes_stamp(site.layout), file_stamp(site.layout.lane_troubles))
        stands_still = now == before and rest == 0.0
        if rest is None or stands_still:
            if site.settings.push.branches:
                from aiframe.app.pushing import await_push

                if pushed := await_push(site, glance):
                    out(pushed)
            return report
        before, told = now, ""
        _sleep(min(max(rest - time.time(), _LEAST_REST_S), LONGEST_REST_S), glance)


def _has_living_step(root: Path) -> bool:
    """Whether a step lives, of the project or of a lane."""
    return any(is_run_locked(Layout(each)) for each in (root, *lane_places(root)))


def _sleep(seconds: float, glance: Callable[[], None]) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        glance()
        time.sleep(min(left, _LEAST_REST_S))


def _goes_on_at(site: Site, seen: Look) -> float | None:
    """When the project goes on by itself, in epoch seconds; 0 for at once, None for never."""
    if _acts(seen):
        return 0.0
    until = explain_seen(site, seen.loaded, seen.seen).until
    # A wait, a lane's too, that has ended between the two looks is no end of the run.
    return until if until is not None or not _acts(look(site)) else 0.0


def _acts(seen: Look) -> bool:
    """Whether a tick would do something now."""
    return bool(seen.decision.effects) or not are_quiet(seen)


class Forecast(Struct, frozen=True):
    """What a run would do if every task took as long as every other: *rounds* of lanes that start together.

    *never* says of open tasks that cannot start why, *warnings* name locks that look wrong.
    """

    rounds: tuple[tuple[Lane, ...], ...]
    never: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def forecast(site: Site) -> Forecast:
    """What a run would start, and in which order; nothing is written.

    Raises UnreadableFile, and StepError where a run could not begin: for its settings, its repository or its base.
    """
    tasks, rules = load_tasks(site.layout.tasks_yaml).tasks, site.rules
    check_settings(site)
    agents = named_agents(tasks, rules)
    rounds: list[tuple[Lane, ...]] = []
    left = tasks
    in_place = site.settings.workspace.kind == "inplace"
    while started := (
        (in_place and jobs_to_start(left, (), Project(), rules))
        or roster(left, (), rules.resources, rules.capacity, agents=agents).start
    ):
        rounds.append(started)
        over = {lane.task_id for lane in started}
        left = tuple(replace(task, status=TaskStatus.DONE) if task.id in over else task for task in left)
    never = tuple(why_stuck(task, left) for task in in_order(left) if task.status not in CLOSED)
    return Forecast(tuple(rounds), never, tuple(_matching_nothing(site, tasks)))


def _matching_nothing(site: Site, tasks: tuple[Task, ...]) -> Iterator[str]:
    """In words, the locks on files of which there are none yet: they may be misspelt."""
    files = _files(site)
    for task in tasks:
        if task.status in CLOSED:
            continue
        patterns = {path for claim in claims_of(task, site.rules.resources) for path in claim.paths}
        for pattern in sorted(patterns):
            if not any(matches_any(file, [pattern]) for file in files):
                yield f"{task.id}: {pattern} matches no file that is there"


def _files(site: Site) -> tuple[str, ...]:
    """The files that tasks would find: those of the target or base, or those in the project. Raises StepError."""
    if site.settings.workspace.kind != "inplace":
        host, landed = find_landed(site)
        return names(host.run("ls-tree", "-r", "-z", "--name-only", landed[0] if landed else _base(site, host)))
    if not site.layout.git_dir.exists():  # nothing has run yet
        return tuple(map(str, files_below(site.root)))
    return names(Repository(site.root).run("ls-files", "-z"))


def _base(site: Site, host: Repository) -> str:
    """The commit that work starts from."""
    record = read_origin(site)
    known = record is not None and record.still_holds(host, site.settings.workspace.base)
    return record.commit if record is not None and known else wanted_base(site, host).commit
