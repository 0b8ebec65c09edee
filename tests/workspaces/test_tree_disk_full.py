"""F22: a disk that is full while files are brought from one commit to the next: once there is room, they arrive."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support.needs import mounting, needs
from workspaces.person import commit_all, files_of, git, write

DISK = """\
mount -t tmpfs -o size=400k tmpfs "$1"
shift
exec "$@"
"""
LANDS = """\
import subprocess, sys
from pathlib import Path
from aiframe.core.errors import AiframeError
from aiframe.workspaces.host import open_host
from aiframe.workspaces.landing import land

root, disk, target, onto, commit = Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]
host, theirs = open_host(root), disk / "theirs"
git = lambda *words: subprocess.run(["git", "-C", theirs, *words], check=True, capture_output=True, text=True).stdout
subprocess.run(["git", "-C", root, "worktree", "add", "-q", theirs, target], check=True)
try:
    land(host, target, onto, commit, 0.0)
except AiframeError as error:
    print(error.message, "|", error.hint)
print("changed:", git("status", "--porcelain").split())
subprocess.run(["mount", "-o", "remount,size=16m", disk], check=True)
(theirs / "mine.txt").write_text("a person's, made since")
land(host, target, onto, commit, 0.0)
print(git("status", "--porcelain"), git("rev-parse", "HEAD"), sep="", end="")
"""
FOLLOWS = """\
import sys
from pathlib import Path
import subprocess
from aiframe.core.errors import AiframeError
from aiframe.workspaces.commits import head
from aiframe.workspaces.host import open_host
from aiframe.workspaces.linked import read_ready
from aiframe.workspaces.moving import follow
from aiframe.workspaces.trees import worktree_tree
from aiframe.workspaces.worktree import ensure_worktree

root, disk, target, onto, commit = Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]
host = open_host(root)
made = lambda: ensure_worktree(host, disk / "T1", "aiframe/p/T1", onto, 0.0)[0]
try:
    follow(made(), commit, 0.0)
except AiframeError as error:
    print(error.message, "|", error.hint)
subprocess.run(["mount", "-o", "remount,size=16m", disk], check=True)
linked = made()
print(follow(linked, commit, 0.0), read_ready(linked).base == head(linked).commit == commit)
print(worktree_tree(linked, commit, ()) == linked.tree_of(commit))
"""


def on_a_small_disk(tmp_path: Path, program: str) -> list[str]:
    """What *program* says, in which two landed files have no room at first, and later do."""
    root, disk = tmp_path / "repo", tmp_path / "disk"
    root.mkdir()
    disk.mkdir()
    git(root, "init", "-q", "-b", "master")
    write(root, {"a.txt": "a\n", "b.txt": "b\n", "old.txt": "old\n"})
    onto = commit_all(root, "first")
    git(root, "branch", "landed", onto)
    write(root, {"a.txt": "A\n", "large.txt": "x" * 800_000, "old.txt": None, "z.txt": "z\n"})
    commit = commit_all(root, "more")
    words = [*mounting(), "sh", "-c", DISK, "sh", str(disk), sys.executable, "-c", program]
    argv = [*words, str(root), str(disk), "landed"]
    ended = subprocess.run([*argv, onto, commit], capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return [line.replace(commit, "COMMIT") for line in ended.stdout.splitlines()]


@needs("unshare")
def test_a_checkout_of_the_target(tmp_path: Path) -> None:
    said, *after = on_a_small_disk(tmp_path, LANDS)
    assert "make room on the disk" in said
    assert after == ["changed: []", "?? mine.txt", "COMMIT"]
    assert files_of(tmp_path / "repo", "landed")["a.txt"] == "A"


@needs("unshare")
def test_a_workspace(tmp_path: Path) -> None:
    said, *after = on_a_small_disk(tmp_path, FOLLOWS)
    assert "make room on the disk" in said
    assert after == ["True True", "True"]
