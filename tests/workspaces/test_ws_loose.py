"""What is said of an object without git is never more than git would say, and is no surprise to anybody."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from workspaces.person import git

from aiframe.workspaces.git import Repository
from aiframe.workspaces.loose import is_sound


def file_of(folder: Path, name: str) -> Path:
    return folder / ".git" / "objects" / name[:2] / name[2:]


def packed(folder: Path, commit: str, tree: str) -> None:
    git(folder, "gc", "-q")


def tree_gone(folder: Path, commit: str, tree: str) -> None:
    file_of(folder, tree).unlink()


def tree_cut_off(folder: Path, commit: str, tree: str) -> None:
    path = file_of(folder, tree)
    raw = path.read_bytes()
    path.unlink()
    path.write_bytes(raw[: len(raw) // 2])


def tree_forged(folder: Path, commit: str, tree: str) -> None:
    path = file_of(folder, tree)
    path.unlink()
    path.write_bytes(zlib.compress(b"tree 0\0"))


def commit_gone(folder: Path, commit: str, tree: str) -> None:
    file_of(folder, commit).unlink()


def commit_forged(folder: Path, commit: str, tree: str) -> None:
    path = file_of(folder, commit)
    text = zlib.decompress(path.read_bytes()).replace(b"first", b"other")
    path.unlink()
    path.write_bytes(zlib.compress(text))


def commit_followed_by_more(folder: Path, commit: str, tree: str) -> None:
    path = file_of(folder, commit)
    text = zlib.decompress(path.read_bytes())
    path.unlink()
    path.write_bytes(zlib.compress(text + b"\0" * 4_000_000))


def commit_a_link(folder: Path, commit: str, tree: str) -> None:
    path = file_of(folder, commit)
    path.rename(folder / "elsewhere")
    path.symlink_to(folder / "elsewhere")


def commit_a_pipe(folder: Path, commit: str, tree: str) -> None:
    file_of(folder, commit).unlink()
    os.mkfifo(file_of(folder, commit))


def untouched(folder: Path, commit: str, tree: str) -> None:
    pass


@pytest.mark.parametrize(
    ("spoil", "sound", "held"),
    [
        pytest.param(untouched, True, True, id="as git wrote them"),
        pytest.param(packed, False, True, id="packed"),
        pytest.param(commit_a_link, False, True, id="the commit is a link"),
        pytest.param(tree_gone, False, False, id="the tree is gone"),
        pytest.param(tree_cut_off, False, False, id="the tree is cut off"),
        pytest.param(tree_forged, False, False, id="another tree in its place"),
        pytest.param(commit_gone, False, False, id="the commit is gone"),
        pytest.param(commit_forged, False, False, id="another commit in its place"),
        pytest.param(commit_followed_by_more, False, False, id="the commit goes on and on"),
        pytest.param(commit_a_pipe, False, False, id="the commit is a pipe, which nobody writes into"),
    ],
)
def test_is_sound(
    repo: Repository, folder: Path, spoil: Callable[[Path, str, str], None], sound: bool, held: bool
) -> None:
    commit, tree = git(folder, "rev-parse", "HEAD", "HEAD^{tree}").split()
    spoil(folder, commit, tree)
    assert is_sound(folder / ".git" / "objects", commit) is sound
    if spoil is not commit_a_pipe:  # git would wait for a writer
        assert repo.holds(commit) is held


def test_other_kinds_of_objects_are_left_to_git(repo: Repository, folder: Path) -> None:
    tree, blob = git(folder, "rev-parse", "HEAD^{tree}", "HEAD:README.md").split()
    assert not is_sound(folder / ".git" / "objects", tree)
    assert not is_sound(folder / ".git" / "objects", blob)
    assert repo.holds(tree)
    assert not repo.holds(blob)


def test_longer_names_too(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "--object-format=sha256", ".")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "a person's")
    commit = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "there").write_text("1\n")
    git(tmp_path, "add", "there")
    git(tmp_path, "commit", "-q", "-m", "more")
    assert is_sound(tmp_path / ".git" / "objects", git(tmp_path, "rev-parse", "HEAD"))
    assert len(commit) == 64
