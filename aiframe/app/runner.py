"""The process that carries a project's steps: started by a tick with the run lock in hand, gone when nothing is left.

It is a copy of the process that ticked, or ``python -m aiframe.app.runner PROJECT LOCK_DESCRIPTOR`` where that cannot
be copied. It decides again by itself under the mutex; the tick only woke it. It lives in a session of its own, so the
tick, the terminal or the watcher may end while the work goes on.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from aiframe.app.attempts.agent_run import Stop
from aiframe.app.attempts.leftovers import leave
from aiframe.app.attempts.linked import tidy
from aiframe.app.attempts.spending import is_asked_first, spent_by
from aiframe.app.project.advance import Chain, advance, held
from aiframe.app.project.books import keep_books
from aiframe.app.project.last_words import say_last
from aiframe.app.project.site import Site, open_site
from aiframe.app.pushing import begin_push
from aiframe.app.recovery import in_container, recover
from aiframe.app.reports.notify import tell_person
from aiframe.app.steps import perform
from aiframe.core.budget import Spent
from aiframe.core.errors import AiframeError, LockHeld
from aiframe.core.events import Broken, Ending, Event, Finished, RunLost, RunTakenUp, StepEnded
from aiframe.core.model import Failure, FailureKind, Project, Role, Run
from aiframe.core.seen import Seen
from aiframe.process import now, this_process
from aiframe.store.atomic import StorageError
from aiframe.store.codec import runner_in
from aiframe.store.layout import IGNORED, Layout
from aiframe.store.locks import RunLock
from aiframe.store.reserved import reserve
from aiframe.workspaces.create import ensure_repository
from aiframe.workspaces.git_program import program, search_path
from aiframe.workspaces.settings import personal_settings


def main(argv: list[str]) -> int:
    """Carry the project in *argv* with the run lock that was handed down. Returns the exit code."""
    root, descriptor = Path(argv[0]), int(argv[1])
    stop = Stop()
    signal.signal(signal.SIGTERM, lambda *_: setattr(stop, "requested", True))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for read_once in (search_path, program, personal_settings):
        read_once.cache_clear()  # a watch may have read it long ago
    lock = RunLock.adopt(descriptor)
    try:
        site = open_site(root, os.environ)
        reserve(site.layout.last_words)
        stop.is_homeless = homeless(site, lock)
        with site.store.carrying():
            carry(site, stop, lock)
    except AiframeError as error:
        say_last(Layout(root), error)
        return error.exit_code
    return 0


def homeless(site: Site, lock: RunLock) -> Callable[[], bool]:
    """What tells whether the project's folder is gone by now, or another one in its place.

    Of a lane its lock tells as well: its agents have no business there, so a person has removed it.
    """
    home, is_lane = os.stat(site.root), site.layout.is_lane

    def is_homeless() -> bool:
        try:
            there = os.path.samestat(os.stat(site.root), home)
        except OSError:
            return True
        return not there or (is_lane and not lock.is_current(site.layout))

    return is_homeless


def carry(site: Site, stop: Stop, lock: RunLock) -> None:
    """Do what the project asks for, step by step, until it rests.

    Raises LockHeld where *lock* is not the lock any more: its file was removed, and another runner has begun.
    """
    make_event: Callable[[Seen], Event] | None = None
    notes: tuple[str, ...] = ()
    taken, after_step, about = 0, False, "changes by hand"
    while True:
        if not (lock.is_current(site.layout) or _locked_again(site, lock)):
            raise LockHeld("the file of the run lock was removed", hint="`aiframe tick` goes on with a new one")
        may_start = not stop.requested and not (make_event is not None and is_asked_first(site))
        chain = Chain(this_process(), new_run_id, may_start, after_step, taken)
        step = advance(site, make_event, chain, notes)
        if step.recover is None and (make_event is not None or step.started is None):
            _keep_books(site, about)
            tell_person(site, step.project, step.effects)
            begin_push(site)
            _tidy(site)
        project, run, begun = step.project, step.started, None
        if step.recover is not None:
            begun = in_container(site, _run_of(project))
            if begun is None:
                (make_event, notes), after_step = _recovered(site, project), False
                site = open_site(site.root, site.environ)  # the settings that the dead step may have spoiled are back
                continue
            project = take_up(site, project)
            run = project.run
            stop.requested = stop.requested or begun.stopped
        with suppress(StorageError):  # it is for people to see, and decides nothing
            site.store.set_agent_lock(run.run_id if run else None)
        if run is None:
            return
        ending, notes = perform(site, project, run, stop, begun)
        make_event, after_step, about = _ended(run, ending, spent_by(site, run)), True, run.task_id or run.role.value
        taken += isinstance(ending, Finished) and run.role is Role.DEV


def _locked_again(site: Site, lock: RunLock) -> bool:
    """Take the lock once more whose file a step removed, perhaps with all of .git; False where another has it."""
    if not site.layout.git_dir.exists():
        ensure_repository(site.root, IGNORED)
    return lock.take_again(site.layout)


def _recovered(site: Site, project: Project) -> tuple[Callable[[Seen], Event], tuple[str, ...]]:
    """What became of the run that *project* still shows, its own ending or that it is lost, and what was put back."""
    run, is_known = _run_of(project), _is_known(site)
    ending, notes = recover(site, run)
    if ending is None and not is_known:
        cure = "find out what removed .git/aiframe, then `aiframe resume`"
        ending = Broken((Failure(FailureKind.SETUP, "aiframe's own record was lost while a step ran", cure),))
    if ending is None or isinstance(ending, Broken):
        said = leave(site, run)
        notes = (*notes, said) if said else notes
    spent = spent_by(site, run, recovered=True)
    if ending is None:
        return lambda seen: RunLost(run.run_id, seen, spent), notes
    return _ended(run, ending, spent), notes


def _is_known(site: Site) -> bool:
    """Whether it is known what was tried so far: else the same could begin again for ever.

    Of a project of the original framework nothing ever was.
    """
    loaded = site.store.load(tolerate_unreadable=True)
    return not loaded.legacy or loaded.state_file is None or runner_in(loaded.state_file) is None


def take_up(site: Site, project: Project) -> Project:
    """Be the runner of the step that *project* shows, so that whoever wants it stopped finds this process."""
    with held(site, is_runner=True) as draft:
        draft.decide(RunTakenUp(_run_of(project).run_id, this_process()))
    site.store.beat(now())
    return draft.project


def _run_of(project: Project) -> Run:
    if project.run is None:
        raise ValueError("there is no run to recover")
    return project.run


def _ended(run: Run, ending: Ending, spent: Spent) -> Callable[[Seen], Event]:
    return lambda seen: StepEnded(run.run_id, seen, ending, spent)


def _keep_books(site: Site, about: str) -> None:
    problem = keep_books(site, about)
    if problem:
        print(problem, file=sys.stderr)


def _tidy(site: Site) -> None:
    """Remove the workspaces of tasks that are over; what fails now is done the next time."""
    try:
        notes = tidy(site)
    except AiframeError as error:
        notes = (error.message,)
    for note in notes:
        print(note, file=sys.stderr)


def new_run_id() -> str:
    """A name for a run that no other run on this machine has: local time and a random part."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{os.urandom(3).hex()}"


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # who waits for the run lock need not wait for an interpreter that tidies itself up
