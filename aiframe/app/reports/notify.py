"""Tells a person who is away that a project waits for them, has stopped, or is done.

A notice holds the project's name, its state and one sentence of aiframe's own: no words of agents, no code. It is sent
by a short-lived process of its own (`aiframe.app.reports.notifier`), so that no step ever waits for a network.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress

from msgspec import Struct, to_builtins

from aiframe.app.project.pushes import read_pushes
from aiframe.app.project.site import Site
from aiframe.core.effects import Effect, SetStatus
from aiframe.core.errors import AiframeError
from aiframe.core.model import FailureKind, Project, State, TaskStatus
from aiframe.core.transitions.merging import NO_TIME, waits_for_word
from aiframe.process import spawn_runner
from aiframe.store.atomic import read_bounded, write_atomic
from aiframe.store.journal import last_events
from aiframe.store.layout import Layout, is_safe_name

VARIABLE = "AIFRAME_NOTICE"
"""By this variable the sender gets notices and addresses: a command line could be read by everybody on the machine."""

_REMEMBERED = 500
_LONG_WAITS = (FailureKind.QUOTA, FailureKind.BUDGET)
_REVIEWS = (State.REVIEW_READY, State.REVIEW_WAITING)


class Notice(Struct, frozen=True):
    """One thing to tell; a *key* is told once.

    *kind* is question, review, interview, work, budget, merge, push, wait, error or done.
    """

    kind: str
    key: str
    title: str
    text: str


def tell_person(
    site: Site, project: Project, effects: Sequence[Effect] = (), lanes: Sequence[tuple[Site, Project]] = ()
) -> None:
    """Send what is new, and return at once. *effects* are those of the decision that led to *project*.

    *lanes* are tasks that are worked at beside others, and have come to rest: what they wait for is told as well.
    Call it with the run lock held, so that nothing is told twice. Never raises: what hinders it is in notify.log.
    """
    if not site.settings.notify:
        return
    with suppress(AiframeError, OSError):
        told = _told(site.layout)
        found = [*notices(site, project, effects), *(each for lane in lanes for each in notices(*lane, ()))]
        fresh = [notice for notice in found if notice.key not in told]
        if fresh:
            _remember(site.layout, [*told, *(notice.key for notice in fresh)])
            _send(site, fresh)


def notices(site: Site, project: Project, effects: Sequence[Effect]) -> Iterator[Notice]:
    """All that could be told of *project* now."""
    title = f"{site.root.name}: {project.state}"
    for question in project.open_questions():
        about = f" about {question.task_id}" if question.task_id else ""
        text = f"A question{about} waits for your answer: `aiframe questions` shows it."
        yield Notice("question", f"question:{question.id}:{question.task_id}", title, text)
    run = _last_run(site.layout) or f"g{project.generation}"
    if project.state not in _REVIEWS:
        for effect in effects:
            if isinstance(effect, SetStatus) and effect.status is TaskStatus.REVIEW:
                text = f"{effect.task_id} waits for your review, while other tasks go on: see `aiframe digest`."
                yield Notice("review", f"review:{effect.task_id}:{run}", title, text)
    record = read_pushes(site.layout)
    if record is not None and record.problem:
        text = f"{record.branch} could not be pushed to {record.remote}: `aiframe why` says what to do."
        yield Notice("push", f"push:{record.since}", title, text)
    rest = _resting(project)
    if rest is not None:
        kind, text = rest
        yield Notice(kind, f"{kind}:{run}", title, text)


def _resting(project: Project) -> tuple[str, str] | None:
    """What a project that rests waits for, as a kind and a sentence; None where it is nobody's turn."""
    failure = project.failure
    match project.state:
        case State.REVIEW_READY | State.REVIEW_WAITING:
            return "review", "A review waits for you: `aiframe why` says what to look at."
        case State.INTAKE_WAITING if project.settings.interactive_mode and not project.answers_done:
            return "interview", "The interview waits for your answers in INTAKE_ANSWERS.md."
        case State.WORK_WAITING:
            return "work", "Work is in your hands: `aiframe why` says what, `aiframe done` has it checked."
        case State.PAUSED if failure is not None and failure.kind is FailureKind.BUDGET:
            return "budget", "A budget is used up, so it has paused: `aiframe why` says how to go on."
        case State.PAUSED if project.last_error == NO_TIME:
            return "merge", "Proven work has no time to land: `aiframe why` says what to do."
        case State.PAUSED if waits_for_word(project):
            return "merge", "Work does not go together with what landed meanwhile: `aiframe why` says what to do."
        case State.ERROR:
            kind = f" ({failure.kind.value})" if failure is not None else ""
            return "error", f"It has stopped with an error{kind}: `aiframe why` says what to do."
        case State.DONE:
            return "done", "Every task is done."
        case _ if project.wait is not None and failure is not None and failure.kind in _LONG_WAITS:
            return "wait", "It waits for a quota or for a day's budget and goes on by itself: `aiframe why` says when."
        case _:
            return None


def _last_run(layout: Layout) -> str:
    for event in reversed(last_events(layout, 100)):
        run_id = event.get("run_id")
        if isinstance(run_id, str) and is_safe_name(run_id):
            return run_id
    return ""


def _told(layout: Layout) -> list[str]:
    try:
        keys = json.loads(read_bounded(layout.control_dir / "notified.json"))
    except (FileNotFoundError, ValueError, AiframeError):
        return []
    return [key for key in keys if isinstance(key, str)] if isinstance(keys, list) else []


def _remember(layout: Layout, keys: Sequence[str]) -> None:
    """Before anything is sent: a notice that a crash swallows is better than one that comes again and again."""
    write_atomic(layout.control_dir / "notified.json", json.dumps(keys[-_REMEMBERED:]) + "\n")


def _send(site: Site, fresh: Sequence[Notice]) -> None:
    carried = json.dumps({"addresses": site.settings.notify, "notices": [to_builtins(notice) for notice in fresh]})
    spawn_runner(
        [sys.executable, "-P", "-m", "aiframe.app.reports.notifier"],
        cwd=site.layout.control_dir,
        env={**site.environ, VARIABLE: carried},
        keep_fds=[],
        log=site.layout.control_dir / "notify.log",
    )
