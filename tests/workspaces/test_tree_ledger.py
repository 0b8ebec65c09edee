"""The ledger of what aiframe has landed: by it its own commits on a target are told from those of others."""

from __future__ import annotations

from pathlib import Path

import pytest
from workspaces.person import commit_all, git, write

from aiframe.workspaces.git import Repository
from aiframe.workspaces.ledger import LEDGER, enter, strangers


@pytest.fixture
def host(tmp_path: Path) -> Repository:
    """A repository with one commit."""
    git(tmp_path, "init", "-q", "-b", "main")
    commit(tmp_path, "first")
    return Repository(tmp_path)


def commit(root: Path, name: str) -> str:
    write(root, {f"{name}.txt": name})
    return commit_all(root, name)


@pytest.mark.parametrize(
    ("made", "foreign"),
    [
        pytest.param("", "", id="nothing"),
        pytest.param("AAA", "", id="all its own"),
        pytest.param("B", "B", id="somebody's"),
        pytest.param("ABA", "B", id="one between"),
        pytest.param("BAB", "BB", id="two around"),
    ],
)
def test_what_aiframe_did_not_land_is_found(host: Repository, made: str, foreign: str) -> None:
    old = host.commit_of("HEAD") or ""
    ids = [commit(host.root, f"{place}{by}") for place, by in enumerate(made)]
    for made_by, id_ in zip(made, ids, strict=True):
        if made_by == "A":
            enter(host, id_)
            enter(host, id_)
    new = ids[-1] if ids else old
    found = strangers(host, host, old, new)
    assert found == tuple(id_ for made_by, id_ in reversed(list(zip(made, ids, strict=True))) if made_by == "B")
    assert len(found) == len(foreign)


def test_what_a_merge_brings_counts_with_the_merge(host: Repository) -> None:
    old = host.commit_of("HEAD") or ""
    git(host.root, "switch", "-q", "-c", "side")
    enter(host, commit(host.root, "side"))
    git(host.root, "switch", "-q", "main")
    enter(host, commit(host.root, "own"))
    git(host.root, "merge", "-q", "--no-edit", "side")
    merge = host.commit_of("HEAD") or ""
    assert strangers(host, host, old, merge) == (merge,)


def test_where_the_target_was_set_elsewhere_nothing_is_told_apart(host: Repository) -> None:
    old = commit(host.root, "later")
    git(host.root, "reset", "-q", "--hard", "HEAD^")
    new = commit(host.root, "other")
    enter(host, new)
    assert strangers(host, host, old, new) is None


def test_a_torn_line_vouches_for_nothing_and_spoils_nothing(host: Repository) -> None:
    old = host.commit_of("HEAD") or ""
    first, second = commit(host.root, "one"), commit(host.root, "two")
    enter(host, first)
    path = host.common_dir / "aiframe" / LEDGER
    path.write_text(path.read_text() + second[:20])
    assert strangers(host, host, old, second) == (second,)
    enter(host, second)
    assert strangers(host, host, old, second) == ()
