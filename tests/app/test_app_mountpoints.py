"""Places for logins in an agent's home, which the agent may have filled with anything."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path, PurePath

import pytest

from aiframe.app.attempts.mountpoints import lay_mountpoint
from aiframe.store.atomic import StorageError

BELOW = PurePath(".tool/auth.json")


def nothing(home: Path, elsewhere: Path) -> None:
    pass


def a_folder(home: Path, elsewhere: Path) -> None:
    (home / ".tool").mkdir()


def the_file(home: Path, elsewhere: Path) -> None:
    (home / ".tool").mkdir()
    (home / BELOW).write_text("of before")


def a_link_to_a_folder(home: Path, elsewhere: Path) -> None:
    (home / ".tool").symlink_to(elsewhere)


def a_link_for_the_file(home: Path, elsewhere: Path) -> None:
    (home / ".tool").mkdir()
    (home / BELOW).symlink_to(elsewhere / "auth.json")


def a_file_for_the_folder(home: Path, elsewhere: Path) -> None:
    (home / ".tool").write_text("of the agent")


@pytest.mark.parametrize(
    ("found", "text"),
    [
        pytest.param(nothing, "", id="nothing"),
        pytest.param(a_folder, "", id="its folder"),
        pytest.param(the_file, "of before", id="the file"),
        pytest.param(a_link_to_a_folder, None, id="a link to a folder"),
        pytest.param(a_link_for_the_file, None, id="a link for the file"),
        pytest.param(a_file_for_the_folder, None, id="a file for the folder"),
    ],
)
def test_a_place_is_made_in_the_home_and_nowhere_else(
    tmp_path: Path, found: Callable[[Path, Path], None], text: str | None
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    for folder in (home, elsewhere):
        folder.mkdir()
    found(home, elsewhere)
    lay_mountpoint(home, BELOW, is_folder=False)
    assert list(elsewhere.iterdir()) == []
    place = home / BELOW
    assert (place.read_text() if place.is_file() else None) == text


def test_a_place_for_a_folder_is_the_persons_alone(tmp_path: Path) -> None:
    lay_mountpoint(tmp_path, PurePath(".config/tool"), is_folder=True)
    assert (tmp_path / ".config" / "tool").is_dir()
    assert {os.stat(path).st_mode & 0o777 for path in tmp_path.rglob("*")} == {0o700}


def test_a_home_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot make"):
        lay_mountpoint(tmp_path / "nowhere", BELOW, is_folder=False)
