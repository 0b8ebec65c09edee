"""F28. A commit whose maker is killed at any moment, and then replayed, is there exactly once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.killing import kill_after
from support.needs import needs
from workspaces.person import CONTROL, DAY, git, sound, write

from aiframe.workspaces import inplace
from aiframe.workspaces.git import Repository
from aiframe.workspaces.git_errors import GitError
from aiframe.workspaces.locks import MARKER_PREFIX

ROUNDS = 25
MAKER = """
import sys
from pathlib import Path
from aiframe.workspaces import inplace
from aiframe.workspaces.git import Repository
root, commit, tree, run = sys.argv[1:]
repo = Repository(Path(root))
print("ready", flush=True)
inplace.commit_candidate(repo, base_head=inplace.Head(commit, "main"), tree=tree, parent=commit, message="work",
                         trailers={"Aiframe-Run": run}, date=1.7e9)
print("done", flush=True)
"""


@pytest.mark.parametrize("whole_tree", [True, False], ids=["with its git", "git goes on"])
def test_killed_and_replayed(repo: Repository, folder: Path, whole_tree: bool) -> None:
    full = 0.0
    for number in range(ROUNDS):
        run, base = f"r{number}", inplace.head(repo)
        write(folder, {"src/app.py": f"print({number})\n", f"src/{number}.py": "new\n"})
        found = inplace.candidate(repo, base.commit, CONTROL)
        words = [str(folder), base.commit, found.tree, run]
        took = kill_after(MAKER, words, full * number / ROUNDS if number else 30, whole_tree)
        full = full or took
        commit = inplace.commit_candidate(
            repo, base_head=base, tree=found.tree, parent=found.parent, message="work",
            trailers={"Aiframe-Run": run}, date=DAY,
        )  # fmt: skip
        assert git(folder, "rev-list", f"{base.commit}..HEAD").splitlines() == [commit]
        assert inplace.find_run_commit(repo, run, base.commit) == commit
        assert git(folder, "status", "--porcelain") == ""
    assert sound(folder)
    inplace.candidate(repo, inplace.head(repo).commit, CONTROL)  # the last to be killed may have been done but for this
    assert not list(repo.private_dir.glob(f"{MARKER_PREFIX}*"))
    assert not list(repo.git_dir.rglob("*.lock"))


@pytest.mark.parametrize("lock", ["index.lock", "HEAD.lock", "refs/heads/main.lock"])
def test_locks_of_a_dead_writer_go_away(repo: Repository, folder: Path, lock: str) -> None:
    """What a git killed in the middle of its write leaves: the lock, and the marker that nobody holds."""
    marker = repo.private_dir / f"{MARKER_PREFIX}dead"
    marker.write_text(f'["{repo.git_dir / lock}"]')
    (repo.git_dir / lock).touch()
    write(folder, {"SPEC.md": "new\n"})
    assert inplace.commit_control(repo, CONTROL, "m", {}, DAY) is not None
    assert not marker.exists()


HOLDER = """
exec 9<>"$1"; flock 9; echo held
sleep 0.4
%s
"""


@pytest.mark.parametrize(
    ("end", "committed"),
    [('touch "$2"; sleep 0.3; rm "$2"', True), ('touch "$2"', True), ('rm "$1"; touch "$2"', False)],
    ids=["outlives its writer and ends", "outlives its writer and is killed", "ends, and a stranger takes the lock"],
)
def test_git_that_is_still_at_work(repo: Repository, folder: Path, end: str, committed: bool) -> None:
    """The marker is held, by a process that takes the lock later: the next writer waits for it."""
    marker, lock = repo.private_dir / f"{MARKER_PREFIX}alive", repo.git_dir / "index.lock"
    marker.write_text(f'["{lock}"]')
    write(folder, {"SPEC.md": "new\n"})
    argv = ["sh", "-c", HOLDER % end, "sh", str(marker), str(lock)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        if committed:
            assert inplace.commit_control(repo, CONTROL, "m", {}, DAY) is not None
        else:
            with pytest.raises(GitError, match=r"index\.lock"):
                inplace.commit_control(repo, CONTROL, "m", {}, DAY)
    assert lock.exists() is not committed


def test_a_strangers_short_lock_is_waited_for(repo: Repository, folder: Path) -> None:
    """An editor takes the index's lock for a moment whenever it looks at the repository."""
    lock = repo.git_dir / "index.lock"
    lock.touch()
    write(folder, {"SPEC.md": "new\n"})
    with subprocess.Popen(["sh", "-c", 'sleep 0.3; rm "$1"', "sh", str(lock)]):
        assert inplace.commit_control(repo, CONTROL, "m", {}, DAY) is not None


def test_lock_of_another_time_stays(repo: Repository, folder: Path) -> None:
    """A marker left long ago says nothing about a lock of today: that one is somebody's who is alive."""
    marker = repo.private_dir / f"{MARKER_PREFIX}dead"
    marker.write_text(f'["{repo.git_dir / "index.lock"}"]')
    os.utime(marker, (1, 1))
    (repo.git_dir / "index.lock").touch()
    write(folder, {"SPEC.md": "new\n"})
    with pytest.raises(GitError, match=r"index\.lock"):
        inplace.commit_control(repo, CONTROL, "m", {}, DAY)
    assert (repo.git_dir / "index.lock").exists()


@needs("strace")
def test_unchanged_files_are_not_opened_again(repo: Repository, folder: Path, tmp_path: Path) -> None:
    """Counts what is opened, not milliseconds: a second candidate looks into what has changed and nothing else."""
    write(folder, {f"many/{number % 10}/{number}.txt": f"{number}\n" for number in range(300)})
    for path in (folder / "many").rglob("*.txt"):
        os.utime(path, (DAY, DAY))  # git looks again into files of the same second as its index
    inplace.checkpoint(repo, CONTROL, "many", DAY)
    base = inplace.head(repo)
    inplace.candidate(repo, base.commit, CONTROL)
    write(folder, {"many/1/1.txt": "changed\n"})
    code = (
        "import sys; from pathlib import Path; from aiframe.workspaces import inplace\n"
        "print(inplace.candidate(inplace.Repository(Path(sys.argv[1])), sys.argv[2], ()).tree)"
    )
    trace = tmp_path / "trace"
    argv = [sys.executable, "-c", code, str(folder), base.commit]
    subprocess.run(
        ["strace", "-f", "-e", "trace=openat,open", "-o", str(trace), *argv], check=True, capture_output=True
    )
    opened = [line for line in trace.read_text().splitlines() if "many/" in line and ".txt" in line]
    assert opened
    assert all("many/1/1.txt" in line for line in opened)
