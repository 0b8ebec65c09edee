"""`aiframe init --create-base`: the branch to start from is made where there is none, and nothing else is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from app.test_app_worktree import repository, shown
from support.projects import Bench, Ran, git

from aiframe.app.making.frame import lay_frame
from aiframe.store.settings_file import load_settings


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A frame to run `aiframe` in, for a person who has a name."""
    root = lay_frame(tmp_path / "frame").root
    settings = tmp_path / "gitconfig"
    settings.write_text("[user]\n\tname = Per Son\n\temail = person@example.org\n")
    return Bench(root, {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "GIT_CONFIG_GLOBAL": str(settings)})


def init(bench: Bench, *words: str) -> Ran:
    return bench.run("init", "shop", "--repo", "../my app", "--agent", "scripted", *words)


def files(repo: Path) -> dict[str, int]:
    """The files of the checkout and git's index, with their times."""
    found = [path for path in repo.rglob("*") if path.is_file() and ".git" not in path.relative_to(repo).parts]
    index = [path for path in [repo / ".git" / "index"] if path.exists()]
    return {str(path): path.stat().st_mtime_ns for path in [*found, *index]}


def branches(repo: Path) -> list[str]:
    return git(repo, "for-each-ref", "--format=%(refname:short)", "refs/heads").splitlines()


def base_of(bench: Bench) -> str:
    return load_settings(bench.root / "projects" / "shop" / "PROJECT.yaml", {}).workspace.base


def empty(tmp_path: Path, branch: str = "trunk") -> Path:
    """A repository without a commit, in which a person has begun."""
    repo = tmp_path / "my app"
    repo.mkdir()
    git(repo, "init", "-q", "-b", branch)
    (repo / "staged.txt").write_text("staged\n")
    (repo / "new.txt").write_text("new\n")
    git(repo, "add", "staged.txt")
    return repo


def test_from_what_is_checked_out(tmp_path: Path, bench: Bench) -> None:
    repo = repository(tmp_path)
    (repo / "a.txt").write_text("a person is at work\n")
    before, at = shown(repo), files(repo)
    made = init(bench, "--base", "main", "--create-base")
    assert made.code == 0, made.said
    assert f"made the branch main in {repo}, from what is checked out there" in made.out
    assert (branches(repo), base_of(bench)) == (["main", "master"], "main")
    assert git(repo, "rev-parse", "main") == git(repo, "rev-parse", "master")
    assert files(repo) == at
    assert shown(repo) == before


@pytest.mark.parametrize(
    ("words", "base"),
    [
        pytest.param(("--base", "main"), "main", id="another than the one checked out"),
        pytest.param(("--base", "trunk"), "trunk", id="the one checked out"),
        pytest.param((), "trunk", id="none named"),
    ],
)
def test_without_a_commit(tmp_path: Path, bench: Bench, words: tuple[str, ...], base: str) -> None:
    repo = empty(tmp_path)
    at = files(repo)
    made = init(bench, *words, "--create-base")
    assert made.code == 0, made.said
    assert f"made the branch {base} in {repo}, with an empty first commit" in made.out
    assert (branches(repo), base_of(bench)) == ([base], base)
    assert git(repo, "log", "--format=%an <%ae>", base) == "Per Son <person@example.org>"
    assert git(repo, "ls-tree", base) == ""
    assert files(repo) == at
    assert git(repo, "symbolic-ref", "HEAD") == "refs/heads/trunk"
    assert git(repo, "status", "--porcelain").splitlines() == ["A  staged.txt", "?? new.txt"]


def test_from_a_remote_that_has_it(tmp_path: Path, bench: Bench) -> None:
    repo = repository(tmp_path)
    ahead = git(repo, "commit-tree", "-m", "theirs", "-p", "master", "master^{tree}")
    git(repo, "update-ref", "refs/remotes/origin/main", ahead)
    made = init(bench, "--base", "main", "--create-base")
    assert "from origin/main" in made.out
    assert git(repo, "rev-parse", "main") == ahead
    git(repo, "branch", "-q", "-D", "main")
    git(repo, "update-ref", "refs/remotes/fork/main", "master")
    refused = init(bench, "--base", "main", "--create-base")
    assert (refused.code, "are both there" in refused.err, "--base fork/main" in refused.err) == (1, True, True)


def test_what_is_there_is_taken_as_it_is(tmp_path: Path, bench: Bench) -> None:
    repo = repository(tmp_path)
    git(repo, "tag", "v1")
    before = branches(repo)
    made = init(bench, "--base", "v1", "--create-base")
    assert (made.code, "made the branch" in made.out, branches(repo)) == (0, False, before)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(("--base", "gone"), "--create-base", id="not asked for"),
        pytest.param(("--base", "a..b", "--create-base"), "cannot be a branch", id="no name"),
        pytest.param(("--base", "HEAD^{tree}x", "--create-base"), "cannot be a branch", id="no name either"),
        pytest.param(("--base", "master/x", "--create-base"), "git update-ref failed", id="below a branch"),
    ],
)
def test_refused_and_nothing_is_made(tmp_path: Path, bench: Bench, words: tuple[str, ...], said: str) -> None:
    repo = repository(tmp_path)
    before = shown(repo)
    ended = init(bench, *words)
    assert (ended.code, said in ended.err, "cure: " in ended.err, "Traceback" in ended.err) == (1, True, True, False)
    assert (branches(repo), shown(repo)) == (["master"], before)


def test_it_is_for_a_repository(bench: Bench) -> None:
    ended = bench.run("init", "shop", "--create-base")
    assert (ended.code, "name it with --repo PATH" in ended.err) == (2, True)
