"""Durable writes and bounded reads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from aiframe.core.errors import UnreadableFile
from aiframe.store.atomic import (
    StorageError,
    append_durable,
    read_bounded,
    sync_directory,
    write_durable,
    write_durable_while,
)


def test_a_write_replaces_the_whole_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_durable(path, "long text\n")
    write_durable(path, b"\xff")
    assert path.read_bytes() == b"\xff"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize(("existing", "asked", "after"), [(None, 0o600, 0o600), (0o640, 0o644, 0o640)])
def test_the_mode_of_a_file_is_kept(tmp_path: Path, existing: int | None, asked: int, after: int) -> None:
    path = tmp_path / "a"
    if existing is not None:
        path.touch()
        path.chmod(existing)
    write_durable(path, "x", asked)
    assert path.stat().st_mode & 0o777 == after


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "a").symlink_to(tmp_path / "victim")
    write_durable(tmp_path / "a", "x")
    assert (tmp_path / "victim").read_text() == "mine"
    assert not (tmp_path / "a").is_symlink()


def _cleaner(folder: Path, times: int) -> Callable[[], bool]:
    """What stands for `git clean -fdx`, run by an agent between the filling of a temporary file and its renaming."""
    left = iter(range(times))

    def clean() -> bool:
        if next(left, None) is not None:
            for made in folder.glob(".aiframe-*.tmp"):
                made.unlink()
        return True

    return clean


def test_a_write_begins_again_when_its_temporary_file_is_cleaned_away(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    assert write_durable_while(path, "new", _cleaner(tmp_path, times=3))
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a"]


def test_a_write_whose_temporary_file_is_always_cleaned_away_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(StorageError, match="cannot write"):
        write_durable_while(path, "new", _cleaner(tmp_path, times=100))
    assert path.read_text() == "old"


def test_readers_see_the_old_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "a"
    texts = {b"a" * 100_000, b"b" * 50_000}
    write_durable(path, next(iter(texts)))

    def write_often(text: bytes) -> None:
        for _ in range(20):
            write_durable(path, text)

    writers = [threading.Thread(target=write_often, args=(text,)) for text in texts]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        seen.add(path.read_bytes())
    for writer in writers:
        writer.join()
    assert seen <= texts
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize(
    ("target", "cure"),
    [("missing/a", "put this right"), ("file/a", "a file stands where"), ("folder", "a folder stands where")],
)
def test_what_cannot_be_written_says_why(tmp_path: Path, target: str, cure: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError) as caught:
        write_durable(tmp_path / target, "x")
    assert cure in caught.value.hint
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_f22_a_full_disk_names_the_cure() -> None:
    with pytest.raises(StorageError) as caught:
        append_durable(Path("/dev/full"), b"x")
    assert "disk is full" in caught.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_f22_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(StorageError, match="denied"):
        write_durable(tmp_path / "a", "x")
    tmp_path.chmod(0o755)


@pytest.mark.parametrize(
    ("before", "line", "after"),
    [
        pytest.param(None, b"x", b"x\n", id="new file"),
        pytest.param(b"", b"x\n", b"x\n", id="empty"),
        pytest.param(b"a\n", b"x", b"a\nx\n", id="whole"),
        pytest.param(b'a\n{"to', b"x", b'a\n{"to\nx\n', id="torn"),
    ],
)
def test_append(tmp_path: Path, before: bytes | None, line: bytes, after: bytes) -> None:
    path = tmp_path / "log"
    if before is not None:
        path.write_bytes(before)
    append_durable(path, line)
    assert path.read_bytes() == after


def test_append_does_not_follow_a_link(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine\n")
    (tmp_path / "log").symlink_to(tmp_path / "victim")
    with pytest.raises(StorageError, match="symbolic"):
        append_durable(tmp_path / "log", b"x")
    assert (tmp_path / "victim").read_text() == "mine\n"


def test_reads_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_bounded(path, 5) == b"12345"
    with pytest.raises(UnreadableFile, match="has 5 bytes; at most 4"):
        read_bounded(path, 4)
    with pytest.raises(FileNotFoundError):
        read_bounded(tmp_path / "none")


def test_what_is_no_file_does_not_hang_a_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (tmp_path / "pipe", tmp_path / "loop", tmp_path, Path("/dev/zero")):
        with pytest.raises(UnreadableFile):
            read_bounded(path)


def test_sync_of_a_missing_folder(tmp_path: Path) -> None:
    sync_directory(tmp_path)
    with pytest.raises(StorageError):
        sync_directory(tmp_path / "none")


@pytest.mark.parametrize("touched", [False, True], ids=["as it was", "somebody else was there"])
def test_a_file_that_is_replaced_only_while_it_is_as_it_was(tmp_path: Path, touched: bool) -> None:
    path = tmp_path / "form"
    path.write_text("theirs" if touched else "old")
    assert write_durable_while(path, "ours", lambda: path.read_text() == "old") is not touched
    assert path.read_text() == ("theirs" if touched else "ours")
    assert list(tmp_path.iterdir()) == [path]
