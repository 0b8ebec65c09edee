"""`logs`: the readable log of a run, or what was logged, by task, run, event and time."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aiframe.cli import where
from aiframe.cli.render import clock_time
from aiframe.cli.reporting import harmless

if TYPE_CHECKING:
    from aiframe.app.reports.logbook import Told, Wanted
    from aiframe.store.layout import Layout

_FIRST = 20
"""How many lines a follower is shown of what was before."""
_FIELDS = (
    "agent",
    "model",
    "values",
    "name",
    "passed",
    "exit_code",
    "outcome",
    "reason",
    "seconds",
    "tokens",
    "cost_usd",
)


def logs(args: Namespace) -> int:
    """Print what was logged."""
    layout = _of_run(args, where.layout(args))
    if _is_filtered(args) or (args.run is None and _has_lanes(layout)):
        return _lines(args, layout)
    from aiframe.app.reports.follow import follow_log, newest_log, print_log
    from aiframe.app.reports.logbook_follow import until_rest
    from aiframe.store.locks import is_run_locked

    if args.follow and args.run is not None:
        follow_log(layout, args.run, _say, lambda: False)
    elif args.follow and (newest_log(layout) is not None or is_run_locked(layout)):
        follow_log(layout, None, _say, until_rest(layout))
    else:
        print_log(layout, args.run, _say)
    return 0


def _of_run(args: Namespace, layout: Layout) -> Layout:
    """Where the run that is named was logged: in the project, or in a lane of it."""
    from aiframe.app.reports.follow import logged_runs
    from aiframe.app.reports.logbook import places

    if args.run is None or _is_filtered(args):
        return layout
    return next((place for place, _ in places(layout) if args.run in logged_runs(place)), layout)


def _is_filtered(args: Namespace) -> bool:
    return bool(args.task or args.event or args.since or args.until or args.tail or args.json)


def _has_lanes(layout: Layout) -> bool:
    from aiframe.app.project.lanes import lane_places

    return bool(lane_places(layout.root))


def _lines(args: Namespace, layout: Layout) -> int:
    """What was logged, line by line, and with --follow what comes."""
    from aiframe.app.reports import logbook
    from aiframe.app.reports.logbook_follow import News, follow

    wanted = _wanted(args)
    news = News(layout, wanted) if args.follow else None
    ends = news.ends if news is not None else {}
    out = _as_they_are if args.json else _readable
    tail = args.tail or (_FIRST if args.follow and wanted.since is None else None)
    found = logbook.last(layout, wanted, tail, ends) if tail else logbook.read(layout, wanted, ends)
    shown = False
    for told in found:
        shown = True
        out(told)
        if news is not None:
            news.known(told)
    if not shown:
        logbook.check_found(layout, wanted)
    if news is not None:
        follow(layout, news, out)
    elif not shown:
        print("nothing of that is logged", file=sys.stderr)
    return 0


def _wanted(args: Namespace) -> Wanted:
    from aiframe.app.reports.digest import parse_since
    from aiframe.app.reports.logbook import Wanted, check_events
    from aiframe.core.errors import UsageError

    now = time.time()
    since, until = (None if text is None else parse_since(text, now) for text in (args.since, args.until))
    if since is not None and until is not None and since > until:
        raise UsageError("--since is later than --until", hint="exchange them")
    events = tuple(name for option in args.event for name in option.replace(",", " ").split())
    check_events(events)
    return Wanted(args.task, args.run or "", events, since, until)


def _as_they_are(told: Told) -> None:
    _say(harmless(told.raw))


def _readable(told: Told) -> None:
    for line in lines_of(told.line):
        _say(line)


def lines_of(line: Mapping[str, Any]) -> list[str]:
    """A logged line for people: when, whose, what, and then what it says; further lines of a text are indented."""
    at = line.get("ts")
    head = [
        clock_time(at) if isinstance(at, int | float) else "-",
        str(line.get("task") or line.get("role") or "-"),
        str(line.get("kind")),
    ]
    text = str(line.get("text") or line.get("message") or "").strip("\n")
    first, *more = text.split("\n")
    told = "  ".join([*head, *filter(None, [_fields(line), first])])
    return [harmless(each).replace("\n", " ") for each in (told, *(f"    {each}" for each in more))]


def _fields(line: Mapping[str, Any]) -> str:
    """What a line says besides its text, in short."""
    if line.get("kind") in ("stage_started", "stage_ended"):
        took = f" ({line['seconds']} s)" if "seconds" in line else ""
        return f"{line.get('stage', '')}{took}"
    before, after = line.get("state_before"), line.get("state_after")
    moved = f"{before} -> {after}" if before and before != after else ""
    others = (f"{name}={line[name]}" for name in _FIELDS if line.get(name) not in (None, "", {}))
    return " ".join(filter(None, [moved, *others]))


def _say(line: str) -> None:
    print(line, flush=True)  # whoever reads on through a pipe sees it at once
