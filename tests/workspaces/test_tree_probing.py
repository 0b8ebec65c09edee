"""What will not go together, tried out early: found where git would find it, and nothing is left of the trying."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from support.lanes import person_repository
from support.projects import git

from aiframe.workspaces.git import Repository
from aiframe.workspaces.probing import Branch, Clash, Probe

LINES = "".join(f"line {number}\n" for number in range(1, 10))
TOP, END = LINES.replace("line 1\n", "top\n"), LINES.replace("line 9\n", "end\n")
OTHER_TOP = LINES.replace("line 1\n", "other top\n")
Files = Mapping[str, str | None]


def tree_with(repo: Path, base: str, files: Files) -> str:
    """The tree of *base* with *files* in it; None takes one away."""
    git(repo, "checkout", "-q", "--detach", base)
    for name, text in files.items():
        path = repo / name
        if text is None:
            path.unlink()
            continue
        if path.parent.is_file():
            path.parent.unlink()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(repo, "add", "-A")
    tree = git(repo, "write-tree")
    git(repo, "reset", "-q", "--hard")
    return tree


def everything(repo: Path) -> list[tuple[str, int]]:
    """Every file of the git directory, with its size."""
    return sorted((str(path), path.lstat().st_size) for path in (repo / ".git").rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("one", "other", "landed", "found"),
    [
        pytest.param({"a.txt": TOP}, {"b.txt": "b2"}, {}, [], id="different files"),
        pytest.param({"a.txt": TOP}, {"a.txt": END}, {}, [], id="different lines"),
        pytest.param({"a.txt": TOP}, {"a.txt": TOP}, {}, [], id="the same change"),
        pytest.param({"a.txt": TOP}, {"a.txt": OTHER_TOP}, {}, [("T1", "T2", "a.txt")], id="the same line"),
        pytest.param({"n.txt": "1"}, {"n.txt": "2"}, {}, [("T1", "T2", "n.txt")], id="the same new file"),
        pytest.param({"a.txt": None}, {"a.txt": END}, {}, [("T1", "T2", "a.txt")], id="taken away and changed"),
        pytest.param({"a.txt": TOP}, {"b.txt": "x"}, {"a.txt": OTHER_TOP}, [("T1", "main", "a.txt")], id="with landed"),
        pytest.param({"a.txt": TOP}, {"a.txt": OTHER_TOP}, {"c.txt": "c"}, [("T1", "T2", "a.txt")], id="upon landed"),
        pytest.param(
            {"a.txt": TOP}, {"a.txt": TOP}, {"a.txt": OTHER_TOP}, [("T1", "main", "a.txt"), ("T2", "main", "a.txt")],
            id="both with what landed",
        ),
    ],
)  # fmt: skip
def test_what_is_found(
    tmp_path: Path, one: Files, other: Files, landed: Files, found: list[tuple[str, str, str]]
) -> None:
    repo = person_repository(tmp_path, {"a.txt": LINES, "b.txt": "b\n"})
    base = git(repo, "rev-parse", "main^{tree}")
    branches = [Branch("T1", base, tree_with(repo, "main", one)), Branch("T2", base, tree_with(repo, "main", other))]
    onto = tree_with(repo, "main", landed)
    known: dict[str, tuple[str, ...]] = {}
    before = everything(repo)
    for _ in range(2):  # the second time by what is known
        with Probe(Repository(repo), known) as probe:
            clashes = list(probe.clashes(branches, "main", onto))
        assert clashes == [Clash(first, second, (file,)) for first, second, file in found]
    assert everything(repo) == before


def test_what_lies_in_a_workspace_counts_committed_or_not(tmp_path: Path) -> None:
    repo = person_repository(tmp_path, {"a.txt": LINES, ".gitignore": "*.log\n"})
    base = git(repo, "rev-parse", "main")
    other = Branch(
        "T2", git(repo, "rev-parse", "main^{tree}"), tree_with(repo, "main", {"a.txt": END, "new.txt": "2\n"})
    )
    third = Branch("T3", other.base, tree_with(repo, "main", {"a.txt": OTHER_TOP, "x.log": "other\n"}))
    git(repo, "checkout", "-q", "main")
    (repo / "a.txt").write_text(TOP)
    git(repo, "commit", "-q", "-am", "on the way")
    (repo / "new.txt").write_text("new\n")
    (repo / "x.log").write_text("ignored\n")
    before = everything(repo)
    with Probe(Repository(repo), {}) as probe:
        mine = probe.branch("T1", Repository(repo), base)
        found = list(probe.clashes([mine, other, third], "main", other.base))
    assert found == [Clash("T1", "T2", ("new.txt",)), Clash("T1", "T3", ("a.txt",))]
    assert everything(repo) == before
