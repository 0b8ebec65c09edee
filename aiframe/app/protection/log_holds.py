"""The files of logs/ that a step must not lose: each has a second name in aiframe's own folder while the step runs.

An agent or a verify command may remove logs/ (``git clean -fdx`` does). What is written then goes on into the same
files, and their names come back when the step is looked at. The logs of earlier runs have no second name: of them only
the number is known, so that it can be told how many are gone.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from aiframe.app.project.site import Site
from aiframe.core.model import Run
from aiframe.store.atomic import make_folder, storage_errors
from aiframe.store.layout import Layout
from aiframe.store.quarantine import set_aside

_COUNT = ".count"


def hold_logs(site: Site, run: Run) -> None:
    """Give the journal and what is there of *run* a second name, and count the rest. Raises StorageError."""
    layout = site.layout
    let_go_of_logs(site)
    make_folder(_home(layout))
    own_id = run.run_id
    own = (layout.events, layout.tick_log(own_id), layout.step_lines(own_id), layout.run_dir(own_id) / "prompt.md")
    for path in own:
        if path.exists():
            hold_log(site, path)
    with storage_errors(_home(layout), "write"):
        (_home(layout) / _COUNT).write_text(str(_count(layout)))


def hold_log(site: Site, path: Path) -> None:
    """Give *path*, a file below logs/, a second name. Where the file system has none, what is removed is lost."""
    second = _home(site.layout) / path.relative_to(site.layout.logs)
    with suppress(OSError):
        second.parent.mkdir(parents=True, exist_ok=True)
        second.unlink(missing_ok=True)
        os.link(path, second, follow_symlinks=False)


def bring_logs_back(site: Site) -> tuple[str, ...]:
    """Give what is held its place in logs/ again; says in words what had lost it, and how much else is gone.

    What else stands in such a place goes to quarantine. Doing it again changes nothing. Raises StorageError.
    """
    layout, back = site.layout, []
    for second in _held(layout):
        path = layout.logs / second.relative_to(_home(layout))
        if _is_same(path, second):
            continue
        if os.path.lexists(path):
            set_aside(layout, path, "a step put this in the place of a log")
            path.unlink(missing_ok=True)
        make_folder(path.parent)
        with storage_errors(path, "restore"):
            os.link(second, path, follow_symlinks=False)
        back.append(str(path.relative_to(site.root)))
    said = [f"removed or replaced by the step, and back: {', '.join(back)}"] if back else []
    return (*said, *_told_lost(layout))


def let_go_of_logs(site: Site) -> None:
    """Take the second names away: nothing of the step runs any more."""
    shutil.rmtree(_home(site.layout), ignore_errors=True)


def _home(layout: Layout) -> Path:
    return layout.control_dir / "held-logs"


def _held(layout: Layout) -> Iterator[Path]:
    home = _home(layout)
    for folder, _, names in os.walk(home):
        for name in sorted(names):
            path = Path(folder, name)
            if name != _COUNT and stat.S_ISREG(path.lstat().st_mode):
                yield path


def _is_same(path: Path, second: Path) -> bool:
    try:
        there = path.lstat()
    except OSError:
        return False
    return os.path.samestat(there, second.lstat())


def _count(layout: Layout) -> int:
    """How many logs and folders of runs there are; a link is neither."""
    total = 0
    for folder in (layout.logs, layout.logs / "runs"):
        with suppress(OSError), os.scandir(folder) as entries:
            total += sum(not entry.is_symlink() for entry in entries)
    return total


def _told_lost(layout: Layout) -> Iterator[str]:
    """How many files of earlier runs are gone; told once, for the count is then taken anew."""
    path = _home(layout) / _COUNT
    try:
        before = int(path.read_text())
    except (OSError, ValueError):
        return
    now = _count(layout)
    if now < before:
        yield f"{before - now} logs and folders of earlier runs were removed from logs/ by the step: they are lost"
    with suppress(OSError):
        path.write_text(str(now))
