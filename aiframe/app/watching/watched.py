"""What a watch remembers of one project, what it asks about it, and how it tells of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from aiframe.app.project.lanes import lane_places
from aiframe.app.project.stamp import Survey, resting, survey
from aiframe.app.project.steplog import plain
from aiframe.app.reports.follow import NewEvents
from aiframe.core.errors import AiframeError
from aiframe.store.journal import Event
from aiframe.store.layout import Layout
from aiframe.store.locks import is_run_locked


class Watched(Struct, eq=False):
    """A project under watch; *out* gets its lines."""

    root: Path
    layout: Layout
    news: NewEvents
    out: Callable[[str], None]
    before: Survey | None = None  # how its files were when it was last looked at
    until: float = 0.0  # wall time at which a wait ends; 0 for none
    look_at: float = 0.0  # monotonic time of a second look; 0 for none
    record_ns: int = 0  # the control record's time when its step was started; -1 where nothing is expected of it
    said: str = ""
    held_back: bool = False
    folders: tuple[str, ...] = ()
    lanes: frozenset[Path] = frozenset()  # those in which a step lived when it was last looked at

    def __post_init__(self) -> None:
        self.finds_folders()

    def finds_folders(self) -> bool:
        """Look again where files lie whose changes matter; whether that is news."""
        above = (str(self.root.parent),) if self.root.parent.name == "projects" else ()
        inner = [folder for place in lane_places(self.root) for folder in (str(place), str(place / "notes"))]
        before, self.folders = self.folders, (str(self.root), str(self.root / "notes"), *inner, *above)
        return self.folders != before

    @property
    def name(self) -> str:
        """What its lines begin with."""
        return self.root.name

    def is_at_rest(self, environ: Mapping[str, str]) -> bool:
        """Whether its files are as they were when it had no work."""
        rest = resting(self.layout, environ, time.time())
        if rest is not None:
            self.until = rest.until
            return True
        before = self.before
        if before is None or not before.settled or 0 < self.until <= time.time():
            return False
        now = survey(self.layout)
        return now is not None and now.watched == before.watched

    def is_alive(self) -> bool:
        """Whether a runner carries it, or one of the tasks that are worked at side by side."""
        try:
            return is_run_locked(self.layout) or bool(self._running())
        except AiframeError:
            return False

    def has_lost_step(self) -> bool:
        """Whether the step of a task that is worked at beside others has ended since this was last asked."""
        try:
            before, self.lanes = self.lanes, self._running()
        except AiframeError:
            return False
        return bool(before - self.lanes)

    def _running(self) -> frozenset[Path]:
        return frozenset(place for place in lane_places(self.root) if is_run_locked(Layout(place)))

    def say(self, text: str) -> None:
        """One line, once: what stays as it is needs no saying again."""
        line = " ".join(plain(text).split())
        if line != self.said:
            self.said = line
            self.out(f"{self.name}: {line}")

    def tell_news(self) -> None:
        """What its journal got since the last time."""
        with suppress(AiframeError):
            for event in self.news.take():
                self.said = ""
                self.out(f"{self.name}: {_as_line(event)}")


def _as_line(event: Event) -> str:
    role, task = event.get("role") or "", event.get("task")
    step = f"{role} on {task}, attempt {event.get('attempt')}" if task else f"{role}"
    after = event.get("state_after")
    match event.get("kind"):
        case "step_started":
            line = f"{step}: started"
        case "step_ended":
            line = f"{step}: {event.get('outcome')}, now {after}"
        case "state_changed":
            line = f"{event.get('state_before')} -> {after}"
        case kind:
            line = f"{kind}"
    message = event.get("message")
    return " ".join(plain(f"{line}: {message}" if message else line).split())
