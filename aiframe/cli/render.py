"""How things look: the status panel, times, and events as lines."""

from __future__ import annotations

import json
import shutil
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from aiframe.cli.chinese import in_chinese, with_word
from aiframe.cli.labels import LABELS, PANEL
from aiframe.cli.paint import is_terminal, paint
from aiframe.cli.reporting import harmless

if TYPE_CHECKING:
    from aiframe.app.reports.lanes import LaneLine
    from aiframe.app.reports.snapshot import Snapshot
    from aiframe.core.budget import Spent
    from aiframe.core.explanations.words import Explanation
    from aiframe.core.lanes import Waiting

_NOTHING = "-"
_FEW = 3
"""How many files that will be in conflict are named."""
_COLOURS = {"ERROR": "red", "RUNNING": "cyan", "DONE": "green"}
_HOME_AND_CLEAR = "\x1b[H\x1b[2J\x1b[3J"


def as_json(snapshot: Snapshot) -> str:
    """The snapshot as one JSON object on one line."""
    return json.dumps(snapshot.as_dict())


def as_text(snapshot: Snapshot, language: str, typed: Callable[[str], str] = str, *, height: int = 0) -> str:
    """The status panel. *typed* says how a command is typed here. *height* > 0 cuts the log to fit the screen."""
    labels = LABELS[language]
    width = max(_width(labels[name]) for name in PANEL)
    panel = []
    for name, text in _rows(snapshot, labels, Tongue(language), typed):
        told = harmless(text)
        if name == "state":
            told = told.replace(snapshot.state, paint(snapshot.state, _COLOURS.get(snapshot.state, "bold")), 1)
        panel.append(_line(labels[name], told, width))
    room = height - len(panel) - 1 if height else len(snapshot.log_tail)
    tail = snapshot.log_tail[-room:] if room > 0 else ()
    return "\n".join([*panel, *(f"  {harmless(line)}" for line in tail)])


def redrawn(text: str) -> str:
    """*text* as the next picture: in the place of the last one on a terminal, else below it."""
    import sys

    return f"{_HOME_AND_CLEAR}{text}" if is_terminal(sys.stdout) else f"{text}\n"


def screen_height() -> int:
    """Lines on the terminal; 0 where there is none."""
    import sys

    return shutil.get_terminal_size().lines if is_terminal(sys.stdout) else 0


class Tongue(NamedTuple):
    """How the words of the panel are said."""

    language: str

    def word(self, name: str) -> str:
        """A state, role or status."""
        return with_word(name) if self.language == "zh" else name

    def sentence(self, text: str) -> str:
        """What aiframe says of a project."""
        return in_chinese(text) if self.language == "zh" else text


def _rows(
    snapshot: Snapshot, labels: Mapping[str, str], tongue: Tongue, typed: Callable[[str], str]
) -> Iterator[tuple[str, str]]:
    """The lines of the panel: always the same ones, in the same order, then those that only trouble brings."""
    waits = snapshot.waits
    yield "project", f"{snapshot.name} ({snapshot.path})"
    yield "state", _state(snapshot, labels, tongue)
    yield "role", _role(snapshot, labels, tongue)
    yield "runtime", duration(snapshot.runtime_s)
    yield "timeout", duration(snapshot.timeout_s)
    yield "heartbeat", _age(snapshot.heartbeat_age_s, labels)
    yield "tasks", _tasks(snapshot, labels, tongue)
    for lane in snapshot.lanes:
        yield "lane", _lane(lane, labels, tongue)
    for waiting in snapshot.queue:
        yield "lane", _queued(waiting, labels, tongue)
    if snapshot.target:
        yield "target", f"{snapshot.target}  ({snapshot.merge})" if snapshot.merge else snapshot.target
    yield "spent", _spent(snapshot, labels)
    for name, until in snapshot.resting.items():
        yield "quota", labels["used_up"].format(agent=name, time=clock_time(until))
    yield "diagnosis", snapshot.diagnosis or _NOTHING
    yield "error", snapshot.last_error or _NOTHING
    yield "waits", _waits(snapshot, labels, tongue)
    for cure in dict.fromkeys(typed(tongue.sentence(cure)) for cure in waits.cures):
        yield "to_do", cure
    for clash in snapshot.clashes:
        more = len(clash.files) - _FEW
        files = ", ".join(clash.files[:_FEW]) + (labels["and_more"].format(number=more) if more > 0 else "")
        yield "clash", labels["will_conflict"].format(one=clash.task_id, other=clash.other, files=files)
    for problem in snapshot.problems:
        place = f"{problem.path}:{problem.line}" if problem.line else problem.path
        yield "problem", f"{place}: {problem.message}" if place else problem.message
    yield "log", snapshot.log_file or labels["empty"]


def reasons(said: Explanation, language: str, typed: Callable[[str], str] = str) -> Iterator[str]:
    """What a project waits for and what to do, below the headline, line by line."""
    labels, tongue = LABELS[language], Tongue(language)
    if said.waiting_for:
        yield _reason(labels["waits"], tongue.sentence(said.waiting_for))
    if said.since is not None:
        yield _reason(labels["since_when"], clock_time(said.since))
    if said.until is not None:
        yield _reason(labels["until_when"], clock_time(said.until))
    for number, cure in enumerate(said.cures):
        yield _reason(labels["to_do"] if number == 0 else "", typed(tongue.sentence(cure)))


def _reason(label: str, text: str) -> str:
    return f"  {label}{':' if label else ' '}{' ' * (10 - _width(label))}{text}"


def _line(label: str, text: str, width: int) -> str:
    return f"{label}:{' ' * (width - _width(label) + 2)}" + text.replace("\n", "\n" + " " * (width + 3))


def _state(snapshot: Snapshot, labels: Mapping[str, str], tongue: Tongue) -> str:
    told = tongue.word(snapshot.state) or _NOTHING
    if snapshot.state == "RUNNING" and not snapshot.alive:
        told = f"{told} ({labels['gone']})"
    return told


def _role(snapshot: Snapshot, labels: Mapping[str, str], tongue: Tongue) -> str:
    if not snapshot.role:
        return _NOTHING
    agent = snapshot.agent
    if snapshot.instead_of:
        agent = labels["instead_of"].format(agent=agent, first=snapshot.instead_of)
    parts = [snapshot.task, labels["attempt"].format(number=snapshot.attempt), agent]
    return f"{tongue.word(snapshot.role)} ({', '.join(part for part in parts if part)})"


def _lane(lane: LaneLine, labels: Mapping[str, str], tongue: Tongue) -> str:
    """A task that is worked at beside others: its step, or what it waits for."""
    if lane.role:
        parts = [tongue.word(lane.role), labels["attempt"].format(number=lane.attempt), lane.agent]
        return "  ".join(
            filter(None, [lane.task, ", ".join(filter(None, parts)), duration(lane.runtime_s), lane.stage])
        )
    until = f" ({labels['until'].format(time=clock_time(lane.waits.until))})" if lane.waits.until is not None else ""
    return f"{lane.task}  {tongue.word(lane.state)}  {tongue.sentence(lane.waits.headline)}{until}"


def _queued(waiting: Waiting, labels: Mapping[str, str], tongue: Tongue) -> str:
    name = "in_use" if waiting.holder else "wanted"
    return f"{waiting.task_id}  {labels[name].format(what=tongue.sentence(waiting.what), holder=waiting.holder)}"


def lanes_told(lanes: Sequence[LaneLine], queue: Sequence[Waiting], language: str) -> Iterator[str]:
    """The tasks that are worked at side by side, and those that wait for them, line by line."""
    labels, tongue = LABELS[language], Tongue(language)
    told = [*(_lane(lane, labels, tongue) for lane in lanes), *(_queued(each, labels, tongue) for each in queue)]
    for number, line in enumerate(told):
        yield _reason(labels["lane"] if number == 0 else "", harmless(line))


def _spent(snapshot: Snapshot, labels: Mapping[str, str]) -> str:
    """What was spent in all and today; what an agent did not tell is never shown as nothing."""
    if not snapshot.spent.attempts:
        return _NOTHING
    return labels["spent_of"].format(
        whole=_amounts(snapshot.spent, labels), today=_amounts(snapshot.spent_today, labels)
    )


def _amounts(spent: Spent, labels: Mapping[str, str]) -> str:
    tokens = _known(f"{spent.tokens:,}", labels, some=spent.tokens > 0, gaps=spent.unmetered > 0)
    cost = _known(f"${spent.cost_usd:,.2f}", labels, some=spent.cost_usd > 0, gaps=spent.unpriced > 0)
    return labels["amounts"].format(tokens=tokens, cost=cost, wall=duration(spent.wall_s), attempts=spent.attempts)


def _known(amount: str, labels: Mapping[str, str], *, some: bool, gaps: bool) -> str:
    if not gaps:
        return amount
    return labels["at_least"].format(amount=amount) if some else labels["unknown"]


def _age(age_s: float | None, labels: Mapping[str, str]) -> str:
    return _NOTHING if age_s is None else labels["ago"].format(age=duration(age_s))


def _tasks(snapshot: Snapshot, labels: Mapping[str, str], tongue: Tongue) -> str:
    counts = snapshot.tasks_by_status
    told = labels["done"].format(done=counts.get("done", 0), total=snapshot.tasks_total)
    others = [f"{number} {tongue.word(status)}" for status, number in counts.items() if status != "done"]
    return f"{told} ({', '.join(others)})" if others else told


def _waits(snapshot: Snapshot, labels: Mapping[str, str], tongue: Tongue) -> str:
    waits = snapshot.waits
    times = [
        labels[name].format(time=clock_time(at))
        for name, at in (("since", waits.since), ("until", waits.until))
        if at is not None
    ]
    when = f" ({', '.join(times)})" if times else ""
    return f"{tongue.sentence(waits.waiting_for) or _NOTHING}{when}\n{tongue.sentence(waits.headline)}".rstrip()


def duration(seconds: float | None) -> str:
    """A duration as H:MM:SS; "-" for none."""
    if seconds is None:
        return _NOTHING
    whole = max(0, int(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def clock_time(at: float) -> str:
    """Epoch seconds as local date and time."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    except (ValueError, OverflowError, OSError):  # a year that no calendar has
        return f"{at:.0f} s after 1970"


def event_line(event: Mapping[str, Any]) -> str:
    """An event of the journal as one line: when, what, which run, from where to where."""
    at = event.get("ts")
    parts = [
        clock_time(at) if isinstance(at, int | float) else _NOTHING,
        event.get("kind", _NOTHING),
        event.get("role"),
        event.get("task"),
        f"attempt {event['attempt']}" if event.get("attempt") else "",
        f"{event['state_before']} -> {event.get('state_after', '')}" if event.get("state_before") else "",
        event.get("outcome"),
        event.get("run_id"),
        event.get("message"),
    ]
    return harmless("  ".join(str(part) for part in parts if part)).replace("\n", " ")


def _width(text: str) -> int:
    """Columns that *text* takes on a terminal."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
