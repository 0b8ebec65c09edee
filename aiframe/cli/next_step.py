"""What comes after a command, as something to type."""

from __future__ import annotations

import shlex
from argparse import Namespace

from aiframe.cli import where
from aiframe.core.errors import AiframeError


def then(args: Namespace, said: str, *, tick: str = "") -> int:
    """Print what a command did and what is next, on one line; *tick* is what is typed in the place of a tick."""
    print(f"{said}. {_next(args, tick)}".rstrip())
    return 0


def _next(args: Namespace, tick: str) -> str:
    from aiframe.app.reports.explaining import explain_now
    from aiframe.core.explanations.words import LOOK, TICK

    try:
        cures = explain_now(where.site(args)).cures
    except AiframeError:  # a file that cannot be read is told by whoever needs it
        return "Next: aiframe why"
    first = next((cure for cure in cures if not cure.startswith(LOOK)), "")  # a reason at length is for `why`
    if not first:
        return ""
    return f"Next: {typed(tick if tick and first == TICK else first, args)}"


def typed(cure: str, args: Namespace) -> str:
    """*cure* as it is typed here: with the project, where the person has to name it."""
    command, space, remark = cure.partition(" (")
    if args.project is None or not cure.startswith("aiframe ") or " --project " in command:
        return cure
    return f"{command} --project {shlex.quote(args.project)}{space}{remark}"
