"""Landing: by compare-and-swap on the proven commit, with merges, conflicts and a person's checkout (F2, F4)."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.killing import kill_after
from workspaces.person import DAY, commit_all, files_of, git, sound, write

from aiframe.workspaces.clone_giving import give
from aiframe.workspaces.clone_taking import take
from aiframe.workspaces.cloning import CLONE
from aiframe.workspaces.commits import head, write_commit
from aiframe.workspaces.git import Repository
from aiframe.workspaces.host import open_host
from aiframe.workspaces.inplace import candidate
from aiframe.workspaces.landing import TargetBusy, TargetMoved, commit_work, land, rebase_work
from aiframe.workspaces.linked import Linked
from aiframe.workspaces.moving import checkpoint_work, follow
from aiframe.workspaces.worktree import WORKTREE, ensure_worktree, make_branch

TARGET = "aiframe/p/landed"


@pytest.fixture
def host(tmp_path: Path) -> Repository:
    """A person's repository with a target at its only commit."""
    root = tmp_path / "repo"
    root.mkdir()
    git(root, "init", "-q", "-b", "master")
    lines = "".join(f"line {number}\n" for number in range(20))
    write(root, {"a.txt": lines, "b.txt": "b\n", "old.txt": "old\n", ".gitignore": "*.log\n"})
    made = commit_all(root, "first")
    host = open_host(root)
    make_branch(host, TARGET, made, DAY)
    return host


@pytest.fixture(params=[WORKTREE, CLONE], ids=["worktree", "clone"])
def workspace(host: Repository, tmp_path: Path, request: pytest.FixtureRequest) -> Linked:
    """A task's workspace at the target."""
    made, _ = ensure_worktree(host, tmp_path / "s" / "T1", "aiframe/p/T1", head(host).commit, DAY, request.param)
    give(made)
    return made


def work(workspace: Linked, files: dict[str, str | None]) -> tuple[str, str]:
    """Do something in the workspace; its base and its tree."""
    write(workspace.root, files)
    at = head(workspace).commit
    return at, candidate(workspace, at, ()).tree


def commit(workspace: Linked, onto: str, tree: str) -> str:
    made = write_commit(workspace, tree, (onto,), "T1: work", {"Aiframe-Run": "r"}, DAY)
    commit_work(workspace, made, DAY)
    return made


def person(host: Repository, files: dict[str, str | None]) -> str:
    """A commit of a person's on the target, from a worktree of theirs that is gone again."""
    folder = host.root.parent / "theirs"
    git(host.root, "worktree", "add", "-q", str(folder), TARGET)
    write(folder, files)
    made = commit_all(folder, "a person's")
    git(host.root, "worktree", "remove", "-f", str(folder))
    return made


def at_target(host: Repository) -> str:
    return git(host.root, "rev-parse", TARGET)


def test_work_becomes_one_commit_on_the_target(host: Repository, workspace: Linked) -> None:
    base = head(workspace).commit
    write(workspace.root, {"c.txt": "half\n"})
    unverified = checkpoint_work(workspace, "unverified: T1", {}, DAY)
    write(workspace.root, {"c.txt": "agent\n"})
    give(workspace)
    agents = commit_all(workspace.root, "the agent's own")
    assert take(workspace, DAY) == ()
    _, tree = work(workspace, {"c.txt": "whole\n"})
    made = commit(workspace, base, tree)
    assert commit(workspace, base, tree) == made, "a replay makes another one"
    for _ in range(2):
        land(host, TARGET, base, made, DAY)
    assert at_target(host) == made
    assert git(host.root, "log", "--format=%s", TARGET).splitlines() == ["T1: work", "first"]
    assert files_of(host.root, TARGET)["c.txt"] == "whole"
    give(workspace)
    assert git(workspace.root, "status", "--porcelain", "--branch") == "## aiframe/p/T1"
    for kept in (unverified, agents):
        assert git(host.root, "for-each-ref", "--contains", kept, "refs/aiframe/backup"), "unproven work is lost"


def test_what_is_there_already_lands_once_more_as_nothing(host: Repository, workspace: Linked) -> None:
    base = head(workspace).commit
    land(host, TARGET, base, base, DAY)
    assert at_target(host) == base


def test_never_over_somebody_elses_commit(host: Repository, workspace: Linked) -> None:
    base, tree = work(workspace, {"c.txt": "c\n"})
    theirs = person(host, {"d.txt": "d\n"})
    made = commit(workspace, base, tree)
    with pytest.raises(TargetMoved):
        land(host, TARGET, base, made, DAY)
    with pytest.raises(TargetMoved):
        land(host, TARGET, theirs, made, DAY)  # not proven on it
    assert at_target(host) == theirs


@pytest.mark.parametrize(
    ("mine", "theirs", "conflicts", "after"),
    [
        pytest.param({"c.txt": "c\n"}, {"d.txt": "d\n"}, (), {"c.txt": "c", "d.txt": "d"}, id="other files"),
        pytest.param({"c.txt": "c\n"}, {"c.txt": "c\n"}, (), {"c.txt": "c"}, id="the same change"),
        pytest.param({"b.txt": None}, {"d.txt": "d\n"}, (), {"d.txt": "d"}, id="a deleted file"),
        pytest.param({"b.txt": "mine\n"}, {"b.txt": "theirs\n"}, ("b.txt",), {}, id="the same line"),
        pytest.param({"b.txt": "mine\n"}, {"b.txt": None}, ("b.txt",), {"b.txt": "mine"}, id="changed and deleted"),
        pytest.param({"n ü.txt": "mine\n"}, {"n ü.txt": "theirs\n"}, ("n ü.txt",), {}, id="made twice"),
    ],
)
def test_a_moved_target_is_merged_in_the_workspace(
    host: Repository, workspace: Linked, mine: dict[str, str | None], theirs: dict[str, str | None],
    conflicts: tuple[str, ...], after: dict[str, str],
) -> None:  # fmt: skip
    write(workspace.root, {"build.log": "ignored\n"})
    _, tree = work(workspace, mine)
    onto = person(host, theirs)
    merge = rebase_work(workspace, tree, onto, "T1: work", DAY)
    assert merge.conflicts == conflicts
    assert head(workspace).commit == merge.onto == onto
    assert candidate(workspace, onto, ()).tree == merge.tree
    assert (workspace.root / "build.log").exists()
    for name, text in after.items():
        assert (workspace.root / name).read_text().strip() == text
    if conflicts and not after:
        text = (workspace.root / conflicts[0]).read_text()
        assert "mine" in text
        assert "theirs" in text
        write(workspace.root, {conflicts[0]: "both\n"})
    tree = candidate(workspace, onto, ()).tree
    made = commit(workspace, onto, tree)
    land(host, TARGET, onto, made, DAY)
    assert at_target(host) == made
    assert git(host.root, "rev-parse", f"{TARGET}^{{tree}}") == tree


def test_work_that_a_person_took_back_stays_away(host: Repository, workspace: Linked) -> None:
    """The target was set back behind the base of the work: only the work itself comes onto it."""
    first = head(workspace).commit
    second = person(host, {"unwanted.txt": "u\n"})
    assert follow(workspace, second, DAY)
    _, tree = work(workspace, {"c.txt": "c\n"})
    git(host.root, "branch", "-q", "-f", TARGET, first)
    merge = rebase_work(workspace, tree, first, "T1: work", DAY)
    assert merge.conflicts == ()
    land(host, TARGET, first, commit(workspace, first, merge.tree), DAY)
    assert set(files_of(host.root, TARGET)) - set(files_of(host.root, first)) == {"c.txt"}


def test_the_work_before_a_merge_is_kept(host: Repository, workspace: Linked) -> None:
    _, tree = work(workspace, {"b.txt": "mine\n"})
    rebase_work(workspace, tree, person(host, {"b.txt": "theirs\n"}), "T1: work", DAY)
    kept = git(host.root, "for-each-ref", "--format=%(refname)", "refs/aiframe/backup/p").splitlines()
    assert [files_of(host.root, name)["b.txt"] for name in kept] == ["mine"]


def test_merge_drivers_of_the_repository_do_not_run(host: Repository, workspace: Linked, tmp_path: Path) -> None:
    git(host.root, "config", "merge.own.driver", f"sh -c 'echo ran >{tmp_path}/ran; exit 0'")
    (host.git_dir / "info" / "attributes").write_text("* merge=own\n")
    _, tree = work(workspace, {"b.txt": "mine\n"})
    rebase_work(workspace, tree, person(host, {"b.txt": "theirs\n"}), "T1: work", DAY)
    assert not (tmp_path / "ran").exists()


def test_many_landing_at_once_lose_nothing(host: Repository, tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from aiframe.workspaces.commits import head, write_commit
from aiframe.workspaces.host import open_host, tip
from aiframe.workspaces.inplace import candidate
from aiframe.workspaces.landing import TargetMoved, commit_work, land, rebase_work
from aiframe.workspaces.worktree import ensure_worktree
root, path, name = sys.argv[1:]
host = open_host(Path(root))
base = tip(host, "aiframe/p/landed").commit
workspace, _ = ensure_worktree(host, Path(path), f"aiframe/p/{name}", base, 1.7e9)
(workspace.root / f"{name}.txt").write_text(name)
base = head(workspace).commit
tree = candidate(workspace, base, ()).tree
while True:
    commit = write_commit(workspace, tree, (base,), name, {}, 1.7e9)
    commit_work(workspace, commit, 1.7e9)
    try:
        land(host, "aiframe/p/landed", base, commit, 1.7e9)
        break
    except TargetMoved:
        merge = rebase_work(workspace, tree, tip(host, "aiframe/p/landed").commit, name, 1.7e9)
        assert not merge.conflicts
        base, tree = merge.onto, merge.tree
"""
    children = [
        subprocess.Popen(
            [sys.executable, "-P", "-c", script, str(host.root), str(tmp_path / "s" / name), name],
            stderr=subprocess.PIPE, text=True,
        )
        for name in ("T1", "T2", "T3", "T4", "T5")
    ]  # fmt: skip
    said = [child.communicate(timeout=100)[1] for child in children]
    assert [child.returncode for child in children] == [0] * 5, said
    assert {f"T{number}.txt" for number in range(1, 6)} <= set(files_of(host.root, TARGET))
    assert git(host.root, "rev-list", "--count", "--merges", TARGET) == "0"
    assert git(host.root, "rev-list", "--count", TARGET) == "6"


# A person's checkout of the target


@pytest.fixture
def checkout(host: Repository, workspace: Linked) -> Path:
    """The person has switched to the target."""
    git(host.root, "switch", "-q", TARGET)
    return host.root


def test_a_clean_checkout_moves_along(host: Repository, workspace: Linked, checkout: Path) -> None:
    write(checkout, {"theirs.txt": "untracked\n", "x.log": "ignored\n"})
    base, tree = work(workspace, {"a.txt": "new\n", "old.txt": None, "c/d.txt": "d\n"})
    land(host, TARGET, base, commit(workspace, base, tree), DAY)
    assert git(checkout, "status", "--porcelain") == "?? theirs.txt"
    assert (checkout / "a.txt").read_text() == "new\n"
    assert (checkout / "c" / "d.txt").exists()
    assert not (checkout / "old.txt").exists()
    assert (checkout / "x.log").exists()


def staged(root: Path) -> None:
    write(root, {"new.txt": "new\n"})
    git(root, "add", "new.txt")


def in_the_way(root: Path) -> None:
    write(root, {"c.txt": "theirs\n"})


def ignored_in_the_way(root: Path) -> None:
    (root / ".git" / "info" / "exclude").write_text("c.txt\n")
    in_the_way(root)


def picking(root: Path) -> None:
    (root / ".git" / "CHERRY_PICK_HEAD").write_text(git(root, "rev-parse", "HEAD") + "\n")


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda root: write(root, {"b.txt": "changed\n"}), id="changed"),
        pytest.param(lambda root: write(root, {"a.txt": None}), id="deleted"),
        pytest.param(staged, id="staged"),
        pytest.param(in_the_way, id="an untracked file in the way"),
        pytest.param(ignored_in_the_way, id="an ignored file in the way"),
        pytest.param(picking, id="in mid-pick"),
    ],
)
def test_a_checkout_in_use_is_left_alone_and_the_work_waits(
    host: Repository, workspace: Linked, checkout: Path, spoil: Callable[[Path], None]
) -> None:
    base, tree = work(workspace, {"c.txt": "c\n"})
    made = commit(workspace, base, tree)
    spoil(checkout)

    def seen() -> tuple[str, dict[str, bytes]]:
        found = (path for path in checkout.rglob("*") if path.is_file() and ".git" not in path.parts)
        return git(checkout, "status", "--porcelain"), {str(path): path.read_bytes() for path in found}

    before = seen()
    with pytest.raises(TargetBusy) as caught:
        land(host, TARGET, base, made, DAY)
    assert str(checkout) in caught.value.message
    assert caught.value.hint
    assert seen() == before
    assert at_target(host) == base
    assert git(host.root, "rev-parse", "aiframe/p/T1") == made
    (checkout / ".git" / "CHERRY_PICK_HEAD").unlink(missing_ok=True)
    git(checkout, "reset", "-q", "--hard")
    git(checkout, "clean", "-q", "-fdx")
    land(host, TARGET, base, made, DAY)
    assert at_target(host) == made
    assert git(checkout, "status", "--porcelain") == ""


LANDER = """
import sys
from pathlib import Path
from aiframe.workspaces.host import open_host
from aiframe.workspaces.landing import land
root, base, commit = sys.argv[1:]
host = open_host(Path(root))
print("ready", flush=True)
land(host, "aiframe/p/landed", base, commit, 1.7e9)
print("done", flush=True)
"""


@pytest.mark.parametrize("whole_tree", [True, False], ids=["with its git", "git goes on"])
def test_a_killed_landing_is_finished_by_the_next(
    host: Repository, workspace: Linked, checkout: Path, whole_tree: bool
) -> None:
    full, chance = 0.0, random.Random(5)
    write(checkout, {"theirs.txt": "untracked\n"})
    for number in range(8):
        files: dict[str, str | None] = {f"n{n}.txt": f"{number}\n" * 200 for n in range(number % 3, 60, 3)}
        gone = {f"n{n}.txt": None for n in range((number + 1) % 3, 60, 3) if number and number % 4 == 0}
        base, tree = work(workspace, files | {k: v for k, v in gone.items() if (workspace.root / k).exists()})
        made = commit(workspace, base, tree)
        words = [str(host.root), base, made]
        full = max(full, kill_after(LANDER, words, 30.0 if number == 0 else chance.uniform(0, full), whole_tree))
        assert at_target(host) in (base, made)
        land(host, TARGET, base, made, DAY)
        assert at_target(host) == made
        assert git(checkout, "status", "--porcelain") == "?? theirs.txt"
    assert sound(host.root)


def test_a_persons_edit_after_a_killed_landing_stays(host: Repository, workspace: Linked, checkout: Path) -> None:
    base, tree = work(workspace, {"a.txt": "work\n", "b.txt": "work\n", "old.txt": None, "c.txt": "work\n"})
    made = commit(workspace, base, tree)
    note = host.common_dir / "aiframe" / "landing.json"
    note.write_text(f'{{"root": "{checkout}", "old": "{base}", "new": "{made}"}}')
    write(checkout, {"a.txt": "work\n", "b.txt": "by hand\n", "old.txt": None, "c.txt": "work\n"})  # killed half-way
    with pytest.raises(TargetBusy, match=r"b\.txt"):
        land(host, TARGET, base, made, DAY)
    assert git(checkout, "status", "--porcelain") == " M b.txt"
    assert (checkout / "b.txt").read_text() == "by hand\n"
    git(checkout, "checkout", "-q", "b.txt")
    land(host, TARGET, base, made, DAY)
    assert git(checkout, "status", "--porcelain") == ""


@pytest.mark.parametrize("left", ["", "wo"], ids=["made and not written", "half written"])
@pytest.mark.parametrize("branch_moved", [True, False])
def test_a_file_that_a_killed_git_had_not_written_yet_is_no_edit(
    host: Repository, workspace: Linked, checkout: Path, left: str, branch_moved: bool
) -> None:
    base, tree = work(workspace, {"a.txt": "work\n", "b.txt": "work\n", "c.txt": "work\n"})
    made = commit(workspace, base, tree)
    note = host.common_dir / "aiframe" / "landing.json"
    note.write_text(f'{{"root": "{checkout}", "old": "{base}", "new": "{made}"}}')
    write(checkout, {"a.txt": "work\n", "b.txt": left, "c.txt": left})
    if branch_moved:
        git(host.root, "update-ref", f"refs/heads/{TARGET}", made)
    land(host, TARGET, base, made, DAY)
    assert at_target(host) == made
    assert git(checkout, "status", "--porcelain") == ""


def test_a_target_that_is_gone_has_moved(host: Repository, workspace: Linked) -> None:
    base, tree = work(workspace, {"c.txt": "c\n"})
    made = commit(workspace, base, tree)
    git(host.root, "branch", "-q", "-D", TARGET)
    with pytest.raises(TargetMoved, match="no longer at"):
        land(host, TARGET, base, made, DAY)
