"""A project folder with a repository of its own, made by the very function that makes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from workspaces.person import IGNORED, write

from aiframe.workspaces.create import ensure_repository
from aiframe.workspaces.git import Repository


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project as it lies before any repository is there."""
    root = tmp_path / "my project ünï"
    write(root, {
        "SPEC.md": "spec\n", "TASKS.yaml": "tasks\n", "PROJECT.yaml": "agent: scripted\n", "AGENTS.md": "rules\n",
        "prompts/DEV.md.j2": "dev\n", "src/app.py": "print(1)\n", "README.md": "read me\n",
        "STATE.json": "{}\n", "notes/context_snapshot.md": "so far\n", "logs/events.ndjson": "",
    })  # fmt: skip
    return root


@pytest.fixture
def repo(folder: Path) -> Repository:
    """Its repository, with the first commit."""
    return ensure_repository(folder, IGNORED)
