"""What only looks: `status`, `why`, `events`, `doctor`, `schema`, `version`."""

from __future__ import annotations

import json
import os
import time
from argparse import Namespace
from functools import partial

from aiframe.cli import where
from aiframe.cli.next_step import typed
from aiframe.cli.paint import paint
from aiframe.core.errors import UsageError


def status(args: Namespace) -> int:
    """Show where a project stands; 2 where a file of it cannot be read."""
    from aiframe.app.reports.status import take_snapshot
    from aiframe.cli import render

    root, language, tail = where.project(args), _language(args), _tail(args)
    typed_here = partial(typed, args=args)
    while True:
        snapshot = take_snapshot(root, os.environ, tail=tail)
        height = render.screen_height() if args.watch else 0
        text = render.as_json(snapshot) if args.json else render.as_text(snapshot, language, typed_here, height=height)
        if args.watch is None:
            print(text)
            return 2 if snapshot.problems else 0
        print(render.redrawn(text), flush=True)
        time.sleep(args.watch)


def _language(args: Namespace) -> str:
    """--lang, else STATUS_LANG, of which the language part counts: zh_CN.UTF-8 is zh."""
    wanted = str(args.lang or os.environ.get("STATUS_LANG") or "en")
    language = wanted.lower().replace("-", "_").partition("_")[0].partition(".")[0]
    if language not in ("en", "zh"):
        raise UsageError(f"the environment variable STATUS_LANG is {wanted!r}", hint="set it to en or zh, or unset it")
    return language


def _tail(args: Namespace) -> int:
    from aiframe.cli.table import whole

    if args.tail is not None:
        return int(args.tail)
    wanted = os.environ.get("STATUS_TAIL") or "50"
    try:
        return whole(wanted)
    except Exception as error:
        cure = "set it to a number of lines, such as 50, or unset it"
        raise UsageError(f"the environment variable STATUS_TAIL: {error}", hint=cure) from None


def why(args: Namespace) -> int:
    """Say what the project waits for, since when, until when, and what to do."""
    from aiframe.app.project.lanes import has_lanes
    from aiframe.app.reports.explaining import explain_now
    from aiframe.cli import render

    language, site = _language(args), where.site(args)
    said = explain_now(site)
    print(paint(render.Tongue(language).sentence(said.headline), "bold"))
    if has_lanes(site.root):
        from aiframe.app.reports.status import take_snapshot

        shown = take_snapshot(site.root, os.environ, tail=0)
        for line in render.lanes_told(shown.lanes, shown.queue, language):
            print(line)
    for line in render.reasons(said, language, partial(typed, args=args)):
        print(line)
    return 0


def events(args: Namespace) -> int:
    """Print what has happened."""
    from aiframe.app.reports.follow import follow_events
    from aiframe.cli.render import event_line
    from aiframe.store.journal import read_events

    layout = where.layout(args)
    if args.follow:
        follow_events(layout, lambda event: _say(event_line(event)), lambda: False)
        return 0
    for event in read_events(layout):
        _say(event_line(event))
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


def doctor(args: Namespace) -> int:
    """Try out what aiframe needs; 1 where something does not work."""
    from aiframe.app.reports.doctor import examine

    findings = examine(where.frame_if_any(args), where.project_if_any(args), os.environ)
    marks = {True: paint("ok  ", "green"), None: paint("note", "yellow"), False: paint("BAD ", "red")}
    for finding in findings:
        print(f"{marks[finding.ok]} {finding.name}: {finding.detail}")
        if finding.cure:
            print(f"       cure: {finding.cure}")
    bad = sum(finding.ok is False for finding in findings)
    print(f"{bad} to mend" if bad else "nothing to mend")
    return 1 if bad else 0


def schema(args: Namespace) -> int:
    """Print a JSON Schema."""
    from aiframe.store.schema import json_schema

    print(json.dumps(json_schema(args.kind), indent=2))
    return 0


def version(args: Namespace) -> int:
    """Print the version."""
    import aiframe

    print(f"aiframe {aiframe.__version__}")
    return 0
