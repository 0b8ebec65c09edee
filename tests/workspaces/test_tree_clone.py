"""Clones as workspaces: what an agent does to its .git is its own affair, and never the person's repository's."""

from __future__ import annotations

import os
import random
import re
import resource
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.killing import kill_after
from support.needs import mounting, needs
from workspaces.person import DAY, commit_all, files_of, git, sound, write

from aiframe.workspaces.clone import Cloned
from aiframe.workspaces.clone_giving import give
from aiframe.workspaces.clone_taking import take
from aiframe.workspaces.cloning import CLONE
from aiframe.workspaces.commits import head
from aiframe.workspaces.git import Repository
from aiframe.workspaces.git_errors import GitError
from aiframe.workspaces.host import open_host, registered
from aiframe.workspaces.inplace import candidate
from aiframe.workspaces.moving import checkpoint_work
from aiframe.workspaces.worktree import WORKTREE, Way, ensure_worktree, make_branch, remove_worktree

TARGET = "aiframe/p/landed"
BRANCH = "aiframe/p/T1"


@pytest.fixture
def host(tmp_path: Path) -> Repository:
    """A person's repository with hooks, a filter, a remote, tags in its history and beside it."""
    root = tmp_path / "my repo ünï"
    root.mkdir()
    git(root, "init", "-q", "-b", "master")
    write(root, {f"src/{number}.py": f"print({number})\n" for number in range(20)} | {".gitignore": "*.log\n"})
    commit_all(root, "first")
    git(root, "tag", "-a", "v1", "-m", "version 1")
    write(root, {"b.txt": "b\n"})
    made = commit_all(root, "second")
    git(root, "switch", "-q", "-c", "side")
    write(root, {"secret.txt": "of another branch\n"})
    commit_all(root, "beside")
    git(root, "tag", "beside")
    git(root, "switch", "-q", "master")
    git(root, "remote", "add", "origin", str(tmp_path / "upstream"))
    host = open_host(root)
    make_branch(host, TARGET, made, DAY)
    return host


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "p" / "T1"


def made(host: Repository, path: Path) -> Cloned:
    """The workspace as an attempt begins with it."""
    workspace, _ = ensure_worktree(host, path, BRANCH, git(host.root, "rev-parse", TARGET), DAY, CLONE)
    assert isinstance(workspace, Cloned)
    give(workspace)
    return workspace


def persons(host: Repository) -> dict[str, bytes]:
    """All files of the person's repository, but for objects and what is aiframe's."""
    ours = ("objects/", "aiframe/", "refs/heads/aiframe/", "refs/aiframe/", "logs/refs/heads/aiframe/")
    found = {}
    for file in sorted(host.root.rglob("*")):
        inside = os.path.relpath(file, host.git_dir)
        if not inside.startswith(ours) and file.is_file():
            found[str(file)] = file.read_bytes()
    return found


def test_a_clone_is_whole_and_leads_nowhere(host: Repository, path: Path) -> None:
    before = persons(host)
    made(host, path)
    assert git(path, "status", "--porcelain", "--branch") == f"## {BRANCH}"
    assert git(path, "log", "--format=%s").splitlines() == ["second", "first"]
    assert git(path, "describe").startswith("v1-1-g")
    assert git(path, "tag") == "v1"
    assert git(path, "remote") == ""
    assert git(path, "cat-file", "-t", git(host.root, "rev-parse", "side"), check=False) == ""
    assert sound(path)
    assert not (path / ".git" / "objects" / "info" / "alternates").exists()
    assert {file.stat().st_nlink for file in (path / ".git" / "objects").rglob("*") if file.is_file()} == {1}
    assert registered(host) == []
    assert persons(host) == before


def test_commits_and_files_of_an_agent_come_over(host: Repository, path: Path) -> None:
    workspace, before = made(host, path), persons(host)
    write(path, {"forced.log": "ignored\n", "work.txt": "work\n"})
    git(path, "add", "-f", "forced.log")
    own = commit_all(path, "the agent's own")
    write(path, {"more.txt": "more\n"})
    assert take(workspace, DAY) == ()
    assert head(workspace).commit == own == git(host.root, "rev-parse", BRANCH)
    tree = candidate(workspace, git(host.root, "rev-parse", TARGET), ()).tree
    assert {"forced.log", "work.txt", "more.txt"} <= set(files_of(host.root, tree))
    checkpoint_work(workspace, "unverified: T1", {}, DAY)
    give(workspace)
    assert git(path, "log", "--format=%s").splitlines()[:2] == ["unverified: T1", "the agent's own"]
    assert git(path, "status", "--porcelain") == ""
    assert take(workspace, DAY) == ()
    assert persons(host) == before
    assert sound(host.root)


# What an agent may do there


def evil_config(inner: Path, evil: str) -> None:
    for key in ("core.fsmonitor", "core.sshCommand", "uploadpack.packObjectsHook", "diff.external", "core.pager",
                "filter.f.clean", "filter.f.process", "gpg.program", "credential.helper", "core.alternateRefsCommand",
                "core.editor"):  # fmt: skip
        git(inner, "config", key, evil)
    (inner / "info" / "attributes").write_text("* filter=f\n")


def evil_include(inner: Path, evil: str) -> None:
    (inner / "more").write_text(f"[core]\n\tfsmonitor = {evil}\n")
    (inner / "config.worktree").write_text(f"[core]\n\tfsmonitor = {evil}\n")
    with (inner / "config").open("a") as config:
        config.write("[include]\n\tpath = more\n[extensions]\n\tworktreeConfig = true\n")


def evil_hooks(inner: Path, evil: str) -> None:
    (inner / "hooks").mkdir(exist_ok=True)
    for name in ("post-commit", "reference-transaction", "post-index-change", "pre-auto-gc", "fsmonitor-watchman"):
        (inner / "hooks" / name).write_text(f"#!/bin/sh\n{evil}\n")
        (inner / "hooks" / name).chmod(0o755)


def evil_rebase(inner: Path, evil: str) -> None:
    (inner / "rebase-merge").mkdir()
    (inner / "rebase-merge" / "git-rebase-todo").write_text(f"exec {evil}\n")
    (inner / "MERGE_HEAD").write_text("0" * 40 + "\n")


def link_objects(inner: Path, evil: str) -> None:
    elsewhere = inner.parent.parent / "elsewhere"
    shutil.move(inner / "objects", elsewhere)
    (inner / "objects").symlink_to(elsewhere)


def link_packs(inner: Path, evil: str) -> None:
    elsewhere = inner.parent.parent / "elsewhere"
    shutil.move(inner / "objects" / "pack", elsewhere)
    (inner / "objects" / "pack").symlink_to(elsewhere)


def link_refs(inner: Path, evil: str) -> None:
    elsewhere = inner.parent.parent / "elsewhere"
    shutil.move(inner / "refs", elsewhere)
    (inner / "refs").symlink_to(elsewhere)


def pipes(inner: Path, evil: str) -> None:
    """Whoever opens one waits for ever."""
    for name in ("packed-refs", "refs/heads/pipe", f"objects/{'0' * 2}/{'0' * 38}", "objects/pack/pack-1.pack"):
        (inner / name).unlink(missing_ok=True)
        (inner / name).parent.mkdir(exist_ok=True)
        os.mkfifo(inner / name)


def link_logs(inner: Path, evil: str) -> None:
    shutil.rmtree(inner / "logs", ignore_errors=True)
    (inner / "logs").mkdir()
    (inner / "logs" / "HEAD").symlink_to(inner.parent.parent / "elsewhere")


def folder_for_a_branch(inner: Path, evil: str) -> None:
    (inner / "refs" / "heads" / BRANCH).unlink()
    (inner / "refs" / "heads" / BRANCH / "inner").mkdir(parents=True)


def file_for_folders(inner: Path, evil: str) -> None:
    shutil.rmtree(inner / "refs" / "heads" / "aiframe")
    (inner / "refs" / "heads" / "aiframe").write_text("file\n")
    shutil.rmtree(inner / "info")
    (inner / "info").write_text("file\n")
    (inner / "index").unlink()
    (inner / "index").mkdir()


def another_repository(inner: Path, evil: str) -> None:
    other = inner.parent.parent / "other"
    git(inner.parent.parent, "init", "-q", str(other))
    git(other, "config", "core.fsmonitor", evil)
    shutil.rmtree(inner)
    inner.write_text(f"gitdir: {other}/.git\n")


def common_elsewhere(inner: Path, evil: str) -> None:
    other = inner.parent.parent / "other"
    git(inner.parent.parent, "init", "-q", str(other))
    git(other, "config", "core.fsmonitor", evil)
    (inner / "commondir").write_text(f"{other}/.git\n")


def link_to_another(inner: Path, evil: str) -> None:
    another_repository(inner, evil)
    inner.unlink()
    inner.symlink_to(inner.parent.parent / "other" / ".git")


def nothing_readable(inner: Path, evil: str) -> None:
    for part in ("refs/heads", "objects/pack", "."):
        (inner / part).chmod(0)


def nonsense(inner: Path, evil: str) -> None:
    for name in ("HEAD", "config", "packed-refs", "index", "shallow"):
        (inner / name).write_text("nonsense\n")


def no_objects(inner: Path, evil: str) -> None:
    shutil.rmtree(inner / "objects")


def no_packs(inner: Path, evil: str) -> None:
    for file in (inner / "objects" / "pack").iterdir():
        file.unlink()


def gone(inner: Path, evil: str) -> None:
    shutil.rmtree(inner)


def pruned(inner: Path, evil: str) -> None:
    git(inner.parent, "checkout", "-q", "--orphan", "new")
    git(inner.parent, "update-ref", "-d", f"refs/heads/{BRANCH}")
    git(inner.parent, "tag", "-d", "v1")
    git(inner.parent, "reflog", "expire", "--expire=all", "--all")
    (inner / "index").unlink()
    git(inner.parent, "gc", "-q", "--prune=now")


@pytest.mark.parametrize(
    "attack", [evil_config, evil_include, evil_hooks, evil_rebase, link_objects, link_packs, link_refs, link_logs,
               pipes, folder_for_a_branch, file_for_folders, another_repository, common_elsewhere, link_to_another,
               nothing_readable, nonsense, no_objects, no_packs, gone, pruned],
)  # fmt: skip
def test_nothing_planted_in_the_clone_runs_or_lasts(
    host: Repository, path: Path, tmp_path: Path, attack: Callable[[Path, str], None]
) -> None:
    workspace, evil = made(host, path), tmp_path / "evil"
    before, config = persons(host), (path / ".git" / "config").read_bytes()
    base = head(workspace).commit
    write(path, {"work.txt": "work\n"})
    attack(path / ".git", f"touch '{evil}'")
    evil.unlink(missing_ok=True)
    elsewhere = sorted((path.parent / "elsewhere").rglob("*"))
    take(workspace, DAY)
    tree = candidate(workspace, head(workspace).commit, ()).tree
    checkpoint_work(workspace, "unverified: T1", {}, DAY)
    made(host, path)
    assert git(path, "status", "--porcelain", "--branch") == f"## {BRANCH}"
    git(path, "log", "-p", "--stat")
    git(path, "gc", "-q")
    assert not evil.exists()
    assert files_of(path, "HEAD") == files_of(host.root, tree)
    assert git(path, "rev-parse", "HEAD~1") == base
    assert (path / ".git" / "config").read_bytes() == config
    assert sorted(p.name for p in (path / ".git").iterdir() if p.is_symlink()) == []
    assert sorted((path.parent / "elsewhere").rglob("*")) == elsewhere, "aiframe wrote by a link"
    assert persons(host) == before
    remove_worktree(host, path, BRANCH, TARGET, DAY, CLONE)
    assert persons(host) == before
    assert sound(host.root)


def forged_blob(path: Path, tmp_path: Path) -> None:
    """A commit whose file is another one than its id says."""
    blob = git(path, "rev-parse", "HEAD:work.txt")
    loose = path / ".git" / "objects" / blob[:2] / blob[2:]
    loose.chmod(0o644)
    loose.write_bytes(zlib.compress(b"blob 6\0forged"))


def missing_blob(path: Path, tmp_path: Path) -> None:
    blob = git(path, "rev-parse", "HEAD:work.txt")
    (path / ".git" / "objects" / blob[:2] / blob[2:]).unlink()


def borrowed(path: Path, tmp_path: Path) -> None:
    """A commit that holds a file of a repository that the agent may not read, by its id alone."""
    private = tmp_path / "private"
    private.mkdir()
    git(private, "init", "-q")
    write(private, {"key.txt": "private\n"})
    commit_all(private, "private")
    blob = git(private, "rev-parse", "HEAD:key.txt")
    (path / ".git" / "objects" / "info").mkdir(exist_ok=True)
    (path / ".git" / "objects" / "info" / "alternates").write_text(f"{private}/.git/objects\n")
    git(path, "update-index", "--add", "--cacheinfo", f"100644,{blob},stolen.txt")
    git(path, "commit", "-q", "-m", "stolen")


def no_commit(path: Path, tmp_path: Path) -> None:
    """A branch that stands at a file."""
    blob = git(path, "rev-parse", "HEAD:work.txt")
    (path / ".git" / "refs" / "heads" / BRANCH).write_text(f"{blob}\n")


def malformed_tree(path: Path, tmp_path: Path) -> None:
    """A commit whose tree holds a file called .git/config."""
    blob = git(path, "rev-parse", "HEAD:work.txt")
    inner = git(path, "mktree", stdin=f"100644 blob {blob}\tconfig\n")
    entry = b"40000 .git\0" + bytes.fromhex(inner)
    (tmp_path / "tree").write_bytes(entry)
    tree = git(path, "hash-object", "-t", "tree", "-w", "--literally", str(tmp_path / "tree"))
    commit = git(path, "commit-tree", "-p", "HEAD", "-m", "evil", tree)
    (path / ".git" / "refs" / "heads" / BRANCH).write_text(f"{commit}\n")


@pytest.mark.parametrize("forge", [forged_blob, missing_blob, borrowed, no_commit, malformed_tree])
def test_commits_that_are_not_what_they_say_stay_where_they_are(
    host: Repository, path: Path, tmp_path: Path, forge: Callable[[Path, Path], None]
) -> None:
    workspace = made(host, path)
    base = head(workspace).commit
    write(path, {"work.txt": "work\n"})
    commit_all(path, "the agent's own")
    forge(path, tmp_path)
    (note,) = take(workspace, DAY)
    assert "cannot be taken" in note
    assert head(workspace).commit == base
    assert sound(host.root)
    assert git(host.root, "for-each-ref", "refs/aiframe") == ""
    packs = git(host.root, "cat-file", "--batch-all-objects", "--batch-check=%(objectname)").splitlines()
    assert not [one for one in packs if git(host.root, "cat-file", "-p", one, check=False) in ("private", "forged")]
    assert files_of(host.root, candidate(workspace, base, ()).tree)["work.txt"] == "work"
    give(workspace)
    assert git(path, "rev-parse", "HEAD") == base


def test_other_branches_and_stashes_are_kept_when_it_is_removed(host: Repository, path: Path) -> None:
    made(host, path)
    for text in ("stashed\n", "stashed on top\n"):
        write(path, {"b.txt": text})
        git(path, "stash")
    git(path, "switch", "-q", "-c", "idea")
    write(path, {"idea.txt": "idea\n"})
    idea = commit_all(path, "an idea")
    git(path, "switch", "-q", BRANCH)
    made(host, path)
    assert git(path, "rev-parse", "idea") == idea, "the next attempt does not find it"
    kept = remove_worktree(host, path, BRANCH, TARGET, DAY, CLONE)
    assert len(kept) == 3
    assert idea in [git(host.root, "rev-parse", ref) for ref in kept]
    assert {"stashed", "stashed on top"} <= {files_of(host.root, ref)["b.txt"] for ref in kept}
    assert list(path.parent.iterdir()) == []


@contextmanager
def no_file_larger(size: int) -> Iterator[None]:
    """Have whoever writes more than *size* bytes into a file killed."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_branch_that_cannot_be_taken_now_goes_with_no_folder(host: Repository, path: Path) -> None:
    made(host, path)
    git(path, "switch", "-q", "-c", "idea")
    write(path, {"idea.txt": random.Random(3).randbytes(300_000).hex()})
    idea = commit_all(path, "an idea")
    git(path, "switch", "-q", BRANCH)
    with no_file_larger(100_000), pytest.raises(GitError):
        remove_worktree(host, path, BRANCH, TARGET, DAY, CLONE)
    kept = remove_worktree(host, path, BRANCH, TARGET, DAY, CLONE)
    assert idea in [git(host.root, "rev-parse", ref) for ref in kept]


@pytest.mark.parametrize("forge", [forged_blob, missing_blob, malformed_tree])
def test_a_branch_that_is_broken_keeps_no_folder(
    host: Repository, path: Path, tmp_path: Path, forge: Callable[[Path, Path], None]
) -> None:
    made(host, path)
    write(path, {"work.txt": "work\n"})
    commit_all(path, "the agent's own")
    forge(path, tmp_path)
    git(path, "update-ref", "refs/heads/idea", git(path, "rev-parse", BRANCH))
    git(path, "update-ref", f"refs/heads/{BRANCH}", git(host.root, "rev-parse", TARGET))
    remove_worktree(host, path, BRANCH, TARGET, DAY, CLONE)
    assert list(path.parent.iterdir()) == []


def test_housekeeping_on_either_side_breaks_nothing_on_the_other(host: Repository, path: Path) -> None:
    workspace = made(host, path)
    for number in range(3):
        write(path, {"work.txt": f"{number}\n"})
        own = commit_all(path, "own")
        for root in (host.root, path):
            git(root, "reflog", "expire", "--expire=all", "--all")
            git(root, "gc", "-q", "--prune=now")
        assert take(workspace, DAY) == ()
        assert git(host.root, "rev-parse", BRANCH) == own
        write(path, {"work.txt": f"more {number}\n"})
        checkpoint_work(workspace, "unverified: T1", {}, DAY)
        git(host.root, "gc", "-q", "--prune=now")
        made(host, path)
        assert git(path, "status", "--porcelain") == ""
        assert sound(path)
        assert sound(host.root)


def test_history_that_a_person_fetched_since_comes_after(tmp_path: Path, path: Path, host: Repository) -> None:
    root = tmp_path / "shallow"
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{host.root}", str(root))
    short = open_host(root)
    make_branch(short, TARGET, git(root, "rev-parse", "HEAD"), DAY)
    made(short, path)
    assert git(path, "log", "--format=%s") == "second"
    write(path, {"work.txt": "work\n"})
    commit_all(path, "own")
    assert take(made(short, path), DAY) == ()
    git(root, "fetch", "-q", "--unshallow")
    made(short, path)
    assert git(path, "log", "--format=%s").splitlines() == ["own", "second", "first"]
    assert sound(path)


# Other ways


@pytest.mark.parametrize(("first", "second"), [(WORKTREE, CLONE), (CLONE, WORKTREE)], ids=["to clone", "to worktree"])
def test_a_project_that_changes_its_kind_keeps_what_was_there(
    host: Repository, path: Path, first: Way, second: Way
) -> None:
    base = git(host.root, "rev-parse", TARGET)
    give(ensure_worktree(host, path, BRANCH, base, DAY, first)[0])
    write(path, {"work.txt": "work\n"})
    workspace, (note,) = ensure_worktree(host, path, BRANCH, base, DAY, second)
    give(workspace)
    assert "T1.aside-1" in note
    assert (path.with_name("T1.aside-1") / "work.txt").read_text() == "work\n"
    assert git(path, "status", "--porcelain") == ""
    remove_worktree(host, path, BRANCH, TARGET, DAY, second)
    assert registered(host) == []


def folder_gone(path: Path) -> None:
    shutil.rmtree(path)


def entry_gone(path: Path) -> None:
    shutil.rmtree(path.with_name(".T1.git"))


def entry_of_another(path: Path) -> None:
    (path.with_name(".T1.git") / "gitdir").write_text("/nowhere/.git\n")


def folder_is_a_link(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to(path.with_name("real"))


@pytest.mark.parametrize(
    ("spoil", "aside"),
    [(folder_gone, False), (entry_gone, True), (entry_of_another, True), (folder_is_a_link, True)],
)
def test_a_spoilt_clone_is_made_anew(host: Repository, path: Path, spoil: Callable[[Path], None], aside: bool) -> None:
    workspace = made(host, path)
    write(path, {"work.txt": "work\n"})
    spoil(path)
    before = git(host.root, "for-each-ref")
    with pytest.raises(GitError):
        checkpoint_work(workspace, "work", {}, DAY)
    assert git(host.root, "for-each-ref") == before
    made(host, path)
    assert git(path, "status", "--porcelain") == ""
    if aside:
        assert (path.with_name("T1.aside-1") / "work.txt").read_text() == "work\n"


TAKER = """
import sys
from pathlib import Path
from aiframe.workspaces.clone import clone_at
from aiframe.workspaces.clone_giving import give
from aiframe.workspaces.clone_taking import take
workspace = clone_at(Path(sys.argv[1]))
print("ready", flush=True)
take(workspace, 1.7e9)
give(workspace)
print("done", flush=True)
"""


@pytest.mark.parametrize("whole_tree", [True, False], ids=["with its git", "git goes on"])
def test_taking_that_was_killed_is_done_by_the_next(host: Repository, path: Path, whole_tree: bool) -> None:
    workspace, before = made(host, path), persons(host)
    full, chance = 0.0, random.Random(5)
    for number in range(8):
        write(path, {f"src/{n}.py": f"work {number}\n" for n in range(20)})
        own = commit_all(path, f"own {number}")
        words = [str(path)]
        full = max(full, kill_after(TAKER, words, 30.0 if number == 0 else chance.uniform(0, full), whole_tree))
        made(host, path)
        assert git(host.root, "rev-parse", BRANCH) == own == head(workspace).commit
        assert git(path, "status", "--porcelain", "--branch") == f"## {BRANCH}"
        assert sound(path)
        assert not list(path.parent.glob(".T1.new-*"))
    assert persons(host) == before
    assert sound(host.root)


FULL = """
import shutil, sys
from pathlib import Path
from aiframe.core.errors import AiframeError
from aiframe.workspaces.clone_giving import give
from aiframe.workspaces.cloning import CLONE
from aiframe.workspaces.host import open_host
from aiframe.workspaces.worktree import ensure_worktree
root, disk, commit = sys.argv[1:]
def make():
    give(ensure_worktree(open_host(Path(root)), Path(disk, "p", "T1"), "aiframe/p/T1", commit, 1.7e9, CLONE)[0])
ballast = Path(disk, "ballast")
ballast.write_bytes(bytes(int(ROOM)))
for _ in range(2):
    try:
        make()
        print("made")
    except AiframeError as error:
        print(type(error).__name__, error.message, "|", error.hint)
ballast.unlink()
make()
shutil.copytree(Path(disk, "p", "T1"), root + "-seen")
print(sorted(path.name for path in Path(disk, "p").iterdir()))
"""


@needs("unshare")
@pytest.mark.parametrize("room_kb", [20, 700, 1500], ids=["no file", "the files", "half the objects"])
def test_a_disk_that_is_full_in_the_middle(host: Repository, tmp_path: Path, room_kb: int) -> None:
    chance = random.Random(3)
    write(host.root, {f"big/{n}.txt": chance.randbytes(50_000).hex() for n in range(10)})
    commit = commit_all(host.root, "much")
    before, refs = persons(host), git(host.root, "for-each-ref", "refs/heads/master", "refs/tags")
    disk = tmp_path / "disk"
    disk.mkdir()
    script = FULL.replace("ROOM", str(4_194_304 - room_kb * 1024))
    words = 'mount -t tmpfs -o size=4m tmpfs "$1"; exec "$2" -P -c "$3" "$4" "$1" "$5"'
    argv = [*mounting(), "sh", "-c", words, "sh", str(disk), sys.executable, script, str(host.root), commit]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    *failed, left = done.stdout.splitlines()
    assert len(failed) == 2
    assert all(
        re.search("(No space left|Out of diskspace).*make room|unable to write file", line) for line in failed
    ), failed
    assert left == "['.T1.git', 'T1']"
    whole = Path(f"{host.root}-seen")
    assert sound(whole)
    assert git(whole, "status", "--porcelain") == ""
    assert persons(host) == before
    assert git(host.root, "for-each-ref", "refs/heads/master", "refs/tags") == refs
