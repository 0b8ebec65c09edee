"""A clean checkout: what a tree holds and nothing else, whatever the folder held, and nothing of it is run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from workspaces.person import commit_all, files_of, git, write

from aiframe.workspaces.checkout import check_out, checkout_differs, remember_made
from aiframe.workspaces.git import Repository


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """Where the checkout goes."""
    return tmp_path / "cache" / "checkout"


def contents(folder: Path) -> dict[str, str]:
    """Name and text of all that is in *folder*."""
    files = [path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()]
    return {str(path.relative_to(folder)): path.read_text().rstrip() for path in files}


def rewritten_with_old_times(folder: Path) -> None:
    path = folder / "src/app.py"
    before = path.stat()
    path.write_text("print(9)\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def link_out(folder: Path) -> None:
    (folder / "src/app.py").unlink()
    (folder / "src").rmdir()
    (folder / "src").symlink_to(folder.parent)


def locked(folder: Path) -> None:
    (folder / "locked").mkdir()
    (folder / "locked/x").write_text("x")
    (folder / "locked").chmod(0o500)


def own_repository(folder: Path) -> None:
    git(folder, "init", "-q", "inner")
    write(folder, {"inner/x": "x"})


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda folder: None, id="nothing"),
        pytest.param(lambda folder: write(folder, {"README.md": "no\n", "new": "1", "src/n/x": "1"}), id="changed"),
        pytest.param(rewritten_with_old_times, id="changed, with the old size and time"),
        pytest.param(lambda folder: write(folder, {"README.md": None, "src/app.py": None}), id="deleted"),
        pytest.param(lambda folder: write(folder, {".gitignore": "*\n", "hidden": "1"}), id="hidden"),
        pytest.param(lambda folder: write(folder, {"a.o": "1", "made/x.o": "1"}), id="ignored"),
        pytest.param(link_out, id="a link to outside"),
        pytest.param(locked, id="a folder that nobody may write to"),
        pytest.param(own_repository, id="a repository of its own"),
        pytest.param(lambda folder: folder.with_name("checkout.index").write_bytes(b"DIRC"), id="a torn index"),
        pytest.param(lambda folder: folder.with_name("checkout.made").write_text("[]"), id="a torn note"),
    ],
)
@pytest.mark.parametrize("keep", [False, True], ids=["", "keeps what setup made"])
def test_it_holds_the_tree_whatever_was_there(
    repo: Repository, folder: Path, there: Path, spoil: Callable[[Path], object], keep: bool
) -> None:
    write(folder, {".gitignore": "*.o\n"})
    first = commit_all(folder, "first")
    write(folder, {"README.md": "second\n", "more": "1\n"})
    second = commit_all(folder, "second")
    check_out(repo, repo.tree_of(first), there, keep_made=keep)
    assert contents(there) == files_of(folder, first)
    remember_made(repo, there)
    spoil(there)
    check_out(repo, repo.tree_of(second), there, keep_made=keep)
    assert contents(there) == files_of(folder, second)
    assert checkout_differs(repo, repo.tree_of(second), there) == ()
    assert (there.parent / "checkout").is_dir()


@pytest.mark.parametrize(
    ("after", "kept"),
    [
        pytest.param({}, True, id="as it was made"),
        pytest.param({"later.o": "1"}, True, id="with more, which goes"),
        pytest.param({"lib.o": "other"}, False, id="changed since: all of it goes"),
        pytest.param({"lib.o": None}, False, id="partly gone: all of it goes"),
    ],
)
def test_what_the_setup_made_is_kept_while_nothing_has_changed_it(
    repo: Repository, folder: Path, there: Path, after: dict[str, str | None], kept: bool
) -> None:
    write(folder, {".gitignore": "*.o\n"})
    tree = repo.tree_of(commit_all(folder, "first"))
    check_out(repo, tree, there, keep_made=True)
    write(there, {"lib.o": "lib", "deep/lib.o": "lib"})
    remember_made(repo, there)
    write(there, after)
    check_out(repo, tree, there, keep_made=True)
    made = {"lib.o": "lib", "deep/lib.o": "lib"} if kept else {}
    assert {name: text for name, text in contents(there).items() if name.endswith(".o")} == made
    check_out(repo, tree, there, keep_made=False)
    assert not list(there.rglob("*.o"))


def test_f26_nothing_that_the_repository_configures_runs(repo: Repository, folder: Path, there: Path) -> None:
    ran = folder.parent / "ran"
    git(folder, "config", "filter.evil.smudge", f"touch '{ran}'; cat")
    git(folder, "config", "filter.evil.required", "true")
    git(folder, "config", "core.fsmonitor", f"touch '{ran}'")
    write(folder, {".git/hooks/post-checkout": f"#!/bin/sh\ntouch '{ran}'\n"})
    (folder / ".git/hooks/post-checkout").chmod(0o755)
    write(folder, {".git/info/attributes": "* filter=evil\n", "x": "x\n"})
    git(folder, "-c", "filter.evil.clean=cat", "-c", "core.fsmonitor=false", "add", "-A")
    git(folder, "-c", "filter.evil.clean=cat", "-c", "core.fsmonitor=false", "commit", "-qm", "x")
    ran.unlink(missing_ok=True)
    check_out(repo, repo.tree_of("HEAD"), there, keep_made=False)
    assert (there / "x").read_text() == "x\n"
    assert not ran.exists()


@pytest.mark.parametrize(
    ("change", "names"),
    [
        pytest.param({"README.md": "no\n"}, ("README.md",), id="changed"),
        pytest.param({"new": "1"}, ("new",), id="new"),
        pytest.param({"README.md": None}, ("README.md",), id="deleted"),
        pytest.param({"x.o": "1"}, (), id="ignored"),
    ],
)
def test_what_differs_is_named(
    repo: Repository, folder: Path, there: Path, change: dict[str, str | None], names: tuple[str, ...]
) -> None:
    write(folder, {".gitignore": "*.o\n"})
    tree = repo.tree_of(commit_all(folder, "first"))
    check_out(repo, tree, there, keep_made=False)
    write(there, change)
    assert checkout_differs(repo, tree, there) == names
