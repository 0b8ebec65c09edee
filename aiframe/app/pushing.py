"""After work has landed: the branch is pushed where PROJECT.yaml says so. What is in the way of that is told, once, and
never in the way of the work.

Whether something is owed is seen in the repository, not remembered: a kill between landing and pushing loses nothing.
"""

from __future__ import annotations

from contextlib import suppress

from msgspec import Struct

from aiframe.app.attempts.linked import host_of, read_origin
from aiframe.app.project.pushes import NAME, PushRecord, read_pushes, wait_after, write_pushes
from aiframe.app.project.site import Site
from aiframe.app.protection.secrets import redactor_of
from aiframe.app.reports.notify import tell_person
from aiframe.core.errors import AiframeError
from aiframe.core.patterns import matches_any
from aiframe.process import now
from aiframe.store.journal import append_event
from aiframe.workspaces.git import Repository
from aiframe.workspaces.ledger import entered
from aiframe.workspaces.pushing import NotPushed, is_owed, push_branch


def push_landed(site: Site) -> str:
    """Push what has landed and is not pushed yet, unless that failed a short time ago; says in words what is new.

    Never raises for what hinders it: that is recorded, told in the journal and as a notice, and tried again later.
    """
    from filelock import FileLock, Timeout

    with suppress(AiframeError, OSError, Timeout):
        if _owed(site) is not None:
            with FileLock(site.layout.control_dir / f"{NAME}.lock", timeout=0):
                owed = _owed(site)
                return _settle(site, owed, _try(site, owed)) if owed is not None else ""
    return ""


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
    if commit is None or commit == record.pushed or (commit == record.failed and now().wall < record.next_at):
        return None
    landed = is_owed(host, record.pushed or origin.commit, commit, entered(host))
    return Owed(host, record, commit) if landed else None


def _try(site: Site, owed: Owed) -> NotPushed | None:
    try:
        return push_branch(owed.host, owed.record.remote, owed.record.branch, owed.commit, site.environ)
    except AiframeError as error:
        return NotPushed("other", error.message)


def _settle(site: Site, owed: Owed, failed: NotPushed | None) -> str:
    """Record how it went; what to tell of it, empty for a failure that was told before."""
    record, commit = owed.record, owed.commit
    clock, at, where = now().wall, commit[:12], f"{record.branch} at {record.remote}"
    if failed is None:
        write_pushes(site.layout, PushRecord(record.remote, record.branch, commit))
        _tell(site, "pushed", commit, f"{where} is at {at}")
        return f"{record.branch} is pushed to {record.remote}"
    problem = redactor_of(site).text(failed.message)
    again = record.kind == failed.kind
    since, tries = (record.since, record.tries + 1) if again else (clock, 1)
    write_pushes(
        site.layout,
        PushRecord(
            record.remote, record.branch, record.pushed, commit, failed.kind, problem, since, tries,
            clock + wait_after(tries),
        ),
    )  # fmt: skip
    if again:
        return ""
    said = f"{record.branch} is not pushed to {record.remote} yet: {problem}"
    _tell(site, "push_failed", f"{commit}:{since:.3f}", said)
    tell_person(site, site.store.load(tolerate_unreadable=True).project)
    return said


def _tell(site: Site, kind: str, key: str, message: str) -> None:
    ts = round(now().wall, 3)
    append_event(
        site.layout, {"ts": ts, "kind": kind, "key": f"{kind}:{key}", "run_id": "", "role": "", "message": message}
    )
