"""A project under fire: a small one for the scripted agent, its processes by what they are, and what must hold after.

The plan has three tasks. Every agent and every check starts daemons that try to stay, one of them with an empty
environment; each agent also adds a line to a file beside the project, by which its starts are counted.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from aiframe.app.commands import go_on
from aiframe.app.project.site import open_site
from aiframe.core.model import Project, State, TaskStatus
from aiframe.store.journal import read_events
from aiframe.store.layout import IGNORED, Layout
from aiframe.store.locks import RunLock, is_run_locked
from aiframe.store.project_store import Loaded, ProjectStore
from aiframe.store.tasks_file import load_tasks
from aiframe.workspaces.create import ensure_repository
from support.copies import can_copy, copier

AIFRAME = (sys.executable, "-P", "-m", "aiframe")
TICK_S = 60.0
"""A tick that takes longer hangs."""

TASKS = ("T1", "T2", "T3")
_CHECK = "setsid sleep $CHAOS_NAP & sleep 0.15; grep -qx {0} {0}.txt"
_PLAN = "version: 1\ntasks:\n" + "".join(
    f"  - {{id: {name}, title: Write part {name}, verify: ['{_CHECK.format(name)}']}}\n" for name in TASKS
)
_DAEMONS = [
    "setsid sleep $CHAOS_NAP >/dev/null 2>&1 &",
    'env -i setsid sh -c "sleep $CHAOS_NAP & sleep $CHAOS_NAP" >/dev/null 2>&1 &',
]


@dataclass(frozen=True, slots=True)
class Ground:
    """A project and how its processes are known: *mark* is in their environment, *nap* is what its daemons sleep.

    *strangers* lived before it: their ids, and when they were started.
    """

    root: Path
    environ: Mapping[str, str]
    mark: str
    nap: str
    strangers: frozenset[tuple[int, bytes]]

    @property
    def layout(self) -> Layout:
        return Layout(self.root)

    @property
    def calls(self) -> list[str]:
        """What the agents were started for, in the order of their starts."""
        path = Path(self.environ["CHAOS_CALLS"])
        return path.read_text().split() if path.exists() else []

    def load(self) -> Loaded:
        """The project as its files tell it now."""
        return ProjectStore(self.layout).load(tolerate_unreadable=True)

    @property
    def project(self) -> Project:
        return self.load().project

    def tick(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run `aiframe tick` to its end."""
        return self.run("tick", "--project", str(self.root), *options)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `aiframe WORDS` to its end."""
        if can_copy() and copier().fits(words, self.environ):
            code, out, err = copier().run(words, Path.cwd(), self.environ, TICK_S)
            return subprocess.CompletedProcess(words, code, out.decode(), err.decode())
        argv = [*AIFRAME, *words]
        return subprocess.run(argv, env=dict(self.environ), capture_output=True, text=True, timeout=TICK_S)

    def start_tick(self, *options: str) -> subprocess.Popen[bytes]:
        """Start `aiframe tick` in a session of its own; the caller waits for it."""
        argv = [*AIFRAME, "tick", "--project", str(self.root), *options]
        null = subprocess.DEVNULL
        return subprocess.Popen(
            argv, env=dict(self.environ), stdin=null, stdout=null, stderr=null, start_new_session=True
        )

    def git(self, *args: str) -> str:
        """What git says about the project."""
        done = subprocess.run(["git", *args], cwd=self.root, capture_output=True, text=True, check=True)
        return done.stdout


@contextmanager
def ground(
    folder: Path,
    *,
    state: Mapping[str, object] | None = None,
    turns: Sequence[Mapping[str, object]] | None = None,
    plan: str = "",
    limits: str = "",
) -> Iterator[Ground]:
    """A project in *folder*/p that is to be planned; at the end nothing that it started is alive.

    *state* are fields for STATE.json, *turns* replaces the script, *plan* is a TASKS.yaml to begin with.
    """
    root, mark = folder / "p", uuid.uuid4().hex
    root.mkdir(parents=True)
    (root / "SPEC.md").write_text("# Goal\n\nThree parts.\n")
    (root / "PROJECT.yaml").write_text(
        "agent: {name: scripted, file: ../script.yaml}\nsandbox: none\n"
        "env: [CHAOS_MARK, CHAOS_NAP, CHAOS_CALLS]\n"
        f"limits: {{{limits or 'max_attempts: 9'}}}\n"
    )
    begun = {"state": "SPEC_READY", "interactive_mode": False, "review_every_n_tasks": 0, **(state or {})}
    (root / "STATE.json").write_text(json.dumps(begun))
    if plan:
        (root / "TASKS.yaml").write_text(plan)
    (folder / "script.yaml").write_text(json.dumps({"version": 1, "turns": list(turns or default_turns())}))
    nap = f"7{uuid.uuid4().int % 10**6:06}.{uuid.uuid4().int % 10**6:06}"
    environ = {**os.environ, "CHAOS_MARK": mark, "CHAOS_NAP": nap, "CHAOS_CALLS": str(folder / "calls")}
    made = Ground(root, environ, mark, nap, frozenset((pid, told[0]) for pid in _pids() if (told := _told(pid))))
    try:
        yield made
    finally:
        for pid in everything(made):
            _kill(pid)


def default_turns() -> list[dict[str, object]]:
    """PO plans the tasks; each DEV turn writes its part, leaves daemons behind and takes some tenths of a second."""
    closing = {"summary": "Did it."}
    plan = {"role": "PO", "delay": 0.1, "say": "I plan.", "run": ["echo PO >>$CHAOS_CALLS", *_DAEMONS, "sleep 0.1"]}
    turns = [plan | {"files": {"TASKS.yaml": _PLAN}, "closing": closing | {"state": "DEV_READY"}}]
    return turns + [dev_turn(name) for name in TASKS]


def dev_turn(name: str, *, seconds: float = 0.2) -> dict[str, object]:
    """A turn that writes NAME.txt."""
    return {
        "role": "DEV", "task": name, "delay": 0.1, "say": f"I write {name}.", "files": {f"{name}.txt": f"{name}\n"},
        "run": [f"echo {name} >>$CHAOS_CALLS", *_DAEMONS, f"sleep {seconds}"], "closing": {"summary": "Did it."},
    }  # fmt: skip


# Processes ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Process:
    """A living process of the project. *kind* is one of KINDS, or empty for what is none of them."""

    pid: int
    parent: int
    argv: tuple[str, ...]
    kind: str
    has_cookie: bool


KINDS = ("tick", "runner", "guardian", "foreman", "job", "agent", "tool", "verify", "git")


def processes(ground: Ground) -> list[Process]:
    """The living processes of *ground* that can be known by their environment or by their parent."""
    seen = {pid: found for pid in _pids() if (found := _look(pid, ground.strangers)) is not None}
    ours: dict[int, Process] = {}
    for pid, (parent, argv, environ) in sorted(seen.items()):
        marked = f"CHAOS_MARK={ground.mark}".encode() in environ or ground.nap in argv
        if marked or parent in ours or str(ground.root) in argv:  # the last is how a runner shows that is a copy
            kind = _kind(argv, ours.get(parent))
            ours[pid] = Process(pid, parent, argv, kind, any(v.startswith(b"AIFRAME_RUN_") for v in environ))
    return list(ours.values())


def everything(ground: Ground) -> set[int]:
    """The ids of all living processes of *ground*, its daemons included."""
    return {process.pid for process in processes(ground)}


REAPERS_TOO = frozenset({"runner+guardian", "guardian+runner", "cookie", "all"})
"""Victims of `kill` that take runner and guardian in one moment."""


def remains(ground: Ground, grace_s: float = 5.0, *, lost_its_reapers: bool = False) -> list[Process]:
    """What is left of *ground* although nothing should be; returns as soon as nothing is.

    *lost_its_reapers*: runner and guardian were killed in one moment. A daemon that had emptied its environment then
    has nobody left who knows it; all others are found by the run's cookie.
    """
    deadline = time.monotonic() + grace_s
    while left := [p for p in processes(ground) if p.has_cookie or p.kind or not lost_its_reapers]:
        if time.monotonic() >= deadline:
            break
        time.sleep(0.05)
    return left


def kill(ground: Ground, victim: str, patience_s: float) -> bool:
    """SIGKILL to what *victim* names, as soon as there is such a process; whether it was there in time.

    A victim is a kind, several joined by ``+`` (all of them at once), ``cookie`` (all that carry a run's cookie, and
    their runner) or ``all``.
    """
    deadline = time.monotonic() + patience_s
    wanted = set(victim.split("+"))
    while time.monotonic() < deadline:
        found = processes(ground)
        if victim == "cookie":
            chosen = [p for p in found if p.has_cookie or p.kind == "runner"]
            complete = any(p.has_cookie for p in chosen)
        elif victim == "all":
            chosen, complete = found, any(p.kind == "runner" for p in found)
        else:
            chosen = [p for p in found if p.kind in wanted]
            complete = {p.kind for p in chosen} == wanted
        if complete:
            hits = [_kill(process.pid) for process in chosen]
            return any(hits)
        time.sleep(0.002 if "git" in wanted else 0.01)
    return False


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _look(pid: int, strangers: frozenset[tuple[int, bytes]]) -> tuple[int, tuple[str, ...], list[bytes]] | None:
    """Parent, arguments and environment; None for one that is gone, dead, somebody else's or one of *strangers*."""
    told = _told(pid)
    if told is None or (pid, told[0]) in strangers:
        return None
    with suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as line, open(f"/proc/{pid}/environ", "rb") as environ:
        argv = tuple(word.decode(errors="replace") for word in line.read().split(b"\0")[:-1])
        return told[1], argv, environ.read().split(b"\0")
    return None


def _told(pid: int) -> tuple[bytes, int] | None:
    """When the living process *pid* was started, in the system's own count, and its parent."""
    with suppress(OSError), open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
        fields = file.read().rpartition(b")")[2].split()
        if fields[0] not in (b"Z", b"X"):
            return fields[19], int(fields[1])
    return None


def _runs(argv: tuple[str, ...], program: str) -> bool:
    """Whether it is an interpreter of its own for a *program* of aiframe's, which is no copy of another process."""
    return len(argv) > 4 and argv[3] == "-c" and f"aiframe.{program} " in argv[4]


def _kind(argv: tuple[str, ...], parent: Process | None) -> str:
    above = parent.kind if parent else ""
    if "aiframe.app.runner" in argv:
        return "runner"
    if argv[:1] == ("aiframe.guardian",) or _runs(argv, "guardian"):
        return "guardian"
    if _runs(argv, "foreman"):  # so does its guardian, of which it is a copy
        return "foreman" if above == "guardian" else "guardian"
    if above == "foreman":
        return "job"
    if above == "guardian":
        return "agent" if any(word.startswith("--workspace=") for word in argv) else "verify"
    if above in ("agent", "job"):
        return "tool"
    if above == "runner" and argv and argv[0].endswith("git"):
        return "git"
    return "tick" if "tick" in argv and not above else ""


# Going on, and what must hold at the end ------------------------------------------------------------------------------


def rest(ground: Ground, *, within_s: float = 60) -> list[str]:
    """Tick until the project is DONE, as a person would: waits are cut short, errors resumed. Returns the errors."""
    errors = []
    deadline = time.monotonic() + within_s
    while (project := ground.project).state is not State.DONE:
        assert time.monotonic() < deadline, f"still {project.state}: {project.last_error} {project.failure}"
        errors += cure(ground)
        ground.tick()
    ground.tick()  # for what may still be owed: from here on there is nothing to do
    return errors


def cure(ground: Ground) -> list[str]:
    """Cut a waiting time short and leave an error, as a person would; says which error it was."""
    project = ground.project
    if project.state is State.RUNNING:
        return []
    errors = [f"{project.failure}"] if project.state is State.ERROR else []
    if errors or project.wait is not None:
        go_on(open_site(ground.root, ground.environ), cut_wait_short=True)
    return errors


@dataclass(frozen=True, slots=True)
class Reached:
    """What a project has come to: the same for every way that leads there."""

    state: State
    statuses: Mapping[str, TaskStatus]
    tree: str


def reached(ground: Ground) -> Reached:
    """Where *ground* stands."""
    project = ground.project
    assert isinstance(project.state, State)
    tasks = {task.id: task.status for task in load_tasks(ground.layout.tasks_yaml).tasks}
    return Reached(project.state, tasks, ground.git("rev-parse", "HEAD^{tree}").strip())


def check_whole(ground: Ground, *, lost_its_reapers: bool = False) -> None:
    """Nothing is lost, doubled or left over in a project that rests; *lost_its_reapers* as in `remains`."""
    left = remains(ground, lost_its_reapers=lost_its_reapers)
    assert not left, f"processes are left: {left}"
    check_books(ground)


def check_books(ground: Ground) -> None:
    """The same, but for the processes: somebody may be watching."""
    wait_until(lambda: not is_run_locked(ground.layout), 5, "the run lock is free")
    _check_state(ground)
    _check_commits(ground)
    _check_events(ground)
    assert ground.git("status", "--porcelain") == ""
    ground.git("fsck", "--strict", "--no-dangling")
    assert not list(ground.root.glob(".*.tmp"))
    assert not ground.layout.carrying.exists()


def _check_state(ground: Ground) -> None:
    loaded = ground.load()
    assert not loaded.edits.changed, "STATE.json and the control record tell two stories"
    assert not loaded.stale
    assert loaded.unreadable is None
    assert loaded.state_file is not None
    assert json.loads(ground.layout.state_json.read_text())["state"] == loaded.project.state
    assert not ground.layout.agent_lock.exists()


def _check_commits(ground: Ground) -> None:
    """One commit for each task that is done, made by the one run of it that left a good result."""
    form = " ".join(f"%(trailers:key=Aiframe-{key},valueonly,separator=%x2C)" for key in ("Task", "Run"))
    lines = [line.split() for line in ground.git("log", f"--format={form}").splitlines() if line.strip()]
    done = [task.id for task in load_tasks(ground.layout.tasks_yaml).tasks if task.status is TaskStatus.DONE]
    assert sorted(task for task, _ in lines) == sorted(done), "not one commit for each task"
    good: Counter[str] = Counter()
    for path in (ground.layout.logs / "runs").glob("*/result.json"):
        result = json.loads(path.read_text())
        if result["success"] and result["task_id"]:
            good[result["task_id"]] += 1
            assert [result["task_id"], result["run_id"]] in lines, "a good result has no commit"
    assert all(count == 1 for count in good.values()), f"finished work was bought twice: {good}"


def _check_events(ground: Ground) -> None:
    events = list(read_events(ground.layout))
    counts = Counter((str(event["run_id"]), str(event["kind"])) for event in events if event["run_id"])
    assert all(count == 1 for count in counts.values()), f"events are told twice: {counts}"
    started = {run for run, kind in counts if kind == "step_started"}
    ended = {run for run, kind in counts if kind == "step_ended"}
    assert started == ended
    assert {path.name for path in (ground.layout.logs / "runs").iterdir()} <= started
    raw = [
        json.loads(line) for line in ground.layout.events.read_text(errors="replace").splitlines() if line[-1:] == "}"
    ]
    assert {event["run_id"] for event in raw if event["run_id"]} == started


def wait_until(met: Callable[[], bool], within_s: float, what: str) -> None:
    """Wait until *met*() is true; fail with *what* after *within_s* seconds."""
    deadline = time.monotonic() + within_s
    while not met():
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        time.sleep(0.02)


def one_task_plan(name: str = "T1") -> str:
    """A TASKS.yaml with one task whose check is quick."""
    return f"version: 1\ntasks:\n  - {{id: {name}, title: Write part {name}, verify: ['grep -qx {name} {name}.txt']}}\n"


_KILLED_AT = """
import os, runpy, signal, sys
event, left = sys.argv[1], int(sys.argv[2])
def count(name, _):
    global left
    if name == event:
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(count)
sys.argv[:] = sys.argv[3:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def start_runner(
    ground: Ground, wrapper: Sequence[str] = (), *, killed_at: tuple[str, int] | None = None
) -> subprocess.Popen[bytes]:
    """Start the runner as a tick does, with the run lock in its hands, but behind the command *wrapper*.

    With *killed_at*, the name of an audit event of Python's and a number, it is killed just before that one.
    """
    ensure_repository(ground.root, IGNORED)
    lock = RunLock.try_take(ground.layout)
    assert lock is not None
    begin = ["-m"] if killed_at is None else ["-c", _KILLED_AT, killed_at[0], str(killed_at[1])]
    argv = [*wrapper, sys.executable, "-P", *begin, "aiframe.app.runner", str(ground.root), str(lock.fd)]
    null = subprocess.DEVNULL
    try:
        return subprocess.Popen(
            argv, cwd=ground.root, env=dict(ground.environ), stdin=null, stdout=null, stderr=null,
            start_new_session=True, pass_fds=(lock.fd,),
        )  # fmt: skip
    finally:
        lock.close_here()
