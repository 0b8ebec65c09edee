"""What is kept of a step whose agent works in a container, for another runner to go on with it.

It is written before the agent begins, and gone once the step's result is there.
"""

from __future__ import annotations

import json
from contextlib import suppress

import msgspec
from msgspec import Struct, to_builtins
from msgspec.structs import replace

from aiframe.app.attempts.results import GateResult
from aiframe.app.project.observe import read_text
from aiframe.app.project.site import Site
from aiframe.core.errors import AiframeError
from aiframe.core.model import Run, Task
from aiframe.process import boot_id
from aiframe.store.atomic import make_folder, write_durable
from aiframe.store.layout import Layout


class Underway(Struct, frozen=True):
    """The step of *run_id*, begun on *boot*, whose containers *program* (podman or docker) looks after.

    *tasks* are the tasks as the step has them, *since* is the commit that it began on, *proof* are the commands that
    were run before it. *stopped*: a person has ended it when no runner was there to be told.
    """

    run_id: str
    boot: str
    program: str
    tasks: tuple[Task, ...]
    since: str = ""
    proof: tuple[GateResult, ...] = ()
    stopped: bool = False


def begin_in_container(
    site: Site, run: Run, tasks: tuple[Task, ...], since: str = "", proof: tuple[GateResult, ...] = ()
) -> None:
    """Remember what the agent of *run* begins with. Raises StorageError, EngineMissing, ImageMissing."""
    from aiframe.app.attempts.contained import engine_of  # much that most projects do without

    write_underway(site.layout, Underway(run.run_id, boot_id(), engine_of(site).program, tasks, since, proof))


def write_underway(layout: Layout, record: Underway) -> None:
    """Write it, durably. Raises StorageError."""
    make_folder(layout.control_dir)
    write_durable(layout.underway, json.dumps(to_builtins(record)))


def read_underway(layout: Layout, run_id: str) -> Underway | None:
    """What is kept of the step of *run_id*; None where nothing is that can be read."""
    try:
        record = msgspec.convert(json.loads(read_text(layout.underway)), Underway)
    except (AiframeError, ValueError, RecursionError):
        return None
    return record if record.run_id == run_id else None


def works_in_container(site: Site) -> bool:
    """Whether the agents of the project do."""
    return site.settings.workspace.kind == "container"


def release(site: Site, run_id: str) -> str:
    """Remove the containers of the run and forget it: its result is there, or it is lost. Says what went wrong."""
    record = read_underway(site.layout, run_id)
    if record is None and not works_in_container(site):  # it may have, before PROJECT.yaml named another kind
        return ""
    from aiframe.app.attempts.contained import remove_containers  # much that most projects do without

    return remove_containers(site, run_id, record)


def note_stopped(layout: Layout, record: Underway) -> None:
    """Remember that a person has ended it. Raises StorageError."""
    write_underway(layout, replace(record, stopped=True))


def end_underway(layout: Layout) -> None:
    """Forget it: the step's result is there, or the step is lost."""
    with suppress(OSError):
        layout.underway.unlink(missing_ok=True)
