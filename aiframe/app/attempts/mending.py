"""Put right what a step left that did not come to its own end: what it spoiled is put back before anybody reads it."""

from __future__ import annotations

from aiframe.app.attempts.vaulting import check_seal, drop_seal, left_seal
from aiframe.app.project.proposals import inspect
from aiframe.app.project.site import Site
from aiframe.core.model import Run


def mend(site: Site, run: Run, *, judged: bool) -> tuple[str, ...]:
    """Check the seal of *run* where it still stands, and, unless its files were *judged*, the project's own files.

    Says in words what was found. Without a seal nothing of the agent's has run: what differs is a person's edit.
    """
    sealed = left_seal(site, run.run_id)
    if sealed is None:
        return ()
    notes = check_seal(site, sealed)
    if not judged:
        found = inspect(site, run)
        notes = (*notes, *found.complaints, *found.notes)
    drop_seal(site)
    return notes
