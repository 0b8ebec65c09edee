"""Links that lead out of a project: what they lead to is neither read into a prompt nor written to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from aiframe.app.project.observe import leads_out, read_text
from aiframe.store.layout import Layout


def read_inside(root: Path, path: Path) -> str:
    """The text of *path*; empty where there is none, and where it is a link that leads out of *root*."""
    return "" if leads_out(root, path) else read_text(path)


def links_out(layout: Layout) -> Iterator[str]:
    """In words, which of the files that prompts are made of are links that lead out of the project."""
    documents = (layout.spec, layout.roles, layout.tasks_yaml, layout.questions, layout.answers, layout.history)
    for path in (*documents, layout.context_snapshot, layout.interaction_notes):
        if leads_out(layout.root, path):
            yield f"{path.relative_to(layout.root)} is a link that leads out of the project: it was not read"
