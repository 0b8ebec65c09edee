"""Git killed in each of its writes, with the lock in hand: whoever comes next finds nothing in the way (F28)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.needs import needs
from workspaces.person import DAY, commit_all, files_of, git, sound, write

from aiframe.workspaces.commits import head, write_commit
from aiframe.workspaces.git import Repository
from aiframe.workspaces.host import open_host
from aiframe.workspaces.inplace import candidate
from aiframe.workspaces.linked import Linked
from aiframe.workspaces.worktree import ensure_worktree, make_branch

TARGET = "aiframe/p/landed"
BRANCH = "aiframe/p/T1"
REF = "refs/aiframe/landed/p"

DEADLY_GIT = """#!/bin/sh
case " $* " in
    *" update-ref "*|*" read-tree "*|*" worktree "*) echo >>"{count}" ;;
    *) exec "{git}" "$@" ;;
esac
if [ "$(wc -l <"{count}")" -eq {number} ]; then
    exec strace -f -q -o /dev/null -e trace=?rename -e inject=?rename:signal=KILL:when=1 "{git}" "$@"
fi
exec "{git}" "$@"
"""
"""A git whose writing call NUMBER is killed when it begins to rename its lock file."""

DOER = """
import sys
from pathlib import Path
from aiframe.workspaces import landing, moving, worktree
from aiframe.workspaces.checkout import check_out
from aiframe.workspaces.commits import set_ref
from aiframe.workspaces.host import open_host
from aiframe.workspaces.linked import Linked
from aiframe.workspaces.trees import worktree_tree
what, root, path, base, made, tree = sys.argv[1:]
host, path = open_host(Path(root)), Path(path)
print("began", flush=True)
match what:
    case "add":
        worktree.ensure_worktree(host, path, "aiframe/p/T2", base, 1.7e9)
    case "remove":
        worktree.remove_worktree(host, path, "aiframe/p/T1", "aiframe/p/landed", 1.7e9)
    case "land":
        landing.land(host, "aiframe/p/landed", base, made, 1.7e9)
    case "commit":
        landing.commit_work(Linked(path, "aiframe/p/T1", host.common_dir), made, 1.7e9)
    case "checkpoint":
        moving.checkpoint_work(Linked(path, "aiframe/p/T1", host.common_dir), "unverified", {}, 1.7e9)
    case "move":
        linked, _ = worktree.ensure_worktree(host, path, "aiframe/p/T1", base, 1.7e9)
        if worktree_tree(linked, base, ()) == tree:
            moving.move_work(linked, tree, linked.tree_of(base), base, 1.7e9)
    case "set_ref":
        set_ref(host, "refs/aiframe/landed/p", made)
    case "check_out":
        check_out(host, tree, path.with_name("checkout"), keep_made=False)
"""


@pytest.fixture
def host(tmp_path: Path) -> Repository:
    """A person's repository that has the target checked out, and some refs packed."""
    root = tmp_path / "repo"
    root.mkdir()
    git(root, "init", "-q", "-b", "master")
    write(root, {f"{n}.txt": f"{n}\n" for n in range(5)})
    made = commit_all(root, "first")
    host = open_host(root)
    make_branch(host, TARGET, made, DAY)
    make_branch(host, BRANCH, made, DAY)
    git(root, "pack-refs", "--all")
    git(root, "switch", "-q", TARGET)
    return host


def do(words: list[str], folder: Path, deadly: str = "") -> None:
    """Run DOER with *deadly* as its git; without one it has to succeed."""
    environ = dict(os.environ)
    if deadly:
        (folder / "bin").mkdir(exist_ok=True)
        (folder / "bin" / "git").write_text(deadly)
        (folder / "bin" / "git").chmod(0o755)
        environ["PATH"] = f"{folder / 'bin'}{os.pathsep}{environ['PATH']}"
    argv = [sys.executable, "-P", "-c", DOER, *words]
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=60)
    assert done.stdout == "began\n", done.stderr
    if not deadly:
        assert done.returncode == 0, done.stderr


@needs("strace")
@pytest.mark.parametrize("what", ["add", "remove", "land", "commit", "checkpoint", "move", "set_ref", "check_out"])
def test_the_next_finds_nothing_in_the_way(host: Repository, tmp_path: Path, what: str) -> None:
    real, count = shutil.which("git"), tmp_path / "count"
    number = 1
    while True:
        path = tmp_path / "s" / "T1"
        base = git(host.root, "rev-parse", TARGET)
        workspace, _ = ensure_worktree(host, path, BRANCH, base, DAY)
        write(workspace.root, {f"{n}.txt": f"work {number}\n" for n in range(number % 3, 8, 3)})
        tree = candidate(workspace, head(workspace).commit, ()).tree
        made = write_commit(workspace, tree, (base,), "T1: work", {}, DAY)
        where = tmp_path / "s" / "T2" if what == "add" else path
        words = [what, str(host.root), str(where), base, made, tree]
        count.write_text("")
        do(words, tmp_path, DEADLY_GIT.format(count=count, git=real, number=number))
        called = len(count.read_text().splitlines())
        do(words, tmp_path)
        check(host, Linked(path, BRANCH, host.common_dir) if path.exists() else None, what, base, made, tree)
        if called < number:
            break
        if what == "add":
            git(host.root, "worktree", "remove", "--force", "--force", str(where))
        for ref in git(host.root, "for-each-ref", "--format=%(refname)", "refs/aiframe/backup").splitlines():
            git(host.root, "update-ref", "-d", ref)
        number += 1
    assert number > 1, "nothing was killed"
    assert sound(host.root)


def check(host: Repository, workspace: Linked | None, what: str, base: str, made: str, tree: str) -> None:
    """What DOER was to do is done."""
    left = [str(lock) for pattern in ("*.lock", "packed-refs.new") for lock in host.common_dir.rglob(pattern)]
    assert [name for name in left if not name.endswith("workspaces.lock") and "/room-" not in name] == []
    match what:
        case "remove":
            assert workspace is None
            assert git(host.root, "branch", "--list", BRANCH) == ""
        case "land":
            assert git(host.root, "rev-parse", TARGET) == made
            assert git(host.root, "status", "--porcelain") == ""
        case "commit":
            assert workspace is not None
            assert head(workspace).commit == made
            assert git(workspace.root, "status", "--porcelain") == ""
        case "checkpoint":
            assert workspace is not None
            assert git(workspace.root, "rev-parse", "HEAD^{tree}") == tree
            assert git(workspace.root, "status", "--porcelain") == ""
        case "move":
            assert workspace is not None
            assert git(workspace.root, "status", "--porcelain") == ""
            assert head(workspace).commit == base
        case "set_ref":
            assert git(host.root, "rev-parse", REF) == made
        case "check_out":
            folder = host.root.parent / "s" / "checkout"
            assert {p.name: p.read_text().strip() for p in folder.iterdir()} == files_of(host.root, tree)
