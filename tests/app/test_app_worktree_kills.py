"""From `init --repo` on a real repository to landed work, with SIGKILL to every part of aiframe on the way."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from app.test_app_worktree import repository, shown
from support.chaos import AIFRAME, REAPERS_TOO, Ground, dev_turn, ground, kill, remains, rest
from support.projects import git

from aiframe.workspaces.host import open_host, registered

FILES: Mapping[str, str] = {
    **{f"src/part{n % 7}/module_{n}.py": f'"""Module {n}."""\n\nVALUE = {n}\n' for n in range(190)},
    **{f"docs/ünï {n}.md": f"# Chapter {n}\n" for n in range(10)},
    ".gitignore": "*.log\nbuild/\n",
}
CHECK = "setsid sleep $CHAOS_NAP & sleep 0.1; grep -qx {0} {0}.txt && test -f src/part0/module_0.py"
TASKS = ("T1", "T2")
ROUNDS = 4
"""Kills on the way; which part is hit, and when, differs from round to round."""


def lay(around: Ground, repo: Path, folder: Path, kind: str = "worktree") -> Ground:
    """Make the project of *around* one for *repo*, planned, by the way of `init`: as a person would."""
    environ = {**around.environ, "XDG_STATE_HOME": str(folder / "state")}
    frame = folder / "frame"
    init = ("init", "p", "--repo", str(repo), "--workspace", kind, "--agent", "scripted", "--unattended")
    for words in (("frame", str(frame)), init):
        cwd = frame if words[0] == "init" else folder
        subprocess.run([*AIFRAME, *words], env=environ, cwd=cwd, check=True, capture_output=True, timeout=60)
    root = frame / "projects" / "p"
    settings = (root / "PROJECT.yaml").read_text()
    settings = settings.replace("agent: scripted", f"agent: {{name: scripted, file: {folder}/script.yaml}}")
    settings = settings.replace("sandbox: auto", "sandbox: none\nenv: [CHAOS_MARK, CHAOS_NAP, CHAOS_CALLS]")
    (root / "PROJECT.yaml").write_text(settings + "limits: {max_attempts: 9, interrupted_limit: 99}\n")
    plan = [{"id": name, "title": f"Write {name}", "verify": [CHECK.format(name)]} for name in TASKS]
    (root / "TASKS.yaml").write_text(json.dumps({"version": 1, "tasks": plan}))
    (folder / "script.yaml").write_text(json.dumps({"version": 1, "turns": [dev_turn(name) for name in TASKS]}))
    state = json.loads((root / "STATE.json").read_text())
    (root / "STATE.json").write_text(json.dumps({**state, "state": "DEV_READY"}))
    return replace(around, root=root, environ=environ)


def check(project: Ground, repo: Path) -> None:
    """Both tasks are on the target once, each proven on the commit that is kept; nothing else is left behind."""
    target = "aiframe/p/landed"
    subjects = git(repo, "log", "--format=%s", target).splitlines()
    assert subjects == ["T2: Write T2", "T1: Write T1", "first"]
    for name in TASKS:
        assert git(repo, "show", f"{target}:{name}.txt") == name
    assert git(repo, "diff", "--name-status", "master", target).split() == ["A", "T1.txt", "A", "T2.txt"]
    results = [json.loads(path.read_text()) for path in sorted((project.root / "logs" / "runs").glob("*/result.json"))]
    good = [result for result in results if result["success"]]
    assert sorted(result["task_id"] for result in good) == list(TASKS), "finished work was bought twice"
    for result in good:
        tree = git(repo, "rev-parse", result["commit"] + "^{tree}")
        assert {gate["tree"] for gate in result["gates"]} == {tree}
        git(repo, "merge-base", "--is-ancestor", result["commit"], target)
    assert registered(open_host(repo)) == []
    left = (repo.parent / "state" / "aiframe" / "workspaces" / "p").iterdir()
    assert [path.name for path in left] == [".owner.json"]
    git(repo, "fsck", "--strict", "--no-dangling")


@pytest.mark.parametrize("kind", ["worktree", "clone"])
@pytest.mark.parametrize("seed", range(2))
def test_two_tasks_to_done_whatever_is_killed(tmp_path: Path, seed: int, kind: str) -> None:
    repo = repository(tmp_path, FILES)
    (repo / "docs" / "ünï 1.md").write_text("a person is at work\n")
    before, chance = shown(repo), random.Random(seed)
    with ground(tmp_path / "g") as around:
        project = lay(around, repo, tmp_path, kind)
        hit = set()
        for _ in range(ROUNDS):
            with project.start_tick("--no-wait") as tick:
                tick.wait(60)
            time.sleep(chance.uniform(0, 0.8))
            victim = chance.choice(["runner", "git", "agent", "verify", "guardian+runner", "all"])
            if kill(project, victim, 3.0):
                hit.add(victim)
        assert hit, "nothing was killed"
        rest(project)
        assert not remains(project, lost_its_reapers=not REAPERS_TOO.isdisjoint(hit))
        check(project, repo)
        assert git(project.root, "status", "--porcelain") == ""
    assert shown(repo) == before


DEADLY_GIT = """#!/bin/sh
case " $* " in
*" update-ref {ref}"*)
    if ! test -e {folder}/killed; then
        touch {folder}/killed
        mkdir -p "{lock}" && rmdir "{lock}" && : >"{lock}.lock" || exit 99
        kill -9 $$
    fi ;;
*" worktree remove "*/T2" ")
    if ! test -e {folder}/killed-too; then
        touch {folder}/killed-too
        kill -9 $$
    fi ;;
esac
exec {git} "$@"
"""


def test_git_killed_when_the_work_has_landed_keeps_no_other_from_landing(tmp_path: Path) -> None:
    """It dies with the lock in hand of the ref that keeps what landed last, and when the last workspace is removed."""
    repo, ref = repository(tmp_path, FILES), "refs/aiframe/landed/p"
    (tmp_path / "bin").mkdir()
    deadly = DEADLY_GIT.format(ref=ref, folder=tmp_path, lock=repo / ".git" / ref, git=shutil.which("git"))
    (tmp_path / "bin" / "git").write_text(deadly)
    (tmp_path / "bin" / "git").chmod(0o755)
    with ground(tmp_path / "g") as around:
        project = lay(around, repo, tmp_path)
        path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        assert rest(replace(project, environ={**project.environ, "PATH": path})) == []
        assert (tmp_path / "killed").exists()
        assert (tmp_path / "killed-too").exists()
        assert git(repo, "branch", "--list", "aiframe/p/T*") == ""
        check(project, repo)
