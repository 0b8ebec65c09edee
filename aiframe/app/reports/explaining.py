"""What a project waits for, with everything that says so: its own files, its lanes, its runner's last words."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from aiframe.app.project.intake import open_questions
from aiframe.app.project.landed import to_take_in
from aiframe.app.project.lanes import Lane, has_lanes, read_lanes
from aiframe.app.project.last_words import LastWords, last_words
from aiframe.app.project.observe import hand_edit, observe, read_text
from aiframe.app.project.offers import waiting
from aiframe.app.project.pushes import unpushed
from aiframe.app.project.site import Site, held_in
from aiframe.app.reports.lanes import LaneLine, lane_lines, together
from aiframe.core.explain import explain
from aiframe.core.explanations.words import Explanation
from aiframe.core.explanations.working import to_take_up
from aiframe.core.machine import decide
from aiframe.core.model import Project, State
from aiframe.core.seen import Seen
from aiframe.process import now
from aiframe.store.locks import is_run_locked
from aiframe.store.project_store import Loaded


def explain_now(site: Site) -> Explanation:
    """What the project waits for at this moment. Raises UnreadableFile, as a tick would."""
    alive = is_run_locked(site.layout)
    loaded = site.store.load(tolerate_unreadable=True)
    if is_in_the_way(loaded, alive=alive) and loaded.unreadable is not None:
        raise loaded.unreadable
    return explain_seen(site, loaded, observe(site, loaded.project, now(), lock_held=alive))


def explain_seen(site: Site, loaded: Loaded, seen: Seen) -> Explanation:
    """What the project, which was just *loaded*, waits for by what was *seen*."""
    said = explain_project(site, with_hand_edits(site, loaded, seen), seen)
    if not seen.lanes:
        return said
    return together(said, explain_lanes(site, lanes_of(site, seen), loaded.project, seen))


def explain_lanes(site: Site, lanes: Sequence[Lane], project: Project, seen: Seen) -> tuple[LaneLine, ...]:
    """A line for each of the *lanes* of *project*, with what it waits for."""
    return lane_lines(site, lanes, seen.clock, _explain_lane, _taken_up_again(project, seen))


def _taken_up_again(project: Project, seen: Seen) -> frozenset[str]:
    """The tasks that the next look takes up again: what is wrong in their lanes is over."""
    return frozenset(to_take_up(seen)) if project.state is State.DEV_READY else frozenset()


def _explain_lane(site: Site, lane: Lane) -> Explanation:
    """What a lane waits for, whose project is *site*; as it was read."""
    if lane.loaded is None:
        return Explanation("")
    seen = observe(site, lane.loaded.project, now(), lock_held=lane.running, tasks=lane.tasks)
    return explain_project(site, with_hand_edits(site, lane.loaded, seen), seen)


def lanes_of(site: Site, seen: Seen) -> tuple[Lane, ...]:
    """The lanes of the project as they are now; most projects have none, and nothing is read for it."""
    return read_lanes(site.root, seen.clock) if has_lanes(site.root) else ()


def is_in_the_way(loaded: Loaded, *, alive: bool) -> bool:
    """Whether a STATE.json that cannot be read stops the project: a run has the control record to go by."""
    return loaded.unreadable is not None and not alive and loaded.project.state is not State.RUNNING


def with_hand_edits(site: Site, loaded: Loaded, seen: Seen) -> Project:
    """The project as the next tick takes it: with what a person wrote into STATE.json."""
    event = hand_edit(loaded.edits, seen)
    return loaded.project if event is None else decide(loaded.project, event, site.rules).project


def explain_project(site: Site, project: Project, seen: Seen) -> Explanation:
    """What *project* waits for by itself, its lanes left aside. Raises AiframeError for a form that cannot be read."""
    blank = open_form_questions(site, project)
    said = explain(project, seen, site.rules, open_form_questions=blank, repo=held_in(site), landed=to_take_in(site))
    if project.run is not None and not seen.lock_held:
        said = _with_last_words(said, last_words(site.layout, since=project.run.started.wall))
    cures = (*said.cures, *waiting(site), *unpushed(site.layout, held_in(site)))
    return replace(said, cures=tuple(dict.fromkeys(cures)))


def _with_last_words(said: Explanation, words: LastWords) -> Explanation:
    """*said* of a step without a runner, with why the last one gave up: the next one may do so, too."""
    if not words.message:
        return said
    headline = f"{said.headline}. The last runner gave up: {words.message}"
    return replace(said, headline=headline, cures=(*filter(None, [words.hint]), *said.cures))


def open_form_questions(site: Site, project: Project) -> int:
    """How many questions of the interview's form are without an answer. Raises AiframeError where it cannot be read."""
    if project.state is not State.INTAKE_WAITING:
        return 0
    return open_questions(read_text(site.layout.questions), read_text(site.layout.answers))
