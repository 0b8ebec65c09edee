"""What has been: `history`, `digest`, `report`, `bundle`, and a test of the notices."""

from __future__ import annotations

import json
import os
import time
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from aiframe.cli import where
from aiframe.cli.next_step import typed
from aiframe.cli.paint import paint
from aiframe.cli.render import clock_time, duration
from aiframe.cli.reporting import harmless

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aiframe.app.reports.attempt import Attempt, Totals
    from aiframe.app.reports.digest import Digest
    from aiframe.core.problem import Problem

_COLUMNS = ("started", "role", "task", "try", "outcome", "time", "tokens", "cost", "agent", "commit", "run")
_RIGHT = frozenset({"try", "time", "tokens", "cost"})
_COLOURS = {"done": "green", "held": "yellow", "running": "cyan", "unknown": "dim"}


def history(args: Namespace) -> int:
    """Every run, or those of one task."""
    from aiframe.app.reports.attempt import spent
    from aiframe.app.reports.history import read_history

    layout = where.layout(args)
    found = read_history(layout, os.environ, task=args.task, tail=args.tail)
    if args.json:
        told = [each.as_dict() for each in found.attempts]
        problems = [str(problem) for problem in found.problems]
        print(json.dumps({"project": str(layout.root), "attempts": told, "problems": problems}))
        return 0
    for line in _table([_COLUMNS, *map(_cells, found.attempts)]):
        print(line)
    if found.attempts:
        print(f"{_plural(len(found.attempts), 'run')}: {_sum(spent(found.attempts))}")
    else:
        print(f"no run of {args.task} yet" if args.task else "no step has run yet; `aiframe tick` starts one")
    _tell_problems(found.problems)
    return 0


def _cells(attempt: Attempt) -> tuple[str, ...]:
    agent = f"{attempt.agent}/{attempt.model}" if attempt.model else attempt.agent
    return (
        clock_time(attempt.started) if attempt.started is not None else "-",
        attempt.role or "-",
        attempt.task or "-",
        str(attempt.attempt) if attempt.attempt else "-",
        attempt.outcome,
        duration(attempt.seconds),
        f"{attempt.tokens}" if attempt.tokens is not None else "unknown",
        f"${attempt.cost_usd:.4f}" if attempt.cost_usd is not None else "unknown",
        agent or "-",
        attempt.commit[:10] or "-",
        attempt.run_id,
    )


def _table(rows: Sequence[tuple[str, ...]]) -> Iterable[str]:
    """Plain columns, two spaces apart; the same cells always give the same lines."""
    told = [[harmless(cell).replace("\n", " ") for cell in row] for row in rows]
    widths = [max(len(row[at]) for row in told) for at in range(len(_COLUMNS))]
    for number, row in enumerate(told):
        cells = [
            cell.rjust(width) if name in _RIGHT else cell.ljust(width)
            for name, cell, width in zip(_COLUMNS, row, widths, strict=True)
        ]
        at = _COLUMNS.index("outcome")
        cells[at] = paint(cells[at], _COLOURS.get(row[at], "red")) if number else cells[at]
        yield "  ".join(cells).rstrip()


def _sum(total: Totals) -> str:
    """What runs took together; what is not known is said, and never counts as nothing."""
    return f"{duration(total.seconds)}, {tokens_told(total)}, {cost_told(total)}"


def tokens_told(total: Totals) -> str:
    """The tokens of some runs in words."""
    if total.runs and total.untold_tokens == total.runs:
        return "tokens unknown"
    return f"{total.tokens} tokens" + (f" + {total.untold_tokens} x unknown" if total.untold_tokens else "")


def cost_told(total: Totals) -> str:
    """The cost of some runs in words."""
    if total.runs and total.unpriced == total.runs:
        return "cost unknown"
    return f"${total.cost_usd:.4f}" + (f" + {total.unpriced} x unknown" if total.unpriced else "")


def digest(args: Namespace) -> int:
    """What was done, what it cost, and what waits for a decision."""
    from aiframe.app.reports.digest import make_digest, parse_since

    since = parse_since(args.since, time.time())
    told = make_digest(where.project(args), os.environ, since=since)
    if args.json:
        print(json.dumps(told.as_dict()))
    else:
        _print_digest(told, args)
    return 0


def _print_digest(told: Digest, args: Namespace) -> None:
    print(paint(harmless(f"{told.name}: {told.tasks_done}/{told.tasks_total} tasks done, now in {told.state}"), "bold"))
    print(f"  {harmless(told.headline)}")
    print(f"\nSince {clock_time(told.since)}: {_plural(told.spent.runs, 'run')}")
    for each in told.done:
        word = "held for you" if each.outcome == "held" else "done"
        print(
            harmless(
                f"  {word}: {each.task}, try {each.attempt}{f', commit {each.commit[:10]}' if each.commit else ''}"
            )
        )
    for kind, count in told.failures.items():
        tasks = dict.fromkeys(each.task or each.role for each in told.failed if each.outcome == kind)
        print(harmless(f"  {kind}: {count} x ({', '.join(tasks)})"))
    print(f"  it took {_sum(told.spent)}; the whole project {_sum(told.in_all)}")
    print(f"\n{_plural(len(told.waiting), 'decision')} for you" if told.waiting else "\nNothing waits for a decision.")
    for each_open in told.waiting:
        about = f" {each_open.task}" if each_open.task else ""
        print(harmless(f"  {each_open.kind}{about}: {' '.join(each_open.text.split())}"))
        for command in each_open.commands:
            print(harmless(f"      {typed(command, args)}"))
    for problem in told.problems:
        print(harmless(f"  left out: {problem}"))


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _tell_problems(problems: Iterable[Problem]) -> None:
    for problem in problems:
        print(harmless(f"left out: {problem}").replace("\n", " "))


def report(args: Namespace) -> int:
    """Write the page that shows all runs."""
    from aiframe.app.reports.report import write_report

    path = write_report(where.project(args), os.environ, out=_out(args))
    print(f"Written: {path}")
    return 0


def bundle(args: Namespace) -> int:
    """Pack what a bug report needs."""
    from aiframe.app.reports.bundle import write_bundle

    project = where.project(args)
    packed = write_bundle(project, where.frame_if_any(args), os.environ, out=_out(args))
    for name, size, remark in packed.contents:
        print(harmless(f"  {size:>8}  {name}{f'  ({remark})' if remark else ''}"))
    print(f"Written: {packed.path} ({packed.size} bytes). Look into it before you send it: tar xzf {packed.path.name}")
    return 0


def notify(args: Namespace) -> int:
    """Send a test notice; 1 where somebody did not take it."""
    from aiframe.app.reports.notifier import INSTALL, library, send
    from aiframe.core.errors import StepError, UsageError

    site = where.site(args)
    if not site.settings.notify:
        raise UsageError("PROJECT.yaml names no address to send to", hint="add `notify: [URL...]` to PROJECT.yaml")
    if library() is None:
        raise StepError("the library apprise is not installed", hint=INSTALL)
    notice = {"kind": "test", "title": f"{site.root.name}: a test", "text": "Notices of aiframe reach you here."}
    told = send(site.settings.notify, notice, os.environ)
    for sent in told:
        print(harmless(f"{sent.place}: {sent.failure or 'sent'}"))
    return 1 if any(sent.failure for sent in told) else 0


def _out(args: Namespace) -> Path | None:
    return None if args.out is None else where.here() / Path(args.out).expanduser()
