"""Whose turn it is to look after the lanes, and what is put back before and after their steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from aiframe.app.project.guarding import look_over
from aiframe.app.project.lanes import is_at_work, lane_places
from aiframe.app.project.site import Site
from aiframe.store.atomic import make_folder
from aiframe.store.layout import IGNORED, Layout
from aiframe.store.locks import state_mutex
from aiframe.workspaces.create import ensure_repository


@contextmanager
def turn(site: Site, patience_s: float = 0.0) -> Iterator[bool]:
    """Whether this process may look after the lanes for the block; False where another still does in *patience_s*."""
    ensure_repository(site.root, IGNORED)  # the lock lies in it, and half a .git would be a broken one
    make_folder(site.layout.control_dir)
    lock = FileLock(site.layout.control_dir / "lanes.lock", timeout=0, thread_local=False)
    try:
        lock.acquire(timeout=patience_s)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def guard(site: Site) -> tuple[str, ...]:
    """Put back what a step may have changed that its project decides; in words, what. Raises as `look_over`."""
    runs = lives(site)
    with state_mutex(site.layout):
        return look_over(site, runs=runs)


def lives(site: Site) -> bool:
    """Whether a step lives in any lane."""
    return any(is_at_work(Layout(root)) for root in lane_places(site.root))
