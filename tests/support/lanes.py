"""Projects with tasks side by side on a person's repository, whose agent is a shell script for each task."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from support.projects import Bench, git, lay_project

TARGET = "landed"
WORK = 'echo "$1" >>"{folder}/asked"; . "{folder}/do/$1.sh"'


def person_repository(folder: Path, files: Mapping[str, str] | None = None) -> Path:
    """A person's repository in *folder*/app, on main."""
    root = folder / "app"
    root.mkdir(parents=True)
    for name, text in (files or {"a.txt": "a\n", "b.txt": "b\n"}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "first")
    return root


def lay_lanes(
    folder: Path, *tasks: Mapping[str, Any], work: Mapping[str, str], repo: Path | None = None, name: str = "shop",
    **settings: Any,
) -> Bench:  # fmt: skip
    """A project in *folder*/*name*; *work* is what the agent does for each task, as lines of a shell."""
    repo = repo or person_repository(folder)
    (folder / "do").mkdir(exist_ok=True)
    for each, line in work.items():
        (folder / "do" / f"{each}.sh").write_text(line + "\n")
    script = folder / "work.sh"
    script.write_text(WORK.format(folder=folder))
    more = {
        "agent": {"name": "command", "line": f"/bin/sh {script} {{task}}"}, "sandbox": "none", "parallel": 4,
        "workspace": {"kind": "worktree", "repo": str(repo), "target": TARGET},
        "limits": {"transient_base_sec": 0.5}, **settings,
    }  # fmt: skip
    bench = lay_project(folder, *tasks, settings=more, name=name)
    bench.edit_state(state="DEV_READY", interactive_mode=False)
    return replace(bench, env={**os.environ, "XDG_STATE_HOME": str(folder / "state")})


def lay_serial(
    folder: Path, *tasks: Mapping[str, Any], turns: Sequence[Mapping[str, Any]], **settings: Any
) -> tuple[Bench, Path]:
    """A project with one task at a time, whose scripted agent plays *turns*; and the repository."""
    repo = person_repository(folder)
    git(repo, "branch", TARGET)
    workspace = {"kind": "worktree", "repo": str(repo), "target": TARGET}
    bench = lay_project(folder, *tasks, turns=turns, settings={"workspace": workspace, **settings})
    return replace(bench, env={**os.environ, "XDG_STATE_HOME": str(folder / "state")}), repo


def asked(folder: Path) -> list[str]:
    """The tasks that an agent was asked for, in their order, as often as it was."""
    path = folder / "asked"
    return path.read_text().split() if path.exists() else []


def landed(repo: Path) -> list[str]:
    """The tasks that have landed, the first one first."""
    return git(repo, "log", "--reverse", "--format=%(trailers:key=Aiframe-Task,valueonly)", TARGET).split()


def person_commits(repo: Path, name: str, text: str, branch: str = TARGET) -> str:
    """A shell line by which somebody commits the file *name* on *branch* from a worktree of theirs."""
    theirs = f"{repo}-theirs"
    return (
        f"git -C '{repo}' worktree add -q -f '{theirs}' {branch} && printf '{text}' >'{theirs}/{name}'"
        f" && git -C '{theirs}' add -A && git -C '{theirs}' -c user.name=p -c user.email=p@example.org"
        f" commit -q -m 'person: {name}' && git -C '{repo}' worktree remove -f '{theirs}'"
    )
