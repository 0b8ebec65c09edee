"""Projects whose checks are checked themselves: laid in place, or for a repository in worktrees of it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from support.projects import Bench, git, lay_project

KINDS = ("inplace", "worktree")


def placed(names: str, cases: Sequence[Any], *, both: Sequence[str]) -> pytest.MarkDecorator:
    """`pytest.mark.parametrize` for `kind` and *names*: all *cases* in a worktree, and in place those in *both*.

    The others differ in the verdict, which is found in the same way wherever the files come from.
    """
    assert {case.id for case in cases} >= set(both)
    each = [
        pytest.param(kind, *case.values, id=f"{case.id}-{kind}")
        for case in cases for kind in KINDS if kind == "worktree" or case.id in both
    ]  # fmt: skip
    return pytest.mark.parametrize(f"kind, {names}", each)


@dataclass(frozen=True, slots=True)
class Proving:
    """A project, the repository that holds its work, and the folder of its clean checkouts."""

    bench: Bench
    repo: Path
    target: str
    cache: Path

    def settings(self, **changes: Any) -> None:
        """Change keys of PROJECT.yaml, those of mappings one by one, as a person does."""
        old = json.loads(self.bench.text("PROJECT.yaml"))
        for key, value in changes.items():
            old[key] = {**old.get(key, {}), **value} if isinstance(value, dict) else value
        self.bench.write("PROJECT.yaml", json.dumps(old))

    def gates(self, number: int = -1) -> list[dict[str, Any]]:
        """The checks of one run."""
        return list(self.bench.results()[number]["gates"])

    def landed(self, name: str) -> str:
        """The text of a file on the branch."""
        return git(self.repo, "show", f"{self.target}:{name}")

    def checkouts(self) -> list[str]:
        """The names of what lies beside the checkouts and in their folder."""
        folder = self.cache / "aiframe" / "checkouts"
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def lay_proving(
    folder: Path, kind: str, files: Mapping[str, str], tasks: Sequence[Mapping[str, Any]], turns: Sequence[Any],
    gates: Mapping[str, Any], setup: Sequence[str] = (), **settings: Any,
) -> Proving:  # fmt: skip
    """A project of *kind* with *files* in it, of which the last commit holds all but the ignored ones."""
    workspace: dict[str, Any] = {"setup": list(setup)} if setup else {}
    repo = folder / "my app"
    if kind == "worktree":
        workspace |= {"kind": kind, "repo": str(repo)}
        git(folder, "init", "-q", "-b", "master", str(repo))
    more = {**settings, "gates": dict(gates), **({"workspace": workspace} if workspace else {})}
    bench = lay_project(folder, *tasks, turns=list(turns), settings=more)
    root = repo if kind == "worktree" else bench.root
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    if kind == "worktree":
        git(repo, "add", "-A")
        git(repo, "commit", "-q", "-m", "first")
    env = {"XDG_STATE_HOME": str(folder / "state"), "XDG_CACHE_HOME": str(folder / "cache")}
    bench = replace(bench, env={**os.environ, **env})
    target = "aiframe/shop/landed" if kind == "worktree" else "HEAD"
    return Proving(bench, root, target, folder / "cache")
