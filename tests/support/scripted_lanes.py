"""Projects with tasks side by side on a person's repository, whose agent plays a script."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from support.projects import Bench, Turn, dev, git, lay_project, task

PLAN = """# the plan
version: 1
tasks:
  - id: T1   # the first
    title: One
    verify: ["grep -q T1 T1.txt"]
  - id: T2
    title: Two
    verify: ["grep -q T2 T2.txt"]   # the last

# the end
"""
"""A plan of two tasks as a person has written it."""


def lay(
    folder: Path, *tasks: Mapping[str, Any], turns: Sequence[Turn], attended: bool = True, **settings: Any
) -> Bench:
    """A project with a scripted agent that works on several *tasks* of a person's repository at once."""
    repo = folder / "app"
    repo.mkdir(parents=True)
    (repo / "a.txt").write_text("a\n")
    git(repo, "init", "-q", "-b", "main")
    git(repo, "add", "-A")
    git(repo, "commit", "-q", "-m", "first")
    more = {"parallel": 4, "workspace": {"kind": "worktree", "repo": str(repo)}, **settings}
    state = {"state": "DEV_READY", "interactive_mode": attended, "review_every_n_tasks": 0, "plan_locked": True}
    bench = lay_project(folder, *tasks, turns=turns, settings=more, state=state)
    bench.write("notes/context_snapshot.md", "nothing yet\n")
    return replace(bench, env={**os.environ, "XDG_STATE_HOME": str(folder / "state")})


def proven(name: str, **more: Any) -> dict[str, Any]:
    return task(name, f"grep -q {name} {name}.txt", **more)


def does(name: str, **more: Any) -> dict[str, Any]:
    return dev(name, **{"files": {f"{name}.txt": f"{name}\n"}, "usage": {"input_tokens": 100}, **more})


def asks(name: str, text: str, **more: Any) -> dict[str, Any]:
    return does(name, closing={"summary": "?", "question": {"text": text, **more}})
