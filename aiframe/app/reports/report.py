"""One page that shows a project's runs: pictures and tables, readable without network, script or aiframe itself."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from msgspec import Struct

import aiframe
from aiframe.app.project.resources import template_text
from aiframe.app.project.steplog import plain
from aiframe.app.reports.attempt import DONE, HELD, RUNNING, UNKNOWN, Attempt, Totals, spent
from aiframe.app.reports.charts import Picture, Span, bars, staircase, timeline
from aiframe.app.reports.digest import Digest, make_digest
from aiframe.app.reports.history import History, read_history
from aiframe.app.reports.snapshot import Snapshot
from aiframe.app.reports.status import take_snapshot
from aiframe.core.errors import UsageError
from aiframe.core.model import Role
from aiframe.store.atomic import make_folder, storage_errors, write_durable
from aiframe.store.layout import Layout

TEMPLATE = "report/report.html.j2"
_BEGINNING = b"<!doctype html>"
_SHOWN_RUNS, _SHOWN_TASKS, _SHOWN_BARS = 400, 200, 20
"""How many runs, tasks and bars are told one by one; the sums are of all."""


class TaskRow(Struct, frozen=True):
    """A task with all its runs: *outcome* is the last one's, *spent* the sum of all."""

    id: str
    title: str
    status: str
    attempts: int
    spent: Totals
    commit: str


def write_report(root: Path, environ: Mapping[str, str], *, out: Path | None = None) -> Path:
    """Write the page to *out* (default: logs/report.html of the project) and say where it is.

    Raises UsageError for a place where something else lies, GuardError, StorageError.
    """
    snapshot = take_snapshot(root, environ, tail=0)
    layout = Layout(Path(snapshot.path))
    path = out or layout.logs / "report.html"
    check_replaceable(path, _BEGINNING, "report")
    history = read_history(layout, environ)
    page = make_report(snapshot, history, make_digest(root, environ, since=0.0, history=history))
    make_folder(path.parent)
    write_durable(path, page)
    return path


def check_replaceable(path: Path, beginning: bytes, what: str) -> None:
    """Refuse to write over what is no older *what*, known by its *beginning*. Raises UsageError, StorageError."""
    with storage_errors(path, "read"):
        if not path.exists() and not path.is_symlink():
            return
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                if file.read(len(beginning)) == beginning:
                    return
    raise UsageError(f"{path} is there already and is no {what}", hint="name another file with --out")


def make_report(snapshot: Snapshot, history: History, digest: Digest) -> str:
    """The page, from what was read."""
    attempts = history.attempts
    env = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    env.filters |= {
        "clock": _clock, "length": _length, "plain": _plain, "kind": _kind, "money": _money, "tokens": _tokens,
        "dollars": _dollars, "grouped": _grouped,
    }  # fmt: skip
    tasks = _task_rows(snapshot, attempts)
    return env.from_string(template_text(TEMPLATE)).render(
        version=aiframe.__version__,
        snapshot=snapshot,
        digest=digest,
        total=spent(attempts),
        attempts=attempts[-_SHOWN_RUNS:][::-1],
        hidden_runs=max(0, len(attempts) - _SHOWN_RUNS),
        tasks=tasks[:_SHOWN_TASKS],
        hidden_tasks=max(0, len(tasks) - _SHOWN_TASKS),
        timeline=timeline(_spans(attempts, snapshot.at)),
        burn_up=_burn_up(snapshot, attempts),
        tokens_by_task=_tokens_by_task(tasks),
        cost_by_task=_cost_by_task(tasks),
        failures=_failures(attempts),
        problems=history.problems,
    )


# Pictures -------------------------------------------------------------------------------------------------------------


def _spans(attempts: Sequence[Attempt], now: float) -> list[Span]:
    found = []
    for each in attempts[-_SHOWN_RUNS:]:
        if each.started is None:
            continue
        end = each.ended if each.ended is not None else (now if each.outcome == "running" else each.started)
        name = each.task or each.role
        title = f"{each.role} {each.task}, try {each.attempt}: {each.outcome}, {_length(each.seconds)}"
        found.append(Span(_short(name), each.started, max(end, each.started), _kind(each), title))
    return found


def _kind(attempt: Attempt) -> str:
    """What its colour goes by: a foreign file may name an outcome that nobody knows."""
    known = (DONE, HELD, RUNNING)
    return "failed" if attempt.failed else attempt.outcome if attempt.outcome in known else UNKNOWN


def _burn_up(snapshot: Snapshot, attempts: Sequence[Attempt]) -> Picture:
    """When each task was done for the first time."""
    done: dict[str, float] = {}
    for each in attempts:
        if each.role == Role.DEV and each.outcome == DONE and each.ended is not None:
            done.setdefault(each.task, each.ended)
    times = [each.started for each in attempts if each.started is not None]
    if not times:
        return Picture(0)
    last = max([*times, *(each.ended for each in attempts if each.ended is not None)])
    return staircase(list(done.values()), snapshot.tasks_total, min(times), last)


def _tokens_by_task(tasks: Sequence[TaskRow]) -> Picture:
    return _largest(
        [(row.id, row.spent.tokens, _tokens(row.spent), row.spent.untold_tokens) for row in tasks if row.attempts]
    )


def _cost_by_task(tasks: Sequence[TaskRow]) -> Picture:
    return _largest(
        [(row.id, row.spent.cost_usd, _money(row.spent), row.spent.unpriced) for row in tasks if row.attempts]
    )


def _largest(rows: Sequence[tuple[str, float, str, int]]) -> Picture:
    """A bar for each (name, known sum, words, number of runs that are not known), the largest first."""
    shown = sorted(rows, key=lambda row: -row[1])[:_SHOWN_BARS]
    told = [
        (name, value, f"{words} + unknown" if untold and words != "unknown" else words)
        for name, value, words, untold in shown
    ]
    return bars([(_short(name), value, words, "spent") for name, value, words in told])


def _failures(attempts: Sequence[Attempt]) -> Picture:
    counts = Counter(each.outcome for each in attempts if each.failed)
    return bars([(kind, float(count), f"{count} x", "failed") for kind, count in counts.most_common()])


# Tables ---------------------------------------------------------------------------------------------------------------


def _task_rows(snapshot: Snapshot, attempts: Sequence[Attempt]) -> list[TaskRow]:
    """The tasks of the plan in its order, then those that are in it no more, then the other roles."""
    by_subject: dict[str, list[Attempt]] = {}
    for each in attempts:
        by_subject.setdefault(each.task or each.role, []).append(each)
    planned = {task.id: task for task in snapshot.tasks}
    rows = []
    for name in [*planned, *(name for name in by_subject if name not in planned)]:
        runs = by_subject.get(name, [])
        task = planned.get(name)
        title = task.title if task else ("" if name in set(Role) else "(no longer in the plan)")
        commit = next((each.commit for each in reversed(runs) if each.commit), "")
        rows.append(TaskRow(name, title, task.status if task else "", len(runs), spent(runs), commit))
    return rows


# Words ----------------------------------------------------------------------------------------------------------------


def _short(text: str) -> str:
    return text if len(text) <= 16 else f"{text[:15]}…"


def _clock(at: float | None) -> str:
    if at is None:
        return "–"
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    except (ValueError, OverflowError, OSError):
        return f"{at:.0f}"


def _length(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def _tokens(total: Totals) -> str:
    """The tokens of some runs, as far as they are known; what is not known never counts as nothing."""
    return "–" if not total.runs else _grouped(None if total.untold_tokens == total.runs else total.tokens)


def _money(total: Totals) -> str:
    """The cost of some runs, as far as it is known; what is not known never counts as nothing."""
    return "–" if not total.runs else _dollars(None if total.unpriced == total.runs else total.cost_usd)


def _grouped(count: int | None) -> str:
    return "unknown" if count is None else f"{count:,}".replace(",", "\N{NO-BREAK SPACE}")


def _dollars(cost: float | None) -> str:
    return "unknown" if cost is None else f"${cost:.2f}" if cost >= 1 or cost == 0 else f"${cost:.4f}"


def _plain(value: Any) -> str:
    """Words of agents without what is no text."""
    return plain(str(value))
