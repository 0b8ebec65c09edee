"""`tick` and `watch`: what makes a project go on."""

from __future__ import annotations

import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiframe.cli import where
from aiframe.cli.next_step import typed
from aiframe.cli.reporting import CANCELLED, as_text
from aiframe.core.errors import AiframeError

STOP_WITHIN_S = 3.0
"""How soon after a first Ctrl-C a second one stops the run."""


def tick(args: Namespace) -> int:
    """Look once at a project, or at all of them."""
    return _tick_all(args) if args.all else _tick_one(args)


def _tick_one(args: Namespace) -> int:
    from aiframe.app.tick import tick as look

    root = where.project(args)
    try:
        report = look(root, os.environ, wait=not args.no_wait, out=_progress(args))
    except KeyboardInterrupt:
        return _detached(args, root)
    if args.json:
        print(json.dumps(_as_object(root, report)))
    elif report.message:
        print(report.message)
    return report.exit_code


def _tick_all(args: Namespace) -> int:
    """Look at every project of the frame, one line each; the worst exit code."""
    from aiframe.app.frame import all_projects

    frame = where.frame(args)
    projects = all_projects(frame)
    if not projects and not args.json:
        print(f"{frame} has no project; make one with `aiframe init NAME`")
    told: list[dict[str, Any]] = []
    for root in projects:
        try:
            told.append(_tick_quietly(root, args))
        except KeyboardInterrupt:
            return _detached(args, root)
        if not args.json:
            print(f"{root.name}: {told[-1]['message'].partition(chr(10))[0]}", flush=True)
    code = max((one["exit_code"] for one in told), default=0)
    if args.json:
        print(json.dumps({"frame": str(frame), "exit_code": code, "projects": told}))
    return code


def _tick_quietly(root: Path, args: Namespace) -> dict[str, Any]:
    from aiframe.app.tick import tick as look

    try:
        return _as_object(root, look(root, os.environ, wait=not args.no_wait, out=lambda line: None))
    except AiframeError as error:
        return {"project": str(root), "exit_code": error.exit_code, "message": as_text(error), "run_id": ""}


def _as_object(root: Path, report: Any) -> dict[str, Any]:
    return {
        "project": str(root),
        "exit_code": report.exit_code,
        "message": report.message,
        "run_id": report.run_id,
        "detached": report.detached,
    }


def _progress(args: Namespace) -> Callable[[str], None]:
    stream = sys.stderr if args.json else sys.stdout
    return lambda line: print(line, file=stream, flush=True)


def _detached(args: Namespace, root: Path) -> int:
    """After Ctrl-C: the step goes on, unless a second Ctrl-C comes soon."""
    from aiframe.store.layout import Layout
    from aiframe.store.locks import is_run_locked

    if not is_run_locked(Layout(root)):
        return CANCELLED
    follow, stop = typed("aiframe logs --follow", args), typed("aiframe stop", args)
    print(f"\ndetached: the step goes on. Follow it with `{follow}`; stop it with `{stop}`,")
    print(f"or with Ctrl-C once more within {STOP_WITHIN_S:g} s", flush=True)
    try:
        time.sleep(STOP_WITHIN_S)
    except KeyboardInterrupt:
        from aiframe.app.commands import stop as stop_run

        print("stopping it", flush=True)
        print(stop_run(root, os.environ))
    return CANCELLED


def watch(args: Namespace) -> int:
    """Tick whenever something changes, until Ctrl-C."""
    from aiframe.app.watch import watch as look_on

    roots = None if args.all else [where.project(args)]
    frame = where.frame(args) if args.all else None
    look_on(roots, frame, args.interval, args.parallel or os.cpu_count() or 1, _progress(Namespace(json=False)))
    return 0
