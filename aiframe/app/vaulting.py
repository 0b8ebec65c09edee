"""Before a step: seal what the agent must leave alone. After it, or after a crash: put that back and say so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aiframe.app.site import Site
from aiframe.core.model import Run
from aiframe.process import now
from aiframe.store.atomic import make_folder, storage_errors
from aiframe.store.control import bring_back, hold_records
from aiframe.store.quarantine import set_aside
from aiframe.workspaces.git import Repository
from aiframe.workspaces.vault import Breach, Seal, compare_and_restore, seal, settle_refs

SEALED = (
    "PROJECT.yaml",
    "AGENTS.md",
    "DIAGNOSE_AGENT.md",
    "prompts",
    "notes/interrupt.flag",
    "notes/review_approval.md",
    "notes/review_rejection.md",
)


@dataclass(frozen=True, slots=True)
class Sealed:
    """What a step must leave alone: *seal* as it is stored, and aiframe's own *records*, held by the runner alone."""

    seal: Seal
    records: Mapping[Path, bytes] = field(default_factory=dict)


def mend_folders(site: Site) -> tuple[str, ...]:
    """Make logs/ and notes/ folders of the project's own again, where a step put something else in their place.

    A link would have aiframe write outside the project. What stands there goes to quarantine. Raises StorageError.
    """
    notes: list[str] = []
    for folder in (site.layout.logs, site.layout.notes):
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            set_aside(site.layout, folder, "a step put this in the place of a folder")
            if folder.exists():
                folder.unlink()
            notes.append(f"{folder.name}/ was replaced by the step: it is a folder again")
        make_folder(folder)
    return tuple(notes)


def seal_project(site: Site, run: Run) -> Sealed:
    """Remember, durably, what the step of *run* must leave alone. Raises StepError."""
    sealed = seal(site.root, SEALED, run.run_id)
    sealed.write(site.layout.seal)
    return Sealed(sealed, hold_records(site.layout))


def check_seal(site: Site, sealed: Sealed) -> tuple[str, ...]:
    """Put back what was changed, without git first, then look where HEAD went; says in words what was found.

    To be called after anything of the agent's has run: the agent itself, and the commands that run its code.
    """
    folders = mend_folders(site)
    breaches = compare_and_restore(sealed.seal, site.layout.quarantine_dir)
    lost = bring_back(site.layout, sealed.records)
    breaches += settle_refs(Repository(site.root), sealed.seal, site.layout.quarantine_dir, now().wall)
    return (
        *folders,
        *(_in_words(breach) for breach in breaches),
        *(f"aiframe's own {name} was lost: restored" for name in lost),
    )


def drop_seal(site: Site) -> None:
    """Forget the seal: nothing of the step runs any more, and all was checked. Raises StorageError."""
    path = site.layout.seal
    with storage_errors(path, "remove"):
        path.unlink(missing_ok=True)


def _in_words(breach: Breach) -> str:
    kept = f" (its version is kept in {breach.kept_at})" if breach.kept_at else ""
    cure = f"; {breach.hint}" if breach.hint else ""
    return f"{breach.path} was {breach.what} by the step: {breach.action}{kept}{cure}"


def left_seal(site: Site) -> Seal | None:
    """The seal of a step whose runner died before it could look; None when there is none."""
    return Seal.read(site.layout.seal)
