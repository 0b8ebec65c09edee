"""`workspace` in PROJECT.yaml: what it may say, and the line and the cure for what it may not."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from aiframe.core.errors import UnreadableFile
from aiframe.store.container_settings import ContainerSettings
from aiframe.store.schema import json_schema
from aiframe.store.settings_file import parse_settings
from aiframe.store.workspace_settings import WorkspaceSettings


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("", WorkspaceSettings(), id="left out"),
        pytest.param("{kind: inplace}", WorkspaceSettings(), id="in place"),
        pytest.param("{kind: worktree, repo: ../app}", WorkspaceSettings("worktree", "../app"), id="worktree"),
        pytest.param("{kind: clone, repo: ../app}", WorkspaceSettings("clone", "../app"), id="clone"),
        pytest.param(
            "{kind: worktree, repo: ~/a b, base: v1, target: trunk/x, setup: [npm ci, make], setup_timeout_min: 0.5}",
            WorkspaceSettings("worktree", "~/a b", "v1", "trunk/x", ("npm ci", "make"), 30), id="everything",
        ),
    ],
)  # fmt: skip
def test_what_it_says(text: str, found: WorkspaceSettings) -> None:
    assert parse_settings(Path("PROJECT.yaml"), f"workspace: {text}\n".encode()).workspace == found


@pytest.mark.parametrize(
    ("text", "said", "cure"),
    [
        pytest.param("kind: worktree", "needs repo", "repo: PATH", id="no repository"),
        pytest.param(
            "repo: ../app", "only for workspaces of a repository", "kind: worktree", id="a repository in place"
        ),
        pytest.param("target: main", "only for workspaces of a repository", "kind: worktree", id="a target in place"),
        pytest.param("kind: copy", "unknown", "worktree", id="no such kind"),
        pytest.param("kind: clone", "kind clone needs repo", "repo: PATH", id="a clone of nothing"),
        pytest.param("branch: main", "unknown", "base", id="no such key"),
        pytest.param("{kind: worktree, repo: a, base: -x}", "no name of a branch", "git branch", id="an option"),
        pytest.param("{kind: worktree, repo: a, target: a b}", "no name of a branch", "git branch", id="a space"),
        pytest.param("{kind: worktree, repo: a, target: a..b}", "no name of a branch", "git branch", id="a range"),
        pytest.param("{kind: worktree, repo: a, setup_timeout_min: 0}", "above 0", "digits", id="no time"),
    ],
)
def test_mistakes_with_line_and_cure(text: str, said: str, cure: str) -> None:
    with pytest.raises(UnreadableFile) as caught:
        parse_settings(Path("PROJECT.yaml"), f"agent: codex\nworkspace:\n  {text}\n".encode())
    (problem,) = caught.value.problems
    assert problem.line in (2, 3)
    assert said in problem.message
    assert cure in problem.hint


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        pytest.param(
            {"kind": "worktree", "repo": "../app", "base": "main", "target": "x", "setup": ["a"]}, True, id="all"
        ),
        pytest.param({"kind": "copy"}, False, id="no such kind"),
        pytest.param({"branch": "main"}, False, id="no such key"),
    ],
)
def test_the_schema_says_the_same(value: dict[str, object], fits: bool) -> None:
    errors = list(jsonschema.Draft202012Validator(json_schema("project")).iter_errors({"workspace": value}))
    assert (not errors) == fits


def test_the_containers_of_agents(tmp_path: Path) -> None:
    text = (
        "workspace: {kind: container, repo: ../app, image: mine:2, memory_mb: 512, processes: 9, cpus: 1.5, network:"
        " none, credentials: {env: [A_KEY], files: [~/.tool]}}\n"
    )
    found = parse_settings(tmp_path / "PROJECT.yaml", text.encode()).workspace
    assert found.container == ContainerSettings("mine:2", 512, 9, 1.5, "none", ("A_KEY",), ("~/.tool",))
    plain = parse_settings(tmp_path / "PROJECT.yaml", b"workspace: {kind: container, repo: ../app}\n").workspace
    assert plain.container == ContainerSettings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("{kind: clone, repo: a, image: b}", "image is only for kind container", id="of another kind"),
        pytest.param("{kind: container, repo: a, image: --privileged}", "is no name", id="an option for an image"),
        pytest.param("{kind: container, repo: a, network: 'host --privileged'}", "is no name", id="two words"),
        pytest.param("{kind: container, repo: a, credentials: {env: [A=b]}}", "'A' is no name", id="a value"),
        pytest.param("{kind: container, repo: a, credentials: {file: b}}", "'file' is unknown", id="an unknown key"),
        pytest.param("{kind: container, repo: a, credentials: {files: [b]}}", "is no file", id="a path from nowhere"),
        pytest.param("{kind: container, repo: a, memory_mb: -1}", "memory_mb must be", id="a limit below none"),
    ],
)
def test_what_containers_cannot_be(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UnreadableFile, match=r"PROJECT\.yaml:1") as caught:
        parse_settings(tmp_path / "PROJECT.yaml", f"workspace: {text}\n".encode())
    assert said in caught.value.message
