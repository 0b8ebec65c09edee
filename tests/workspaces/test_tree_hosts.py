"""Every kind of repository that a person may name: what works, works; what does not is refused before a touch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.needs import needs
from workspaces.person import DAY, commit_all, git, write

from aiframe.core.errors import StepError
from aiframe.workspaces.clone_giving import give
from aiframe.workspaces.clone_taking import take
from aiframe.workspaces.cloning import CLONE
from aiframe.workspaces.commits import write_commit
from aiframe.workspaces.host import open_host, resolve_base
from aiframe.workspaces.inplace import candidate
from aiframe.workspaces.landing import commit_work, land
from aiframe.workspaces.worktree import WORKTREE, Way, ensure_worktree, make_branch, remove_worktree

FILES = {"src/app.py": "print(1)\n", "ünï & spaces/read me.txt": "hello\n", "crlf.txt": "a\r\nb\r\n"}


def plain(folder: Path, branch: str = "master") -> Path:
    """A repository with two commits on *branch*."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", branch)
    write(folder, FILES)
    commit_all(folder, "first")
    write(folder, {"src/more.py": "pass\n"})
    commit_all(folder, "second")
    return folder


def detached(folder: Path) -> Path:
    git(plain(folder), "switch", "-q", "--detach", "HEAD~1")
    return folder


def dirty(folder: Path) -> Path:
    write(plain(folder), {"src/app.py": "changed\n", "new.txt": "new\n"})
    git(folder, "add", "new.txt")
    return folder


def merging(folder: Path) -> Path:
    plain(folder)
    git(folder, "switch", "-q", "-c", "other", "HEAD~1")
    write(folder, {"src/app.py": "other\n"})
    commit_all(folder, "other")
    git(folder, "switch", "-q", "master")
    write(folder, {"src/app.py": "mine\n"})
    commit_all(folder, "mine")
    git(folder, "merge", "other", check=False)
    return folder


def shallow(folder: Path) -> Path:
    source = plain(folder.with_name("source"))
    git(folder.parent, "clone", "-q", "--depth", "1", f"file://{source}", str(folder))
    return folder


def sparse(folder: Path) -> Path:
    git(plain(folder), "sparse-checkout", "set", "src")
    assert not (folder / "ünï & spaces").exists()
    return folder


def submodules(folder: Path) -> Path:
    inner = plain(folder.with_name("inner"))
    git(plain(folder), "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), "lib")
    commit_all(folder, "with a submodule")
    return folder


def inside_another(folder: Path) -> Path:
    plain(folder.parent / "outer")
    return plain(folder.parent / "outer" / "in ner")


def linked(folder: Path) -> Path:
    git(plain(folder), "worktree", "add", "-q", "-b", "side", str(folder.with_name("side")))
    return folder.with_name("side")


def by_link(folder: Path) -> Path:
    folder.with_name("link").symlink_to(plain(folder))
    return folder.with_name("link")


def with_sha256(folder: Path) -> Path:
    folder.mkdir()
    git(folder, "init", "-q", "-b", "master", "--object-format=sha256")
    write(folder, FILES)
    commit_all(folder, "first")
    return folder


def seen(root: Path) -> tuple[object, ...]:
    """All that a person sees of a checkout, but for aiframe's own refs and entries."""
    files = {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*")) if path.is_file() and ".git" not in path.relative_to(root).parts
    }  # fmt: skip
    return (
        files, git(root, "status", "--porcelain=v2", "--branch"), git(root, "symbolic-ref", "-q", "HEAD", check=False),
        git(root, "for-each-ref", "refs/heads", "refs/tags", "refs/remotes"),
        git(root, "stash", "list"),
    )  # fmt: skip


@pytest.mark.parametrize("way", [WORKTREE, CLONE], ids=["worktree", "clone"])
@pytest.mark.parametrize(
    ("make", "base", "file"),
    [
        pytest.param(plain, "refs/heads/master", "src/more.py", id="master"),
        pytest.param(lambda folder: plain(folder, "trunk/α"), "refs/heads/trunk/α", "src/more.py", id="any branch"),
        pytest.param(
            lambda folder: plain(folder.with_name("a b ünï")), "refs/heads/master", "src/more.py", id="spaces"
        ),
        pytest.param(detached, "", "src/app.py", id="detached HEAD"),
        pytest.param(dirty, "refs/heads/master", "src/more.py", id="dirty"),
        pytest.param(merging, "refs/heads/master", "src/more.py", id="in mid-merge"),
        pytest.param(shallow, "refs/heads/master", "src/more.py", id="shallow"),
        pytest.param(sparse, "refs/heads/master", "ünï & spaces/read me.txt", id="sparse"),
        pytest.param(submodules, "refs/heads/master", ".gitmodules", id="submodules"),
        pytest.param(inside_another, "refs/heads/master", "src/more.py", id="inside another repository"),
        pytest.param(linked, "refs/heads/side", "src/more.py", id="a linked worktree"),
        pytest.param(by_link, "refs/heads/master", "src/more.py", id="given by a symlink"),
        pytest.param(with_sha256, "refs/heads/master", "src/app.py", id="sha256"),
    ],
)
def test_works_and_leaves_the_checkout_alone(
    make: Callable[[Path], Path], base: str, file: str, tmp_path: Path, way: Way
) -> None:
    root = make(tmp_path / "repo")
    before = seen(root)
    host = open_host(root)
    found = resolve_base(host)
    assert found.ref == base
    assert found.commit == git(root, "rev-parse", "HEAD")
    make_branch(host, "aiframe/p/landed", found.commit, DAY)
    path = tmp_path / "state" / "p" / "T1"
    workspace, notes = ensure_worktree(host, path, "aiframe/p/T1", found.commit, DAY, way)
    give(workspace)
    assert notes == ()
    assert git(path, "status", "--porcelain") == ""
    assert (path / file).exists()
    assert git(path, "log", "--format=%H") == git(root, "log", "--format=%H"), "its history is another one"
    write(path, {"mine.txt": "mine\n"})
    own = commit_all(path, "the agent's own")
    assert take(workspace, DAY) == ()
    assert git(root, "rev-parse", "aiframe/p/T1") == own

    write(path, {file: "by the agent\n", "made.txt": "new\n", "mine.txt": None})
    tree = candidate(workspace, found.commit, ()).tree
    commit = write_commit(workspace, tree, (found.commit,), "T1: work", {}, DAY)
    commit_work(workspace, commit, DAY)
    land(host, "aiframe/p/landed", found.commit, commit, DAY)
    assert remove_worktree(host, path, "aiframe/p/T1", "aiframe/p/landed", DAY, way) == ()

    assert git(root, "show", f"aiframe/p/landed:{file}") == "by the agent"
    assert git(root, "diff", "--name-only", found.commit, "aiframe/p/landed").count("\n") == 1
    assert not path.exists()
    git(root, "update-ref", "-d", "refs/heads/aiframe/p/landed")
    assert seen(root) == before


def no_commit(folder: Path) -> Path:
    folder.mkdir()
    git(folder, "init", "-q")
    return folder


def bare(folder: Path) -> Path:
    git(folder.parent, "clone", "-q", "--bare", str(plain(folder.with_name("source"))), str(folder))
    return folder


def subfolder(folder: Path) -> Path:
    return plain(folder) / "src"


def old_sparse(folder: Path) -> Path:
    git(plain(folder), "config", "core.sparseCheckout", "true")
    return folder


def partial(folder: Path) -> Path:
    source = plain(folder.with_name("source"))
    git(source, "config", "uploadpack.allowFilter", "true")
    git(folder.parent, "clone", "-q", "--no-checkout", "--filter=blob:none", f"file://{source}", str(folder))
    return folder


def damaged(folder: Path) -> Path:
    (plain(folder) / ".git" / "HEAD").unlink()
    return folder


def nothing(folder: Path) -> Path:
    folder.mkdir()
    write(folder, {"a.txt": "a\n"})
    return folder


def below_a_mount_point(folder: Path) -> Path:
    """What the sandbox of codex makes in a folder that it may write, and leaves there when it is killed."""
    (folder.parent / ".git").mkdir()
    return nothing(folder)


def listing(root: Path) -> list[str]:
    """Every name below *root*, with sizes and times."""
    found = (path for path in sorted(root.rglob("*")) if path.is_file())
    return [f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in found]


@pytest.mark.parametrize(
    ("make", "base", "said", "cure"),
    [
        pytest.param(no_commit, "", "no commit yet", "first commit", id="empty of commits"),
        pytest.param(bare, "", "bare", "git clone", id="bare"),
        pytest.param(subfolder, "", "inside the repository", "name /", id="a folder inside"),
        pytest.param(nothing, "", "no git repository", "git init", id="no repository"),
        pytest.param(below_a_mount_point, "", "no git repository", "git init", id="a mount point above"),
        pytest.param(lambda folder: folder, "", "no folder", "top folder", id="no folder"),
        pytest.param(old_sparse, "", "sparse", "sparse-checkout", id="sparse of the old kind"),
        pytest.param(partial, "", "partial", "refetch", id="partial clone"),
        pytest.param(damaged, "", "HEAD is missing", "restore", id="damaged"),
        pytest.param(plain, "gone", "no commit gone", "git branch -a", id="a base that is not there"),
        pytest.param(plain, "-x", "no commit -x", "git branch -a", id="a base like an option"),
    ],
)
def test_refused_with_a_cure_before_anything_is_touched(
    make: Callable[[Path], Path], base: str, said: str, cure: str, tmp_path: Path
) -> None:
    root = make(tmp_path / "repo")
    before = listing(tmp_path)
    with pytest.raises(StepError, match=said) as caught:
        resolve_base(open_host(root), base)
    assert cure in caught.value.hint
    assert listing(tmp_path) == before


OPEN = (
    "import sys; from pathlib import Path; from aiframe.workspaces.host import open_host; open_host(Path(sys.argv[1]))"
)


@needs("unshare")
def test_a_read_only_repository_is_refused(tmp_path: Path) -> None:
    root = plain(tmp_path / "repo")
    words = ("unshare", "-rm") if os.geteuid() else ("unshare", "-m")
    script = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && exec "$2" -P -c "$3" "$1"'
    done = subprocess.run(
        [*words, "sh", "-c", script, "sh", str(root), sys.executable, OPEN], capture_output=True, text=True, timeout=60
    )
    if "Operation not permitted" in done.stderr and "StepError" not in done.stderr:
        pytest.skip("needs unshare: it may not mount here")
    assert "StepError" in done.stderr
    assert "cannot be written" in done.stderr


@pytest.mark.parametrize(
    ("name", "ref"),
    [
        pytest.param("master", "refs/heads/master", id="branch"),
        pytest.param("v1", "refs/tags/v1", id="tag"),
        pytest.param("HEAD~1", "", id="commit"),
        pytest.param("both", "refs/heads/both", id="a branch before a tag of its name"),
    ],
)
def test_base_is_resolved_by_any_name(name: str, ref: str, tmp_path: Path) -> None:
    root = plain(tmp_path / "repo")
    git(root, "tag", "v1", "HEAD~1")
    git(root, "branch", "both", "HEAD~1")
    git(root, "tag", "both")
    found = resolve_base(open_host(root), name)
    assert found.ref == ref
    assert found.commit == git(root, "rev-parse", f"{ref or name}^{{commit}}")
