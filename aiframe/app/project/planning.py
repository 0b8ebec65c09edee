"""A plan from a person's document: read, asked for, shown beside the plan that was there, taken or dropped.

The document becomes SPEC.md. What was there before is kept in the control record until the new plan is taken.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from aiframe.app.project.advance import advance, held
from aiframe.app.project.observe import read_text
from aiframe.app.project.resources import template_text
from aiframe.app.project.site import Site
from aiframe.core.errors import UnreadableFile, UsageError
from aiframe.core.events import DropPlan, PlanFrom, TakePlan
from aiframe.core.model import PlanMode, Planning, Project, Task
from aiframe.core.problem import Problem
from aiframe.store.atomic import read_bounded
from aiframe.store.source_text import BOM, decode_text
from aiframe.store.tasks_file import load_tasks

DOCUMENT_LIMIT = 1024 * 1024
"""The most bytes that a document to plan from may have."""

_LONGEST_NAME = 80


def read_document(path: Path) -> str:
    """The text of a person's document, with plain line ends and without blanks around it.

    Raises UsageError for one that is missing or says nothing, UnreadableFile for what is no text or too long.
    """
    try:
        data = read_bounded(path, DOCUMENT_LIMIT, "name a text or Markdown file that you can read after --input")
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}", hint="check the path after --input") from None
    cure = "save it as plain text or Markdown, in UTF-8"
    if data.startswith(b"%PDF-"):
        raise UnreadableFile([Problem(path, "is no text but a PDF", hint=cure)])
    try:
        text = decode_text(path, data)
    except UnreadableFile as error:
        first = error.problems[0]
        problem = Problem(path, f"is no text: {first.message}", first.line, first.column, cure)
        raise UnreadableFile([problem]) from None
    text = text.removeprefix(BOM).replace("\r\n", "\n").replace("\r", "\n").strip()
    if not text:
        raise UsageError(f"{path} is empty", hint="write the plan into it: what is to be built, and how one sees it")
    return text


def begin_plan(
    site: Site, document: str, source: str, mode: PlanMode | None, *, confirmed: bool, can_ask: bool
) -> Planning:
    """Have the PO plan from *document*, called *source*; what the plan then has to be.

    *mode* says what becomes of a specification or a plan that is there, None where the person did not say. *can_ask*:
    the person is there to be asked. Nothing is written where it raises: Refused where the project is busy, UsageError
    where a word is missing, UnreadableFile, LockHeld, StorageError.
    """
    name = _plain_name(source)
    with held(site) as draft:
        pending = draft.project.planning
        spec, plan = (pending.spec, pending.tasks_text) if pending else (_text(site.layout.spec), _plan_text(site))
        tasks = pending.tasks if pending else draft.seen.tasks
        there = _what_is_there(site, spec, tasks, document)
        wanted = (mode or PlanMode.REPLACE) if there else PlanMode.NEW
        new_spec = _lengthened(spec, document, name) if wanted is PlanMode.APPEND else f"{document}\n"
        draft.decide(PlanFrom(draft.seen, wanted, name, new_spec, spec, plan, confirmed=confirmed))
        if there and mode is None:
            cure = "--append keeps that and adds to it, --replace has a new plan take its place"
            raise UsageError(f"{site.root.name} has {there} already", hint=cure)
        if wanted is PlanMode.REPLACE and not (confirmed or can_ask):
            cure = "add --yes: the new plan is then taken as it comes, and the difference is printed"
            raise UsageError("a plan is replaced after your word, and there is no terminal to ask on", hint=cure)
        planning = draft.project.planning
    if planning is None:
        raise ValueError("a plan was asked for, and none is being made")
    return planning


def pending_plan(site: Site) -> Planning | None:
    """The plan that is being made from a document, or waits for a word; None where there is none."""
    return _project(site).planning


def is_planned(site: Site) -> bool:
    """Whether the project has a plan of its own that is not up for a decision."""
    project = _project(site)
    return project.planning is None and project.settings.plan_locked


def difference(site: Site, before: Planning) -> str:
    """What is new in TASKS.yaml and SPEC.md, as a unified diff."""
    lines: list[str] = []
    for name, old in (("TASKS.yaml", before.tasks_text), ("SPEC.md", before.spec)):
        now = read_text(site.root / name)
        lines += difflib.unified_diff(old.splitlines(), now.splitlines(), f"{name} (old)", f"{name} (new)", lineterm="")
    return "\n".join(lines)


def take_plan(site: Site) -> str:
    """Take the new plan. Raises Refused where none waits."""
    advance(site, TakePlan)
    return "The new plan is taken"


def drop_plan(site: Site) -> str:
    """Bring back what was there before the plan was asked for. Raises Refused where none is being made."""
    advance(site, DropPlan)
    return "SPEC.md and TASKS.yaml are what they were before; the dropped ones are kept in .git/aiframe/quarantine"


def added_below(source: str) -> str:
    """The line of SPEC.md below which a document is added to it."""
    return f"<!-- added by aiframe plan: {source} -->"


def _project(site: Site) -> Project:
    return site.store.load(tolerate_unreadable=True).project


def _lengthened(spec: str, document: str, source: str) -> str:
    before = f"{spec.rstrip()}\n\n" if spec.strip() else ""
    return f"{before}{added_below(source)}\n\n{document}\n"


def _plain_name(source: str) -> str:
    """A document's name as it can stand in a line of SPEC.md and of a prompt."""
    return re.sub(r"[^\w .-]+|-{2,}", "_", source)[:_LONGEST_NAME].strip() or "a document"


def _what_is_there(site: Site, spec: str, tasks: tuple[Task, ...], document: str) -> str:
    """In words, what a new plan would have to be added to or to replace; empty for nothing."""
    if tasks:
        return f"a plan ({len(tasks)} {'task' if len(tasks) == 1 else 'tasks'} in TASKS.yaml)"
    frame = site.root.parent.parent if site.root.parent.name == "projects" else None
    blank = ("", document, *(_bare(template_text("project/SPEC.md", where)) for where in (frame, None)))
    return "" if _bare(spec) in blank else "a specification (SPEC.md)"


def _bare(text: str) -> str:
    return text.removeprefix(BOM).replace("\r\n", "\n").strip()


def _text(path: Path) -> str:
    try:
        return decode_text(path, read_bounded(path))
    except FileNotFoundError:
        return ""


def _plan_text(site: Site) -> str:
    return load_tasks(site.layout.tasks_yaml).text
