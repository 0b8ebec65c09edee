"""Which file a fault is planted in, and what becomes of the tree."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from support.projects import git

from aiframe.workspaces.git import Repository
from aiframe.workspaces.planting import FAULT, MAX_BYTES, faulty_tree, source_file, source_files
from aiframe.workspaces.trees import changed_files


def repository(folder: Path, files: dict[str, int | str]) -> Repository:
    """A repository with *files*: their sizes, or their texts."""
    git(folder, "init", "-q")
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if isinstance(text, str) else "x" * text)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    return Repository(folder)


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        pytest.param({"README.md": 9, "Makefile": 9, "c": 9, "a.py/b": 9}, [], id="no source file"),
        pytest.param({"a.py": 1, "b.py": 3, "c.py": 2, "d.py": 0}, ["b.py", "c.py", "a.py"], id="larger ones first"),
        pytest.param(
            {"a.js": 1, "b.js": 1, "c.py": 9}, ["a.js", "c.py", "b.js"], id="the most frequent language first"
        ),
        pytest.param({"a.js": 9, "b.py": 1}, ["b.py", "a.js"], id="of equally frequent ones, the order of the list"),
        pytest.param({"a.sh": 9, "b.go": 1, "c.js": 1}, ["c.js", "b.go"], id="two languages at most"),
        pytest.param(
            {"tests/a.py": 9, "docs/conf.py": 9, "a/test_b.py": 9, "vendor/x/y.py": 9, "a/b.py": 1, "contest.py": 2},
            ["contest.py", "a/b.py", "a/test_b.py"],
            id="tests, documents and the work of others last",
        ),
        pytest.param(
            {"spec/a.rb": 1, "b.spec.rb": 2}, ["b.spec.rb", "spec/a.rb"], id="tests where there is nothing else"
        ),
        pytest.param({"a.PY": 1}, ["a.PY"], id="in any case"),
        pytest.param({"prompts/a.py": 1, "b.py": 1}, ["b.py"], id="no control file"),
        pytest.param({"big.py": MAX_BYTES + 1, "b.py": 1}, ["b.py"], id="no very large one"),
        pytest.param({"a b/ü\n.py": 1}, ["a b/ü\n.py"], id="any name"),
    ],
)
def test_which_files_are_tried(tmp_path: Path, files: dict[str, int | str], chosen: list[str]) -> None:
    repo = repository(tmp_path, files)
    assert [file.path for file in source_files(repo, repo.tree_of("HEAD"), ("prompts/",), 3)] == chosen


def test_neither_a_link_nor_a_repository_of_its_own_is_a_source_file(tmp_path: Path) -> None:
    repo = repository(tmp_path, {"a.py": "x = 1\n"})
    (tmp_path / "link.py").symlink_to("a.py")
    git(tmp_path, "update-index", "--add", "--cacheinfo", f"160000,{git(tmp_path, 'rev-parse', 'HEAD')},sub.py")
    git(tmp_path, "add", "link.py")
    tree = git(tmp_path, "write-tree")
    assert [file.path for file in source_files(repo, tree, (), 3)] == ["a.py"]
    assert source_file(repo, tree, "link.py") is source_file(repo, tree, "sub.py") is None
    assert source_file(repo, tree, "none.py") is None


def test_only_that_file_differs_and_nothing_of_the_repository_has_moved(tmp_path: Path) -> None:
    repo = repository(tmp_path, {"a.sh": "echo hello", "b.sh": ""})
    (tmp_path / "a.sh").chmod(0o755)
    git(tmp_path, "commit", "-qam", "a program")
    before, tree = git(tmp_path, "status", "--porcelain=v2", "--branch"), repo.tree_of("HEAD")
    file = source_file(repo, tree, "a.sh")
    assert file is not None
    faulty = faulty_tree(repo, tree, file)
    (change,) = changed_files(repo, tree, faulty)
    assert (change.status, change.path, change.old_mode, change.mode) == ("M", "a.sh", "100755", "100755")
    assert git(tmp_path, "cat-file", "blob", change.blob) == f"echo hello{FAULT.decode()}".rstrip("\n")
    assert git(tmp_path, "status", "--porcelain=v2", "--branch") == before
    assert (tmp_path / "a.sh").read_text() == "echo hello"


@pytest.mark.parametrize(
    ("name", "text", "check"),
    [
        pytest.param("a.py", "x = 1\n", "python3 -m py_compile a.py", id="python"),
        pytest.param("a.py", "x = (1,\n     2)", "python3 -m py_compile a.py", id="python without its last line end"),
        pytest.param("a.sh", "echo 'x'\n", "sh -n a.sh", id="sh"),
        pytest.param("a.sh", "cat <<EOF\nx\nEOF\n", "sh -n a.sh", id="sh after a text"),
        pytest.param("a.pl", "my $x = 1;\n", "perl -c a.pl", id="perl"),
        pytest.param("a.pl", "my $x = 1\n", "perl -c a.pl", id="perl without a semicolon"),
    ],
)
def test_the_fault_is_one(tmp_path: Path, name: str, text: str, check: str) -> None:
    for fault, fine in ((b"", True), (FAULT, False)):
        (tmp_path / name).write_bytes(text.encode() + fault)
        done = subprocess.run(["sh", "-c", check], cwd=tmp_path, capture_output=True, check=False)
        assert (done.returncode == 0) is fine, done.stderr
