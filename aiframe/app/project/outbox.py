"""What a saved decision still owes to the files: documents to write, notes to archive and events to tell.

The control record names these debts in the same write that makes the decision. Whoever comes next pays what a crash
left unpaid; paying twice does nothing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aiframe.app.project.intake import blank_form, history_entry, in_history, parse_questions
from aiframe.app.project.observe import read_text
from aiframe.app.project.site import Site
from aiframe.core.model import Project, State
from aiframe.store.atomic import (
    make_folder,
    read_bounded,
    storage_errors,
    sync_directory,
    write_durable,
    write_durable_while,
)
from aiframe.store.journal import append_event, last_events
from aiframe.store.quarantine import last_good, set_aside

Debt = Mapping[str, Any]

_RECENT = 200
"""How far back in the journal an event that may have been told already is looked for, at the least."""


def debt_for(site: Site, what: str, project: Project, run_id: str, wall: float) -> dict[str, Any]:
    """The note to archive: ``answers``, ``approval`` or ``rejection``, by the content it has now."""
    return {
        "archive": what,
        "content": _content_hash(_note(site, what)),
        "name": f"{what}-{project.generation + 1:06d}.md",
        "asked": project.state is State.INTAKE_WAITING,
        "run_id": run_id,
        "when": wall,
    }


def document_debt(site: Site, name: str, text: str) -> dict[str, Any]:
    """The document *name* to be replaced by *text*, in place of the content that it has now."""
    return {"document": name, "text": text, "instead_of": _content_hash(site.root / name)}


def settle_debts(site: Site, debts: Sequence[Debt]) -> None:
    """Write, archive and tell what is still open. Raises StorageError."""
    for debt in debts:
        if "document" in debt:
            _write(site, debt)
        elif "archive" in debt:
            _archive(site, debt)
    _tell(site, _events(debts))


def has_debts(site: Site, debts: Sequence[Debt]) -> bool:
    """Whether a crash left anything of *debts* open."""
    documents = any(_is_unwritten(site, debt) for debt in debts if "document" in debt)
    notes = any(_is_open(site, debt) for debt in debts if "archive" in debt)
    return documents or notes or bool(_untold(site, _events(debts)))


def _events(debts: Sequence[Debt]) -> list[Debt]:
    return [debt for debt in debts if "archive" not in debt and "document" not in debt]


def _write(site: Site, debt: Debt) -> None:
    path = site.root / debt["document"]
    if not _is_unwritten(site, debt):
        return
    if os.path.lexists(path):
        set_aside(site.layout, path, "the version that another plan took the place of")
    write_durable(path, debt["text"])
    if path == site.layout.tasks_yaml and site.layout.known_plan.exists():
        from aiframe.app.project.guarding import note_plan

        note_plan(site, debt["text"])


def _is_unwritten(site: Site, debt: Debt) -> bool:
    """Whether the document is still as it was when it was to be replaced: what came after that is a person's edit."""
    written = hashlib.sha256(debt["text"].encode()).hexdigest()
    before: str = debt["instead_of"]
    return written != before and _content_hash(site.root / debt["document"]) == before


def _tell(site: Site, events: Sequence[Debt]) -> None:
    for event in _untold(site, events):
        append_event(site.layout, event)


def _untold(site: Site, events: Sequence[Debt]) -> list[Debt]:
    if not events:
        return []
    # Twice as many as are owed: others may have told theirs in between.
    told = {event.get("key") for event in last_events(site.layout, max(_RECENT, 2 * len(events)))}
    return [event for event in events if event["key"] not in told]


def _is_open(site: Site, debt: Debt) -> bool:
    note = _note(site, debt["archive"])
    if debt["archive"] == "answers":
        untouched = bool(debt["content"] or debt["asked"]) and _content_hash(note) == debt["content"]
        return untouched and not _is_settled(site, note, debt)
    return note.exists() and _content_hash(note) == debt["content"]


def _is_settled(site: Site, note: Path, debt: Debt) -> bool:
    """Whether the blank form looks like the one that went into the history, and lies there already."""
    return (
        debt["asked"]
        and in_history(read_text(site.layout.history), debt["run_id"])
        and read_text(note) == _new_form(site)
    )


def _new_form(site: Site) -> str:
    return blank_form(parse_questions(read_text(site.layout.questions)))


def _archive(site: Site, debt: Debt) -> None:
    if not _is_open(site, debt):
        return
    note = _note(site, debt["archive"])
    if debt["archive"] == "answers":
        _archive_answers(site, note, debt)
        return
    shelf = site.layout.notes / "reviews"
    if shelf.is_symlink():  # a step may have made it, to have the note written elsewhere
        with storage_errors(shelf, "remove the link"):
            shelf.unlink()
    make_folder(shelf)
    with storage_errors(note, "move to notes/reviews/"):
        note.rename(shelf / debt["name"])
    sync_directory(shelf)


def _archive_answers(site: Site, note: Path, debt: Debt) -> None:
    """Move the answered form into the history, and lay a blank one where new questions were put."""
    answers = read_text(note)
    history = read_text(site.layout.history)
    if answers:
        asked = (last_good(site.layout, "INTAKE_QUESTIONS.md") or b"").decode("utf-8", "replace")
        if not in_history(history, debt["run_id"]):
            entry = history_entry(debt["run_id"], debt["when"], asked, answers)
            write_durable(site.layout.history, history + entry)
    if debt["asked"]:
        # A quick person, or a script, may have answered by now: the questions are there already.
        write_durable_while(note, _new_form(site), lambda: _content_hash(note) == debt["content"])
        return
    with storage_errors(note, "remove"):
        note.unlink(missing_ok=True)


def _note(site: Site, what: str) -> Path:
    layout = site.layout
    return {"answers": layout.answers, "approval": layout.approval, "rejection": layout.rejection}[what]


def _content_hash(path: Path) -> str:
    try:
        return hashlib.sha256(read_bounded(path)).hexdigest()
    except FileNotFoundError:
        return ""
