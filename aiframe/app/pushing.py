"""After work has landed: the branch is pushed where PROJECT.yaml says so. What is in the way of that is told, once, and
never in the way of the work.

Whether something is owed is seen in the repository, not remembered: a kill between landing and pushing loses nothing.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from aiframe.app.attempts.origin import host_of, read_origin
from aiframe.app.project.pushes import NAME, PushRecord, read_pushes, wait_after, write_pushes
from aiframe.app.project.site import Site, open_site
from aiframe.app.protection.secrets import redactor_of
from aiframe.app.reports.notify import tell_person
from aiframe.core.errors import AiframeError
from aiframe.core.patterns import matches_any
from aiframe.process import can_fork, fork_runner, now, spawn_runner
from aiframe.store.journal import append_event
from aiframe.workspaces.git import Repository
from aiframe.workspaces.ledger import entered
from aiframe.workspaces.pushing import LATE, TIMEOUT_S, NotPushed, is_owed, push_branch

_POLL_S = 0.25
BRIEF_S = 5.0
"""For how long a tick waits for a push at its end, in seconds; mostly it is over by then."""
_LOOK_S = 1.0
"""For how long others may have the lock only to see whether somebody has it."""
_SPARE_S = 10.0
"""For how much longer than a push may take one that is being made is waited for."""


def begin_push(site: Site) -> bool:
    """Push what has landed and is not pushed yet, unless that failed a short time ago; whether that is being done now.

    A process of its own does, so that nobody waits for a remote. What hinders it is recorded, told in the journal and
    as a notice, and tried again later; `news_of_pushes` tells in a later look how it went.
    """
    with suppress(AiframeError, OSError):
        if not site.settings.push.branches or not (is_being_pushed(site) or _owed(site) is not None):
            return False
        if not is_being_pushed(site):
            words = ["aiframe.app.pushing", str(site.root)]
            place, env, log = site.root, site.environ, site.layout.runner_log
            if can_fork():
                work = partial(main, words[1:], site.environ)
                fork_runner(work, title=words, cwd=place, env=env, keep_fds=[], log=log)
            else:
                spawn_runner([sys.executable, "-P", "-m", *words], cwd=place, env=env, keep_fds=[], log=log)
        return True
    return False


def news_of_pushes(site: Site) -> str:
    """What became of a push that a process of its own has made, told once; empty for nothing new."""
    from filelock import Timeout

    record = read_pushes(site.layout) if site.settings.push.branches else None
    if record is None or not record.said:
        return ""
    with suppress(AiframeError, OSError, Timeout), _lock(site, 0.0):
        write_pushes(site.layout, replace(record, said=""))
        return record.said
    return ""


def await_push(site: Site, glance: Callable[[], None], patience_s: float = TIMEOUT_S + _SPARE_S) -> str:
    """Wait until what has landed is pushed, or that has failed, for *patience_s* seconds at most; in words, what is
    new. A push that is not over goes on."""
    until = time.monotonic() + patience_s
    while begin_push(site) and time.monotonic() < until:
        glance()
        time.sleep(_POLL_S)
    return news_of_pushes(site)


def is_being_pushed(site: Site) -> bool:
    """Whether a process is at it."""
    from filelock import Timeout

    if not site.settings.push.branches or not site.layout.control_dir.is_dir():
        return False
    try:
        with _lock(site, 0.0):
            return False
    except (Timeout, OSError):
        return True


def main(argv: list[str], environ: Mapping[str, str] | None = None) -> int:
    """Push what is owed of the project in *argv*, with the variables *environ*, and leave word of it; 0."""
    from filelock import Timeout

    with suppress(AiframeError, OSError, Timeout):
        site = open_site(Path(argv[0]), os.environ if environ is None else environ)
        if _owed(site) is not None:
            with _lock(site, _LOOK_S):
                owed = _owed(site)
                if owed is not None:
                    _settle(site, owed, _try(site, owed))
    return 0


def _lock(site: Site, timeout_s: float) -> AbstractContextManager[object]:
    from filelock import FileLock

    return FileLock(site.layout.control_dir / f"{NAME}.lock", timeout=timeout_s)


class Owed(Struct, frozen=True):
    """A *commit* that has landed and is to be pushed, and what is recorded of those before."""

    host: Repository
    record: PushRecord
    commit: str


def _owed(site: Site) -> Owed | None:
    """What is to be pushed now; None for nothing."""
    origin, settings = read_origin(site), site.settings.push
    if origin is None or not matches_any(origin.target, settings.branches):
        return None
    record = read_pushes(site.layout)
    if record is None or (record.remote, record.branch) != (settings.remote, origin.target):
        record = PushRecord(settings.remote, origin.target)
    host = host_of(site)
    commit = host.commit_of(f"refs/heads/{origin.target}")
    hangs = record.kind == LATE  # each try takes a minute, whatever is pushed
    if commit is None or commit == record.pushed:
        return None
    if (hangs or commit == record.failed) and now().wall < record.next_at:
        return None
    landed = is_owed(host, record.pushed or origin.commit, commit, entered(host))
    return Owed(host, record, commit) if landed else None


def _try(site: Site, owed: Owed) -> NotPushed | None:
    try:
        return push_branch(owed.host, owed.record.remote, owed.record.branch, owed.commit, site.environ)
    except AiframeError as error:
        return NotPushed("other", error.message)


def _settle(site: Site, owed: Owed, failed: NotPushed | None) -> None:
    """Record how it went, and what to tell of it: nothing new of a failure that is known."""
    record, commit = owed.record, owed.commit
    clock, at, where = now().wall, commit[:12], f"{record.branch} at {record.remote}"
    if failed is None:
        said = f"{record.branch} is pushed to {record.remote}"
        write_pushes(site.layout, PushRecord(record.remote, record.branch, commit, said=said))
        _tell(site, "pushed", commit, f"{where} is at {at}")
        return
    problem = redactor_of(site).text(failed.message)
    again = record.kind == failed.kind
    since, tries = (record.since, record.tries + 1) if again else (clock, 1)
    said = record.said if again else f"{record.branch} is not pushed to {record.remote} yet: {problem}"
    write_pushes(
        site.layout,
        PushRecord(
            record.remote, record.branch, record.pushed, commit, failed.kind, problem, since, tries,
            clock + wait_after(tries), said,
        ),
    )  # fmt: skip
    if not again:
        _tell(site, "push_failed", f"{commit}:{since:.3f}", said)
        tell_person(site, site.store.load(tolerate_unreadable=True).project)


def _tell(site: Site, kind: str, key: str, message: str) -> None:
    ts = round(now().wall, 3)
    append_event(
        site.layout, {"ts": ts, "kind": kind, "key": f"{kind}:{key}", "run_id": "", "role": "", "message": message}
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
