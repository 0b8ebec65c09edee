"""What a person does to a project: each command acts, then says what has happened and what is next."""

from __future__ import annotations

import os
from argparse import Namespace
from typing import TYPE_CHECKING

from aiframe.app import commands
from aiframe.app.lanes import steering
from aiframe.app.project import offers, planning
from aiframe.app.project.lanes import has_lanes
from aiframe.cli import where
from aiframe.cli.next_step import then
from aiframe.cli.reporting import harmless
from aiframe.cli.values import parse_values

if TYPE_CHECKING:
    from aiframe.app.project.site import Site
    from aiframe.core.model import Planning


def pause(args: Namespace) -> int:
    """Start no further step."""
    site = where.site(args, tolerant=True)
    return then(args, commands.pause(site) + steering.halted(site, at_once=False))


def resume(args: Namespace) -> int:
    """Go on from a pause, an error or the end."""
    return then(args, steering.go_on(where.site(args), cut_wait_short=args.now))


def go_on(args: Namespace) -> int:
    """Go on after an interrupt."""
    return then(args, steering.go_on(where.site(args)))


def interrupt(args: Namespace) -> int:
    """Stop before the next step, or at once."""
    said = steering.interrupt(where.site(args), at_once=args.now)
    if args.now:
        said = f"{commands.stop(where.project(args), os.environ, then_pause=False)}. {said}"
    return then(args, said)


def stop(args: Namespace) -> int:
    """End the step that runs, and pause."""
    root = where.project(args)
    said = commands.stop(root, os.environ)
    site = where.site(args, tolerant=True)
    return then(args, said + (steering.halted(site, at_once=True) if has_lanes(root) else ""))


def retry(args: Namespace) -> int:
    """Try a failed task again."""
    return then(args, steering.retry(where.site(args), args.task))


def replan(args: Namespace) -> int:
    """Have the plan made again."""
    return then(args, commands.replan(where.site(args)))


def approve(args: Namespace) -> int:
    """Say yes to a review."""
    return then(args, steering.approve(where.site(args), args.notes, args.task))


def reject(args: Namespace) -> int:
    """Send reviewed work back."""
    tasks = [name for option in args.task for name in option.replace(",", " ").split()]
    return then(args, steering.reject(where.site(args), args.notes, tasks))


def undo(args: Namespace) -> int:
    """Take a task's landed work back."""
    return then(args, steering.undo(where.site(args), args.task))


def accept(args: Namespace) -> int:
    """Take, show or drop changes that do not count by themselves."""
    site = steering.offering(where.site(args))
    plan = planning.pending_plan(site) if not args.file else None
    if plan is not None and (plan.made or args.discard):
        return _judge_plan(args, site, plan)
    if args.diff:
        print(offers.offered_difference(site, args.file))
        return 0
    return then(args, offers.discard(site, args.file) if args.discard else offers.accept(site, args.file))


def _judge_plan(args: Namespace, site: Site, plan: Planning) -> int:
    """Take, show or drop a plan that was made from a document."""
    if args.diff:
        print(harmless(planning.difference(site, plan)))
        return 0
    return then(args, planning.drop_plan(site) if args.discard else planning.take_plan(site))


def note(args: Namespace) -> int:
    """Tell the next step something."""
    print(steering.note(where.site(args), " ".join(args.text), args.task))
    return 0


def set_values(args: Namespace) -> int:
    """Change settings, or show them."""
    site = where.site(args)
    if args.values:
        said = commands.set_values(site, parse_values(args.values))
        return then(args, said + ("; tasks at work have it before their next step" if has_lanes(site.root) else ""))
    from msgspec import to_builtins

    for name, value in to_builtins(commands.current_settings(site)).items():
        print(f"{name}={commands.shown(value)}")
    return 0
