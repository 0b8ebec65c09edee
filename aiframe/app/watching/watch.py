"""Tick projects whenever something changes: file events, a timer for those that are lost, and the end of every wait.

One process and one thread for all projects, beside a companion that listens. The one thread matters: a copy of this
process carries a step at once, where a new interpreter would first have to load what is loaded here. A project at rest
costs a few `stat` calls each interval and no more; its stamp (`aiframe.app.project.stamp`) says what to look at. Steps
are carried by runners of their own, so they go on when the watch ends.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from msgspec import Struct, field

from aiframe.app.project.advance import look
from aiframe.app.project.site import open_site
from aiframe.app.project.stamp import resting, survey
from aiframe.app.project.steplog import plain
from aiframe.app.reports.follow import NewEvents
from aiframe.app.tick import LANES, load_runner, tick
from aiframe.app.watching.listening import Ears, Heard
from aiframe.app.watching.watched import Watched
from aiframe.core.errors import AiframeError, GuardError, UnreadableFile, UsageError
from aiframe.process.identity import collect_spawned
from aiframe.store.control import modified_ns
from aiframe.store.layout import Layout
from aiframe.store.locks import is_run_locked

_SLICE_S = 0.5
"""How long projects are worked off before events and ended runs get their turn again."""

_SETTLE_S = 0.3
"""When to look again at a project whose files were too fresh for a stamp."""

_BUSY_WAIT_S, _REST_WAIT_S = 0.1, 0.5
"""How long to listen at a time: while steps live or are due, and while nothing but a change can make one due."""

_TOLD_AT_START = 20
"""With more projects than this, those at rest are not told one by one when the watch begins."""

_FILES = frozenset(
    {"STATE.json", "TASKS.yaml", "SPEC.md", "PROJECT.yaml", "INTAKE_QUESTIONS.md", "INTAKE_ANSWERS.md", "TEMPLATE_ROOT"}
)
_NOTES = frozenset({"review_approval.md", "review_rejection.md", "interrupt.flag"})


def watch(
    projects: Callable[[], list[Path]], environ: Mapping[str, str], *, interval: float, parallel: int,
    out: Callable[[str], None], stop: Callable[[], bool] = lambda: False,
) -> int:  # fmt: skip
    """Keep all *projects* going until *stop*, Ctrl-C or SIGTERM; 0. At most *parallel* steps live at once.

    *projects* lists the folders anew each time, *interval* is the timer in seconds, *out* gets one line per event.
    """
    watcher = _Watch(projects, dict(environ), interval, max(1, parallel), out)
    ended = threading.Event()
    with _terminated_by(ended), suppress(KeyboardInterrupt):
        watcher.run(lambda: ended.is_set() or stop())
    watcher.say_farewell()
    return 0


class _Watch(Struct):
    """All projects: those that may have work, in order, those whose step lives, and the rest, which are at rest."""

    list_projects: Callable[[], list[Path]]
    environ: Mapping[str, str]
    interval: float
    parallel: int
    out: Callable[[str], None]
    known: dict[Path, Watched] = field(default_factory=dict)
    real: dict[Path, Path] = field(default_factory=dict)
    queue: dict[Watched, None] = field(default_factory=dict)
    live: dict[Watched, None] = field(default_factory=dict)
    folders_changed: bool = True
    rescan_at: float = 0.0

    def run(self, stop: Callable[[], bool]) -> None:
        """Work until *stop*."""
        self._rescan()
        self._say_hello()
        load_runner()
        with Ears(self.environ, self.out) as ears:
            while not stop():
                if self.folders_changed:
                    self.folders_changed = False
                    ears.listen_to(self._folders())
                self._work_off(stop)
                self._take(ears.hear(self._patience_s()))
                self._look_after_runs()
                self._take_times()

    def say_farewell(self) -> None:
        """The last line."""
        names = ", ".join(sorted(project.name for project in self.live if is_run_locked(project.layout)))
        self.out(f"stopped watching; what runs goes on by itself: {names}" if names else "stopped watching")

    # What may have to be done

    def _rescan(self, *, by_timer: bool = False) -> None:
        """List the projects anew, and queue each whose files are not as they were when it came to rest.

        *by_timer*: those whose step lives too, for it may hang. More often would cost others their turn: a tick that
        meets a runner at its end starts the next one.
        """
        self.rescan_at = time.monotonic() + self.interval
        try:
            roots = [self._real(root) for root in self.list_projects()]
        except AiframeError as error:
            self.out(f"cannot list the projects: {plain(error.message)}")
            return
        for root in set(self.known).difference(roots):
            self._forget(self.known.pop(root))
        for root in roots:
            if root not in self.known:
                with suppress(AiframeError):  # a `.git` that names no repository: told by its tick below
                    self.known[root] = Watched(root, Layout(root), NewEvents(Layout(root)), self.out)
        self.folders_changed = True
        for project in self.known.values():
            if by_timer if project in self.live else not project.is_at_rest(self.environ):
                self._enqueue(project)

    def _real(self, root: Path) -> Path:
        """*root* without links, as file events name it; looked up once, for it costs more than all else of a rescan."""
        if root not in self.real:
            self.real[root] = Path(os.path.realpath(root))
        return self.real[root]

    def _forget(self, project: Watched) -> None:
        self.queue.pop(project, None)
        self.live.pop(project, None)

    def _enqueue(self, project: Watched) -> None:
        self.queue.setdefault(project)

    def _patience_s(self) -> float:
        busy = self.live or self.queue or any(project.look_at for project in self.known.values())
        return _BUSY_WAIT_S if busy else _REST_WAIT_S

    def _take(self, heard: Heard) -> None:
        if heard.missed:
            self.rescan_at = 0.0
        for path in heard.paths:
            self._take_change(path)

    def _take_change(self, path: str) -> None:
        folder, name = os.path.split(path)
        above, last = os.path.split(folder)
        if last == "notes" and name in _NOTES:
            project = self._of(Path(above))
        elif name in _FILES:
            project = self._of(Path(folder))
        elif name == "notes":
            self.folders_changed = True
            return
        elif last == "projects" and not name.startswith("."):
            self.rescan_at = 0.0
            return
        else:
            return
        if project is not None and project not in self.live:
            self._enqueue(project)

    def _of(self, root: Path) -> Watched | None:
        """The project in *root*, or whose task is worked at there."""
        return self.known.get(root) or (self.known.get(root.parent.parent) if root.parent.name == "lanes" else None)

    def _take_times(self) -> None:
        wall, mono = time.time(), time.monotonic()
        for project in self.known.values():
            if 0 < project.until <= wall or 0 < project.look_at <= mono:
                project.look_at = 0.0
                self._enqueue(project)
        if mono >= self.rescan_at:
            self._rescan(by_timer=self.rescan_at > 0)

    # Doing it

    def _work_off(self, stop: Callable[[], bool]) -> None:
        """Tick what is queued, for one slice of time; with all slots taken, only what needs none."""
        deadline = time.monotonic() + _SLICE_S
        for project in list(self.queue):
            if stop() or time.monotonic() > deadline:
                return
            if len(self.live) >= self.parallel and project not in self.live and self._has_to_wait(project):
                continue
            del self.queue[project]
            if project not in self.live or project.is_alive():
                self._tick(project)  # one whose runner has gone gets its turn after those that wait, see below

    def _has_to_wait(self, project: Watched) -> bool:
        """Whether the project has work, and so keeps its place in the queue until a slot is free."""
        if project.held_back:
            return True
        try:
            project.held_back = look(open_site(project.root, self.environ)).has_work
        except (AiframeError, OSError):
            return False  # its tick tells why
        if project.held_back:
            project.say(f"waits for a free place: {len(self.live)} of {self.parallel} are taken")
        return project.held_back

    def _tick(self, project: Watched) -> None:
        project.held_back = False
        project.before, project.until = survey(project.layout), 0.0
        record_ns = modified_ns(project.layout.control_json)
        try:
            report = tick(project.root, self.environ, wait=False, out=lambda line: None)
        except (UnreadableFile, UsageError, GuardError) as error:
            project.say(f"error: {error.message} ({error.hint})")
        except (AiframeError, OSError) as error:  # it may be over the next time
            project.before = None
            project.say(f"error: {error}")
        else:
            if report.detached or project.is_alive():
                if project not in self.live:  # a runner without a step is closing its books and may change nothing more
                    of_its_own = report.detached and report.run_id != LANES
                    project.record_ns = record_ns if of_its_own else -1
                self.live.setdefault(project)
            else:
                self._rest(project, report.message)
        if project.finds_folders():
            self.folders_changed = True
        if project.has_lost_step():
            self._enqueue(project)
        project.tell_news()

    def _rest(self, project: Watched, message: str) -> None:
        self.live.pop(project, None)
        rest = resting(project.layout, self.environ, time.time())
        if rest is not None:
            project.until = rest.until
        elif project.before is not None and not project.before.settled:
            project.look_at = time.monotonic() + _SETTLE_S
        headline, _, more = message.partition("\n")
        cure = more.partition("\n")[0].strip()
        project.say(f"{headline} ({cure})" if cure else headline)

    def _look_after_runs(self) -> None:
        """Tell what the living steps did; a project whose runner is gone gets its turn after those that wait."""
        for project in list(self.live):
            alive, one_ended = project.is_alive(), project.has_lost_step()
            project.tell_news()
            if alive:
                if one_ended:
                    self._enqueue(project)
                continue
            del self.live[project]
            if one_ended or modified_ns(project.layout.control_json) != project.record_ns:
                self._enqueue(project)
            else:
                log = project.layout.control_dir / "runner.log"
                project.say(f"error: its step ended at once and left nothing; {log} may say why")
        collect_spawned()

    # Telling

    def _say_hello(self) -> None:
        many = len(self.known)
        each = f"{many} project" if many == 1 else f"{many} projects"
        self.out(
            f"watching {each}; a look at least every {self.interval:g} s, {self.parallel} steps at most; Ctrl-C ends"
        )
        if many <= _TOLD_AT_START:
            for project in self.known.values():
                rest = resting(project.layout, self.environ, time.time()) if project not in self.queue else None
                if rest is not None:
                    self._rest(project, rest.message)

    # Where to listen

    def _folders(self) -> Iterator[str]:
        """The folders whose changes matter: each project, its notes/, and projects/ for new ones. Never a tree."""
        for project in self.known.values():
            yield from project.folders


@contextmanager
def _terminated_by(ended: threading.Event) -> Iterator[None]:
    """Take SIGTERM as a wish to end, where signals can be taken: in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: ended.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
