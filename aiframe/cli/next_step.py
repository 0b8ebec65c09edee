"""What comes after a command, as something to type."""

from __future__ import annotations

import shlex
from argparse import Namespace

from aiframe.cli import where
from aiframe.core.errors import AiframeError


def then(args: Namespace, said: str) -> int:
    """Print what a command did and what is next, on one line."""
    print(f"{said}. {_next(args)}".rstrip())
    return 0


def _next(args: Namespace) -> str:
    from aiframe.app.reports.status import explain_now

    try:
        cures = explain_now(where.site(args)).cures
    except AiframeError:  # a file that cannot be read is told by whoever needs it
        return "Next: aiframe why"
    return f"Next: {typed(cures[0], args)}" if cures else ""


def typed(cure: str, args: Namespace) -> str:
    """*cure* as it is typed here: with the project, where the person has to name it."""
    if args.project is None or not cure.startswith("aiframe "):
        return cure
    command, space, remark = cure.partition(" (")
    return f"{command} --project {shlex.quote(args.project)}{space}{remark}"
