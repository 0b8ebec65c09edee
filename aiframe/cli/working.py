"""`tick` and `watch`: what makes a project go on."""

from __future__ import annotations

import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiframe.cli import where
from aiframe.cli.live import at_work
from aiframe.cli.next_step import typed
from aiframe.cli.reporting import CANCELLED, as_text, harmless
from aiframe.core.errors import AiframeError, UsageError

if TYPE_CHECKING:
    from aiframe.app.tick import TickReport

PATIENCE_S = 2.0
"""How long `tick --no-wait` looks at most whether its step begins, so that it can say why it does not."""
STOP_WITHIN_S = 3.0
"""How soon after a first Ctrl-C a second one stops the run."""


def tick(args: Namespace) -> int:
    """Look once at a project, or at all of them."""
    return _tick_all(args) if args.all else _tick_one(args)


def done(args: Namespace) -> int:
    """Hand in what was done by hand, and have it checked."""
    from aiframe.app.lanes.steering import hand_in

    _progress(args)(hand_in(where.site(args), args.task))
    return _tick_one(args)


def _tick_one(args: Namespace) -> int:
    from aiframe.app.tick import tick as look

    root = where.project(args)
    try:
        environ, wait = _recorded(args, root), not args.no_wait
        with at_work(root, environ, on=wait and not args.json, otherwise=_progress(args)) as (out, glance):
            report = look(root, environ, wait=wait, out=out, patience_s=PATIENCE_S, glance=glance)
    except KeyboardInterrupt:
        return detached(args, root)
    if args.json:
        print(json.dumps(_as_object(root, report)))
    elif report.message:
        print(harmless(report.message))
    return report.exit_code


def _recorded(args: Namespace, root: Path | None) -> Mapping[str, str]:
    """The environment, with where to record the one project *root* where that was asked for."""
    if args.record is None:
        return os.environ
    if root is None:
        raise UsageError("a file records one project", hint="name the project with --project instead of --all")
    from aiframe.app.attempts.recording import recorded_by

    return recorded_by(root, args.record, os.environ)


def _tick_all(args: Namespace) -> int:
    """Look at every project of the frame, one line each; the worst exit code."""
    from aiframe.app.making.frame import all_projects
    from aiframe.app.project.stamp import leave_frame_stamp, survey_frame

    _recorded(args, None)
    frame = where.frame(args)
    before = survey_frame(frame)
    projects = all_projects(frame)
    told: list[dict[str, Any]] = []
    for root in projects:
        try:
            told.append(_tick_quietly(root, args))
        except KeyboardInterrupt:
            return detached(args, root)
        if not args.json:
            print(_one_line(told[-1]), flush=True)
    code = max((one["exit_code"] for one in told), default=0)
    if args.json:
        print(json.dumps({"frame": str(frame), "exit_code": code, "projects": told}))
        return code
    if not projects:
        print(_no_project(frame))
    said = [_one_line(one) for one in told] or [_no_project(frame)]
    leave_frame_stamp(before, projects, "\n".join(said), code, os.environ)
    return code


def _no_project(frame: Path) -> str:
    return f"{frame} has no project; make one with `aiframe init NAME`"


def _one_line(told: dict[str, Any]) -> str:
    first = told["message"].partition("\n")[0]
    return harmless(f"{Path(told['project']).name}: {first}")


def _tick_quietly(root: Path, args: Namespace) -> dict[str, Any]:
    """What a tick of *root* says; an error is told like the rest, so that the other projects get their turn."""
    from aiframe.app.project.stamp import resting
    from aiframe.app.tick import TickReport
    from aiframe.app.tick import tick as look
    from aiframe.store.layout import Layout

    rest = resting(Layout(root), os.environ, time.time())
    if rest is not None:
        return _as_object(root, TickReport(rest.exit_code, rest.message))
    try:
        report = look(root, os.environ, wait=not args.no_wait, out=lambda line: None, patience_s=PATIENCE_S)
        return _as_object(root, report)
    except AiframeError as error:
        return _as_object(root, TickReport(error.exit_code, as_text(error)))


def _as_object(root: Path, report: TickReport) -> dict[str, Any]:
    return {
        "project": str(root),
        "exit_code": report.exit_code,
        "message": report.message,
        "run_id": report.run_id,
        "detached": report.detached,
    }


def _progress(args: Namespace) -> Callable[[str], None]:
    stream = sys.stderr if getattr(args, "json", False) else sys.stdout
    return lambda line: print(line, file=stream, flush=True)


def detached(args: Namespace, root: Path) -> int:
    """After Ctrl-C: the steps go on, unless a second Ctrl-C comes soon."""
    from aiframe.app.project.lanes import has_lanes, lane_places
    from aiframe.store.layout import Layout
    from aiframe.store.locks import is_run_locked

    try:
        alive = sum(is_run_locked(Layout(each)) for each in (root, *lane_places(root)))
        if alive:
            _say_detached(Namespace(project=str(root) if getattr(args, "all", False) else args.project), alive)
            time.sleep(STOP_WITHIN_S)
    except KeyboardInterrupt:
        from aiframe.app.commands import stop
        from aiframe.app.lanes.halting import halt_all
        from aiframe.app.project.site import open_site

        print(f"stopping {'it' if alive == 1 else 'them'}", flush=True)
        print(stop(root, os.environ))
        halted = halt_all(open_site(root, os.environ, tolerant=True), at_once=True) if has_lanes(root) else ()
        if halted:
            print(f"{', '.join(halted)} stopped")
    return CANCELLED


def _say_detached(about: Namespace, alive: int) -> None:
    if alive == 1:
        print("\ndetached: the step goes on")
    else:
        print(f"\ndetached: {alive} steps go on; `{typed('aiframe run', about)}` takes them up again")
    print(f"  follow it:  {typed('aiframe logs --follow', about)}")
    print(f"  stop it:    {typed('aiframe stop', about)}, or Ctrl-C once more within {STOP_WITHIN_S:g} s", flush=True)


def watch(args: Namespace) -> int:
    """Tick whenever something changes, until Ctrl-C."""
    from aiframe.app.making.frame import all_projects
    from aiframe.app.watching.watch import watch as keep_going
    from aiframe.store.settings_file import UNATTENDED

    if args.all:
        frame = where.frame(args)
        environ = _recorded(args, None)
        list_projects = partial(all_projects, frame)
    else:
        root = where.layout(args).root
        environ = _recorded(args, root)
        list_projects = partial(list, [root])
    list_projects()  # what cannot be listed at all is told before the watch begins
    parallel = args.parallel or os.cpu_count() or 1
    environ = {**environ, UNATTENDED: "1"} if args.unattended else environ
    return keep_going(list_projects, environ, interval=args.interval, parallel=parallel, out=_progress(args))
