"""`plan`: from a person's document to the tasks in TASKS.yaml."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from aiframe.cli import where
from aiframe.cli.next_step import then, typed
from aiframe.cli.reporting import CANCELLED, harmless
from aiframe.core.explanations.words import GO_ON
from aiframe.core.model import PlanMode, Planning, State, TaskStatus

if TYPE_CHECKING:
    from aiframe.app.project.site import Site

_FOR_A_PERSON = (State.QUESTION_WAITING, State.WORK_WAITING)
"""Where a project rests after a step that did its part, and waits for the person's."""


def plan(args: Namespace) -> int:
    """Have the PO plan from a document, show it at work, and say what has come of it."""
    from aiframe.app.project.planning import begin_plan, is_planned, read_document

    path = where.here() / Path(args.input).expanduser()
    document = read_document(path)
    site = where.site(args)
    mode = PlanMode.APPEND if args.append else PlanMode.REPLACE if args.replace else None
    before = begin_plan(site, document, path.name, mode, confirmed=args.yes, can_ask=_can_ask())
    print(f"SPEC.md says what {harmless(path.name)} says; PO plans from it", flush=True)
    message = ""
    if not is_planned(site):  # else a watch was faster
        from aiframe.app.tick import tick
        from aiframe.cli.working import detached

        try:
            message = tick(site.root, os.environ, wait=True, out=lambda line: print(line, flush=True)).message
        except KeyboardInterrupt:
            return detached(args, site.root)
    return _concluded(args, where.site(args), before, message)


def _concluded(args: Namespace, site: Site, before: Planning, message: str) -> int:
    """Tell, and where it needs the person's word ask, what has come of the plan."""
    from aiframe.app.commands import state_of
    from aiframe.app.project.planning import difference, is_planned, pending_plan

    pending = pending_plan(site)
    if pending is not None and pending.made:
        return _judged(args, site, pending)
    if not is_planned(site):
        print(harmless(message))
        return 0 if state_of(site) in _FOR_A_PERSON else 1
    if before.mode is PlanMode.REPLACE:
        print(harmless(difference(site, before)))
    return _listed(args, site, "Planned")


def _judged(args: Namespace, site: Site, pending: Planning) -> int:
    """Show the new plan beside the old one, and do what the person says."""
    from aiframe.app.project.planning import difference, drop_plan, take_plan

    print(harmless(difference(site, pending)))
    if not _can_ask():
        return then(args, "A new plan waits for your word")
    try:
        takes = input("Take the new plan? Type yes, or press Enter to keep the old one: ").strip().lower()
    except (EOFError, KeyboardInterrupt):
        print(
            f"\nit waits: {typed('aiframe accept', args)} takes it, {typed('aiframe accept --discard', args)} does not"
        )
        return CANCELLED
    if takes in ("y", "yes"):
        return _listed(args, site, take_plan(site))
    then(args, drop_plan(site))
    return 1


def _listed(args: Namespace, site: Site, said: str) -> int:
    """The tasks, and what is next."""
    from aiframe.store.tasks_file import load_tasks

    for task in load_tasks(site.layout.tasks_yaml).tasks:
        status = "" if task.status is TaskStatus.TODO else f"  {task.status}"
        after = f"  blocked_by: {', '.join(task.blocked_by)}" if task.blocked_by else ""
        print(harmless(f"  {task.id}  {' '.join(task.title.split())}{after}{status}"))
    return then(args, said, tick=GO_ON)


def _can_ask() -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()
