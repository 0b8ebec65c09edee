"""The doctor looks at the repository that a project works for: each fault with its cure, and nothing is touched."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.projects import Bench, dev, git, lay_project, play, task, tasks_yaml

from aiframe.app.project.site import open_site
from aiframe.app.reports.doctor import examine
from aiframe.app.reports.machine_checks import Finding
from aiframe.app.reports.workspace_checks import check_workspace

Spoils = Callable[[Path, Bench], None]


def made(tmp_path: Path, **settings: str) -> tuple[Path, Bench]:
    host = tmp_path / "my app"
    host.mkdir()
    git(host, "init", "-q", "-b", "trunk")
    git(host, "commit", "-q", "--allow-empty", "-m", "first")
    workspace = {"kind": "worktree", "repo": "../my app", **settings}
    return host, lay_project(tmp_path, settings={"workspace": workspace})


def looked_at(bench: Bench) -> list[Finding]:
    environ = {**os.environ, "XDG_STATE_HOME": str(bench.root.parent / "state")}
    return check_workspace(open_site(bench.root, environ))


def everything(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}


def test_a_project_in_place_has_none(tmp_path: Path) -> None:
    assert looked_at(lay_project(tmp_path)) == []


def test_what_can_be_worked_in_is_told_and_not_touched(tmp_path: Path) -> None:
    host, bench = made(tmp_path)
    before = everything(tmp_path)
    findings = looked_at(bench)
    assert [(each.name, each.ok) for each in findings] == [
        ("workspace repo", True), ("workspace base", True), ("workspace target", True), ("workspaces", True),
    ]  # fmt: skip
    commit = git(host, "rev-parse", "--short=12", "HEAD")
    assert (findings[1].detail, findings[3].detail) == (
        f"trunk at {commit}", str(tmp_path / "state/aiframe/workspaces/shop"),
    )  # fmt: skip
    assert "aiframe/shop/landed, which the first attempt makes" in findings[2].detail
    assert everything(tmp_path) == before


def away(host: Path, _: Bench) -> None:
    host.rename(host.with_name("elsewhere"))


def emptied(host: Path, _: Bench) -> None:
    (host / ".git").rename(host.with_name("git"))


def partial(host: Path, _: Bench) -> None:
    git(host, "config", "remote.origin.promisor", "true")


def in_the_way(host: Path, _: Bench) -> None:
    git(host, "branch", "aiframe")


def below_it(host: Path, _: Bench) -> None:
    git(host, "branch", "release/1")


def checked_out(host: Path, _: Bench) -> None:
    git(host, "switch", "-q", "-c", "aiframe/shop/landed")


def a_file(_: Path, bench: Bench) -> None:
    (bench.root.parent / "state").write_text("no folder\n")


def nothing(_: Path, __: Bench) -> None:
    pass


@pytest.mark.parametrize(
    ("spoil", "settings", "name", "ok", "said", "cure"),
    [
        pytest.param(away, {}, "workspace repo", False, "there is no folder", "workspace.repo", id="gone"),
        pytest.param(emptied, {}, "workspace repo", False, "is no git repository", "git init", id="no repository"),
        pytest.param(partial, {}, "workspace repo", False, "partial clone", "full clone", id="a partial clone"),
        pytest.param(
            nothing, {"repo": "."}, "workspace repo", False, "no git repo", "workspace.repo", id="the project"
        ),
        pytest.param(nothing, {"base": "v9"}, "workspace base", False, "no commit v9", "workspace.base", id="no base"),
        pytest.param(in_the_way, {}, "workspace target", False, "a branch aiframe", "branch -m", id="a branch"),
        pytest.param(
            below_it, {"target": "release"}, "workspace target", False, "a branch release/1", "branch -m", id="below it"
        ),
        pytest.param(checked_out, {}, "workspace target", None, "checked out in", "commit or stash", id="in use"),
        pytest.param(a_file, {}, "workspaces", False, "cannot be made", "XDG_STATE_HOME", id="no workspaces"),
    ],
)
def test_each_fault_comes_with_its_cure(
    tmp_path: Path, spoil: Spoils, settings: dict[str, str], name: str, ok: bool | None, said: str, cure: str
) -> None:
    host, bench = made(tmp_path, **settings)
    spoil(host, bench)
    before = everything(tmp_path)
    found = {each.name: each for each in looked_at(bench)}[name]
    assert (found.ok, said in found.detail, cure in found.cure) == (ok, True, True), found
    assert everything(tmp_path) == before


def test_after_work_has_landed_and_the_base_went_on_elsewhere(tmp_path: Path) -> None:
    host, bench = made(tmp_path)
    bench.write("TASKS.yaml", tasks_yaml(task("T1", "true")))
    play(bench, [dev("T1", files={"one": "1"})])
    bench.tick(XDG_STATE_HOME=str(tmp_path / "state"))
    assert {each.name: each.ok for each in looked_at(bench)}["workspace base"] is True
    git(host, "commit", "-q", "--allow-empty", "-m", "another way")
    found = {each.name: each for each in looked_at(bench)}
    assert found["workspace base"].ok is None
    assert "trunk has commits that aiframe/shop/landed has not" in found["workspace base"].detail
    assert found["workspace target"].ok is True


def test_it_is_part_of_what_the_doctor_tells(tmp_path: Path) -> None:
    _, bench = made(tmp_path, base="v9")
    found = [each for each in examine(None, bench.root, os.environ) if each.name.startswith("workspace")]
    assert [(each.name, each.ok) for each in found][:2] == [("workspace repo", True), ("workspace base", False)]
