"""Whether the files are as in a commit: one question for git says yes where measuring says so, and nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from workspaces.person import CONTROL, commit_all, git, write

from aiframe.workspaces import inplace
from aiframe.workspaces.git import Repository
from aiframe.workspaces.git_errors import EmbeddedRepositories
from aiframe.workspaces.trees import is_as, worktree_tree


def nothing(folder: Path) -> None:
    pass


def control(folder: Path) -> None:
    write(folder, {"SPEC.md": "other\n", "prompts/new.md.j2": "x\n", "AGENTS.md": None})


def ignored(folder: Path) -> None:
    write(folder, {"notes/more.md": "x\n", "logs/new": "x\n"})


def touched(folder: Path) -> None:
    os.utime(folder / "src/app.py", (1, 1))


def changed(folder: Path) -> None:
    write(folder, {"src/app.py": "print(2)\n"})  # of the same size


def changed_back_in_time(folder: Path) -> None:
    times = (folder / "src/app.py").stat()
    write(folder, {"src/app.py": "print(3)\n"})
    os.utime(folder / "src/app.py", ns=(times.st_atime_ns, times.st_mtime_ns))


def added(folder: Path) -> None:
    write(folder, {"src/deep/new.py": "x\n"})


def deleted(folder: Path) -> None:
    (folder / "README.md").unlink()


def executable(folder: Path) -> None:
    (folder / "src/app.py").chmod(0o755)


def a_link(folder: Path) -> None:
    (folder / "README.md").unlink()
    (folder / "README.md").symlink_to("src/app.py")


def a_folder(folder: Path) -> None:
    (folder / "README.md").unlink()
    write(folder, {"README.md/one": "x\n"})


def unignored(folder: Path) -> None:
    write(folder, {".gitignore": "!/notes/\n"})


def within_a_repository(folder: Path) -> None:
    git(folder / "src", "init", "-q")
    write(folder, {"src/new.py": "x\n"})


def a_repository(folder: Path) -> None:
    write(folder, {"vendor/x.py": "x\n"})
    git(folder / "vendor", "init", "-q")
    commit_all(folder / "vendor", "inner")


def staged(folder: Path) -> None:
    write(folder, {"src/app.py": "print(4)\n"})
    git(folder, "add", "src/app.py")
    git(folder, "update-index", "--assume-unchanged", "src/app.py")


@pytest.mark.parametrize(
    ("act", "same"),
    [
        pytest.param(nothing, True, id="nothing"),
        pytest.param(control, True, id="control files"),
        pytest.param(ignored, True, id="ignored files"),
        pytest.param(touched, True, id="a time"),
        pytest.param(changed, False, id="a file of the same size"),
        pytest.param(changed_back_in_time, False, id="of the same size and time"),
        pytest.param(added, False, id="a new file"),
        pytest.param(deleted, False, id="a file that is gone"),
        pytest.param(executable, False, id="a mode"),
        pytest.param(a_link, False, id="a link for a file"),
        pytest.param(a_folder, False, id="a folder for a file"),
        pytest.param(unignored, False, id="what is ignored"),
        pytest.param(within_a_repository, False, id="files beside a nested .git"),
        pytest.param(a_repository, False, id="a repository of its own"),
        pytest.param(staged, False, id="what a flag hides in the person's index"),
    ],
)
@pytest.mark.parametrize("known", [True, False], ids=["the cache holds it", "another cache"])
def test_is_as(repo: Repository, folder: Path, act: Callable[[Path], None], same: bool, known: bool) -> None:
    commit = inplace.head(repo).commit
    if not known:
        write(folder, {"other": "x\n"})
        inplace.candidate(repo, commit, CONTROL)
        (folder / "other").unlink()
    act(folder)
    assert is_as(repo, commit, CONTROL) is same
    try:
        assert (worktree_tree(repo, commit, CONTROL) == repo.tree_of(commit)) is same
    except EmbeddedRepositories:
        assert not same


def test_a_submodule_is_not_looked_into(repo: Repository, folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "lib", {"code.py": "1\n"})
    git(tmp_path / "lib", "init", "-q")
    commit_all(tmp_path / "lib", "lib")
    git(folder, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(tmp_path / "lib"), "lib")
    commit = commit_all(folder, "with submodule")
    write(folder, {"lib/code.py": "2\n"})
    commit_all(folder / "lib", "moved on")
    assert is_as(repo, commit, CONTROL)
    assert worktree_tree(repo, commit, CONTROL) == repo.tree_of(commit)


# What another process is told of the cache

ASKS = """
import sys
from pathlib import Path
from aiframe.workspaces import cleanroom, trees
from aiframe.workspaces.git import Repository
repo, commit = Repository(Path(sys.argv[1])), sys.argv[2]
repo.tree_of(commit)
with cleanroom.clean_room(repo) as room:
    room.load(commit)
    held = room.held is not None
print(held, trees.is_as(repo, commit, ()))
"""


def spoil_index(folder: Path) -> None:
    file = folder / ".git/aiframe/index"
    file.write_bytes(file.read_bytes())


def spoil_note(folder: Path) -> None:
    (folder / ".git/aiframe/index.note").write_text('{"tree": 3')


def no_note(folder: Path) -> None:
    (folder / ".git/aiframe/index.note").unlink()


def a_pipe(folder: Path) -> None:
    no_note(folder)
    os.mkfifo(folder / ".git/aiframe/index.note")


@pytest.mark.parametrize(
    ("act", "held"),
    [
        pytest.param(nothing, True, id="as it was left"),
        pytest.param(spoil_index, False, id="another file"),
        pytest.param(spoil_note, False, id="a torn note"),
        pytest.param(no_note, False, id="no note"),
        pytest.param(a_pipe, False, id="a pipe"),
    ],
)
def test_the_note_holds_for_the_very_file(
    repo: Repository, folder: Path, act: Callable[[Path], None], held: bool
) -> None:
    commit = inplace.head(repo).commit
    worktree_tree(repo, commit, ())
    act(folder)
    argv = [sys.executable, "-c", ASKS, str(folder), commit]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    said = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout
    assert said == f"{held} True\n"
