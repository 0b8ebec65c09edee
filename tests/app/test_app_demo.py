"""The demo: what a person sees who types one command, and what is on the disk afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aiframe.app.making.demo import INSTALLER, next_commands, run_demo
from aiframe.app.making.frame import lay_frame
from aiframe.core.errors import UsageError
from aiframe.core.model import State, TaskStatus
from aiframe.store.layout import Layout
from aiframe.store.project_store import ProjectStore
from aiframe.store.tasks_file import load_tasks

GO_ON = (
    "aiframe init my-project --idea idea.md",
    "aiframe tick --project projects/my-project",
    "$EDITOR projects/my-project/INTAKE_ANSWERS.md",
    "aiframe watch --project projects/my-project",
)


def git(project: Path, *argv: str) -> str:
    return subprocess.run(["git", *argv], cwd=project, check=True, capture_output=True, text=True).stdout


def test_the_demo_reaches_done(tmp_path: Path) -> None:
    said: list[str] = []
    code = run_demo(Path("play"), os.environ, said.append, cwd=tmp_path)
    text = "\n".join(said)
    assert code == 0, text
    project = tmp_path / "play" / "projects" / "tally"
    assert ProjectStore(Layout(project)).load().project.state is State.DONE
    tasks = load_tasks(Layout(project).tasks_yaml).tasks
    assert [task.status for task in tasks] == [TaskStatus.DONE] * 4
    log = git(project, "log", "--format=%s")
    assert all(any(task.id in line for line in log.splitlines()) for task in tasks)
    assert git(project, "status", "--porcelain") == ""
    heard = ["verify_failed", "stalled", "DIAGNOSE", "$ aiframe approve", "$ aiframe status", "$ git log --oneline"]
    assert [word for word in heard if word not in text] == []
    assert "busiest hour  08:00" in text
    assert "The agent was scripted" in text
    assert said[-1] == "    aiframe watch --project projects/my-project" or "-m aiframe watch" in said[-1]
    assert "\x1b" not in text


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    with pytest.raises(UsageError, match="not empty"):
        run_demo(tmp_path, os.environ, print)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_demo_that_does_not_reach_done_says_so(tmp_path: Path) -> None:
    said: list[str] = []
    # Without a shell, or git for the runner, no command can work.
    broken = {**os.environ, "PATH": str(tmp_path)}
    assert run_demo(tmp_path / "play", broken, said.append) == 1
    assert any(line.startswith("The demo did not get to its end: ") for line in said)
    assert not any("The agent was scripted:" in line for line in said)


def programs(folder: Path, *names: str) -> dict[str, str]:
    folder.mkdir()
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return {"PATH": str(folder)}


@pytest.mark.parametrize(
    ("installed", "clone", "frame", "first"),
    [
        pytest.param(["codex", "aiframe"], False, True, (), id="all there"),
        pytest.param(["codex", "aiframe"], False, False, ("aiframe frame my-frame && cd my-frame",), id="no frame"),
        pytest.param(["codex"], True, True, ("make install",), id="fresh clone with codex"),
        pytest.param([], True, True, ("npm install -g @openai/codex", "codex login", "make install"), id="fresh clone"),
    ],
)
def test_the_next_commands_are_those_that_are_needed(
    tmp_path: Path, installed: list[str], clone: bool, frame: bool, first: tuple[str, ...]
) -> None:
    here = lay_frame(tmp_path / "here").root if frame else tmp_path
    if clone:
        (here / INSTALLER).parent.mkdir()
        (here / INSTALLER).write_text("")
    assert next_commands(here, programs(tmp_path / "bin", *installed)) == first + GO_ON


def test_where_aiframe_is_not_on_path_the_next_commands_still_work(tmp_path: Path) -> None:
    frame = lay_frame(tmp_path / "frame").root
    commands = next_commands(frame, programs(tmp_path / "bin", "codex"))
    assert commands == tuple(command.replace("aiframe ", f"{sys.executable} -m aiframe ") for command in GO_ON)
