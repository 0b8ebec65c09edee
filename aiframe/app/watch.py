"""Tick projects whenever something changes: file events, a timer for those that are lost, and the end of every wait.

One process and one thread for all projects. A project at rest costs a few `stat` calls each interval and no more; its
stamp (`aiframe.app.stamp`) says what to look at. Steps are carried by runners of their own, so they go on when the
watch ends.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from aiframe.app.advance import look
from aiframe.app.follow import NewEvents
from aiframe.app.listening import Ears
from aiframe.app.site import open_site
from aiframe.app.stamp import Survey, resting, survey
from aiframe.app.steplog import plain
from aiframe.app.tick import tick
from aiframe.core.errors import AiframeError, GuardError, UnreadableFile, UsageError
from aiframe.process.identity import collect_spawned
from aiframe.store.control import modified_ns
from aiframe.store.journal import Event
from aiframe.store.layout import Layout
from aiframe.store.locks import is_run_locked

_SLICE_S = 0.5
"""How long projects are worked off before events and ended runs get their turn again."""

_SETTLE_S = 0.3
"""When to look again at a project whose files were too fresh for a stamp."""

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
    watcher = _Watch(projects, environ, interval, max(1, parallel), out)
    ended = threading.Event()
    with _terminated_by(ended), suppress(KeyboardInterrupt):
        watcher.run(lambda: ended.is_set() or stop())
    watcher.say_farewell()
    return 0


@dataclass(slots=True, eq=False)
class _Watched:
    """What is remembered of one project."""

    root: Path
    layout: Layout
    news: NewEvents
    before: Survey | None = None  # how its files were when it was last looked at
    until: float = 0.0  # wall time at which a wait ends; 0 for none
    look_at: float = 0.0  # monotonic time of a second look; 0 for none
    record_ns: int = 0  # the control record's time when its step was started; -1 where nothing is expected of it
    said: str = ""
    held_back: bool = False
    folders: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        above = (str(self.root.parent),) if self.root.parent.name == "projects" else ()
        self.folders = (str(self.root), str(self.root / "notes"), *above)

    @property
    def name(self) -> str:
        return self.root.name


@dataclass(slots=True)
class _Watch:
    """All projects: those that may have work, in order, those whose step lives, and the rest, which are at rest."""

    list_projects: Callable[[], list[Path]]
    environ: Mapping[str, str]
    interval: float
    parallel: int
    out: Callable[[str], None]
    known: dict[Path, _Watched] = field(default_factory=dict)
    real: dict[Path, Path] = field(default_factory=dict)
    queue: dict[_Watched, None] = field(default_factory=dict)
    live: dict[_Watched, None] = field(default_factory=dict)
    folders_changed: bool = True
    rescan_at: float = 0.0

    def run(self, stop: Callable[[], bool]) -> None:
        """Work until *stop*."""
        self._rescan()
        self._say_hello()
        with Ears(self.out) as ears:
            while not stop():
                if self.folders_changed:
                    self.folders_changed = False
                    if ears.listen_to(self._folders()):
                        self._queue_restless()
                self._work_off(stop)
                for path in ears.hear():
                    self._take_change(path)
                self._look_after_runs()
                self._take_times()

    def say_farewell(self) -> None:
        """The last line."""
        names = ", ".join(sorted(project.name for project in self.live if is_run_locked(project.layout)))
        self.out(f"stopped watching; what runs goes on by itself: {names}" if names else "stopped watching")

    # What may have to be done

    def _rescan(self) -> None:
        """List the projects anew, and queue each whose files are not as they were when it came to rest."""
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
                    self.known[root] = _Watched(root, Layout(root), NewEvents(Layout(root)))
        self.folders_changed = True
        self._queue_restless()

    def _real(self, root: Path) -> Path:
        """*root* without links, as file events name it; looked up once, for it costs more than all else of a rescan."""
        if root not in self.real:
            self.real[root] = Path(os.path.realpath(root))
        return self.real[root]

    def _queue_restless(self) -> None:
        """Queue what may have work: a step that lives is looked at too, it may hang."""
        for project in self.known.values():
            if project in self.live or not self._is_at_rest(project):
                self._enqueue(project)

    def _forget(self, project: _Watched) -> None:
        self.queue.pop(project, None)
        self.live.pop(project, None)

    def _enqueue(self, project: _Watched) -> None:
        self.queue.setdefault(project)

    def _is_at_rest(self, project: _Watched) -> bool:
        rest = resting(project.layout, self.environ, time.time())
        if rest is not None:
            project.until = rest.until
            return True
        before = project.before
        if before is None or not before.settled or 0 < project.until <= time.time():
            return False
        now = survey(project.layout)
        return now is not None and now.watched == before.watched

    def _take_change(self, path: str) -> None:
        folder, name = os.path.split(path)
        above, last = os.path.split(folder)
        if last == "notes" and name in _NOTES:
            project = self.known.get(Path(above))
        elif name in _FILES:
            project = self.known.get(Path(folder))
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

    def _take_times(self) -> None:
        wall, mono = time.time(), time.monotonic()
        for project in self.known.values():
            if 0 < project.until <= wall or 0 < project.look_at <= mono:
                project.look_at = 0.0
                self._enqueue(project)
        if mono >= self.rescan_at:
            self._rescan()

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
            self._tick(project)

    def _has_to_wait(self, project: _Watched) -> bool:
        """Whether the project has work, and so keeps its place in the queue until a slot is free."""
        if project.held_back:
            return True
        try:
            project.held_back = look(open_site(project.root, self.environ)).has_work
        except (AiframeError, OSError):
            return False  # its tick tells why
        if project.held_back:
            self._say(project, f"waits for a free place: {len(self.live)} of {self.parallel} are taken")
        return project.held_back

    def _tick(self, project: _Watched) -> None:
        project.held_back = False
        project.before, project.until = survey(project.layout), 0.0
        record_ns = modified_ns(project.layout.control_json)
        try:
            report = tick(project.root, self.environ, wait=False, out=lambda line: None)
        except (UnreadableFile, UsageError, GuardError) as error:
            self._say(project, f"error: {error.message} ({error.hint})")
        except (AiframeError, OSError) as error:  # it may be over the next time
            project.before = None
            self._say(project, f"error: {error}")
        else:
            if report.detached or self._is_alive(project):
                if project not in self.live:  # a runner without a step is closing its books and may change nothing more
                    project.record_ns = record_ns if report.detached else -1
                self.live.setdefault(project)
            else:
                self._rest(project, report.message)
        self._tell_news(project)

    def _rest(self, project: _Watched, message: str) -> None:
        self.live.pop(project, None)
        rest = resting(project.layout, self.environ, time.time())
        if rest is not None:
            project.until = rest.until
        elif project.before is not None and not project.before.settled:
            project.look_at = time.monotonic() + _SETTLE_S
        headline, _, more = message.partition("\n")
        cure = more.partition("\n")[0].strip()
        self._say(project, f"{headline} ({cure})" if cure else headline)

    def _look_after_runs(self) -> None:
        """Tell what the living steps did; a project whose runner is gone gets its turn after those that wait."""
        for project in list(self.live):
            alive = self._is_alive(project)
            self._tell_news(project)
            if alive:
                continue
            del self.live[project]
            if modified_ns(project.layout.control_json) != project.record_ns:
                self._enqueue(project)
            else:
                log = project.layout.control_dir / "runner.log"
                self._say(project, f"error: its step ended at once and left nothing; {log} may say why")
        collect_spawned()

    def _is_alive(self, project: _Watched) -> bool:
        try:
            return is_run_locked(project.layout)
        except AiframeError:
            return False

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

    def _say(self, project: _Watched, text: str) -> None:
        """One line, once: what stays as it is needs no saying again."""
        line = " ".join(plain(text).split())
        if line != project.said:
            project.said = line
            self.out(f"{project.name}: {line}")

    def _tell_news(self, project: _Watched) -> None:
        with suppress(AiframeError):
            for event in project.news.take():
                project.said = ""
                self.out(f"{project.name}: {_as_line(event)}")

    # Where to listen

    def _folders(self) -> Iterator[str]:
        """The folders whose changes matter: each project, its notes/, and projects/ for new ones. Never a tree."""
        for project in self.known.values():
            yield from project.folders


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
