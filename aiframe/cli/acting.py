"""What a person does to a project: each command acts, then says what has happened and what is next."""

from __future__ import annotations

import os
from argparse import Namespace
from typing import TYPE_CHECKING

from aiframe.app import commands
from aiframe.app.attempts import undo as undoing
from aiframe.app.project import offers, planning
from aiframe.cli import where
from aiframe.cli.next_step import then
from aiframe.cli.reporting import harmless
from aiframe.cli.values import parse_values

if TYPE_CHECKING:
    from aiframe.app.project.site import Site
    from aiframe.core.model import Planning


def pause(args: Namespace) -> int:
    """Start no further step."""
    said = commands.pause(where.site(args))
    return then(args, said + _lanes_too(args, at_once=False))


def resume(args: Namespace) -> int:
    """Go on from a pause, an error or the end."""
    return then(args, commands.go_on(where.site(args), cut_wait_short=args.now))


def go_on(args: Namespace) -> int:
    """Go on after an interrupt."""
    return then(args, commands.go_on(where.site(args)))


def interrupt(args: Namespace) -> int:
    """Stop before the next step, or at once."""
    said = commands.interrupt(where.site(args))
    if args.now:
        said = f"{commands.stop(where.project(args), os.environ, then_pause=False)}. {said}"
    return then(args, said)


def stop(args: Namespace) -> int:
    """End the step that runs, and pause."""
    said = commands.stop(where.project(args), os.environ)
    return then(args, said + _lanes_too(args, at_once=True))


def _lanes_too(args: Namespace, *, at_once: bool) -> str:
    """Have the tasks that are worked at side by side rest as well; in words, which."""
    from aiframe.app.project.lanes import has_lanes

    if not has_lanes(where.project(args)):
        return ""
    from aiframe.app.lanes import halt

    halted = halt(where.site(args), at_once=at_once)
    how = "stopped" if at_once else "may end their step"
    return f"; {', '.join(halted)} {how}" if halted else ""


def retry(args: Namespace) -> int:
    """Try a failed task again."""
    return then(args, commands.retry(where.site(args), args.task))


def replan(args: Namespace) -> int:
    """Have the plan made again."""
    return then(args, commands.replan(where.site(args)))


def approve(args: Namespace) -> int:
    """Say yes to a review."""
    return then(args, commands.approve(where.site(args), args.notes, args.task))


def reject(args: Namespace) -> int:
    """Send reviewed work back."""
    tasks = [name for option in args.task for name in option.replace(",", " ").split()]
    return then(args, commands.reject(where.site(args), args.notes, tasks))


def undo(args: Namespace) -> int:
    """Take a task's landed work back."""
    return then(args, undoing.undo(where.site(args), args.task))


def accept(args: Namespace) -> int:
    """Take, show or drop changes that do not count by themselves."""
    site = where.site(args)
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
    print(commands.note(where.site(args), " ".join(args.text)))
    return 0


def set_values(args: Namespace) -> int:
    """Change settings, or show them."""
    site = where.site(args)
    if args.values:
        return then(args, commands.set_values(site, parse_values(args.values)))
    from msgspec import to_builtins

    for name, value in to_builtins(commands.current_settings(site)).items():
        print(f"{name}={commands.shown(value)}")
    return 0
