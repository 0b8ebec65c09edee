"""Documents that agents of several lanes change at the same time: SPEC.md and ROLES.md.

What each was given is kept beside its lane, so that its changes can be told from those of others, and both be had. What
does not go together is never written over: it is kept, told, and waits for a person's word.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from aiframe.app.lanes.opening import DOCUMENTS, given_copy, hash_at, keep_given
from aiframe.app.project.lanes import LaneRecord
from aiframe.app.project.site import Site
from aiframe.app.project.telling import tell_of_task
from aiframe.process import now
from aiframe.store.atomic import make_folder, read_bounded, storage_errors, write_atomic, write_durable
from aiframe.store.journal import append_event
from aiframe.store.layout import Layout
from aiframe.workspaces.git import Repository


def take_documents(site: Site, lane: Layout, record: LaneRecord) -> Iterator[str]:
    """Take over what the agents of a lane have changed of the documents; in words, what. May be done again.

    Raises UnreadableFile, StepError, StorageError.
    """
    for name in DOCUMENTS:
        there, here, given = hash_at(lane.root / name), hash_at(site.root / name), record.given.get(name, "")
        if not there or there in (given, here):
            continue
        theirs = read_bounded(lane.root / name)
        if here == given:
            write_durable(site.root / name, theirs)
            yield f"{name} is as {record.task_id} left it"
            continue
        both = _merged(site, lane, name, theirs, given) if here else None
        if both is not None:
            write_durable(site.root / name, both)
            yield f"{name} has the changes of {record.task_id}, too"
            continue
        kept = _keep(site.layout, name, theirs, record.task_id)
        said = f"{name} was changed by {record.task_id}, and by others meanwhile: it stays, and the version of"
        said = f"{said} {record.task_id} is {kept}; `aiframe accept {name}` takes that one"
        _tell(site.layout, record.task_id, there, said)
        yield said


def _merged(site: Site, lane: Layout, name: str, theirs: bytes, given: str) -> bytes | None:
    """The document with the changes of both; None where they do not go together, or it is not known what was given."""
    before = given_copy(lane, name)
    if hash_at(before) != given:
        return None
    folder = site.layout.control_dir / "merging"
    with storage_errors(folder, "write"):
        shutil.rmtree(folder, ignore_errors=True)
        make_folder(folder)
    try:
        versions = (read_bounded(site.root / name), read_bounded(before), theirs)
        for number, version in enumerate(versions):
            write_atomic(folder / str(number), version)
        said = Repository(site.root).call("merge-file", "-p", "-q", *(str(folder / str(n)) for n in range(3)))
        return said.out if said.code == 0 else None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _keep(layout: Layout, name: str, version: bytes, task_id: str) -> Path:
    """Put *version* into quarantine, where it waits for a person's word; its place. The same one is kept once."""
    for kept in layout.quarantine_dir.glob(f"*.{task_id}/project/{name}"):
        if read_bounded(kept) == version:
            return kept
    kept = layout.quarantine_dir / f"{time.strftime('%Y%m%d-%H%M%S')}.{task_id}" / "project" / name
    make_folder(kept.parent)
    write_durable(kept, version)
    return kept


def _tell(layout: Layout, task_id: str, version: str, message: str) -> None:
    append_event(layout, tell_of_task(task_id, f"document:{task_id}:{version}", message, now().wall))


def with_documents(lane: Layout, record: LaneRecord) -> LaneRecord:
    """*record*, in which the documents count as given as they are in the *lane* now."""
    found = {name: keep_given(lane, name) for name in DOCUMENTS}
    return replace(record, given={**record.given, **{name: there for name, there in found.items() if there}})
