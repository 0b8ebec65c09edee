"""Names of workspaces: contained, readable, and never the same for two ids."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from workspaces.person import git

from aiframe.core.errors import StepError
from aiframe.workspaces.paths import claim, contained, safe_part, task_branch, workspaces_home

SOME = st.sampled_from(
    ["landed", "Landed", "T1", "..", ".", "", "a.lock", "a..b", "a.", "-a", "a/b", "a b", "ä", "CON"]
)


@given(st.lists(st.text(max_size=80) | SOME, min_size=2, max_size=6, unique=True))
@settings(deadline=None, max_examples=200)
def test_two_ids_never_share_a_place(ids: list[str]) -> None:
    parts = [safe_part(name) for name in ids]
    parts += [safe_part(part) for part in parts if part not in ids]  # an id that looks like a changed one
    assert len(set(parts)) == len(parts)
    assert "landed" not in {part.casefold() for part in parts}


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        pytest.param("T1", True, id="as ids are"),
        pytest.param("api.v2_x-y", True, id="dots and dashes"),
        pytest.param("landed", False, id="the target's own"),
        pytest.param("a..b", False, id="two dots"),
        pytest.param("a.lock", False, id="git's lock files"),
        pytest.param("a.lockout", True, id="no lock file"),
        pytest.param("a.", False, id="a dot at the end"),
        pytest.param("../x", False, id="upwards"),
        pytest.param("x" * 65, False, id="too long"),
        pytest.param("my task ünï", False, id="spaces"),
        pytest.param("T1-x0123456789", False, id="looks like a hash"),
        pytest.param("", False, id="empty"),
    ],
)
def test_a_name_becomes_part_of_a_path_and_a_branch(name: str, plain: bool, tmp_path: Path) -> None:
    part = safe_part(name)
    assert (part == name) == plain
    assert git(tmp_path, "check-ref-format", "--branch", task_branch("p", name)) == f"aiframe/p/{part}"
    assert contained(tmp_path, part).parent == tmp_path


@pytest.mark.parametrize(
    ("environ", "home"),
    [
        pytest.param({"XDG_STATE_HOME": "/x/state", "HOME": "/h"}, "/x/state/aiframe/workspaces", id="as set"),
        pytest.param({"HOME": "/h"}, "/h/.local/state/aiframe/workspaces", id="default"),
        pytest.param({"XDG_STATE_HOME": "rel", "HOME": "/h"}, "/h/.local/state/aiframe/workspaces", id="relative"),
    ],
)
def test_home(environ: dict[str, str], home: str) -> None:
    assert str(workspaces_home(environ)) == home


def test_no_home() -> None:
    with pytest.raises(StepError, match="HOME"):
        workspaces_home({})


def test_links_and_steps_upwards_are_refused(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "p").symlink_to(tmp_path)
    for parts in [("p",), ("p", "T1"), ("..",), ("a", ".."), ("a/b",), ("",)]:
        with pytest.raises(StepError):
            contained(tmp_path / "home", *parts)


def test_projects_of_one_name_get_folders_of_their_own(tmp_path: Path) -> None:
    home, one, other = tmp_path / "home", tmp_path / "a" / "p", tmp_path / "b" / "p"
    one.mkdir(parents=True)
    other.mkdir(parents=True)
    first, second = claim(home, "p", "id1", one), claim(home, "p", "id2", other)
    assert first == "p"
    assert second is not None
    assert second != first
    assert (claim(home, "p", "id1", one), claim(home, "p", "id2", other)) == (first, second)


def test_a_moved_project_keeps_its_folder_and_a_copy_gets_none(tmp_path: Path) -> None:
    home, one, moved = tmp_path / "home", tmp_path / "p", tmp_path / "moved" / "q"
    (one / ".git").mkdir(parents=True)
    assert claim(home, "p", "id1", one) == "p"
    shutil.copytree(one, moved)
    assert claim(home, "q", "id1", moved, "p") is None
    os.rmdir(one / ".git")  # what is left is no project
    assert claim(home, "q", "id1", moved, "p") == "p"
    assert claim(home, "q", "id1", moved, "p") == "p"
    (one / ".git").mkdir()
    assert claim(home, "p", "id2", one) not in ("p", None)
