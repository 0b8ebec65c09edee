"""Workspaces: added once by many at once (F21), known before every write (F3), removed only when kept (F1)."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from support.crews import eventually
from support.killing import kill_after
from workspaces.person import DAY, commit_all, files_of, git, sound, write

from aiframe.workspaces.clone_giving import give
from aiframe.workspaces.clone_taking import take
from aiframe.workspaces.cloning import CLONE
from aiframe.workspaces.commits import head
from aiframe.workspaces.git import Repository
from aiframe.workspaces.git_errors import EmbeddedRepositories, GitError
from aiframe.workspaces.host import open_host, registered
from aiframe.workspaces.inplace import candidate
from aiframe.workspaces.linked import Linked
from aiframe.workspaces.moving import checkpoint_work, follow, move_work
from aiframe.workspaces.worktree import WORKTREE, Way, ensure_worktree, make_branch, remove_worktree

TARGET = "aiframe/p/landed"
BRANCH = "aiframe/p/T1"


@pytest.fixture
def host(tmp_path: Path) -> Repository:
    """A person's repository with a target at its only commit."""
    root = tmp_path / "repo"
    root.mkdir()
    git(root, "init", "-q", "-b", "master")
    write(root, {f"src/{number}.py": f"print({number})\n" for number in range(40)} | {".gitignore": "*.log\n"})
    made = commit_all(root, "first")
    host = open_host(root)
    make_branch(host, TARGET, made, DAY)
    return host


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "p" / "T1"


@pytest.fixture(params=[WORKTREE, CLONE], ids=["worktree", "clone"])
def way(request: pytest.FixtureRequest) -> Way:
    """Both kinds of workspace: what holds for one holds for the other."""
    assert isinstance(request.param, Way)
    return request.param


def made(host: Repository, path: Path, branch: str = BRANCH, way: Way = WORKTREE) -> Linked:
    """The workspace as an attempt begins with it."""
    workspace, _ = ensure_worktree(host, path, branch, git(host.root, "rev-parse", TARGET), DAY, way)
    assert take(workspace, DAY) == ()
    give(workspace)
    return workspace


def entries(host: Repository, path: Path) -> int:
    """How many workspaces there are by aiframe's own reckoning."""
    return len(registered(host)) + len([entry for entry in path.parent.glob(".*") if entry.name != ".owner.json"])


def refs(host: Repository) -> dict[str, str]:
    """aiframe's own refs besides branches: name to commit."""
    lines = git(host.root, "for-each-ref", "--format=%(refname) %(objectname)", "refs/aiframe").splitlines()
    return {line.split()[0]: line.split()[1] for line in lines}


# F21


def test_twenty_at_once_make_one_workspace_each_and_share_one(host: Repository, tmp_path: Path) -> None:
    commit = git(host.root, "rev-parse", TARGET)
    script = (
        "import sys; from pathlib import Path; from aiframe.workspaces.host import open_host;"
        "from aiframe.workspaces.worktree import ensure_worktree; root, path, branch, commit = sys.argv[1:];"
        "print(ensure_worktree(open_host(Path(root)), Path(path), branch, commit, 1.7e9))"
    )
    names = [f"T{number // 2}" for number in range(20)]  # each by two processes
    argvs = [
        [sys.executable, "-P", "-c", script, str(host.root), str(tmp_path / "s" / name), f"aiframe/p/{name}", commit]
        for name in names
    ]
    children = [subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for argv in argvs]
    said = [child.communicate(timeout=100) for child in children]
    assert [child.returncode for child in children] == [0] * 20, [err for _, err in said if err]
    assert len(registered(host)) == 10
    for name in set(names):
        assert git(tmp_path / "s" / name, "status", "--porcelain") == ""
    assert git(host.root, "status", "--porcelain") == ""


def test_threads_of_one_process_wait_for_each_other(host: Repository, path: Path) -> None:
    errors: list[BaseException] = []

    def make() -> None:
        try:
            made(host, path)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(registered(host)) == 1


MAKER = """
import sys
from pathlib import Path
from aiframe.workspaces.host import open_host
from aiframe.workspaces.clone_giving import give
from aiframe.workspaces.cloning import CLONE
from aiframe.workspaces.worktree import WORKTREE, ensure_worktree, remove_worktree
root, path, commit, what, kind = sys.argv[1:]
way = CLONE if kind == "clone" else WORKTREE
host = open_host(Path(root))
print("ready", flush=True)
if what == "add":
    give(ensure_worktree(host, Path(path), "aiframe/p/T1", commit, 1.7e9, way)[0])
else:
    remove_worktree(host, Path(path), "aiframe/p/T1", "aiframe/p/landed", 1.7e9, way)
print("done", flush=True)
"""


@pytest.mark.parametrize("what", ["add", "remove"])
@pytest.mark.parametrize("whole_tree", [True, False], ids=["with its git", "git goes on"])
def test_killed_at_any_moment_and_repaired_by_the_next(
    host: Repository, path: Path, what: str, whole_tree: bool, way: Way
) -> None:
    kind = "clone" if way is CLONE else "worktree"
    commit, full, chance = git(host.root, "rev-parse", TARGET), 0.0, random.Random(7)
    for number in range(8):
        if what == "remove":
            write(made(host, path, way=way).root, {"work.txt": f"{number}\n"})
        words = [str(host.root), str(path), commit, what, kind]
        full = max(full, kill_after(MAKER, words, 30.0 if number == 0 else chance.uniform(0, full), whole_tree))
        if what == "remove":
            kept = refs(host).values()
            left = (path / "work.txt").is_file()
            assert left or any(files_of(host.root, one).get("work.txt") == f"{number}" for one in kept), "work is lost"
        workspace = made(host, path, way=way)
        assert git(path, "diff", "HEAD", "--stat") == ""
        assert files_of(host.root, head(workspace).commit) == files_of(host.root, TARGET)
        # A git that outlives its caller may still write into what the killed one had begun: whoever comes next clears.
        assert eventually(lambda: entries(host, path) == 1 or not made(host, path, way=way), within_s=5)
        assert sound(path)
        remove_worktree(host, path, BRANCH, TARGET, DAY, way)
        assert entries(host, path) == 0
        assert not path.exists()
        assert not list(path.parent.glob("*.aside*"))
    assert sound(host.root)
    assert git(host.root, "status", "--porcelain") == ""


def test_an_entry_that_a_killed_removal_left_half_removed_is_cleared(host: Repository, path: Path) -> None:
    made(host, path)
    (entry,) = registered(host)
    shutil.rmtree(path)
    for name in ("gitdir", "locked"):
        (entry.git_dir / name).unlink()
    made(host, path)
    assert len(registered(host)) == 1
    remove_worktree(host, path, BRANCH, TARGET, DAY)
    assert registered(host) == []


# Reuse and repair


def test_what_an_attempt_left_is_there_for_the_next(host: Repository, path: Path, way: Way) -> None:
    made(host, path, way=way)
    write(path, {"src/1.py": "half\n", "new.txt": "new\n", "build.log": "ignored\n"})
    made(host, path, way=way)
    assert (path / "src" / "1.py").read_text() == "half\n"
    assert git(path, "status", "--porcelain").splitlines() == [" M src/1.py", "?? new.txt"]


def remove_folder(host: Repository, path: Path) -> None:
    shutil.rmtree(path)


def remove_link(host: Repository, path: Path) -> None:
    (path / ".git").unlink()


def remove_entry(host: Repository, path: Path) -> None:
    shutil.rmtree(registered(host)[0].git_dir)


def by_the_persons_git(host: Repository, path: Path) -> None:
    git(host.root, "worktree", "remove", "-f", "-f", str(path))


def half_made(host: Repository, path: Path) -> None:
    """As a git that was killed early leaves it."""
    remove_folder(host, path)
    entry = registered(host)[0].git_dir
    for name in ("HEAD", "gitdir", "commondir", "index"):
        (entry / name).unlink()


@pytest.mark.parametrize(
    ("spoil", "aside", "kept"),
    [
        pytest.param(remove_folder, False, False, id="folder gone"),
        pytest.param(remove_link, False, True, id="link gone"),
        pytest.param(remove_entry, True, False, id="entry gone"),
        pytest.param(by_the_persons_git, False, False, id="removed by git"),
        pytest.param(half_made, False, False, id="killed early"),
    ],
)
def test_a_spoilt_workspace_is_put_right(
    host: Repository, path: Path, spoil: Callable[[Repository, Path], None], aside: bool, kept: bool
) -> None:
    made(host, path)
    write(path, {"work.txt": "work\n"})
    spoil(host, path)
    _, notes = ensure_worktree(host, path, BRANCH, head(host).commit, DAY)
    assert bool(notes) == aside
    assert (path / "work.txt").exists() == kept
    if aside:
        assert (path.with_name("T1.aside-1") / "work.txt").read_text() == "work\n"
    assert git(path, "status", "--porcelain") == ("?? work.txt" if kept else "")
    assert len(registered(host)) == 1


def test_a_branch_that_a_person_has_checked_out_is_told(host: Repository, path: Path) -> None:
    git(host.root, "switch", "-q", "-c", BRANCH)
    with pytest.raises(GitError, match="checked out") as caught:
        made(host, path)
    assert "switch" in caught.value.hint
    assert not path.exists()


def test_hooks_and_filters_of_the_repository_do_not_run(host: Repository, path: Path, tmp_path: Path, way: Way) -> None:
    ran = tmp_path / "ran"
    hook = host.git_dir / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\necho hook >>{ran}\n")
    hook.chmod(0o755)
    git(host.root, "config", "filter.f.smudge", f"sh -c 'echo filter >>{ran}; cat'")
    git(host.root, "config", "filter.f.clean", f"sh -c 'echo filter >>{ran}; cat'")
    git(host.root, "config", "core.fsmonitor", f"sh -c 'echo monitor >>{ran}'")
    (host.git_dir / "info" / "attributes").write_text("* filter=f\n")
    workspace = made(host, path, way=way)
    write(path, {"src/1.py": "x\n"})
    checkpoint_work(workspace, "work", {}, DAY)
    remove_worktree(host, path, BRANCH, TARGET, DAY, way)
    assert not ran.exists()


# F3


def other_folder(host: Repository, path: Path) -> None:
    """The link of another workspace: its commits would land on that one's branch."""
    made(host, path.with_name("T2"), "aiframe/p/T2")
    shutil.copy(path.with_name("T2") / ".git", path / ".git")


def other_branch(host: Repository, path: Path) -> None:
    git(path, "switch", "-q", "-c", "elsewhere")


def other_repository(host: Repository, path: Path) -> None:
    (path / ".git").unlink()
    git(path, "init", "-q", "-b", BRANCH)


def main_repository(host: Repository, path: Path) -> None:
    (path / ".git").write_text(f"gitdir: {host.git_dir}\n")


def linked_folder(host: Repository, path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to(path.with_name("real"))


def entry_elsewhere(host: Repository, path: Path) -> None:
    (registered(host)[0].git_dir / "gitdir").write_text("/nowhere/.git\n")


def shared_elsewhere(host: Repository, path: Path) -> None:
    elsewhere = path.with_name("elsewhere")
    git(path.parent, "init", "-q", "--bare", str(elsewhere))
    (registered(host)[0].git_dir / "commondir").write_text(f"{elsewhere}\n")


@pytest.mark.parametrize(
    "spoil", [other_folder, other_branch, other_repository, main_repository, linked_folder, entry_elsewhere,
              shared_elsewhere],
)  # fmt: skip
def test_nothing_is_written_from_a_folder_that_is_another(
    host: Repository, path: Path, spoil: Callable[[Repository, Path], None]
) -> None:
    workspace = made(host, path)
    write(path, {"work.txt": "work\n"})
    spoil(host, path)
    before = git(host.root, "for-each-ref")
    for write_something in (
        lambda: checkpoint_work(workspace, "work", {}, DAY),
        lambda: move_work(workspace, TARGET, TARGET, TARGET, DAY),
        lambda: workspace.run("update-ref", "HEAD", "HEAD"),
    ):
        with pytest.raises(GitError):
            write_something()
    assert git(host.root, "for-each-ref") == before


# F1


def unmerged_commit(path: Path, host: Repository) -> None:
    write(path, {"work.txt": "work\n"})
    commit_all(path, "work of an agent")


def unmerged_files(path: Path, host: Repository) -> None:
    write(path, {"work.txt": "work\n"})


def merged(path: Path, host: Repository) -> None:
    unmerged_commit(path, host)
    git(host.root, "fetch", "-q", str(path), BRANCH)
    git(host.root, "update-ref", f"refs/heads/{TARGET}", "FETCH_HEAD")


@pytest.mark.parametrize(
    ("leave", "backups"),
    [
        pytest.param(lambda path, host: None, 0, id="nothing done"),
        pytest.param(merged, 0, id="landed"),
        pytest.param(unmerged_commit, 1, id="a commit that never landed"),
        pytest.param(unmerged_files, 1, id="files that nobody committed"),
    ],
)
def test_removed_only_when_a_ref_holds_it(
    host: Repository, path: Path, leave: Callable[[Path, Repository], None], backups: int, way: Way
) -> None:
    made(host, path, way=way)
    leave(path, host)
    kept = remove_worktree(host, path, BRANCH, TARGET, DAY, way)
    assert len(kept) == backups
    assert list(refs(host)) == list(kept)
    assert not path.exists()
    assert git(host.root, "branch", "--list", BRANCH) == ""
    for name in kept:
        assert files_of(host.root, name)["work.txt"] == "work"
    assert remove_worktree(host, path, BRANCH, TARGET, DAY, way) == ()


def test_what_cannot_be_kept_is_not_removed(host: Repository, path: Path, way: Way) -> None:
    made(host, path, way=way)
    (path / "inner").mkdir()
    git(path / "inner", "init", "-q")
    write(path / "inner", {"a.txt": "a\n"})
    commit_all(path / "inner", "its own")
    with pytest.raises(EmbeddedRepositories):
        remove_worktree(host, path, BRANCH, TARGET, DAY, way)
    assert (path / "inner" / "a.txt").exists()


# Moving


def test_a_workspace_without_work_follows_the_target(host: Repository, path: Path, way: Way) -> None:
    workspace = made(host, path, way=way)
    write(path, {"build.log": "ignored\n"})
    write(host.root, {"src/1.py": "by a person\n", "src/2.py": None})
    new = commit_all(host.root, "moved on")
    assert follow(workspace, new, DAY)
    give(workspace)
    assert head(workspace).commit == new
    assert git(path, "status", "--porcelain") == ""
    assert not (path / "src" / "2.py").exists()
    assert (path / "build.log").exists()


def test_a_workspace_with_work_stays(host: Repository, path: Path, way: Way) -> None:
    workspace = made(host, path, way=way)
    old = head(workspace).commit
    write(path, {"src/1.py": "work\n"})
    write(host.root, {"src/1.py": "by a person\n"})
    assert not follow(workspace, commit_all(host.root, "moved on"), DAY)
    assert head(workspace).commit == old
    assert (path / "src" / "1.py").read_text() == "work\n"


MOVER = """
import sys
from pathlib import Path
from aiframe.workspaces.linked import Linked
from aiframe.workspaces.clone import Cloned
from aiframe.workspaces.moving import move_work
path, host_dir, now, to, commit, kind = sys.argv[1:]
workspace = (Cloned if kind == "clone" else Linked)(Path(path), "aiframe/p/T1", Path(host_dir))
print("ready", flush=True)
move_work(workspace, now, to, commit, 1.7e9)
print("done", flush=True)
"""


@pytest.mark.parametrize("whole_tree", [True, False], ids=["with its git", "git goes on"])
def test_a_move_that_was_killed_is_finished_or_never_began(
    host: Repository, path: Path, whole_tree: bool, way: Way
) -> None:
    workspace, kind = made(host, path, way=way), "clone" if way is CLONE else "worktree"
    full, chance = 0.0, random.Random(11)
    for number in range(7):
        at = head(workspace).commit
        write(path, {f"src/{n}.py": f"work {number}\n" for n in range(30)})
        now = candidate(workspace, at, ()).tree
        write(host.root, {f"src/{n}.py": f"person {number}\n" for n in range(20, 40)})
        to = commit_all(host.root, f"person {number}")
        words = [str(path), str(host.common_dir), now, to + "^{tree}", to, kind]
        full = max(full, kill_after(MOVER, words, 30.0 if number == 0 else chance.uniform(0, full), whole_tree))
        made(host, path, way=way)
        there = candidate(workspace, head(workspace).commit, ()).tree
        if head(workspace).commit == to:
            assert there == git(host.root, "rev-parse", to + "^{tree}")
        else:
            assert (head(workspace).commit, there) == (at, now), "half a move is left"
            move_work(workspace, now, workspace.tree_of(to), to, DAY)
        assert not (workspace.private_dir / "moving.json").exists()
    assert sound(host.root)


def test_a_move_refuses_files_that_changed_since(host: Repository, path: Path) -> None:
    workspace = made(host, path)
    old = head(workspace)
    write(host.root, {"src/1.py": "person\n"})
    new = commit_all(host.root, "moved on")
    write(path, {"src/1.py": "changed since\n"})
    with pytest.raises(GitError):
        move_work(workspace, workspace.tree_of(old.commit), workspace.tree_of(new), new, DAY)
    assert head(workspace) == old
    assert (path / "src" / "1.py").read_text() == "changed since\n"
    made(host, path)
    assert (path / "src" / "1.py").read_text() == "changed since\n"


def test_checkpoints_hold_everything_and_leave_the_files(host: Repository, path: Path, way: Way) -> None:
    workspace = made(host, path, way=way)
    assert checkpoint_work(workspace, "unverified: T1", {}, DAY) == ""
    write(path, {"src/1.py": "half\n", "new.txt": "new\n"})
    os.chmod(path / "src" / "2.py", 0o755)
    commit = checkpoint_work(workspace, "unverified: T1", {"Aiframe-Run": "r1"}, DAY)
    give(workspace)
    assert head(workspace).commit == commit == git(host.root, "rev-parse", BRANCH)
    assert files_of(host.root, commit)["new.txt"] == "new"
    assert git(path, "status", "--porcelain") == ""
    assert git(path, "log", "-1", "--format=%B").splitlines() == ["unverified: T1", "", "Aiframe-Run: r1"]
