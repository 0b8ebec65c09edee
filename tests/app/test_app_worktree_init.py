"""`aiframe init --repo`: a project for a repository that is there, which is looked at and not touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from app.test_app_worktree import repository, shown
from support.projects import Bench, git

from aiframe.app.making.frame import lay_frame
from aiframe.store.settings_file import load_settings


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A frame to run `aiframe` in, with workspaces of its own."""
    root = lay_frame(tmp_path / "frame").root
    return Bench(root, {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")})


def everything(repo: Path) -> list[str]:
    """The names and times of all files, those of git included."""
    return sorted(f"{path} {path.stat().st_mtime_ns}" for path in repo.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("words", "base", "kind"),
    [
        pytest.param((), "master", "worktree", id="what is checked out"),
        pytest.param(("--base", "side"), "side", "worktree", id="another branch"),
        pytest.param(("--base", "v1"), "v1", "worktree", id="a tag"),
        pytest.param(("--workspace", "clone"), "master", "clone", id="in clones"),
    ],
)
def test_a_project_for_a_repository(tmp_path: Path, bench: Bench, words: tuple[str, ...], base: str, kind: str) -> None:
    repo = repository(tmp_path)
    git(repo, "branch", "side")
    git(repo, "tag", "v1")
    seen, before = shown(repo), everything(repo)
    made = bench.run("init", "shop", "--repo", "../my app", "--agent", "scripted", *words)
    assert made.code == 0, made.said
    settings = load_settings(bench.root / "projects" / "shop" / "PROJECT.yaml", {}).workspace
    assert (settings.kind, settings.repo, settings.base) == (kind, str(repo), base)
    assert f"tasks are worked in {kind}s of" in made.out
    record = (bench.root / "projects" / "shop" / ".git" / "aiframe" / "workspace.json").read_text()
    assert git(repo, "rev-parse", "HEAD") in record
    assert "git merge aiframe/shop/landed" in made.out
    assert everything(repo) == before
    assert shown(repo) == seen
    assert Bench(bench.root / "projects" / "shop").git("status", "--porcelain") == ""


def test_a_project_for_a_commit(tmp_path: Path, bench: Bench) -> None:
    repo = repository(tmp_path)
    git(repo, "switch", "-q", "--detach")
    made = bench.run("init", "shop", "--repo", str(repo), "--agent", "scripted")
    assert made.code == 0, made.said
    settings = load_settings(bench.root / "projects" / "shop" / "PROJECT.yaml", {}).workspace
    assert settings.base == git(repo, "rev-parse", "HEAD")


def test_the_repository_gives_its_name(tmp_path: Path, bench: Bench) -> None:
    repository(tmp_path).rename(tmp_path / "my-app")
    made = bench.run("init", "--repo", str(tmp_path / "my-app"), "--agent", "scripted")
    assert made.code == 0, made.said
    assert (bench.root / "projects" / "my-app" / "TASKS.yaml").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(("--repo", "nowhere"), "no folder", id="no folder"),
        pytest.param(("--repo", "projects"), "no git repository", id="no repository"),
        pytest.param(("--repo", "../my app", "--base", "gone"), "no commit gone", id="no base"),
        pytest.param(("--base", "master"), "--repo", id="a base of nothing"),
        pytest.param(("--workspace", "clone"), "--repo", id="a clone of nothing"),
    ],
)
def test_refused_and_nothing_is_left(tmp_path: Path, bench: Bench, words: tuple[str, ...], said: str) -> None:
    repo = repository(tmp_path)
    before = everything(repo)
    ended = bench.run("init", "shop", "--agent", "scripted", *words)
    assert ended.code in (1, 2)
    assert said in ended.said
    assert "Traceback" not in ended.said
    assert [path.name for path in (bench.root / "projects").iterdir() if not path.name.startswith(".git")] == []
    assert everything(repo) == before
