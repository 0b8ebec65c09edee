"""Whether anything has changed with the lanes of a project: cheap to ask, for whoever waits for that."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TypeAlias

from aiframe.app.project.lanes import is_at_work, lane_places
from aiframe.store.layout import Layout

Stamp: TypeAlias = tuple[object, ...]
_GLANCE_S = 0.02
"""How often the locks of steps are looked at: a hundredth of a millisecond each."""


def lanes_stamp(layout: Layout) -> Stamp:
    """What changes when the lanes, or their project, may have to be looked after."""
    found: list[object] = []
    for root in (layout.root, *lane_places(layout.root)):
        own = Layout(root)
        files = (own.control_json, own.state_json, own.tasks_yaml, own.project_yaml, own.interrupt_flag)
        found += [root, is_at_work(own), *(file_stamp(path) for path in files)]
    return tuple(found)


def file_stamp(path: Path) -> Stamp:
    """What changes when the file does; empty where there is none."""
    try:
        about = path.stat()
    except OSError:
        return ()
    return about.st_mtime_ns, about.st_size, about.st_ino


def await_an_end(root: Path, within_s: float) -> bool:
    """Sleep for *within_s* seconds, or until a step ends that lives in a lane of *root* now; whether one has."""
    alive = [lane for lane in map(Layout, lane_places(root)) if is_at_work(lane)]
    until = time.monotonic() + within_s
    while all(map(is_at_work, alive)):
        if (left := until - time.monotonic()) <= 0:
            return False
        time.sleep(min(left, _GLANCE_S))
    return True
