"""What is known of the pushing of a project's branch: what got there last, and what was in the way since.

It decides nothing about work: a file that is lost, or cannot be read, is begun anew.
"""

from __future__ import annotations

import json

import msgspec
from msgspec import Struct, to_builtins

from aiframe.app.project.site import Site
from aiframe.core.errors import AiframeError
from aiframe.store.atomic import read_bounded, write_durable
from aiframe.store.layout import Layout

NAME = "push.json"
FIRST_WAIT_S, LONGEST_WAIT_S = 60.0, 3600.0


class PushRecord(Struct, frozen=True):
    """*pushed* is the commit of *branch* that is at *remote*, empty before the first one.

    *failed* is the commit that did not get there, *kind* and *problem* say why, *since* when that began, *tries* how
    often it was tried, *next_at* when it is tried again. Times are epoch seconds. *said* is what is new
    and nobody was told.
    """

    remote: str
    branch: str
    pushed: str = ""
    failed: str = ""
    kind: str = ""
    problem: str = ""
    since: float = 0.0
    tries: int = 0
    next_at: float = 0.0
    said: str = ""


def read_pushes(layout: Layout) -> PushRecord | None:
    """What is recorded; None where nothing is."""
    try:
        return msgspec.convert(json.loads(read_bounded(layout.control_dir / NAME)), PushRecord)
    except (FileNotFoundError, ValueError, AiframeError, msgspec.ValidationError):
        return None


def write_pushes(layout: Layout, record: PushRecord) -> None:
    """Record it. Raises StorageError."""
    write_durable(layout.control_dir / NAME, json.dumps(to_builtins(record), indent=2) + "\n")


def wait_after(tries: int) -> float:
    """Seconds until the next try after that many in vain."""
    return min(FIRST_WAIT_S * 2.0 ** min(tries - 1, 20), LONGEST_WAIT_S)


def unpushed(layout: Layout, where: str) -> tuple[str, ...]:
    """What a person can do about a branch that did not get to its remote; *where* is the repository, as a shell reads
    it. Empty where nothing is in the way."""
    record = read_pushes(layout)
    if record is None or not record.problem:
        return ()
    again = "it is tried again at the next landing, and by `aiframe tick` from time to time"
    return (f"git -C {where} push {record.remote} {record.branch} (not pushed yet: {record.problem}; {again})",)


def next_push(site: Site) -> float:
    """When a push that failed is tried again, in epoch seconds; 0 where none waits."""
    record = read_pushes(site.layout) if site.settings.push.branches else None
    return record.next_at if record is not None else 0.0
