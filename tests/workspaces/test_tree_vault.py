"""What a step does to a person's repository is put back; what the person does there meanwhile stands (F26)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from workspaces.person import DAY, commit_all, git, sound, write

from aiframe.workspaces import vault
from aiframe.workspaces.commits import head
from aiframe.workspaces.git import Repository
from aiframe.workspaces.host import open_host, registered
from aiframe.workspaces.linked import Linked
from aiframe.workspaces.moving import checkpoint_work
from aiframe.workspaces.worktree import ensure_worktree, make_branch

OWN = "refs/heads/aiframe/p/"
TARGET = "aiframe/p/landed"


@pytest.fixture
def host(tmp_path: Path) -> Repository:
    """A person's repository, with another worktree of theirs."""
    root = tmp_path / "repo"
    root.mkdir()
    git(root, "init", "-q", "-b", "master")
    write(root, {"a.txt": "a\n"})
    made = commit_all(root, "first")
    git(root, "config", "extensions.worktreeConfig", "true")
    git(root, "worktree", "add", "-q", "-b", "theirs", str(tmp_path / "theirs"))
    host = open_host(root)
    make_branch(host, TARGET, made, DAY)
    make_branch(host, "aiframe/p/T2", made, DAY)
    return host


@pytest.fixture
def workspace(host: Repository, tmp_path: Path) -> Linked:
    return ensure_worktree(host, tmp_path / "s" / "T1", "aiframe/p/T1", head(host).commit, DAY)[0]


def check(workspace: Linked, sealed: vault.Seal, tmp_path: Path) -> dict[str, vault.Breach]:
    """What aiframe does after a step, from a seal as a later process reads it."""
    sealed.write(tmp_path / "seal.json")
    stored = vault.Seal.read(tmp_path / "seal.json")
    assert stored == sealed
    breaches = vault.compare_and_restore(stored, tmp_path / "quarantine")
    assert vault.compare_and_restore(stored, tmp_path / "quarantine") == ()
    breaches += vault.settle_refs(Repository(workspace.root), stored, tmp_path / "quarantine", DAY)
    assert workspace.text("rev-parse", "HEAD"), "the workspace is none any more"
    return {breach.path: breach for breach in breaches}


def evil_hook(host: Repository, path: Path) -> None:
    hook = host.common_dir / "hooks" / "post-commit"
    write(hook.parent, {hook.name: "#!/bin/sh\ntouch evil\n"})
    hook.chmod(0o755)


def entry_of(host: Repository, path: Path) -> Path:
    return next(entry.git_dir for entry in registered(host) if entry.root == path)


def neighbour(host: Repository, path: Path) -> Path:
    return next(entry.git_dir for entry in registered(host) if entry.root and entry.root.name == "theirs")


def lost_folder(host: Repository, path: Path) -> None:
    shutil.rmtree(path)


@pytest.mark.parametrize(
    ("attack", "name", "what"),
    [
        pytest.param(evil_hook, "git/hooks/post-commit", "created", id="hook"),
        pytest.param(
            lambda host, path: git(path, "config", "core.fsmonitor", "evil"), "git/config", "changed", id="config",
        ),
        pytest.param(
            lambda host, path: git(path, "config", "--worktree", "core.fsmonitor", "evil"), "own-git/config.worktree",
            "created", id="config.worktree of its own",
        ),
        pytest.param(
            lambda host, path: git(host.root, "config", "--worktree", "core.fsmonitor", "evil"), "git/config.worktree",
            "created", id="config.worktree of the person's",
        ),
        pytest.param(
            lambda host, path: write(neighbour(host, path), {"config.worktree": "[core]\n\tfsmonitor = evil\n"}),
            "git/worktrees/theirs/config.worktree", "created", id="config.worktree of another worktree",
        ),
        pytest.param(
            lambda host, path: write(neighbour(host, path), {"commondir": "/evil\n"}),
            "git/worktrees/theirs/commondir", "changed", id="another worktree's repository",
        ),
        pytest.param(
            lambda host, path: write(host.common_dir, {"info/attributes": "* filter=evil\n"}), "git/info/attributes",
            "created", id="attributes",
        ),
        pytest.param(
            lambda host, path: write(host.common_dir, {"objects/info/alternates": "/evil\n"}),
            "git/objects/info/alternates", "created", id="alternates",
        ),
        pytest.param(
            lambda host, path: (path / ".git").write_text("gitdir: /evil\n"), "project/.git", "changed", id="link",
        ),
        pytest.param(lambda host, path: (path / ".git").unlink(), "project/.git", "deleted", id="no link"),
        pytest.param(lost_folder, "project/.git", "deleted", id="no folder"),
        pytest.param(
            lambda host, path: shutil.rmtree(entry_of(host, path)), "own-git", "deleted", id="no entry",
        ),
        pytest.param(
            lambda host, path: git(path, "switch", "-q", "-c", "elsewhere"), "git/HEAD", "changed", id="other branch",
        ),
        pytest.param(
            lambda host, path: git(host.root, "update-ref", "-d", OWN + "landed"), f"git/{OWN}landed", "deleted",
            id="no target",
        ),
        pytest.param(
            lambda host, path: git(host.root, "update-ref", "-d", OWN + "T2"), f"git/{OWN}T2", "deleted",
            id="another task's branch gone",
        ),
        pytest.param(
            lambda host, path: git(host.root, "symbolic-ref", OWN + "landed", "refs/heads/master"),
            f"git/{OWN}landed", "changed", id="the target is a link",
        ),
    ],
)  # fmt: skip
def test_put_back(
    host: Repository,
    workspace: Linked,
    tmp_path: Path,
    attack: Callable[[Repository, Path], None],
    name: str,
    what: str,
) -> None:
    before = git(host.root, "for-each-ref", OWN)
    sealed = vault.seal(workspace.root, (), "r1", OWN)
    attack(host, workspace.root)
    breaches = check(workspace, sealed, tmp_path)
    assert breaches[name].what == what
    assert all(breach.action != "failed" for breach in breaches.values())
    assert git(host.root, "for-each-ref", OWN) == before
    assert "evil" not in (host.common_dir / "config").read_text()
    write(workspace.root, {"work.txt": "work\n"})
    assert checkpoint_work(workspace, "work", {}, DAY), "the workspace cannot be committed from"
    git(tmp_path / "theirs", "status")
    assert sound(host.root)
    assert not list(tmp_path.rglob("evil"))


def persons_branch(host: Repository, tmp_path: Path) -> None:
    git(host.root, "branch", "mine")
    git(host.root, "switch", "-q", "--detach")


def persons_commit(host: Repository, tmp_path: Path) -> None:
    write(host.root, {"a.txt": "more\n"})
    commit_all(host.root, "mine")
    git(host.root, "tag", "v1")


def persons_target(host: Repository, tmp_path: Path) -> None:
    persons_commit(host, tmp_path)
    git(host.root, "branch", "-f", TARGET, "master")


def persons_worktrees(host: Repository, tmp_path: Path) -> None:
    git(host.root, "worktree", "add", "-q", "-b", "more", str(tmp_path / "more"))
    git(host.root, "worktree", "remove", "-f", str(tmp_path / "theirs"))


def persons_housekeeping(host: Repository, tmp_path: Path) -> None:
    git(host.root, "stash")
    git(host.root, "branch", "gone")
    git(host.root, "pack-refs", "--all")
    git(host.root, "branch", "-D", "gone")
    git(host.root, "gc", "-q")


def persons_git_at_work(host: Repository, tmp_path: Path) -> None:
    for name in ("config.lock", "packed-refs.lock", "index.lock", "refs/heads/master.lock"):
        write(host.common_dir, {name: ""})


@pytest.mark.parametrize(
    "do", [persons_branch, persons_commit, persons_target, persons_worktrees, persons_housekeeping,
           persons_git_at_work],
)  # fmt: skip
def test_what_a_person_does_meanwhile_stands(
    host: Repository, workspace: Linked, tmp_path: Path, do: Callable[[Repository, Path], None]
) -> None:
    sealed = vault.seal(workspace.root, (), "r1", OWN)
    do(host, tmp_path)

    def seen() -> tuple[str, str, list[str]]:
        locks = [str(path) for path in host.common_dir.rglob("*.lock")]
        return git(host.root, "for-each-ref"), git(host.root, "worktree", "list"), sorted(locks)

    before = seen()
    assert check(workspace, sealed, tmp_path) == {}
    assert seen() == before


def test_a_target_that_was_set_back_is_kept_where_it_was(host: Repository, workspace: Linked, tmp_path: Path) -> None:
    persons_target(host, tmp_path)
    landed = git(host.root, "rev-parse", TARGET)
    sealed = vault.seal(workspace.root, (), "r1", OWN)
    git(host.root, "update-ref", OWN + "landed", "master~1")
    assert check(workspace, sealed, tmp_path) == {}
    assert git(host.root, "for-each-ref", "--format=%(refname)", "--points-at", landed, "refs/aiframe/quarantine")


def test_the_agents_own_commits_stay_on_its_branch(host: Repository, workspace: Linked, tmp_path: Path) -> None:
    sealed = vault.seal(workspace.root, (), "r1", OWN)
    write(workspace.root, {"a.txt": "agent\n"})
    own = commit_all(workspace.root, "agent")
    assert check(workspace, sealed, tmp_path) == {}
    assert head(workspace).commit == own


def test_quarantine_on_another_disk(host: Repository, workspace: Linked, tmp_path: Path) -> None:
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second disk here")
    home = elsewhere / f"aiframe-test-{os.getpid()}"
    try:
        sealed = vault.seal(workspace.root, (), "r1", OWN)
        evil_hook(host, workspace.root)
        (breach,) = vault.compare_and_restore(sealed, home)
        assert breach.action == "set aside"
        assert Path(breach.kept_at).read_text().startswith("#!")
    finally:
        shutil.rmtree(home, ignore_errors=True)
