"""`workspace` in PROJECT.yaml: what it may say, and the line and the cure for what it may not."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from aiframe.core.errors import UnreadableFile
from aiframe.store.schema import json_schema
from aiframe.store.settings_file import WorkspaceSettings, parse_settings


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
        pytest.param("repo: ../app", "only for worktrees", "kind: worktree", id="a repository in place"),
        pytest.param("target: main", "only for worktrees", "kind: worktree", id="a target in place"),
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
