"""How a lane is put away: its runs become the project's, and so does what its agents have written for others."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from aiframe.app import commands
from aiframe.app.jobs.place import unused
from aiframe.app.lanes.collecting import collect
from aiframe.app.lanes.opening import SNAPSHOT, hash_at
from aiframe.app.project.lanes import FOLDER, put_aside, read_record
from aiframe.app.project.observe import read_text
from aiframe.app.project.site import Site
from aiframe.core.seen import SeenLane
from aiframe.store.atomic import append_durable, make_folder, storage_errors, write_durable
from aiframe.store.layout import Layout


def close(site: Site, lane: SeenLane) -> tuple[str, ...]:
    """Put away a lane whose task is over: its runs become the project's; work that did not land stays where it is.

    In words, what was done. May be done again. Raises StepError, StorageError, UnreadableFile.
    """
    task_id, root = lane.task_id, Path(lane.place)
    if lane.running:
        commands.stop(root, site.environ, then_pause=False)
    taken = collect(site, root)
    _take_snapshot(site, root, task_id)
    _hand_over(Layout(root), site.layout)
    if lane.landed:
        over = root.with_name(f".over-{root.name}")
        with storage_errors(root, "remove"):
            shutil.rmtree(over, ignore_errors=True)
            os.rename(root, over)  # in one step: from here on there is no such lane
            shutil.rmtree(over)
        return (*taken, f"{task_id} is done")
    with storage_errors(root, "move"):
        Layout(root).lane_record.unlink(missing_ok=True)
    aside = put_aside(root)
    return (*taken, f"{task_id} is closed; its project is kept in {FOLDER}/{aside.name}")


def _take_snapshot(site: Site, root: Path, task_id: str) -> None:
    """Let the next agents know what those of the lane have left for them; beside what others have left meanwhile."""
    record, path = read_record(root), site.root / SNAPSHOT
    there, here = hash_at(root / SNAPSHOT), hash_at(path)
    given = record.given.get(SNAPSHOT, "") if record is not None else here
    if not there or there in (given, here):
        return
    text = read_text(root / SNAPSHOT)
    if here != given:
        before = read_text(path)
        if text in before:
            return
        text = f"{before.rstrip()}\n\n## After {task_id}\n\n{text}"
    make_folder(path.parent)
    write_durable(path, text)


def _hand_over(lane: Layout, layout: Layout) -> None:
    """Move the lane's runs and logs to the project, and tell its events there. May be done again."""
    make_folder(layout.logs / "runs")
    with storage_errors(lane.logs, "move"):
        for run in sorted((lane.logs / "runs").glob("*")):
            if not (layout.logs / "runs" / run.name).exists():
                os.rename(run, layout.logs / "runs" / run.name)
        for log in sorted(lane.logs.glob("tick-*.log")):
            os.replace(log, layout.logs / log.name)
        for folder in sorted(lane.jobs.glob("*")):
            make_folder(layout.jobs)
            os.rename(folder, unused(layout.jobs / folder.name))
        if lane.events.is_file():
            of_runs = [
                line for line in lane.events.read_bytes().splitlines(keepends=True) if b'"run_id":""' not in line
            ]
            append_durable(layout.events, b"".join(of_runs))
            lane.events.unlink()
