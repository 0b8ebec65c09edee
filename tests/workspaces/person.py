"""What a person or an agent does with files and an ordinary git, unprotected."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

CONTROL = ("SPEC.md", "TASKS.yaml", "ROLES.md", "PROJECT.yaml", "AGENTS.md", "prompts")
IGNORED = ("/logs/", "/notes/", "/STATE.json", "/.agent_lock", "/INTAKE_ANSWERS.md")
DAY = 1_700_000_000.0


def write(root: Path, files: Mapping[str, str | None]) -> None:
    """Write *files* below *root*; None deletes."""
    for name, text in files.items():
        path = root / name
        if text is None:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def git(root: Path, *args: str, check: bool = True, stdin: str | None = None) -> str:
    """Run the machine's git in *root* as a person does, with everything that is configured there."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    env |= {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}
    argv = ["git", "-c", "user.name=agent", "-c", "user.email=agent@example.org", *args]
    done = subprocess.run(
        argv, cwd=root, env=env, capture_output=True, text=True, errors="surrogateescape", input=stdin
    )
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.rstrip()


def commit_all(root: Path, message: str) -> str:
    """An ordinary commit of everything; returns its id."""
    git(root, "add", "-A")
    git(root, "commit", "-q", "--allow-empty", "-m", message)
    return git(root, "rev-parse", "HEAD")


def files_of(root: Path, commit: str) -> dict[str, str]:
    """Name and content of every file in *commit*."""
    listed = git(root, "ls-tree", "-r", "-z", "--name-only", commit)
    return {name: git(root, "cat-file", "-p", f"{commit}:{name}") for name in listed.split("\0") if name}


def sound(root: Path) -> bool:
    """Whether ``git fsck`` finds nothing wrong."""
    return "missing" not in git(root, "fsck", "--full", "--no-dangling", "--connectivity-only")
